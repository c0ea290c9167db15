//! What waits for a consumer: deliveries one by one, or runs of events that lie in one datagram. A run waits as one, and is
//! taken apart only when it is taken.

use crate::delivery::Delivery;
use crate::event::Event;

/// A run of events, the first of which is the delivery; or one that isn't an event.
#[derive(Debug, Clone)]
pub(crate) struct Unread {
    pub(crate) delivery: Delivery,
    /// How many it is the first of, itself included.
    left: usize,
}

impl Unread {
    /// A single one.
    pub(crate) fn one(delivery: Delivery) -> Unread {
        Unread { delivery, left: 1 }
    }

    /// So many events of a run, at least one, the first of which is this.
    pub(crate) fn run(first: Event, count: usize) -> Unread {
        Unread { delivery: Delivery::Event(first), left: count }
    }

    /// How many there are: at least one.
    pub(crate) fn len(&self) -> usize {
        self.left
    }

    /// How many of them are events: all or none.
    pub(crate) fn events(&self) -> usize {
        if self.delivery.event().is_some() { self.left } else { 0 }
    }

    /// A copy of the first one, if it isn't the last.
    pub(crate) fn take_one(&mut self) -> Option<Delivery> {
        if self.left <= 1 {
            return None;
        }
        let one = self.delivery.clone();
        self.skip(1);
        Some(one)
    }

    /// Leaves the first ones behind, fewer than there are.
    pub(crate) fn skip(&mut self, count: usize) {
        self.left -= count;
        if let Delivery::Event(event) = &mut self.delivery {
            (0..count).for_each(|_| event.advance());
        }
    }

    /// The first ones, at most as many as there are. These stay what they are.
    pub(crate) fn first(&self, count: usize) -> Unread {
        Unread { delivery: self.delivery.clone(), left: count }
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct UnreadIter(Option<Unread>);

impl Iterator for UnreadIter {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        match self.0.as_mut()?.take_one() {
            Some(delivery) => Some(delivery),
            None => self.0.take().map(|last| last.delivery),
        }
    }
}

impl IntoIterator for Unread {
    type Item = Delivery;
    type IntoIter = UnreadIter;

    fn into_iter(self) -> UnreadIter {
        UnreadIter(Some(self))
    }
}
