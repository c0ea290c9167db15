//! The numbers that publishes carry (`nlmsg_seq`), and that the broker's verdicts on them come back with.

use crate::client::REQUEST_BIT;

/// Set where nobody waits for the verdict. The rest of such a number is how many events the verdict is of: the broker
/// names only the first one that it found bad, but it refuses whole datagrams.
const UNASKED_BIT: u32 = REQUEST_BIT >> 1;

/// Of a datagram of so many events, at most some thousand, whose verdict nobody waits for.
pub(crate) fn unasked(events: usize) -> u32 {
    UNASKED_BIT | events as u32
}

/// Of the n-th publish whose verdict is waited for, if it can have one: 0 is how a message is answered whose number the
/// broker couldn't read.
pub(super) fn asked(n: u32) -> Option<u32> {
    Some(n & !(REQUEST_BIT | UNASKED_BIT)).filter(|number| *number != 0)
}

/// How many events a verdict with this number is of.
pub(super) fn events(number: u32) -> u64 {
    if number & UNASKED_BIT == 0 { 1 } else { u64::from(number & !UNASKED_BIT) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_each_kind_are_no_others() {
        for n in [1, 7, UNASKED_BIT - 1, UNASKED_BIT + 1, u32::MAX] {
            let number = asked(n).unwrap();
            assert_eq!((number & REQUEST_BIT, number & UNASKED_BIT, events(number)), (0, 0, 1));
        }
        assert_eq!(asked(0).or(asked(UNASKED_BIT)).or(asked(REQUEST_BIT)), None);
        for count in [1, 1087] {
            assert_eq!((unasked(count) & REQUEST_BIT, events(unasked(count))), (0, count as u64));
        }
    }
}
