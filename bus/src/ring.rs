//! What a consumer hasn't read yet, of a subscription that drops rather than catches up: bounded, and shared by the
//! client, which puts in and drops, and the consumer, who takes out. Events wait as the runs that they came in, so that it
//! costs the client the same for one as for fifty: others wait for it, too, and nobody for the consumer. A batch in the
//! channel only says that there is something; what it is, is decided when it is read, so nothing older is read than has to be.
//!
//! A batch that nobody has looked into is for all that waits, and comes after it. So the client sends one whenever the
//! channel is empty: then whoever waits at the channel is told, however many batches he keeps elsewhere, and each of those
//! has something left to give.

mod line;
mod share;

pub(crate) use share::Share;

use crate::delivery::Delivery;
use crate::event::Event;
use crate::pool::footprint;
use crate::sys::ForkMark;
use crate::unread::Unread;
use line::{Entry, Line, Pinned};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Losses that wait before they merge whatever their causes: after that there is at most one more of each topic.
const LOSSES: usize = 1024;

/// What is dropped when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drops {
    Oldest,
    Newest,
    /// All but the newest event of each topic. The room is the number of topics, whatever the capacity; of those that have
    /// waited longest, the events go altogether where all together have too many bytes.
    AllButLatest,
}

/// The deliveries that wait for one consumer.
pub(crate) struct Ring {
    drops: Drops,
    /// In events, and in bytes of the datagrams that they pin.
    capacity: (usize, usize),
    mark: ForkMark,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was dropped before the waiting ones, merged: it takes no room.
    gone: Line,
    waiting: Line,
    events: usize,
    bytes: usize,
    /// Shares that nobody has looked into. One delivery is left to each.
    unread: usize,
}

impl State {
    fn len(&self) -> usize {
        self.gone.len() + self.waiting.len()
    }

    /// How many deliveries a share that was looked into may take: all but those that are left to the others.
    fn free(&self) -> usize {
        self.len().saturating_sub(self.unread)
    }

    /// Whether so many losses wait that they merge whatever their causes, so that what takes no room has an end, too.
    fn is_crowded(&self) -> bool {
        self.len() - self.events >= LOSSES
    }

    /// Takes the oldest delivery out.
    fn pop(&mut self) -> Option<Delivery> {
        if let Some((delivery, _)) = self.gone.take_one() {
            return Some(delivery);
        }
        let (delivery, pinned) = self.waiting.take_one()?;
        self.events -= usize::from(delivery.event().is_some());
        if let Some(pinned) = pinned {
            self.unpin(pinned);
        }
        Some(delivery)
    }

    /// Takes the oldest deliveries out, so many. The client may wait for the lock, so none of them is looked at if all go,
    /// and otherwise no more of them than stay.
    fn take_front(&mut self, count: usize) -> impl Iterator<Item = Entry> + use<> {
        let gone = self.gone.len().min(count);
        let (gone, mut front) = (self.gone.take_front(gone), self.waiting.take_front(count - gone));
        if let Some(Entry { pinned: Pinned { at: at @ 1.., bytes }, .. }) = self.waiting.front_mut() {
            // Events of its datagram that go leave that to it.
            for gone in front.iter_mut().rev().take_while(|gone| gone.pinned.at == *at) {
                *bytes += std::mem::take(&mut gone.pinned.bytes);
            }
        }
        let add = |(events, bytes), entry: &Entry| (events + entry.unread.events(), bytes + entry.pinned.bytes);
        if front.len() <= self.waiting.iter().len() {
            let (events, bytes) = front.iter().fold((0, 0), add);
            (self.events, self.bytes) = (self.events - events, self.bytes - bytes);
        } else {
            (self.events, self.bytes) = self.waiting.iter().fold((0, 0), add);
        }
        gone.into_iter().chain(front)
    }

    /// The last events of an entry left the front. Its datagram stays as long as the next one is of it, too.
    fn unpin(&mut self, pinned: Pinned) {
        match self.waiting.front_mut() {
            Some(next) if next.pinned.at == pinned.at => next.pinned.bytes += pinned.bytes,
            _ => self.bytes -= pinned.bytes,
        }
    }

    /// Puts an event in the place of the one of its topic that waits. How many it replaces.
    fn push_latest(&mut self, event: Event, topic: &Arc<str>) -> u64 {
        let (topic_id, (len, at)) = (event.topic_id(), event.datagram());
        let pinned = Pinned { at, bytes: footprint(len) };
        self.bytes += pinned.bytes;
        if let Some(Entry { unread, pinned: before, .. }) = self.waiting.noted(topic_id)
            && let Delivery::Event(older) = &mut unread.delivery
        {
            self.bytes -= before.bytes;
            *before = pinned;
            let merged = older.stands_for();
            *older = event.standing_for_more(merged);
            return 1;
        }
        self.events += 1;
        let topic = Some(Arc::clone(topic));
        self.waiting.push_noted(topic_id, Entry { unread: Unread::run(event, 1), pinned, topic });
        0
    }

    /// Puts so many events of a run behind the others, the first of which is this.
    fn push_run(&mut self, first: Event, count: usize, topic: &Arc<str>) {
        let (len, at) = first.datagram();
        let counted = self.waiting.back().is_some_and(|last| last.pinned.at == at);
        let pinned = Pinned { at, bytes: if counted { 0 } else { footprint(len) } };
        (self.events, self.bytes) = (self.events + count, self.bytes + pinned.bytes);
        let topic = Some(Arc::clone(topic));
        self.waiting.push(Entry { unread: Unread::run(first, count), pinned, topic });
    }

    /// Drops the oldest events as long as there are too many, or too many bytes. How many went. The last one stays even if
    /// it alone is too much.
    fn drop_excess(&mut self, events: usize, bytes: usize) -> u64 {
        let mut dropped = 0;
        while self.events > 1 && (self.events > events || self.bytes > bytes) {
            // A datagram's bytes go with the last event of it.
            let most = if self.bytes > bytes { usize::MAX } else { self.events - events };
            dropped += self.drop_oldest(most.min(self.events - 1));
        }
        dropped
    }

    /// Drops the oldest events, of one entry and so many at most. How many went. What isn't an event is kept, in its place.
    fn drop_oldest(&mut self, most: usize) -> u64 {
        let crowded = self.is_crowded();
        while let Some(front) = self.waiting.front() {
            if let (Delivery::Event(event), Some(topic)) = (&front.unread.delivery, &front.topic) {
                let count = most.min(front.unread.len());
                let from = event.seq().saturating_add(1).saturating_sub(event.stands_for());
                let to = event.seq().saturating_add(count as u64 - 1);
                self.gone.push_dropped(from..=to, event, topic, crowded);
                self.events -= count;
                // Its last event is still there while it is looked for what else is of its datagram.
                let over = self.waiting.drop_front(count);
                if let Some(entry) = &over {
                    self.unpin(entry.pinned);
                }
                return count as u64;
            }
            match self.waiting.drop_front(1).map(|entry| entry.unread.delivery) {
                Some(Delivery::Lost(lost)) => self.gone.push_lost(lost, crowded),
                Some(other) => self.gone.push(Entry::other(other)),
                None => {}
            }
        }
        0
    }
}

impl Ring {
    pub(crate) fn new(drops: Drops, capacity: usize, capacity_bytes: usize) -> Arc<Ring> {
        let state = Mutex::default();
        Arc::new(Ring { drops, capacity: (capacity.max(1), capacity_bytes), mark: ForkMark::new(), state })
    }

    pub(crate) fn drops(&self) -> Drops {
        self.drops
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity.0
    }

    /// Puts a run of so many events of a topic in, the first of which is this. How many events were dropped for it, its own
    /// included.
    pub(crate) fn push_run(&self, first: Event, count: usize, topic: &Arc<str>) -> u64 {
        let (events, bytes) = self.capacity;
        let mut state = self.lock();
        match self.drops {
            Drops::Oldest => {
                state.push_run(first, count, topic);
                state.drop_excess(events, bytes)
            }
            Drops::Newest => {
                let room = if state.bytes < bytes { events.saturating_sub(state.events) } else { 0 };
                let taken = room.min(count);
                if taken > 0 {
                    state.push_run(first.clone(), taken, topic);
                }
                if taken < count {
                    let seq = |at: usize| first.seq().saturating_add(at as u64);
                    let crowded = state.is_crowded();
                    state.waiting.push_dropped(seq(taken)..=seq(count - 1), &first, topic, crowded);
                }
                (count - taken) as u64
            }
            // Of a run, only the last one is put in.
            Drops::AllButLatest => state.push_latest(first, topic) + state.drop_excess(usize::MAX, bytes),
        }
    }

    /// Puts in what isn't an event, and so takes no room.
    pub(crate) fn push(&self, delivery: Delivery) {
        let mut state = self.lock();
        let crowded = state.is_crowded();
        match delivery {
            Delivery::Lost(lost) => state.waiting.push_lost(lost, crowded),
            other => state.waiting.push(Entry::other(other)),
        }
    }

    /// A share for a channel that has none, if something waits that the shares elsewhere would leave.
    pub(crate) fn share(self: &Arc<Ring>) -> Option<Share> {
        let mut state = self.lock();
        (state.len() > state.unread).then(|| {
            state.unread += 1;
            Share::new(self)
        })
    }

    /// Nothing panics while it is held, and if it did, the state would be whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("drops", &self.drops).field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Part, Parts};
    use crate::wire::uapi::NLBUS_MSG_EVENT;
    use crate::wire::{EventHeader, Header, push_event};
    use bytes::Bytes;
    use nix::time::{ClockId, clock_gettime};
    use proptest::prelude::*;
    use std::time::Duration;

    /// Datagrams of so many events each, whose sequence numbers begin at 1.
    fn filled(capacity: usize, datagrams: &[usize]) -> Arc<Ring> {
        let ring = Ring::new(Drops::Oldest, capacity, usize::MAX);
        let mut seq = 0;
        for events in datagrams {
            let mut datagram = Vec::new();
            for _ in 0..*events {
                seq += 1;
                let header = Header { kind: NLBUS_MSG_EVENT, ..Header::default() };
                push_event(&mut datagram, header, &EventHeader { seq, ..Default::default() }, "a", b"");
            }
            let datagram = Bytes::from(datagram);
            for part in Parts::new(&datagram) {
                let Part::Run(run) = part else { panic!("{part:?}") };
                ring.push_run(Event::first_of(&run, 1, &datagram), run.count, &"a".into());
            }
        }
        ring
    }

    fn counted(state: &State) -> (usize, usize, usize) {
        let next = state.waiting.front().map_or(0, |next| next.pinned.bytes);
        (state.events, state.bytes, next)
    }

    proptest! {
        /// However many are taken at once: what stays is as if they had been taken one by one.
        #[test]
        fn taking_many_counts_as_taking_each(
            datagrams in prop::collection::vec(1usize..6, 0..20), capacity in 1usize..60, count in 0usize..100
        ) {
            let (each, at_once) = (filled(capacity, &datagrams), filled(capacity, &datagrams));
            let (mut each, mut at_once) = (each.lock(), at_once.lock());
            let taken: Vec<_> = std::iter::from_fn(|| each.pop()).take(count).map(|it| format!("{it:?}")).collect();
            let front: Vec<_> = at_once.take_front(count).flat_map(|entry| entry.unread).map(|it| format!("{it:?}")).collect();
            prop_assert_eq!(taken, front);
            prop_assert_eq!(counted(&each), counted(&at_once));
        }
    }

    /// The client may be waiting for the lock, and all of its other subscriptions with it.
    #[test]
    fn taking_all_holds_the_lock_no_longer_than_taking_a_few() {
        for count in [usize::MAX, 199_000, 1000] {
            // Runs of one: no entry is more than a delivery.
            let ring = filled(usize::MAX, &[1; 200_000]);
            let cpu_time = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
            let mut state = ring.lock();
            let start = cpu_time();
            let taken = state.take_front(count);
            let held = cpu_time() - start;
            drop(state);
            assert_eq!(taken.map(|entry| entry.unread.len()).sum::<usize>(), count.min(200_000));
            assert!(held < Duration::from_millis(4), "the lock was held for {held:?} to take {count}");
        }
    }
}
