//! A `PUBLISH` that is no event: numbers of a topic that are used up by nothing, as its events were lost before they came here.

use super::event::Content;
use super::publish::push_publish;
use super::uapi::{NLBUS_CONTENT_OPAQUE, NLBUS_EVENT_F_LOST, NLBUS_LOST_MAX};
use super::{PublishView, Refusal, u64_at};
use nix::errno::Errno;

/// What it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostNumbers<'a> {
    /// The topic's name, not a reserved one.
    pub topic: &'a str,
    /// How many numbers, 1 to `NLBUS_LOST_MAX`.
    pub count: u64,
}

impl LostNumbers<'_> {
    /// Bytes of the payload, `struct nlbus_lost`.
    pub const LEN: usize = 8;
}

/// Appends one to a datagram. The caller has checked the topic and the count.
///
/// ```
/// use nlbus::wire::{LostNumbers, Request, check_datagram, push_lost};
///
/// let mut datagram = Vec::new();
/// push_lost(&mut datagram, 1, true, 0, "jobs", 17);
/// let requests = check_datagram(&datagram).unwrap();
/// assert_eq!(requests[0].1, Request::Lost(LostNumbers { topic: "jobs", count: 17 }));
/// ```
pub fn push_lost(datagram: &mut Vec<u8>, seq: u32, ack: bool, flags: u16, topic: &str, count: u64) {
    push_publish(datagram, seq, ack, flags | NLBUS_EVENT_F_LOST, Content::Opaque, topic, &count.to_ne_bytes());
}

impl<'a> PublishView<'a> {
    /// What it says if it is no event.
    ///
    /// ```
    /// use nlbus::wire::{Messages, PublishView, push_lost};
    ///
    /// let mut datagram = Vec::new();
    /// push_lost(&mut datagram, 1, true, 0, "jobs", 17);
    /// let publish = PublishView::check(&Messages::new(&datagram).next().unwrap().unwrap())?;
    /// assert_eq!(publish.lost().map(|lost| lost.count), Some(17));
    /// # Ok::<(), nlbus::Refusal>(())
    /// ```
    pub fn lost(&self) -> Option<LostNumbers<'a>> {
        let count = if self.flags & NLBUS_EVENT_F_LOST != 0 { u64_at(self.payload, 0) } else { None };
        count.map(|count| LostNumbers { topic: self.topic, count })
    }

    /// Whether it says so in the right way, if it is no event.
    #[inline]
    pub(super) fn check_lost(self) -> Result<Self, Refusal> {
        if self.flags & NLBUS_EVENT_F_LOST == 0 { Ok(self) } else { self.check_count() }
    }

    #[cold]
    fn check_count(self) -> Result<Self, Refusal> {
        let PublishView { topic, content, payload, .. } = self;
        if payload.len() != LostNumbers::LEN || content != NLBUS_CONTENT_OPAQUE {
            return Err(Refusal::new(
                Errno::EINVAL,
                format!(
                    "topic '{topic}': how many numbers are lost is said in {} opaque bytes, the payload has {} of content \
                     {content}",
                    LostNumbers::LEN,
                    payload.len()
                ),
            ));
        }
        let count = u64_at(payload, 0).unwrap_or_default();
        if !(1..=NLBUS_LOST_MAX).contains(&count) {
            return Err(Refusal::new(
                Errno::ERANGE,
                format!(
                    "topic '{topic}': {count} numbers can't be lost by one publish: 1 to {NLBUS_LOST_MAX} can, and more by \
                     several"
                ),
            ));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::uapi::{NLBUS_EVENT_F_NO_WAIT, NLBUS_EVENT_F_WILL};
    use crate::wire::{Messages, Request, check_datagram, push_publish};

    /// The bytes of one, so that a change of layout can't go unseen on both sides at once.
    #[test]
    fn lost_numbers_have_these_bytes() {
        let mut want = vec![0; 64];
        want[0..4].copy_from_slice(&72u32.to_ne_bytes());
        want[4..6].copy_from_slice(&0x10u16.to_ne_bytes());
        want[6..8].copy_from_slice(&5u16.to_ne_bytes());
        want[8..12].copy_from_slice(&7u32.to_ne_bytes());
        want[48..50].copy_from_slice(&3u16.to_ne_bytes());
        want[50..52].copy_from_slice(&0x18u16.to_ne_bytes());
        want[56..59].copy_from_slice(b"a/b");
        want.extend_from_slice(&0x1234_5678u64.to_ne_bytes());
        let mut datagram = Vec::new();
        push_lost(&mut datagram, 7, true, NLBUS_EVENT_F_NO_WAIT, "a/b", 0x1234_5678);
        assert_eq!(datagram, want);
    }

    #[test]
    fn what_says_it_otherwise_is_refused() {
        let errno = |flags, content, payload: &[u8]| {
            let mut datagram = Vec::new();
            push_publish(&mut datagram, 1, false, NLBUS_EVENT_F_LOST | flags, content, "a", payload);
            let publish = PublishView::check(&Messages::new(&datagram).next().unwrap().unwrap());
            publish.map(|publish| publish.lost().unwrap().count).map_err(|refusal| refusal.errno)
        };
        let count = |count: u64| errno(0, Content::Opaque, &count.to_ne_bytes());
        assert_eq!([1, NLBUS_LOST_MAX].map(count), [Ok(1), Ok(NLBUS_LOST_MAX)]);
        assert_eq!([0, NLBUS_LOST_MAX + 1, u64::MAX].map(count), [Err(Errno::ERANGE); 3]);
        let seventeen = 17u64.to_ne_bytes();
        assert_eq!(errno(0, Content::Text, &seventeen), Err(Errno::EINVAL));
        assert_eq!(errno(NLBUS_EVENT_F_WILL, Content::Opaque, &seventeen), Err(Errno::EINVAL));
        for len in [0, 4, 7] {
            assert_eq!(errno(0, Content::Opaque, &seventeen[..len]), Err(Errno::EINVAL), "{len} bytes");
        }
        assert_eq!(errno(0, Content::Opaque, &[1; 9]), Err(Errno::EINVAL));
    }

    #[test]
    fn they_stand_between_runs() {
        let mut datagram = Vec::new();
        for number in 1..=2 {
            push_publish(&mut datagram, number, false, 0, Content::Opaque, "a", b"1");
        }
        push_lost(&mut datagram, 3, false, 0, "a", 5);
        push_lost(&mut datagram, 4, false, 0, "a", 6);
        push_publish(&mut datagram, 5, true, 0, Content::Opaque, "a", b"2");
        let requests = check_datagram(&datagram).unwrap();
        let [
            (_, Request::Publish(before)),
            (_, Request::Lost(five)),
            (_, Request::Lost(six)),
            (_, Request::Publish(after)),
        ] = requests[..]
        else {
            panic!("{requests:?}")
        };
        assert_eq!((before.messages().count(), five.count, six.count, after.messages().count()), (2, 5, 6, 1));
    }
}
