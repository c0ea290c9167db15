//! What the batches of one subscription share: how much of its channel they take, and the memory of their lists, which goes
//! from a batch that is over to the next one.

use crate::delivery::Delivery;
use crate::event::Event;
use crate::flow::{Flow, Wake};
use crate::pool::footprint;
use crate::unread::Unread;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

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
    /// Only tried for: whoever finds it locked does without, and so does a child that was forked while it was.
    spares: Mutex<Vec<VecDeque<Held>>>,
}

impl Credit {
    pub(crate) fn new(capacity: usize, capacity_bytes: usize, wake: Wake) -> Arc<Credit> {
        let spares = Mutex::new(Vec::with_capacity(SPARES));
        Arc::new(Credit { flow: Flow::new(capacity, capacity_bytes, wake), spares })
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
        self.spares.try_lock().ok().and_then(|mut spares| spares.pop()).unwrap_or_default()
    }

    /// A batch is over, with what it still held.
    pub(crate) fn give_back_all(&self, mut held: VecDeque<Held>) {
        let sum = |(events, bytes), held: &Held| (events + held.events, bytes + held.bytes);
        let (events, bytes) = held.iter().fold((0, 0), sum);
        // Before the room: who is told of that may look what memory is free.
        held.clear();
        if held.capacity() <= SPARE_LEN
            && let Ok(mut spares) = self.spares.try_lock()
            && spares.len() < SPARES
        {
            spares.push(held);
        }
        if events > 0 {
            self.flow.give_back(events, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;

    /// As in a child that was forked while another thread had them.
    #[test]
    fn a_batch_ends_whoever_has_the_spare_lists() {
        let credit = Credit::new(1, 1, Arc::new(|| ()));
        let had = credit.spares.lock().unwrap();
        drop(Batch::new(&credit));
        assert!(had.is_empty());
    }
}
