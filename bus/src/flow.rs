//! The credit between the client and one consumer: how much a subscription's channel holds. The channel
//! itself is unbounded; this is its bound, in events and in bytes of pinned buffers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// Wakes the client's driver. Called from any thread.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// Counts what is queued. Shared by the client, which adds, and the batches, which give back when dropped.
pub(crate) struct Flow {
    capacity: usize,
    capacity_bytes: usize,
    events: AtomicUsize,
    bytes: AtomicUsize,
    /// What the client wants to be woken for: one of the wishes below.
    wish: AtomicU8,
    wake: Wake,
}

const NOTHING: u8 = 0;
/// That it is half empty: then a refill is worth its round trip.
const HALF: u8 = 1;
/// That there is any room, for there may be no more soon; and after that, that it is half empty.
const ANY: u8 = 2;

impl Flow {
    pub(crate) fn new(capacity: usize, capacity_bytes: usize, wake: Wake) -> Flow {
        Flow {
            capacity: capacity.max(1),
            capacity_bytes,
            events: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            wish: AtomicU8::new(NOTHING),
            wake,
        }
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

    /// Whether there is so much room that a refill is worth its round trip.
    pub(crate) fn is_roomy(&self) -> bool {
        self.half_empty(self.events.load(Ordering::SeqCst), self.bytes.load(Ordering::SeqCst))
    }

    fn half_empty(&self, events: usize, bytes: usize) -> bool {
        events <= self.capacity / 2 && bytes <= self.capacity_bytes / 2
    }

    /// Asks to be woken when there is room again. Whether there is room already: a consumer that gave back
    /// in between would not have seen the wish.
    pub(crate) fn starve(&self) -> bool {
        self.wish.store(ANY, Ordering::SeqCst);
        self.room() > 0
    }

    /// Gives back. Wakes the client for the first room, and when it is half empty.
    pub(crate) fn give_back(&self, events: usize, bytes: usize) {
        let left = self.events.fetch_sub(events, Ordering::SeqCst) - events;
        let left_bytes = self.bytes.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        let fulfilled = match self.wish.load(Ordering::SeqCst) {
            NOTHING => false,
            _ if self.half_empty(left, left_bytes) => self.wish.swap(NOTHING, Ordering::SeqCst) != NOTHING,
            ANY if left < self.capacity && left_bytes < self.capacity_bytes => {
                self.wish.compare_exchange(ANY, HALF, Ordering::SeqCst, Ordering::SeqCst).is_ok()
            }
            _ => false,
        };
        if fulfilled {
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
    fn a_starved_client_is_woken_for_the_first_room_and_at_half_full() {
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
        for (room, woken) in [(1, 1), (2, 2), (3, 2)] {
            flow.give_back(1, 1);
            assert_eq!((flow.room(), wakes.load(Ordering::SeqCst)), (room, woken));
        }
        flow.take(1, 99);
        assert_eq!(flow.room(), 0, "bytes bound it too");
    }
}
