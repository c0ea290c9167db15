//! What the batches of one subscription share: how much of its channel they take, and the memory of their lists, which goes
//! from a batch that is over to the next one.

use crate::delivery::Delivery;
use crate::event::Event;
use crate::flow::{Flow, Wake};
use crate::pool::footprint;
use crate::unread::Unread;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::VecDeque;
use std::sync::Arc;

/// Lists that are kept for the next batches, and how long they may be: one that was longer is freed.
const SPARES: usize = 16;
const SPARE_LEN: usize = 256;

/// What waits in a batch, and what it takes of the channel until the last of it is taken.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) unread: Unread,
    events: usize,
    /// Of its datagram, unless another one before has taken them.
    pub(crate) bytes: usize,
}

impl Held {
    /// What isn't an event takes nothing.
    pub(crate) fn one(delivery: Delivery) -> Held {
        Held { unread: Unread::one(delivery), events: 0, bytes: 0 }
    }

    /// So many events, the first of which is this, behind what is `before` it.
    pub(crate) fn run(first: Event, count: usize, before: Option<&Held>) -> Held {
        let bytes = footprint(first.datagram().0);
        let mut run = Held { unread: Unread::run(first, count), events: count, bytes };
        if before.is_some_and(|before| before.shares(&run)) {
            run.bytes = 0;
        }
        run
    }

    /// Whether both are of one datagram.
    pub(crate) fn shares(&self, other: &Held) -> bool {
        match (self.unread.delivery.event(), other.unread.delivery.event()) {
            (Some(one), Some(other)) => one.datagram() == other.datagram(),
            _ => false,
        }
    }
}

/// Shared by the client, which takes, and the batches, which give back.
#[derive(Debug)]
pub(crate) struct Credit {
    flow: Flow,
    spares: (Sender<VecDeque<Held>>, Receiver<VecDeque<Held>>),
}

impl Credit {
    pub(crate) fn new(capacity: usize, capacity_bytes: usize, wake: Wake) -> Arc<Credit> {
        Arc::new(Credit { flow: Flow::new(capacity, capacity_bytes, wake), spares: bounded(SPARES) })
    }

    pub(crate) fn flow(&self) -> &Flow {
        &self.flow
    }

    pub(crate) fn take(&self, held: &Held) {
        self.flow.take(held.events, held.bytes);
    }

    pub(crate) fn give_back(&self, held: &Held) {
        if held.events > 0 {
            self.flow.give_back(held.events, held.bytes);
        }
    }

    /// An empty list.
    pub(crate) fn spare(&self) -> VecDeque<Held> {
        self.spares.1.try_recv().unwrap_or_default()
    }

    /// A batch is over, with what it still held.
    pub(crate) fn give_back_all(&self, mut held: VecDeque<Held>) {
        let sum = |(events, bytes), held: &Held| (events + held.events, bytes + held.bytes);
        let (events, bytes) = held.iter().fold((0, 0), sum);
        // Before the room: who is told of that may look what memory is free.
        held.clear();
        if held.capacity() <= SPARE_LEN {
            // There may be enough of them.
            let _ = self.spares.0.try_send(held);
        }
        if events > 0 {
            self.flow.give_back(events, bytes);
        }
    }
}
