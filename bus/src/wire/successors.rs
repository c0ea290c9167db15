//! The events behind one in a datagram that are its topic's next ones: found by comparing them with it, which costs less
//! than reading each as if nothing were known of it.

use super::event::EventView;
use super::message::align;
use super::uapi::{NLBUS_EVENT_F_REPLAYED, NLBUS_TOPIC_ALIGNTO, NLMSG_ALIGNTO, NLMSG_HDRLEN};
use super::{EVENT_HDRLEN, Message, same_words, u16_at, u32_at, u64_at};

/// Bytes of a message up to the topic's name.
const NAME_AT: usize = NLMSG_HDRLEN + EVENT_HDRLEN;

/// Walks them: the same type of message, `nlmsg_seq`, topic and origin in history, and numbers that rise by one.
#[derive(Debug)]
pub(crate) struct Successors<'a> {
    datagram: &'a [u8],
    like: Message<'a>,
    event: EventView<'a>,
    /// The topic's name with its padding.
    name: &'a [u8],
    next_seq: Option<u64>,
    offset: usize,
    flags: u16,
}

impl<'a> Successors<'a> {
    /// The events behind `message`, which is `event` and ends, with its padding, at `offset`.
    pub(crate) fn new(datagram: &'a [u8], message: Message<'a>, event: EventView<'a>, offset: usize) -> Successors<'a> {
        let next_seq = event.header.seq.checked_add(1);
        let padded = align(event.topic.len(), NLBUS_TOPIC_ALIGNTO);
        let name = message.body.get(EVENT_HDRLEN..EVENT_HDRLEN + padded).unwrap_or_default();
        Successors { datagram, like: message, event, name, next_seq, offset, flags: message.header.flags }
    }

    /// Where the next message starts.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// `nlmsg_flags` of the last one.
    pub(crate) fn flags(&self) -> u16 {
        self.flags
    }
}

impl Iterator for Successors<'_> {
    type Item = ();

    #[inline]
    fn next(&mut self) -> Option<()> {
        let rest = self.datagram.get(self.offset..)?;
        let bytes = rest.first_chunk::<NAME_AT>()?;
        let (like, event) = (&self.like.header, &self.event);
        let replayed = |flags: u16| flags & NLBUS_EVENT_F_REPLAYED;
        let alike = u16_at(bytes, 4)? == like.kind
            && u32_at(bytes, 8)? == like.seq
            && Some(u64_at(bytes, 16)?) == self.next_seq
            && u32_at(bytes, 32)? == event.header.topic_id
            && usize::from(u16_at(bytes, 48)?) == event.topic.len()
            && replayed(u16_at(bytes, 50)?) == replayed(event.header.flags);
        let len = u32_at(bytes, 0)? as usize;
        let name_end = NAME_AT + self.name.len();
        if !alike || !(name_end..=rest.len()).contains(&len) || !same_words(self.name, rest.get(NAME_AT..name_end)?) {
            return None;
        }
        self.flags = u16_at(bytes, 6)?;
        self.offset += align(len, NLMSG_ALIGNTO);
        self.next_seq = self.next_seq?.checked_add(1);
        Some(())
    }
}
