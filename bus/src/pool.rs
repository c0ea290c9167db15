//! Buffers for datagrams that are used again and again, each as large as what it holds needs. Whoever has a part of a
//! datagram shares its buffer; when the last one lets go, it holds another datagram. Nobody hands it back: the pool keeps a
//! handle of its own, and looks whether that is the only one left.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// The least buffer, and how much of them there are of sizes twice as large each time: up to 64 KiB.
const LEAST: usize = 256;
const SIZES: usize = 9;
const LARGEST: usize = LEAST << (SIZES - 1);

/// Bytes of all buffers that are kept for another use. Those beyond are freed by whoever has them.
const KEPT: usize = 4 << 20;

/// How many buffers are looked at for one that is free. The one that has been given for longest comes first, so more
/// than one is looked at only where somebody keeps an event for long.
const LOOKS: usize = 4;

/// Bytes of memory that a datagram of so many takes.
pub(crate) fn footprint(datagram: usize) -> usize {
    datagram.next_power_of_two().max(LEAST)
}

/// The buffers, by their sizes.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    shelves: [VecDeque<BytesMut>; SIZES],
    kept: usize,
}

impl Pool {
    /// A copy of a datagram in a buffer that nobody has.
    pub(crate) fn copy(&mut self, datagram: &[u8]) -> Bytes {
        let size = footprint(datagram.len());
        let place = (size / LEAST).trailing_zeros() as usize;
        if place >= SIZES {
            return Bytes::copy_from_slice(datagram);
        }
        let mut buffer = self.free(place);
        buffer.extend_from_slice(datagram);
        self.give(place, buffer)
    }

    /// What was received in a buffer of 64 KiB: that itself where it takes as much, and another one in its place; or else a
    /// copy.
    pub(crate) fn take(&mut self, received: &mut BytesMut) -> Bytes {
        if footprint(received.len()) != LARGEST {
            return self.copy(received);
        }
        let buffer = std::mem::replace(received, self.free(SIZES - 1));
        self.give(SIZES - 1, buffer)
    }

    /// A buffer that nobody has, and that is to be kept.
    fn free(&mut self, place: usize) -> BytesMut {
        let size = LEAST << place;
        take_free(&mut self.shelves[place], size).unwrap_or_else(|| {
            self.kept += size;
            BytesMut::with_capacity(size)
        })
    }

    /// What is in a buffer, which waits on its shelf for another use.
    fn give(&mut self, place: usize, mut buffer: BytesMut) -> Bytes {
        let given = buffer.split().freeze();
        self.shelves[place].push_back(buffer);
        while self.kept > KEPT {
            self.forget_one();
        }
        given
    }

    /// Lets go of a buffer of the size that most bytes are kept of.
    fn forget_one(&mut self) {
        let bytes = |(place, shelf): &(usize, &mut VecDeque<BytesMut>)| shelf.len() << *place;
        if let Some((place, shelf)) = self.shelves.iter_mut().enumerate().max_by_key(bytes)
            && shelf.pop_front().is_some()
        {
            self.kept -= LEAST << place;
        }
    }
}

/// A buffer of a shelf, all of whose bytes are free again.
fn take_free(shelf: &mut VecDeque<BytesMut>, size: usize) -> Option<BytesMut> {
    for _ in 0..LOOKS.min(shelf.len()) {
        let mut buffer = shelf.pop_front()?;
        if buffer.try_reclaim(size) {
            return Some(buffer);
        }
        shelf.push_back(buffer);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_buffer_that_nobody_has_any_more_holds_the_next_datagram() {
        let mut pool = Pool::default();
        let first = pool.copy(&[1; 300]);
        let part = first.slice(10..20);
        let at = first.as_ptr();
        drop(first);
        assert_ne!(pool.copy(&[2; 300]).as_ptr(), at, "a part of it is still somebody's");
        assert_eq!(part, [1; 10][..]);
        drop(part);
        let again: Vec<_> = (0..2).map(|_| pool.copy(&[3; 512]).as_ptr()).collect();
        assert!(again.contains(&at));
        assert_eq!(pool.kept, 1024);
    }

    /// One large buffer more than many small ones isn't made up for by one of them.
    #[test]
    fn large_ones_take_the_place_of_many_small_ones() {
        let mut pool = Pool::default();
        let had: Vec<_> =
            [LEAST; KEPT / LEAST].into_iter().chain([1 << 16; 10]).map(|len| pool.copy(&vec![0; len])).collect();
        assert!(pool.kept <= KEPT, "{}", pool.kept);
        assert_eq!(had.len(), KEPT / LEAST + 10);
    }

    #[test]
    fn what_fills_its_buffer_stays_where_it_was_received() {
        let mut pool = Pool::default();
        let mut slot = BytesMut::with_capacity(LARGEST);
        for (len, stays) in [(40_000, true), (LARGEST, true), (300, false), (32 << 10, false), (33 << 10, true)] {
            slot.clear();
            slot.extend_from_slice(&vec![1; len]);
            let at = slot.as_ptr();
            let given = pool.take(&mut slot);
            assert_eq!((given.len(), given.as_ptr() == at), (len, stays));
            assert_eq!((slot.capacity(), slot.as_ptr() != given.as_ptr()), (LARGEST, true));
        }
    }

    proptest! {
        /// Whatever is kept for however long: what was copied stays as it was, and what is kept for another use has an end.
        #[test]
        fn nobody_writes_into_what_somebody_has(steps in prop::collection::vec((0usize..70_000, 0usize..40), 0..200)) {
            let (mut pool, mut had) = (Pool::default(), VecDeque::new());
            for (at, (len, hold)) in steps.into_iter().enumerate() {
                had.push_back((pool.copy(&vec![at as u8; len]), at as u8, len));
                while had.len() > hold {
                    let (bytes, at, len) = had.pop_front().unwrap();
                    prop_assert!(bytes.len() == len && bytes.iter().all(|byte| *byte == at));
                }
                let kept: usize = pool.shelves.iter().enumerate().map(|(place, shelf)| shelf.len() * (LEAST << place)).sum();
                prop_assert_eq!(kept, pool.kept);
                prop_assert!(kept <= KEPT);
            }
        }
    }
}
