//! One subscription's place in one topic. Pure.
//!
//! Sequence numbers of a topic are consecutive from 1, so what a number says is told by the place
//! alone: old, next, or behind a gap. Live events and replayed ones both come through here, so the
//! logic of gaps exists once.

use std::cmp::Ordering;

/// What an event's number means to a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Delivered before, or older than the subscription.
    Old,
    /// The next one.
    Next,
    /// There are some between the last delivered one and this one.
    Gap,
}

/// The last number delivered, or given up, or older than the subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor(u64);

impl Cursor {
    pub(crate) fn after(seq: u64) -> Cursor {
        Cursor(seq)
    }

    pub(crate) fn next(self) -> u64 {
        self.0.saturating_add(1)
    }

    pub(crate) fn place(self, seq: u64) -> Place {
        match seq.cmp(&self.next()) {
            Ordering::Less => Place::Old,
            Ordering::Equal => Place::Next,
            Ordering::Greater => Place::Gap,
        }
    }

    /// A later one was delivered. How many between were not.
    pub(crate) fn move_to(&mut self, seq: u64) -> u64 {
        let skipped = seq.saturating_sub(self.next());
        self.0 = self.0.max(seq);
        skipped
    }

    /// Everything before `first` is gone for good: the range that is lost, if any is.
    pub(crate) fn skip_to(&mut self, first: u64) -> Option<(u64, u64)> {
        let from = self.next();
        (first > from).then(|| {
            self.0 = first - 1;
            (from, first - 1)
        })
    }

    /// Whether everything up to `head` has been seen.
    pub(crate) fn reached(self, head: u64) -> bool {
        self.0 >= head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_old_next_or_behind_a_gap() {
        let mut cursor = Cursor::after(5);
        assert_eq!([4, 5, 6, 7].map(|seq| cursor.place(seq)), [Place::Old, Place::Old, Place::Next, Place::Gap]);
        assert!(cursor.reached(5) && !cursor.reached(6));
        assert_eq!(cursor.move_to(6), 0);
        assert_eq!(cursor.skip_to(7), None);
        assert_eq!(cursor.skip_to(10), Some((7, 9)));
        assert_eq!(cursor.place(10), Place::Next);
        assert_eq!((cursor.move_to(15), cursor.next()), (5, 16));
    }

    proptest! {
        /// Whatever arrives, in whatever order: delivered and lost together are each number once.
        #[test]
        fn every_number_is_delivered_or_lost_once(seqs in prop::collection::vec(1u64..60, 0..200)) {
            let mut cursor = Cursor::after(0);
            let mut seen = Vec::new();
            for seq in seqs {
                if cursor.place(seq) == Place::Gap {
                    let (from, to) = cursor.skip_to(seq).unwrap();
                    seen.extend(from..=to);
                }
                if cursor.place(seq) == Place::Next {
                    cursor.move_to(seq);
                    seen.push(seq);
                }
            }
            prop_assert_eq!(&seen, &(1..=seen.len() as u64).collect::<Vec<_>>());
            prop_assert!(cursor.reached(seen.len() as u64));
        }
    }
}
