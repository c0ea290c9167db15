//! Buffers for datagrams that are used again and again, each as large as what it holds needs. Whoever has a part of a
//! datagram shares its buffer; when the last one lets go, it holds another datagram. Nobody hands it back: the pool keeps a
//! handle of its own, and looks whether that is the only one left.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// The least buffer, and how much of them there are of sizes twice as large each time: up to 64 KiB.
const LEAST: usize = 256;
const SIZES: usize = 9;

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
        let Some(shelf) = self.shelves.get_mut(place) else { return Bytes::copy_from_slice(datagram) };
        let mut buffer = take_free(shelf, size).unwrap_or_else(|| {
            self.kept += size;
            BytesMut::with_capacity(size)
        });
        buffer.extend_from_slice(datagram);
        let given = buffer.split().freeze();
        shelf.push_back(buffer);
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
