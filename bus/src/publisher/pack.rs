//! Events packed for one datagram, which the broker accepts whole or not at all.

use super::error::PublishError;
use super::{check, check_len, check_lost, unasked};
use crate::wire::uapi::{NLBUS_DATAGRAM_MAX, NLBUS_EVENT_F_NO_WAIT, NLMSG_ALIGNTO, NLMSG_HDRLEN};
use crate::wire::{
    Content, LostNumbers, address_publishes, align, event_len, push_lost, push_publish, push_publish_alike,
    written_topic,
};
use std::borrow::Cow;

#[derive(Debug)]
pub(crate) struct Pack {
    datagram: Vec<u8>,
    events: usize,
    /// Where the newest one starts.
    last: usize,
    /// That is no event, and none is like it.
    is_lost: bool,
    /// Bytes of more than one event.
    max: usize,
    /// A full queue refuses them.
    no_wait: bool,
}

impl Pack {
    /// Room for as much as a datagram may have.
    pub(crate) fn new() -> Pack {
        Pack { datagram: Vec::new(), events: 0, last: 0, is_lost: false, max: NLBUS_DATAGRAM_MAX, no_wait: false }
    }

    /// Adds an event and says whether it had room for it: the first one always has. Otherwise, and where it fails, the pack is
    /// as it was.
    #[inline]
    pub(crate) fn push(&mut self, topic: &str, content: Content, payload: &[u8]) -> Result<bool, PublishError> {
        // Sources mostly publish to one topic for a while: what was checked of the last event holds for this one.
        let alike = self.events > 0 && !self.is_lost && written_topic(&self.datagram, self.last) == topic.as_bytes();
        if alike {
            check_len(topic, payload)?;
        } else {
            check(topic, payload)?;
        }
        let Some(start) = self.room_for(topic, payload.len()) else { return Ok(false) };
        if alike {
            push_publish_alike(&mut self.datagram, self.last, content, payload);
        } else {
            push_publish(&mut self.datagram, 0, false, 0, content, topic, payload);
        }
        (self.last, self.is_lost) = (start, false);
        self.events += 1;
        Ok(true)
    }

    /// The same of numbers that no event has, which count as one.
    pub(crate) fn push_lost(&mut self, topic: &str, count: u64) -> Result<bool, PublishError> {
        check_lost(topic, count)?;
        let Some(start) = self.room_for(topic, LostNumbers::LEN) else { return Ok(false) };
        push_lost(&mut self.datagram, 0, false, 0, topic, count);
        (self.last, self.is_lost) = (start, true);
        self.events += 1;
        Ok(true)
    }

    /// Where the next one starts, if it has room.
    #[inline]
    fn room_for(&self, topic: &str, payload: usize) -> Option<usize> {
        let start = self.datagram.len();
        let len = align(NLMSG_HDRLEN + event_len(topic, payload), NLMSG_ALIGNTO);
        (self.events == 0 || start + len <= self.max).then_some(start)
    }

    /// How many bytes more than one event may have, at least as many as the next one takes and at most a datagram's.
    pub(crate) fn set_max(&mut self, bytes: usize) {
        self.max = bytes.min(NLBUS_DATAGRAM_MAX);
    }

    /// Has a full queue refuse the events, or has them wait for room.
    pub(crate) fn set_no_wait(&mut self, no_wait: bool) {
        self.no_wait = no_wait;
    }

    pub(crate) fn no_wait(&self) -> bool {
        self.no_wait
    }

    fn flags(&self) -> u16 {
        if self.no_wait { NLBUS_EVENT_F_NO_WAIT } else { 0 }
    }

    /// The datagram to send, whose verdict comes with this number; and whether there is to be one also when the events are
    /// accepted.
    pub(crate) fn asking(&mut self, number: u32, ack: bool) -> &[u8] {
        let flags = self.flags();
        address_publishes(&mut self.datagram, number, flags, ack);
        &self.datagram
    }

    /// The datagram to send, whose verdict nobody waits for.
    pub(crate) fn unasked(&mut self) -> &[u8] {
        self.asking(unasked(self.events), false)
    }

    /// How many events it holds.
    pub(crate) fn len(&self) -> usize {
        self.events
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// The newest event's topic, which is how errors name the datagram.
    pub(crate) fn topic(&self) -> Cow<'_, str> {
        if self.is_empty() { "".into() } else { String::from_utf8_lossy(written_topic(&self.datagram, self.last)) }
    }

    pub(crate) fn clear(&mut self) {
        self.datagram.clear();
        self.events = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Messages, PublishView};
    use proptest::prelude::*;

    #[test]
    fn a_pack_takes_what_fits_and_always_the_first() {
        let mut pack = Pack::new();
        pack.set_max(200);
        assert!(pack.push("a", Content::Opaque, &[0; 500]).unwrap());
        assert!(!pack.push("a", Content::Opaque, b"").unwrap());
        pack.clear();
        for _ in 0..3 {
            assert!(pack.push("a", Content::Opaque, &[]).unwrap());
        }
        assert!(!pack.push("b", Content::Opaque, b"").unwrap(), "256 bytes");
        assert_eq!((pack.len(), pack.datagram.len(), &*pack.topic()), (3, 192, "a"));
    }

    proptest! {
        /// Also where most of an event is copied from the one before.
        #[test]
        fn what_is_packed_is_read(events in prop::collection::vec((0usize..4, 0usize..4, prop::collection::vec(any::<u8>(), 0..30)), 0..40),
                                  bad_at in 0usize..60, no_wait: bool, number in 1u32..) {
            let topics = ["a", "sensors/1/temp", "sensors/2/temp", "12345678"];
            let contents = [Content::Opaque, Content::Text, Content::Bincode, Content::Json];
            let mut pack = Pack::new();
            pack.set_no_wait(no_wait);
            for (at, (topic, content, payload)) in events.iter().enumerate() {
                if at == bad_at {
                    prop_assert!(pack.push("a/+", Content::Text, payload).is_err());
                }
                prop_assert!(pack.push(topics[*topic], contents[*content], payload).unwrap());
            }
            let datagram = pack.asking(number, true).to_vec();
            let messages: Vec<_> = Messages::new(&datagram).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!((messages.len(), pack.len()), (events.len(), events.len()));
            for (message, (topic, content, payload)) in messages.iter().zip(&events) {
                let view = PublishView::check(message).unwrap();
                prop_assert_eq!((view.topic, view.payload), (topics[*topic], &payload[..]));
                prop_assert_eq!((view.content, view.flags), (contents[*content].to_wire(), pack.flags()));
                prop_assert_eq!((message.header.seq, message.header.flags), (number, if message.last { 5 } else { 1 }));
            }
        }
    }
}
