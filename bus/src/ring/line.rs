//! Deliveries in order, in which what can merge finds what it merges with.

use crate::delivery::{Cause, Delivery, Lost};
use crate::event::Event;
use std::collections::{HashMap, VecDeque};

/// Deliveries in order, in which a loss grows where it continues the last one of its topic.
#[derive(Default)]
pub(super) struct Line {
    pub(super) queue: VecDeque<Entry>,
    /// How many have been taken out at the front: places count from the first one ever.
    taken: u64,
    /// Where each topic's last loss or, if only the latest event is kept, its event is.
    places: HashMap<u32, u64>,
}

pub(super) struct Entry {
    pub(super) delivery: Delivery,
    pub(super) pinned: Pinned,
}

/// The datagram that an event keeps in memory.
#[derive(Clone, Copy, Default)]
pub(super) struct Pinned {
    /// Where it lies: while it is kept, no other one lies there.
    pub(super) at: usize,
    /// Its bytes, unless an entry before counts them.
    pub(super) bytes: usize,
}

impl Line {
    pub(super) fn push(&mut self, delivery: Delivery, pinned: Pinned) {
        if let Delivery::Restarted(_) = delivery {
            // Ids of another broker are other topics.
            self.places.clear();
        }
        self.queue.push_back(Entry { delivery, pinned });
    }

    pub(super) fn push_noted(&mut self, topic_id: u32, delivery: Delivery, pinned: Pinned) {
        self.places.insert(topic_id, self.taken + self.queue.len() as u64);
        self.push(delivery, pinned);
    }

    pub(super) fn noted(&mut self, topic_id: u32) -> Option<&mut Entry> {
        let place = self.places.get(&topic_id)?.checked_sub(self.taken)?;
        self.queue.get_mut(usize::try_from(place).ok()?)
    }

    /// Whether the last loss of the topic could grow by this range, of this cause unless `any` will do.
    fn grow(&mut self, topic_id: u32, (from, to): (u64, u64), cause: Cause, any: bool) -> bool {
        match self.noted(topic_id) {
            Some(Entry { delivery: Delivery::Lost(last), .. })
                if last.to.saturating_add(1) == from && (any || last.cause == cause) =>
            {
                last.to = to;
                true
            }
            _ => false,
        }
    }

    pub(super) fn push_lost(&mut self, lost: Lost, any: bool) {
        if !self.grow(lost.topic_id, (lost.from, lost.to), lost.cause, any) {
            self.push_noted(lost.topic_id, Delivery::Lost(lost), Pinned::default());
        }
    }

    /// Notes as lost what an event stands for.
    pub(super) fn push_dropped(&mut self, event: &Event, any: bool) {
        let (topic_id, to) = (event.topic_id(), event.seq());
        let from = to.saturating_add(1).saturating_sub(event.stands_for());
        if !self.grow(topic_id, (from, to), Cause::Overflow, any) {
            let (epoch, topic) = (event.epoch(), event.topic().into());
            let lost = Lost { epoch, topic, topic_id, from, to, cause: Cause::Overflow };
            self.push_noted(topic_id, Delivery::Lost(lost), Pinned::default());
        }
    }

    /// Takes out the oldest, so many. What moves is whichever is less, those or the rest.
    pub(super) fn take_front(&mut self, count: usize) -> VecDeque<Entry> {
        if count >= self.queue.len() {
            return std::mem::take(self).queue;
        }
        self.taken += count as u64;
        if count <= self.queue.len() / 2 {
            return self.queue.drain(..count).collect();
        }
        let rest = self.queue.split_off(count);
        std::mem::replace(&mut self.queue, rest)
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.queue.pop_front()?;
        self.taken += 1;
        if self.queue.is_empty() {
            self.places.clear();
        }
        Some(entry)
    }
}

impl Entry {
    pub(super) fn is_event(&self) -> bool {
        matches!(self.delivery, Delivery::Event(_))
    }
}
