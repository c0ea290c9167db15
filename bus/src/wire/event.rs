//! `EVENT`: the 40-byte event header, the topic, the payload. `PUBLISH` has the same layout.

use super::message::{Header, align, push_message};
use super::uapi::{
    NLBUS_CONTENT_BINCODE, NLBUS_CONTENT_JSON, NLBUS_CONTENT_OPAQUE, NLBUS_CONTENT_TEXT, NLBUS_TOPIC_ALIGNTO,
    NLMSG_HDRLEN,
};
use super::{Malformed, u16_at, u32_at, u64_at};
use crate::topic;

/// Bytes of `struct nlbus_event_hdr`.
pub const EVENT_HDRLEN: usize = 40;

/// What a payload is, as its publisher says. The broker doesn't look inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Content {
    /// Any bytes.
    #[default]
    Opaque,
    /// UTF-8 text.
    Text,
    /// A value in bincode 2.0.1, little-endian, fixed-width integers.
    Bincode,
    /// A JSON text.
    Json,
}

impl Content {
    /// The value of the `content` field.
    ///
    /// ```
    /// assert_eq!(nlbus::Content::Json.to_wire(), 3);
    /// ```
    pub fn to_wire(self) -> u16 {
        match self {
            Content::Opaque => NLBUS_CONTENT_OPAQUE,
            Content::Text => NLBUS_CONTENT_TEXT,
            Content::Bincode => NLBUS_CONTENT_BINCODE,
            Content::Json => NLBUS_CONTENT_JSON,
        }
    }

    /// The content of a `content` field; one that this version doesn't know is opaque to it.
    ///
    /// ```
    /// use nlbus::Content;
    ///
    /// assert_eq!(Content::from_wire(1), Content::Text);
    /// assert_eq!(Content::from_wire(99), Content::Opaque);
    /// ```
    pub fn from_wire(value: u16) -> Content {
        match value {
            NLBUS_CONTENT_TEXT => Content::Text,
            NLBUS_CONTENT_BINCODE => Content::Bincode,
            NLBUS_CONTENT_JSON => Content::Json,
            _ => Content::Opaque,
        }
    }
}

/// `struct nlbus_event_hdr` without `topic_len` and `reserved`, which the bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventHeader {
    /// Position in the topic, consecutive from 1.
    pub seq: u64,
    /// `CLOCK_BOOTTIME` in nanoseconds when sequenced.
    pub time_ns: u64,
    /// The broker's id of the topic, from 1.
    pub topic_id: u32,
    /// Sender's netlink port id; 0 for kernel code and the broker.
    pub portid: u32,
    /// Sender's process id.
    pub pid: u32,
    /// Sender's user id.
    pub uid: u32,
    /// `NLBUS_EVENT_F_*`
    pub flags: u16,
    /// `NLBUS_CONTENT_*`
    pub content: u16,
}

impl EventHeader {
    fn to_bytes(self, topic_len: usize) -> [u8; EVENT_HDRLEN] {
        let mut bytes = [0; EVENT_HDRLEN];
        bytes[0..8].copy_from_slice(&self.seq.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.time_ns.to_ne_bytes());
        bytes[16..20].copy_from_slice(&self.topic_id.to_ne_bytes());
        bytes[20..24].copy_from_slice(&self.portid.to_ne_bytes());
        bytes[24..28].copy_from_slice(&self.pid.to_ne_bytes());
        bytes[28..32].copy_from_slice(&self.uid.to_ne_bytes());
        bytes[32..34].copy_from_slice(&(topic_len as u16).to_ne_bytes());
        bytes[34..36].copy_from_slice(&self.flags.to_ne_bytes());
        bytes[36..38].copy_from_slice(&self.content.to_ne_bytes());
        bytes
    }

    /// The header at the beginning of a body, and how long the topic's name is that follows it.
    #[inline]
    pub(crate) fn read(body: &[u8]) -> Option<(EventHeader, usize)> {
        // Once for all: each read below is within it.
        let bytes = body.first_chunk::<EVENT_HDRLEN>()?;
        let header = EventHeader {
            seq: u64_at(bytes, 0)?,
            time_ns: u64_at(bytes, 8)?,
            topic_id: u32_at(bytes, 16)?,
            portid: u32_at(bytes, 20)?,
            pid: u32_at(bytes, 24)?,
            uid: u32_at(bytes, 28)?,
            flags: u16_at(bytes, 34)?,
            content: u16_at(bytes, 36)?,
        };
        Some((header, usize::from(u16_at(bytes, 32)?)))
    }
}

/// Appends an event to a datagram. `message` is the netlink header; `topic` has 1 to 255 bytes.
///
/// ```
/// use nlbus::wire::{EventHeader, EventView, Header, Messages, push_event};
///
/// let mut datagram = Vec::new();
/// push_event(&mut datagram, Header::default(), &EventHeader { seq: 7, ..EventHeader::default() }, "jobs", b"17");
/// let event = EventView::parse(Messages::new(&datagram).next().unwrap().unwrap().body)?;
/// assert_eq!((event.header.seq, event.topic, event.payload), (7, "jobs", &b"17"[..]));
/// # Ok::<(), nlbus::wire::Malformed>(())
/// ```
pub fn push_event(datagram: &mut Vec<u8>, message: Header, event: &EventHeader, topic: &str, payload: &[u8]) {
    push_message(datagram, message, |body| {
        body.raw(&event.to_bytes(topic.len()));
        let mut padded = [0; align(topic::TOPIC_MAX, NLBUS_TOPIC_ALIGNTO)];
        padded[..topic.len()].copy_from_slice(topic.as_bytes());
        body.raw(&padded[..align(topic.len(), NLBUS_TOPIC_ALIGNTO)]);
        body.raw(payload);
    });
}

/// Bytes of the body that [`push_event`] writes behind the netlink header, with a payload of so many.
pub(crate) fn event_len(topic: &str, payload: usize) -> usize {
    EVENT_HDRLEN + align(topic.len(), NLBUS_TOPIC_ALIGNTO) + payload
}

/// Makes an `EVENT` of a `PUBLISH` that has been checked: with this netlink header and this event header, but for length and
/// content, which are the publisher's.
#[inline]
pub(crate) fn stamp_event(publish: &mut [u8], message: Header, event: &EventHeader) {
    let Some((own, topic_len)) = publish.get(NLMSG_HDRLEN..).and_then(EventHeader::read) else { return };
    let len = u32_at(publish, 0).unwrap_or_default();
    publish[..NLMSG_HDRLEN].copy_from_slice(&message.to_bytes(len));
    let topic = NLMSG_HDRLEN + EVENT_HDRLEN;
    let event = EventHeader { content: own.content, ..*event };
    publish[NLMSG_HDRLEN..topic].copy_from_slice(&event.to_bytes(topic_len));
    // Whatever the publisher left there is nobody's business. Not filled: a call of memset costs as much as all of this.
    let padding = align(topic_len, NLBUS_TOPIC_ALIGNTO) - topic_len;
    if padding > 0
        && let Some(word) = publish[topic + topic_len + padding - NLBUS_TOPIC_ALIGNTO..].first_chunk_mut()
    {
        *word = (u64::from_le_bytes(*word) & u64::MAX >> (8 * padding)).to_le_bytes();
    }
}

/// Appends an event to a datagram whose body is encoded already, as [`push_event`] wrote it behind the netlink header,
/// and sets `flags` (`NLBUS_EVENT_F_*`) in addition.
///
/// ```
/// use nlbus::wire::{EventHeader, EventView, Header, Messages, push_event, push_event_body, uapi};
///
/// let (mut live, mut replayed) = (Vec::new(), Vec::new());
/// push_event(&mut live, Header::default(), &EventHeader::default(), "jobs", b"17");
/// push_event_body(&mut replayed, Header::default(), &live[16..], uapi::NLBUS_EVENT_F_REPLAYED);
/// let event = EventView::parse(Messages::new(&replayed).next().unwrap().unwrap().body)?;
/// assert_eq!(event.header.flags, uapi::NLBUS_EVENT_F_REPLAYED);
/// # Ok::<(), nlbus::wire::Malformed>(())
/// ```
pub fn push_event_body(datagram: &mut Vec<u8>, message: Header, body: &[u8], flags: u16) {
    let start = datagram.len() + NLMSG_HDRLEN;
    push_message(datagram, message, |attributes| attributes.raw(body));
    if let Some(bytes) = datagram[start..].get_mut(34..36) {
        let flags = flags | u16::from_ne_bytes([bytes[0], bytes[1]]);
        bytes.copy_from_slice(&flags.to_ne_bytes());
    }
}

/// An event in a datagram from the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventView<'a> {
    /// Its header.
    pub header: EventHeader,
    /// Its topic's name.
    pub topic: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
}

impl<'a> EventView<'a> {
    /// Reads the body of an `EVENT`.
    ///
    /// ```
    /// use nlbus::wire::{EventHeader, EventView, Header, Messages, push_event};
    ///
    /// let mut datagram = Vec::new();
    /// push_event(&mut datagram, Header::default(), &EventHeader { seq: 7, ..EventHeader::default() }, "jobs", b"17");
    /// let event = EventView::parse(Messages::new(&datagram).next().unwrap().unwrap().body)?;
    /// assert_eq!((event.header.seq, event.topic, event.payload), (7, "jobs", &b"17"[..]));
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let parts = EventParts::read(body).ok_or(Malformed("an event is cut"))?;
        let topic = topic::check_name(parts.topic).map_err(|_| Malformed("an event's topic isn't a topic name"))?;
        Ok(EventView { header: parts.header, topic, payload: parts.payload })
    }
}

/// The same of an event that was checked before: a look at it costs next to nothing, and what isn't looked at nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventParts<'a> {
    pub(crate) header: EventHeader,
    pub(crate) topic: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl<'a> EventParts<'a> {
    /// The parts of an `EVENT`'s body; `None` where it is too short for them.
    #[inline]
    pub(crate) fn read(body: &'a [u8]) -> Option<Self> {
        let (header, topic_len) = EventHeader::read(body)?;
        let topic = body.get(EVENT_HDRLEN..EVENT_HDRLEN + topic_len)?;
        let payload = body.get(EVENT_HDRLEN + align(topic_len, NLBUS_TOPIC_ALIGNTO)..)?;
        Some(EventParts { header, topic, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Messages;
    use crate::wire::uapi::NLBUS_EVENT_F_REPLAYED;
    use proptest::prelude::*;

    /// Of each length of a name, and so of what is behind it.
    #[test]
    fn a_stamped_publish_is_the_event_as_it_would_be_written() {
        let event = EventHeader { seq: 1, time_ns: 2, topic_id: 3, portid: 4, pid: 5, uid: 6, flags: 0, content: 1 };
        let message = Header { kind: 7, flags: 8, seq: 9, portid: 10 };
        for len in 1..=topic::TOPIC_MAX {
            let (topic, payload) = ("é".repeat(len / 2) + &"a"[..len % 2], [0xbb; 9]);
            let (mut publish, mut want) = (Vec::new(), Vec::new());
            let sent = EventHeader { content: 1, ..EventHeader::default() };
            push_event(&mut publish, Header::default(), &sent, &topic, &payload);
            push_event(&mut want, message, &event, &topic, &payload);
            let name_end = NLMSG_HDRLEN + EVENT_HDRLEN + len;
            publish[name_end..align(name_end, NLBUS_TOPIC_ALIGNTO)].fill(0xaa);
            stamp_event(&mut publish, message, &event);
            assert_eq!(publish, want, "a name of {len} bytes");
        }
    }

    proptest! {
        #[test]
        fn an_event_survives(numbers: (u64, u64, u32, u32, u32, u32, u16, u16), topic in "[a-zé/]{1,40}",
                             payload in prop::collection::vec(any::<u8>(), 0..100)) {
            let (seq, time_ns, topic_id, portid, pid, uid, flags, content) = numbers;
            let header = EventHeader { seq, time_ns, topic_id, portid, pid, uid, flags, content };
            let mut datagram = Vec::new();
            push_event(&mut datagram, Header::default(), &header, &topic, &payload);
            let message = Messages::new(&datagram).next().unwrap().unwrap();
            prop_assert_eq!(EventView::parse(message.body), Ok(EventView { header, topic: &topic, payload: &payload }));
            // Out of a record of the encoded body it is the same, but for the flag.
            let mut again = Vec::new();
            push_event_body(&mut again, Header::default(), message.body, 0);
            prop_assert_eq!(&again, &datagram);
            again.clear();
            push_event_body(&mut again, Header::default(), message.body, NLBUS_EVENT_F_REPLAYED);
            let replayed = EventHeader { flags: flags | NLBUS_EVENT_F_REPLAYED, ..header };
            let message = Messages::new(&again).next().unwrap().unwrap();
            prop_assert_eq!(EventView::parse(message.body).unwrap().header, replayed);
        }

        #[test]
        fn any_body_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..120), topic_len in 0u16..300) {
            let mut body = body;
            if body.len() >= 34 {
                body[32..34].copy_from_slice(&topic_len.to_ne_bytes());
            }
            let _ = EventView::parse(&body);
        }
    }
}
