//! The client's end of a subscription's way to its consumer: what is put in here, the consumer finds in its channel.

use crate::arrivals::Arrivals;
use crate::batch::Batch;
use crate::counts::Counts;
use crate::credit::Credit;
use crate::delivery::Delivery;
use crate::event::Event;
use crate::flow::Wake;
use crate::pool::Pool;
use crate::ring::{Drops, Ring};
use crate::run::Run;
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::sync::Arc;

/// Bytes of memory that a subscription holds: of datagrams, or of events where it keeps those alone.
const CAPACITY_BYTES: usize = 16 << 20;

/// What happens when a subscription holds as many unread events as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// It keeps only its place in each topic, and is refilled from the broker's history when it has room: the one that
    /// loses nothing as long as history keeps it.
    #[default]
    CatchUp,
    /// The oldest unread event goes, and a [`Lost`](crate::Lost) range takes its place: for who wants what is new, and
    /// as much of it as there is room for.
    DropOldest,
    /// The event that comes goes, and a [`Lost`](crate::Lost) range takes its place: for who works off what he has.
    DropNewest,
    /// Of each topic only the newest event is kept unread, whatever the capacity; it says for how many it
    /// [stands](crate::Event::stands_for). For values that replace each other. Nothing is reported as lost, unless 16 MiB
    /// of them wait unread, each with its bytes rounded up to a power of two of at least 256: then the topic that has waited
    /// longest goes, and a [`Lost`](crate::Lost) range takes the place of its event.
    Latest,
}

/// The consumer's end.
pub(crate) struct Outlet {
    pub(crate) batches: Receiver<Batch>,
    pub(crate) arrivals: Arc<Arrivals>,
    pub(crate) counts: Arc<Counts>,
}

/// The client's end. When it is dropped, the consumer is told that nothing more comes.
#[derive(Debug)]
pub(crate) struct Inlet {
    way: Way,
    /// `None` only while it is being dropped.
    sender: Option<Sender<Batch>>,
    arrivals: Arc<Arrivals>,
    begun: bool,
    counts: Arc<Counts>,
}

#[derive(Debug)]
enum Way {
    /// Deliveries travel in the channel, and events take room.
    Credit { credit: Arc<Credit>, batch: Option<Batch> },
    /// Deliveries wait where they can be dropped; the channel only says so.
    Ring {
        ring: Arc<Ring>,
        /// Something was put in that the consumer isn't told of yet.
        untold: bool,
        /// For what waits apart from what it came with.
        pool: Box<Pool>,
    },
}

/// The two ends of a subscription that holds at most `capacity` events. `wake` is called when one that was full has
/// room again.
pub(crate) fn inlet(overflow: Overflow, capacity: usize, wake: Wake) -> (Inlet, Outlet) {
    let (arrivals, counts) = (Arc::new(Arrivals::default()), Arc::new(Counts::default()));
    let ring = |drops| {
        let ring = Ring::new(drops, capacity, CAPACITY_BYTES);
        Way::Ring { ring, untold: false, pool: Box::default() }
    };
    let way = match overflow {
        Overflow::CatchUp => Way::Credit { credit: Credit::new(capacity, CAPACITY_BYTES, wake), batch: None },
        Overflow::DropOldest => ring(Drops::Oldest),
        Overflow::DropNewest => ring(Drops::Newest),
        Overflow::Latest => ring(Drops::AllButLatest),
    };
    // Of a ring there is one batch in the channel at most: the one that says that something waits.
    let (sender, batches) = if let Way::Ring { .. } = way { bounded(1) } else { unbounded() };
    let inlet =
        Inlet { way, sender: Some(sender), arrivals: Arc::clone(&arrivals), begun: false, counts: Arc::clone(&counts) };
    (inlet, Outlet { batches, arrivals, counts })
}

impl Inlet {
    /// How many more events it takes; one that drops takes any number, and for it this is how many it can keep.
    pub(crate) fn room(&self) -> usize {
        match &self.way {
            Way::Credit { credit, .. } => credit.flow().room(),
            Way::Ring { ring, .. } => ring.capacity(),
        }
    }

    /// Asks to be woken when there is room again. Whether there is room already.
    pub(crate) fn starve(&self) -> bool {
        match &self.way {
            Way::Credit { credit, .. } => credit.flow().starve(),
            Way::Ring { .. } => true,
        }
    }

    /// Whether it is worth a round trip to refill it: there is much room, or some and nothing to read meanwhile.
    pub(crate) fn is_worth_refilling(&self) -> bool {
        match &self.way {
            Way::Credit { credit, batch } => {
                let flow = credit.flow();
                let nothing_to_read = || batch.is_none() && self.sender.as_ref().is_some_and(Sender::is_empty);
                flow.is_roomy() || (flow.room() > 0 && nothing_to_read())
            }
            Way::Ring { .. } => true,
        }
    }

    /// Whether there is room for one of another page, while so many pages are on their way.
    pub(crate) fn admits(&self, pages: usize) -> bool {
        match &self.way {
            Way::Credit { credit, .. } => credit.flow().room() > pages,
            Way::Ring { .. } => true,
        }
    }

    /// Whether it takes any number of events, and drops some of them.
    pub(crate) fn drops(&self) -> bool {
        matches!(self.way, Way::Ring { .. })
    }

    /// Whether an event stands for all before it that weren't read, so that none is missed.
    pub(crate) fn conflates(&self) -> bool {
        matches!(&self.way, Way::Ring { ring, .. } if ring.drops() == Drops::AllButLatest)
    }

    /// Whether it was given anything.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Gives what isn't an event.
    pub(crate) fn push(&mut self, delivery: Delivery) {
        self.begun = true;
        if let Delivery::Lost(lost) = &delivery {
            self.counts.lost(lost.count());
        }
        match &mut self.way {
            Way::Credit { credit, batch } => batch.get_or_insert_with(|| Batch::new(credit)).push(delivery),
            Way::Ring { ring, untold, .. } => {
                *untold = true;
                ring.push(delivery);
            }
        }
    }

    /// Gives a run of a datagram of the broker of this epoch, of the topic of this name. The first of its events stands for so
    /// many `before` it, too.
    pub(crate) fn push_run(&mut self, run: &Run<'_>, before: u64, epoch: u64, datagram: &Bytes, topic: &Arc<str>) {
        self.begun = true;
        let mut first = Event::first_of(run, epoch, datagram).standing_for_more(before);
        let events = run.count as u64;
        self.counts.received(events.saturating_add(before), if run.replayed { events } else { 0 });
        match &mut self.way {
            Way::Credit { credit, batch } => {
                batch.get_or_insert_with(|| Batch::new(credit)).push_run(first, run.count);
            }
            Way::Ring { ring, untold, pool } => {
                *untold = true;
                let dropped = if ring.drops() == Drops::AllButLatest {
                    first.conflate(run);
                    // It may wait long, among many, and must not pin all that came with it.
                    first.move_apart(pool);
                    events - 1 + ring.push_run(first, 1, topic)
                } else {
                    ring.push_run(first, run.count, topic)
                };
                self.counts.dropped(dropped.saturating_add(before));
            }
        }
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_flushed(&self) -> bool {
        match &self.way {
            Way::Credit { batch, .. } => batch.is_none(),
            Way::Ring { untold, .. } => !untold,
        }
    }

    /// Sends what was given. Whether somebody can still receive it.
    pub(crate) fn flush(&mut self) -> bool {
        let Some(sender) = &self.sender else { return false };
        let batch = match &mut self.way {
            Way::Credit { batch, .. } => batch.take(),
            // One that is in the channel already is for all that waits.
            Way::Ring { ring, untold, .. } => {
                (std::mem::take(untold) && sender.is_empty()).then(|| ring.share()).flatten().map(Batch::of)
            }
        };
        let Some(batch) = batch else { return true };
        let sent = sender.send(batch).is_ok();
        self.arrivals.tell();
        sent
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.flush();
        // First: whoever is told looks into the channel, and has to find it closed.
        self.sender = None;
        self.arrivals.tell();
    }
}

#[cfg(test)]
mod tests;
