//! What travels in a subscription's channel: deliveries that the consumer takes at once.

use crate::delivery::{Delivery, Event};
use crate::flow::Flow;
use crate::ring::Share;
use std::collections::VecDeque;
use std::collections::vec_deque;
use std::sync::Arc;

/// Deliveries that came together, in order: at most one datagram's, so at least 1 and at most about 1000. Dropping the
/// batch, or the iterator over it, gives its room in the channel back; until then the subscription counts its events as
/// unread.
///
/// Of a subscription that drops rather than catches up ([`Overflow`](crate::Overflow)), those that are unread when it is
/// first looked into. Until then it may lie: what comes and what is dropped meanwhile changes what it will hold, and the next
/// batch comes all the same. Of several that lie unread, the one that is looked into first has all but one delivery for each
/// other one; so an event takes another batch along only if it waits apart, and not if under [`Overflow::Latest`] it takes
/// the place of one that waits. Where losses of theirs merged since, the last of such batches can be empty.
///
/// [`Overflow::Latest`]: crate::Overflow::Latest
#[derive(Debug)]
pub struct Batch(Source);

#[derive(Debug)]
enum Source {
    /// Its events take room of the channel.
    Own(Own),
    /// They wait in a ring.
    Ring(Share),
}

#[derive(Debug)]
struct Own {
    deliveries: VecDeque<Delivery>,
    events: usize,
    bytes: usize,
    flow: Arc<Flow>,
}

impl Drop for Own {
    fn drop(&mut self) {
        if self.events > 0 {
            self.flow.give_back(self.events, self.bytes);
        }
    }
}

impl Batch {
    /// An empty batch that takes its room from `flow`.
    pub(crate) fn new(flow: &Arc<Flow>) -> Batch {
        Batch(Source::Own(Own { deliveries: VecDeque::new(), events: 0, bytes: 0, flow: Arc::clone(flow) }))
    }

    /// A batch of what waits in a ring.
    pub(crate) fn of(share: Share) -> Batch {
        Batch(Source::Ring(share))
    }

    /// Adds what isn't an event, and so takes no room. Not to a batch of a ring.
    pub(crate) fn push(&mut self, delivery: Delivery) {
        debug_assert!(delivery.event().is_none(), "an event takes room");
        if let Source::Own(own) = &mut self.0 {
            own.deliveries.push_back(delivery);
        }
    }

    /// Adds an event of a datagram of so many bytes. One event pins all of them, however small it is, and the others
    /// of the same datagram no more. Not to a batch of a ring.
    pub(crate) fn push_event(&mut self, event: Event, datagram: usize) {
        if let Source::Own(own) = &mut self.0 {
            let bytes = datagram.saturating_sub(own.bytes);
            own.flow.take(1, bytes);
            own.events += 1;
            own.bytes += bytes;
            own.deliveries.push_back(Delivery::Event(event));
        }
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
        match &self.0 {
            Source::Own(own) => own.deliveries.is_empty(),
            Source::Ring(share) => share.is_empty(),
        }
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
        match &self.0 {
            Source::Own(own) => own.deliveries.len(),
            Source::Ring(share) => share.len(),
        }
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
        match &self.0 {
            Source::Own(own) => own.deliveries.iter(),
            Source::Ring(share) => share.deliveries().iter(),
        }
    }
}

impl Iterator for Batch {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        match &mut self.0 {
            Source::Own(own) => own.deliveries.pop_front(),
            Source::Ring(share) => share.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Source::Own(own) => (own.deliveries.len(), Some(own.deliveries.len())),
            // What waits can merge before it is taken.
            Source::Ring(share) => (0, share.bound()),
        }
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = &'a Delivery;
    type IntoIter = vec_deque::Iter<'a, Delivery>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
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
            Event::new(1, &datagram, &EventView::parse(message.body).unwrap())
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
