//! What a subscription has counted, written by the client and read by the handle.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a subscription has counted since it began. Of what was published, `received` came and `lost` didn't; of what
/// came, all but `dropped` is delivered or waits unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SubscriptionCounters {
    /// Events that came for it, live or out of history; with those that went by unseen and that one of them
    /// [stands for](crate::Event::stands_for).
    pub received: u64,
    /// Those that came out of history: repaired, or from before it began. Without what they stand for.
    pub replayed: u64,
    /// Events that history no longer held, reported as lost.
    pub lost: u64,
    /// Events that it dropped by its [`Overflow`](crate::Overflow) policy, or that a later one stands for.
    pub dropped: u64,
}

/// The same, shared.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    received: AtomicU64,
    replayed: AtomicU64,
    lost: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    /// So many came, with those that they stand for; and so many of them out of history, without.
    pub(crate) fn received(&self, events: u64, replayed: u64) {
        add(&self.received, events);
        add(&self.replayed, replayed);
    }

    pub(crate) fn lost(&self, events: u64) {
        add(&self.lost, events);
    }

    pub(crate) fn dropped(&self, events: u64) {
        add(&self.dropped, events);
    }

    pub(crate) fn read(&self) -> SubscriptionCounters {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SubscriptionCounters {
            received: read(&self.received),
            replayed: read(&self.replayed),
            lost: read(&self.lost),
            dropped: read(&self.dropped),
        }
    }
}

/// Only the client writes: a load and a store are enough, and cost less than a locked addition.
fn add(count: &AtomicU64, events: u64) {
    count.store(count.load(Ordering::Relaxed).saturating_add(events), Ordering::Relaxed);
}
