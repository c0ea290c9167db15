//! What travels in a subscription's channel: one datagram's deliveries for this subscription.

use crate::delivery::Delivery;
use crate::flow::Flow;
use std::collections::VecDeque;
use std::collections::vec_deque;
use std::sync::Arc;

/// Deliveries that came together, in order: at most one datagram's, so at least 1 and at most about 900.
///
/// Dropping a batch, or the iterator over it, gives its room in the channel back; until then the
/// subscription counts its events as unread.
#[derive(Debug)]
pub struct Batch {
    deliveries: VecDeque<Delivery>,
    events: usize,
    bytes: usize,
    flow: Arc<Flow>,
}

impl Batch {
    /// An empty batch that takes its room from `flow`.
    pub(crate) fn new(flow: &Arc<Flow>) -> Batch {
        Batch { deliveries: VecDeque::new(), events: 0, bytes: 0, flow: Arc::clone(flow) }
    }

    pub(crate) fn push(&mut self, delivery: Delivery) {
        if let Delivery::Event(event) = &delivery {
            // What this event pins of the shared buffer, its headers included.
            let bytes = event.payload().len() + event.topic().len() + 56;
            self.flow.take(1, bytes);
            self.events += 1;
            self.bytes += bytes;
        }
        self.deliveries.push_back(delivery);
    }

    /// Whether nothing is left in it.
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// How many deliveries are left in it.
    pub fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// Looks at the deliveries without taking them.
    pub fn iter(&self) -> vec_deque::Iter<'_, Delivery> {
        self.deliveries.iter()
    }
}

impl Iterator for Batch {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        self.deliveries.pop_front()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.deliveries.len(), Some(self.deliveries.len()))
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = &'a Delivery;
    type IntoIter = vec_deque::Iter<'a, Delivery>;

    fn into_iter(self) -> Self::IntoIter {
        self.deliveries.iter()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if self.events > 0 {
            self.flow.give_back(self.events, self.bytes);
        }
    }
}
