//! The credit between the client and one consumer: how much a subscription's channel holds. The channel
//! itself is unbounded; this is its bound, in events and in bytes of pinned buffers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Wakes the client's driver. Called from any thread.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// Counts what is queued. Shared by the client, which adds, and the batches, which give back when dropped.
pub(crate) struct Flow {
    capacity: usize,
    capacity_bytes: usize,
    events: AtomicUsize,
    bytes: AtomicUsize,
    /// The client wants to be woken when there is room.
    starved: AtomicBool,
    wake: Wake,
}

impl Flow {
    pub(crate) fn new(capacity: usize, capacity_bytes: usize, wake: Wake) -> Arc<Flow> {
        Arc::new(Flow {
            capacity: capacity.max(1),
            capacity_bytes,
            events: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            starved: AtomicBool::new(false),
            wake,
        })
    }

    /// How many more events may be queued.
    pub(crate) fn room(&self) -> usize {
        if self.bytes.load(Ordering::SeqCst) >= self.capacity_bytes {
            return 0;
        }
        self.capacity.saturating_sub(self.events.load(Ordering::SeqCst))
    }

    /// Counts events as queued.
    pub(crate) fn take(&self, events: usize, bytes: usize) {
        self.events.fetch_add(events, Ordering::SeqCst);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Asks to be woken when there is room again. Whether there is room already: a consumer that gave back
    /// in between would not have seen the wish.
    pub(crate) fn starve(&self) -> bool {
        self.starved.store(true, Ordering::SeqCst);
        self.room() > 0
    }

    /// Gives back. Wakes the client at half full, so that a refill is worth its round trip.
    pub(crate) fn give_back(&self, events: usize, bytes: usize) {
        let left = self.events.fetch_sub(events, Ordering::SeqCst) - events;
        let left_bytes = self.bytes.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        let roomy = left <= self.capacity / 2 && left_bytes <= self.capacity_bytes / 2;
        if roomy && self.starved.swap(false, Ordering::SeqCst) {
            (self.wake)();
        }
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow").field("capacity", &self.capacity).field("events", &self.events).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_starved_client_is_woken_once_at_half_full() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&wakes);
        let flow = Flow::new(
            4,
            100,
            Arc::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            }),
        );
        flow.take(4, 10);
        assert_eq!(flow.room(), 0);
        assert!(!flow.starve());
        flow.give_back(1, 1);
        assert_eq!(wakes.load(Ordering::SeqCst), 0);
        flow.give_back(1, 1);
        flow.give_back(1, 1);
        assert_eq!((wakes.load(Ordering::SeqCst), flow.room()), (1, 3));
        flow.take(1, 99);
        assert_eq!(flow.room(), 0, "bytes bound it too");
    }
}
