//! What a consumer hasn't read yet, of a subscription that drops rather than catches up: bounded, and shared by the
//! client, which puts in and drops, and the consumer, who takes out. A batch in the channel only says that there is
//! something; what it is, is decided when it is read, so nothing older is read than has to be.

mod line;
mod share;

pub(crate) use share::Share;

use crate::arrivals::Arrivals;
use crate::delivery::{Delivery, Event};
use crate::sys::ForkMark;
use bytes::Bytes;
use line::{Entry, Line, Pinned};
use std::collections::VecDeque;
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

/// Puts a batch that stands for the ring, which is locked, into the channel. Whether somebody can receive it.
pub(crate) type Announce = Box<dyn Fn(&Arc<Ring>) -> bool + Send>;

/// The deliveries that wait for one consumer.
pub(crate) struct Ring {
    drops: Drops,
    /// In events, and in bytes of the datagrams that they pin.
    capacity: (usize, usize),
    arrivals: Arc<Arrivals>,
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
    /// A batch that stands for the ring is in the channel or with the consumer.
    announced: bool,
    /// `None` once the client has ended the subscription.
    announce: Option<Announce>,
}

impl State {
    fn len(&self) -> usize {
        self.gone.queue.len() + self.waiting.queue.len()
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
    pub(crate) fn new(
        drops: Drops,
        capacity: usize,
        capacity_bytes: usize,
        announce: Announce,
        arrivals: Arc<Arrivals>,
    ) -> Arc<Ring> {
        let state = Mutex::new(State { announce: Some(announce), ..State::default() });
        Arc::new(Ring { drops, capacity: (capacity.max(1), capacity_bytes), arrivals, mark: ForkMark::new(), state })
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

    /// Lets the consumer know. Whether somebody can still receive it.
    pub(crate) fn announce(self: &Arc<Ring>) -> bool {
        let mut state = self.lock();
        if state.announced || state.len() == 0 {
            // Whoever has the batch takes what came after it, too, or announces it anew.
            return true;
        }
        let sent = self.send(&mut state);
        drop(state);
        self.arrivals.tell();
        sent
    }

    fn send(self: &Arc<Ring>, state: &mut State) -> bool {
        state.announced = state.announce.as_ref().is_some_and(|announce| announce(self));
        state.announced
    }

    /// Nothing more will be put in.
    pub(crate) fn end(&self) {
        // Not dropped under the lock: a batch may go with it.
        let announce = self.lock().announce.take();
        drop(announce);
        self.arrivals.tell();
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    /// Takes the next delivery out for a share of `left` more, which is over when nothing is left.
    fn take(self: &Arc<Ring>, left: &mut usize) -> Option<Delivery> {
        let mut state = self.lock();
        let delivery = state.pop();
        *left = if state.len() == 0 { 0 } else { left.saturating_sub(1) };
        if *left == 0 {
            self.end_share(state);
        }
        delivery
    }

    /// Takes out what a share of `left` may have, and ends it.
    fn take_all(self: &Arc<Ring>, left: usize) -> VecDeque<Delivery> {
        let mut state = self.lock();
        let taken = std::iter::from_fn(|| state.pop()).take(left).collect();
        self.end_share(state);
        taken
    }

    /// The batch stands for the ring no more: another one has to, if something waits.
    fn end_share(self: &Arc<Ring>, mut state: MutexGuard<'_, State>) {
        state.announced = false;
        if state.len() > 0 {
            self.send(&mut state);
            drop(state);
            self.arrivals.tell();
        }
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
