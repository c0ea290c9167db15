//! What travels in a subscription's channel: one datagram's deliveries for this subscription.

use crate::delivery::{Delivery, Event};
use crate::flow::Flow;
use std::collections::VecDeque;
use std::collections::vec_deque;
use std::sync::Arc;

/// Deliveries that came together, in order: at most one datagram's, so at least 1 and at most about 1000.
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

    /// Adds what isn't an event, and so takes no room.
    pub(crate) fn push(&mut self, delivery: Delivery) {
        debug_assert!(delivery.event().is_none(), "an event takes room");
        self.deliveries.push_back(delivery);
    }

    /// Adds an event of a datagram of so many bytes. One event pins all of them, however small it is, and the others
    /// of the same datagram no more.
    pub(crate) fn push_event(&mut self, event: Event, datagram: usize) {
        let bytes = datagram.saturating_sub(self.bytes);
        self.flow.take(1, bytes);
        self.events += 1;
        self.bytes += bytes;
        self.deliveries.push_back(Delivery::Event(event));
    }

    /// Whether nothing is left in it.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// let batch = subscription.batches().recv()?;
    /// assert!(!batch.is_empty()); // as it comes out of the channel
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// How many deliveries are left in it.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// let batch = subscription.batches().recv()?;
    /// println!("{} at once", batch.len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// Looks at the deliveries without taking them.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// let batch = subscription.batches().recv()?;
    /// let bytes: usize = batch.iter().filter_map(|delivery| delivery.event()).map(|event| event.payload().len()).sum();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{EventHeader, EventView, Header, Messages, push_event};
    use bytes::Bytes;

    #[test]
    fn a_small_event_of_a_large_datagram_takes_the_room_that_it_pins() {
        let mut datagram = Vec::new();
        for payload in [1, 1, 50_000] {
            push_event(&mut datagram, Header::default(), &EventHeader::default(), "a", &vec![0; payload]);
        }
        let datagram = Bytes::from(datagram);
        let event = |at| {
            let message = Messages::new(&datagram).nth(at).unwrap().unwrap();
            Event::new(&datagram, &EventView::parse(message.body).unwrap())
        };
        let flow = Flow::new(10, datagram.len() + 1, Arc::new(|| ()));
        let mut batch = Batch::new(&flow);
        batch.push_event(event(0), datagram.len());
        batch.push_event(event(1), datagram.len());
        assert_eq!(flow.room(), 8, "the second one pins nothing more");
        let mut other = Batch::new(&flow);
        other.push_event(event(0), datagram.len());
        assert_eq!(flow.room(), 0);
        drop((batch, other));
        assert_eq!(flow.room(), 10);
    }
}
