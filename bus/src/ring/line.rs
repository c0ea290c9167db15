//! Deliveries in order, in which what can merge finds what it merges with.

use crate::delivery::{Cause, Delivery, Lost};
use crate::event::Event;
use crate::unread::Unread;
use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Deliveries in order, in which a loss grows where it continues the last one of its topic.
#[derive(Default)]
pub(super) struct Line {
    queue: VecDeque<Entry>,
    /// How many deliveries those are.
    len: usize,
    /// How many entries have been taken out at the front: places count from the first one ever.
    taken: u64,
    /// Where each topic's last loss or, if only the latest event is kept, its event is.
    places: HashMap<u32, u64>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) unread: Unread,
    pub(super) pinned: Pinned,
    /// The name of the topic whose events these are, if they are events: what a loss of them needs of its own.
    pub(super) topic: Option<Arc<str>>,
}

impl Entry {
    /// What isn't an event.
    pub(super) fn other(delivery: Delivery) -> Entry {
        Entry { unread: Unread::one(delivery), pinned: Pinned::default(), topic: None }
    }
}

/// The datagram that events keep in memory.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pinned {
    /// Where it lies: while it is kept, no other one lies there.
    pub(super) at: usize,
    /// Its bytes, unless an entry before counts them.
    pub(super) bytes: usize,
}

impl Line {
    /// How many deliveries it holds.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn front(&self) -> Option<&Entry> {
        self.queue.front()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Entry> {
        self.queue.front_mut()
    }

    pub(super) fn back(&self) -> Option<&Entry> {
        self.queue.back()
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.queue.iter()
    }

    pub(super) fn push(&mut self, entry: Entry) {
        match &entry.unread.delivery {
            // Ids of another broker are other topics.
            Delivery::Restarted(_) => self.places.clear(),
            // What comes of it later comes behind this, and merges with nothing before.
            Delivery::Ended(ended) => drop(self.places.remove(&ended.topic_id)),
            _ => {}
        }
        self.len += entry.unread.len();
        self.queue.push_back(entry);
    }

    pub(super) fn push_noted(&mut self, topic_id: u32, entry: Entry) {
        self.places.insert(topic_id, self.taken + self.queue.len() as u64);
        self.push(entry);
    }

    pub(super) fn noted(&mut self, topic_id: u32) -> Option<&mut Entry> {
        let place = self.places.get(&topic_id)?.checked_sub(self.taken)?;
        self.queue.get_mut(usize::try_from(place).ok()?)
    }

    /// Whether the last loss of the topic could grow by this range, of this cause unless `any` will do.
    fn grow(&mut self, topic_id: u32, from: u64, to: u64, cause: Cause, any: bool) -> bool {
        match self.noted(topic_id).map(|noted| &mut noted.unread.delivery) {
            Some(Delivery::Lost(last)) if last.to.saturating_add(1) == from && (any || last.cause == cause) => {
                last.to = to;
                true
            }
            _ => false,
        }
    }

    pub(super) fn push_lost(&mut self, lost: Lost, any: bool) {
        if !self.grow(lost.topic_id, lost.from, lost.to, lost.cause, any) {
            self.push_noted(lost.topic_id, Entry::other(Delivery::Lost(lost)));
        }
    }

    /// Notes as lost these events, which are of the broker and the topic of this one, by the topic's name.
    pub(super) fn push_dropped(&mut self, seqs: RangeInclusive<u64>, like: &Event, topic: &Arc<str>, any: bool) {
        let (topic_id, from, to) = (like.topic_id(), *seqs.start(), *seqs.end());
        if !self.grow(topic_id, from, to, Cause::Overflow, any) {
            let lost =
                Lost { epoch: like.epoch(), topic: Arc::clone(topic), topic_id, from, to, cause: Cause::Overflow };
            self.push_noted(topic_id, Entry::other(Delivery::Lost(lost)));
        }
    }

    /// Takes out the oldest deliveries, so many. What is looked at, and what moves, is whichever is less, those or the rest.
    pub(super) fn take_front(&mut self, count: usize) -> VecDeque<Entry> {
        let Some(rest) = self.len.checked_sub(count).filter(|rest| *rest > 0) else {
            return std::mem::take(self).queue;
        };
        // Which entry is the first that stays, and how many of its deliveries don't.
        let (at, part) = if count <= rest {
            walk(self.queue.iter(), count)
        } else {
            let (whole, part) = walk(self.queue.iter().rev(), rest);
            match self.queue.len() - whole {
                at if part == 0 => (at, 0),
                at => (at - 1, self.queue.get(at - 1).map_or(0, |entry| entry.unread.len() - part)),
            }
        };
        let mut front = if at <= self.queue.len() / 2 {
            self.queue.drain(..at).collect()
        } else {
            let rest = self.queue.split_off(at);
            std::mem::replace(&mut self.queue, rest)
        };
        (self.taken, self.len) = (self.taken + at as u64, rest);
        if part > 0
            && let Some(first) = self.queue.front_mut()
        {
            // The bytes stay with those that stay.
            let pinned = Pinned { bytes: 0, ..first.pinned };
            front.push_back(Entry { unread: first.unread.first(part), pinned, topic: first.topic.clone() });
            first.unread.skip(part);
        }
        front
    }

    /// Takes the oldest delivery out; and what its entry pinned, if it was the last of that.
    pub(super) fn take_one(&mut self) -> Option<(Delivery, Option<Pinned>)> {
        self.len = self.len.checked_sub(1)?;
        if let Some(delivery) = self.front_mut()?.unread.take_one() {
            return Some((delivery, None));
        }
        let Entry { unread, pinned, .. } = self.pop()?;
        Some((unread.delivery, Some(pinned)))
    }

    /// Takes so many deliveries off the oldest entry, which has as many. Returns it, if those were all.
    pub(super) fn drop_front(&mut self, count: usize) -> Option<Entry> {
        let first = self.queue.front_mut()?;
        self.len -= count;
        if count < first.unread.len() {
            first.unread.skip(count);
            return None;
        }
        self.pop()
    }

    fn pop(&mut self) -> Option<Entry> {
        let entry = self.queue.pop_front()?;
        self.taken += 1;
        if self.queue.is_empty() {
            self.places.clear();
        }
        Some(entry)
    }
}

/// How many entries have no more than so many deliveries together, and how many of those the next one has.
fn walk<'a>(entries: impl Iterator<Item = &'a Entry>, mut count: usize) -> (usize, usize) {
    let mut whole = 0;
    for entry in entries {
        match count.checked_sub(entry.unread.len()) {
            Some(left) => (whole, count) = (whole + 1, left),
            None => break,
        }
    }
    (whole, count)
}
