//! What a consumer hasn't read yet, of a subscription that drops rather than catches up: bounded, and shared by the
//! client, which puts in and drops, and the consumer, who takes out. A batch in the channel only says that there is
//! something; what it is, is decided when it is read, so nothing older is read than has to be.
//!
//! A batch that nobody has looked into is for all that waits, and comes after it. So the client sends one whenever the
//! channel is empty: then whoever waits at the channel is told, however many batches he keeps elsewhere, and each of those
//! has something left to give.

mod line;
mod share;

pub(crate) use share::Share;

use crate::delivery::{Delivery, Event};
use crate::sys::ForkMark;
use bytes::Bytes;
use line::{Entry, Line, Pinned};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is dropped when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drops {
    Oldest,
    Newest,
    /// All but the newest event of each topic; the room is the number of topics, whatever the capacity.
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
        self.gone.queue.len() + self.waiting.queue.len()
    }

    /// How many deliveries a share that was looked into may take: all but those that are left to the others.
    fn free(&self) -> usize {
        self.len().saturating_sub(self.unread)
    }

    /// Takes the oldest delivery out.
    fn pop(&mut self) -> Option<Delivery> {
        if let Some(entry) = self.gone.pop() {
            return Some(entry.delivery);
        }
        let entry = self.waiting.pop()?;
        if let Delivery::Event(_) = entry.delivery {
            self.forget(entry.pinned);
        }
        Some(entry.delivery)
    }

    /// An event left the front. Its datagram stays as long as the next one is of it, too.
    fn forget(&mut self, pinned: Pinned) {
        self.events -= 1;
        match self.waiting.queue.front_mut() {
            Some(next) if next.pinned.at == pinned.at => next.pinned.bytes += pinned.bytes,
            _ => self.bytes -= pinned.bytes,
        }
    }

    /// Drops the oldest event. What isn't an event is kept, in its place.
    fn drop_oldest(&mut self) {
        while let Some(entry) = self.waiting.pop() {
            match entry.delivery {
                Delivery::Event(event) => {
                    self.forget(entry.pinned);
                    self.gone.push_dropped(&event);
                    return;
                }
                Delivery::Lost(lost) => self.gone.push_lost(lost),
                other => self.gone.push(other, Pinned::default()),
            }
        }
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

    /// Puts an event in, of this datagram. How many events were dropped for it, itself included.
    pub(crate) fn push_event(&self, event: Event, datagram: &Bytes) -> u64 {
        let mut state = self.lock();
        let state = &mut *state;
        match self.drops {
            Drops::AllButLatest => {
                // One that waits long among many must not pin all that came with it.
                let event = event.to_owned();
                if let Some(Entry { delivery: Delivery::Event(older), .. }) = state.waiting.noted(event.topic_id()) {
                    let merged = older.stands_for();
                    *older = event.standing_for_more(merged);
                    return 1;
                }
                state.events += 1;
                state.waiting.push_noted(event.topic_id(), Delivery::Event(event));
                0
            }
            Drops::Newest if state.events >= self.capacity.0 || state.bytes >= self.capacity.1 => {
                state.waiting.push_dropped(&event);
                1
            }
            Drops::Newest | Drops::Oldest => {
                let at = datagram.as_ptr() as usize;
                let counted = state.waiting.queue.back().is_some_and(|last| last.pinned.at == at);
                let pinned = Pinned { at, bytes: if counted { 0 } else { datagram.len() } };
                (state.events, state.bytes) = (state.events + 1, state.bytes + pinned.bytes);
                state.waiting.push(Delivery::Event(event), pinned);
                let mut dropped = 0;
                // The newest stays even if it alone is too much.
                let too_much = |state: &State| {
                    state.events > 1 && (state.events > self.capacity.0 || state.bytes > self.capacity.1)
                };
                while self.drops == Drops::Oldest && too_much(state) {
                    state.drop_oldest();
                    dropped += 1;
                }
                dropped
            }
        }
    }

    /// Puts in what isn't an event, and so takes no room.
    pub(crate) fn push(&self, delivery: Delivery) {
        match delivery {
            Delivery::Lost(lost) => self.lock().waiting.push_lost(lost),
            other => self.lock().waiting.push(other, Pinned::default()),
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
