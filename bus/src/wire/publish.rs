//! `PUBLISH`: an event as its publisher writes it, with what the broker fills left zero.

use super::event::{Content, EVENT_HDRLEN, EventHeader, push_event, stamp_event};
use super::message::{Header, Message, Messages, align, pad};
use super::uapi::{
    NLBUS_CONTENT_MAX, NLBUS_EVENT_F_LOST, NLBUS_EVENT_F_PUBLISH, NLBUS_MSG_PUBLISH, NLBUS_PAYLOAD_MAX,
    NLBUS_TOPIC_ALIGNTO, NLM_F_ACK, NLM_F_REQUEST, NLMSG_ALIGNTO, NLMSG_HDRLEN,
};
use super::{Refusal, same_words, u16_at, u32_at};
use crate::topic::{self, TopicError};
use nix::errno::Errno;

/// Where the event header's `flags` and `content` are in a message.
const FLAGS_OFFSET: usize = NLMSG_HDRLEN + 34;
const CONTENT_OFFSET: usize = NLMSG_HDRLEN + 36;

/// Appends a publish to a datagram. The caller has checked the topic and the payload's length.
///
/// ```
/// use nlbus::Content;
/// use nlbus::wire::{Messages, PublishView, push_publish};
///
/// let mut datagram = Vec::new();
/// push_publish(&mut datagram, 1, true, 0, Content::Text, "jobs", b"17");
/// let event = PublishView::check(&Messages::new(&datagram).next().unwrap().unwrap())?;
/// assert_eq!((event.topic, event.payload), ("jobs", &b"17"[..]));
/// # Ok::<(), nlbus::Refusal>(())
/// ```
pub fn push_publish(
    datagram: &mut Vec<u8>,
    seq: u32,
    ack: bool,
    flags: u16,
    content: Content,
    topic: &str,
    payload: &[u8],
) {
    let message =
        Header { kind: NLBUS_MSG_PUBLISH, flags: NLM_F_REQUEST | if ack { NLM_F_ACK } else { 0 }, seq, portid: 0 };
    let event = EventHeader { flags, content: content.to_wire(), ..EventHeader::default() };
    push_event(datagram, message, &event, topic, payload);
}

/// Appends a publish to the topic of the one that starts at `before`, with its number and flags: what both have in common is
/// copied, and need not be checked again. The caller has checked the payload's length.
#[inline]
pub(crate) fn push_publish_alike(datagram: &mut Vec<u8>, before: usize, content: Content, payload: &[u8]) {
    let start = datagram.len();
    datagram.extend_from_within(before..before + payload_offset(datagram, before));
    datagram.extend_from_slice(payload);
    let len = (datagram.len() - start) as u32;
    datagram[start..start + 4].copy_from_slice(&len.to_ne_bytes());
    datagram[start + CONTENT_OFFSET..start + CONTENT_OFFSET + 2].copy_from_slice(&content.to_wire().to_ne_bytes());
    pad(datagram, start, NLMSG_ALIGNTO);
}

/// The topic of the publish or event that starts at `start`, which this crate has written.
pub(crate) fn written_topic(datagram: &[u8], start: usize) -> &[u8] {
    let topic = start + NLMSG_HDRLEN + EVENT_HDRLEN;
    &datagram[topic..topic + written_topic_len(datagram, start)]
}

fn written_topic_len(datagram: &[u8], start: usize) -> usize {
    u16_at(datagram, start + NLMSG_HDRLEN + 32).map_or(0, usize::from)
}

/// How many bytes stand before the payload of the publish that starts at `start`.
fn payload_offset(datagram: &[u8], start: usize) -> usize {
    NLMSG_HDRLEN + EVENT_HDRLEN + align(written_topic_len(datagram, start), NLBUS_TOPIC_ALIGNTO)
}

/// Numbers the publishes of a datagram that this crate has written, gives them these flags (`NLBUS_EVENT_F_*`), but for what
/// says that they are no events, and lets the last one ask for an ack or not.
pub(crate) fn address_publishes(datagram: &mut [u8], number: u32, flags: u16, ack: bool) {
    let mut start = 0;
    while let Some(len) = u32_at(datagram, start) {
        let next = start + align(len as usize, NLMSG_ALIGNTO);
        let ack = if ack && next >= datagram.len() { NLM_F_ACK } else { 0 };
        datagram[start + 6..start + 8].copy_from_slice(&(NLM_F_REQUEST | ack).to_ne_bytes());
        datagram[start + 8..start + 12].copy_from_slice(&number.to_ne_bytes());
        let lost = u16_at(datagram, start + FLAGS_OFFSET).unwrap_or_default() & NLBUS_EVENT_F_LOST;
        datagram[start + FLAGS_OFFSET..start + FLAGS_OFFSET + 2].copy_from_slice(&(flags | lost).to_ne_bytes());
        start = next;
    }
}

/// Makes events of the publishes of a datagram, all of which were checked: with this netlink header and this event header, whose
/// number is the one before the first one's and becomes the last one's. Returns where the last one starts.
pub(crate) fn stamp_publishes(datagram: &mut Vec<u8>, message: Header, event: &mut EventHeader) -> usize {
    pad(datagram, 0, NLMSG_ALIGNTO);
    let (mut start, mut last) = (0, 0);
    while let Some(len) = u32_at(datagram, start) {
        let len = len as usize;
        let next = start + align(len, NLMSG_ALIGNTO);
        event.seq += 1;
        stamp_event(&mut datagram[start..start + len], message, event);
        if start + len < next {
            datagram[start + len..next].fill(0);
        }
        (last, start) = (start, next);
    }
    last
}

/// A publish that a broker has checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishView<'a> {
    /// The topic's name, not a reserved one.
    pub topic: &'a str,
    /// The publisher's flags, of `NLBUS_EVENT_F_PUBLISH` only.
    pub flags: u16,
    /// A known content.
    pub content: u16,
    /// Not above `NLBUS_PAYLOAD_MAX` bytes.
    pub payload: &'a [u8],
}

impl<'a> PublishView<'a> {
    /// Checks a `PUBLISH` in the order of docs/PROTOCOL.md.
    ///
    /// ```
    /// use nlbus::Content;
    /// use nlbus::wire::{Messages, PublishView, push_publish};
    ///
    /// let mut datagram = Vec::new();
    /// push_publish(&mut datagram, 1, true, 0, Content::Text, "jobs", b"17");
    /// let event = PublishView::check(&Messages::new(&datagram).next().unwrap().unwrap())?;
    /// assert_eq!((event.topic, event.payload), ("jobs", &b"17"[..]));
    /// # Ok::<(), nlbus::Refusal>(())
    /// ```
    pub fn check(message: &Message<'a>) -> Result<Self, Refusal> {
        PublishView::check_after(message, None)
    }

    /// As [`check`](Self::check), behind another one of the same datagram: a name that was found good there isn't looked at again.
    pub(super) fn check_after(message: &Message<'a>, before: Option<&'a str>) -> Result<Self, Refusal> {
        if message.header.flags & NLM_F_ACK != 0 && !message.last {
            return Err(Refusal::new(Errno::EINVAL, "only the last message of a datagram may ask for an ack"));
        }
        let body = message.body;
        let Some((header, topic_len)) = EventHeader::read(body) else {
            return Err(Refusal::new(
                Errno::EBADMSG,
                format!("the event header has {EVENT_HDRLEN} bytes, the message's body has {}", body.len()),
            ));
        };
        let unset = EventHeader { flags: header.flags, content: header.content, ..EventHeader::default() };
        if header != unset || body[38..EVENT_HDRLEN] != [0, 0] {
            return Err(Refusal::new(Errno::EINVAL, "a field of the event header that the broker fills isn't zero"));
        }
        if header.flags & !NLBUS_EVENT_F_PUBLISH != 0 {
            return Err(Refusal::new(Errno::EINVAL, format!("unknown or reserved event flags {:#x}", header.flags)));
        }
        if header.content > NLBUS_CONTENT_MAX {
            return Err(Refusal::new(Errno::EINVAL, format!("unknown content {}", header.content)));
        }
        if topic_len == 0 || topic_len > topic::TOPIC_MAX {
            return Err(refuse_name(if topic_len == 0 { TopicError::Empty } else { TopicError::TooLong(topic_len) }));
        }
        let start = EVENT_HDRLEN + align(topic_len, NLBUS_TOPIC_ALIGNTO);
        let (Some(name), Some(payload)) = (body.get(EVENT_HDRLEN..EVENT_HDRLEN + topic_len), body.get(start..)) else {
            return Err(Refusal::new(Errno::EBADMSG, "the topic with its padding runs beyond the message"));
        };
        let topic = match before {
            Some(before) if before.as_bytes() == name => before,
            _ => check_publishable(name)?,
        };
        if payload.len() > NLBUS_PAYLOAD_MAX {
            return Err(Refusal::new(
                Errno::EMSGSIZE,
                format!(
                    "topic '{topic}': the payload has {} bytes, at most {NLBUS_PAYLOAD_MAX} are allowed",
                    payload.len()
                ),
            ));
        }
        PublishView { topic, flags: header.flags, content: header.content, payload }.check_lost()
    }
}

/// Publishes to one topic that follow each other in a datagram, checked.
///
/// ```
/// use nlbus::Content;
/// use nlbus::wire::{Request, check_datagram, push_publish};
///
/// let mut datagram = Vec::new();
/// for seq in 1..=3 {
///     push_publish(&mut datagram, seq, seq == 3, 0, Content::Text, "jobs", b"17");
/// }
/// let requests = check_datagram(&datagram).unwrap();
/// let [(_, Request::Publish(run))] = &requests[..] else { panic!("one run") };
/// assert_eq!((run.topic, run.messages().count(), run.last().0.seq), ("jobs", 3, 3));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishRun<'a> {
    /// The topic's name, not a reserved one.
    pub topic: &'a str,
    datagram: &'a [u8],
    /// Where the first one begins, and the last.
    start: usize,
    last: usize,
    /// Behind the last one, without padding.
    end: usize,
}

impl<'a> PublishRun<'a> {
    /// A run of one that was found in this datagram.
    pub(super) fn new(datagram: &'a [u8], message: &Message<'a>, publish: &PublishView<'a>) -> Self {
        let start = message.offset;
        PublishRun {
            topic: publish.topic,
            datagram,
            start,
            last: start,
            end: start + NLMSG_HDRLEN + message.body.len(),
        }
    }

    /// Takes the next message of the datagram in, if its topic is this one's, as it was found by
    /// [`check_after`](PublishView::check_after).
    #[inline]
    pub(super) fn extend(&mut self, message: &Message<'a>, publish: &PublishView<'a>) -> bool {
        if !std::ptr::eq(self.topic, publish.topic) {
            return false;
        }
        self.last = message.offset;
        self.end = message.offset + NLMSG_HDRLEN + message.body.len();
        true
    }

    /// Takes the messages of the datagram in that follow its last one and have all in common with that but their number, and
    /// what length and payload are: what was checked of it holds for them. Returns where the next message starts.
    pub(super) fn extend_alike(&mut self) -> usize {
        let payload = payload_offset(self.datagram, self.last);
        let like = &self.datagram[self.last..self.last + payload];
        let mut start = align(self.end, NLMSG_ALIGNTO);
        while let Some(message) = self.datagram.get(start..)
            && let Some(len) = u32_at(message, 0).map(|len| len as usize)
            && (payload..=message.len().min(payload + NLBUS_PAYLOAD_MAX)).contains(&len)
            && u32_at(message, 4) == u32_at(like, 4)
            && same_words(&message[NLMSG_HDRLEN..payload], &like[NLMSG_HDRLEN..])
        {
            (self.last, self.end) = (start, start + len);
            start += align(len, NLMSG_ALIGNTO);
        }
        start
    }

    /// Its messages one by one, header included, without the padding behind them.
    ///
    /// ```
    /// # use nlbus::{Content, wire::{Request, check_datagram, push_publish}};
    /// # let mut datagram = Vec::new();
    /// push_publish(&mut datagram, 1, false, 0, Content::Text, "jobs", b"17");
    /// let Request::Publish(run) = check_datagram(&datagram).unwrap()[0].1 else { panic!("a run") };
    /// assert_eq!(run.messages().next().map(<[u8]>::len), Some(66)); // 16 + 40 + 8 + 2
    /// ```
    pub fn messages(&self) -> impl Iterator<Item = &'a [u8]> {
        let PublishRun { datagram, start, end, .. } = *self;
        let messages = Messages::starting_at(&datagram[..end], start).flatten();
        messages.map(move |message| &datagram[message.offset..message.offset + NLMSG_HDRLEN + message.body.len()])
    }

    /// The last one, which alone may ask for an ack: its header and its `nlmsg_len`.
    ///
    /// ```
    /// # use nlbus::{Content, wire::{Request, check_datagram, push_publish, uapi::NLM_F_ACK}};
    /// # let mut datagram = Vec::new();
    /// push_publish(&mut datagram, 1, true, 0, Content::Text, "jobs", b"17");
    /// let Request::Publish(run) = check_datagram(&datagram).unwrap()[0].1 else { panic!("a run") };
    /// assert!(run.last().0.flags & NLM_F_ACK != 0 && run.last().1 == 66);
    /// ```
    pub fn last(&self) -> (Header, u32) {
        let header = Header::parse(&self.datagram[self.last..]).unwrap_or_default();
        (header, (self.end - self.last) as u32)
    }
}

/// Checks the name of a topic that a client wants to publish to or to create.
pub(crate) fn check_publishable(name: &[u8]) -> Result<&str, Refusal> {
    let topic = topic::check_name(name).map_err(refuse_name)?;
    if topic::is_reserved(topic) {
        return Err(Refusal::new(
            Errno::EACCES,
            format!("topic '{topic}': $SYS is the broker's and kernel is kernel code's to publish"),
        ));
    }
    Ok(topic)
}

/// The refusal of a name that isn't one.
pub(crate) fn refuse_name(error: TopicError) -> Refusal {
    let errno = match error {
        TopicError::TooLong(_) => Errno::ENAMETOOLONG,
        TopicError::NotUtf8 => Errno::EILSEQ,
        _ => Errno::EINVAL,
    };
    Refusal::new(errno, format!("bad topic name: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Messages;
    use proptest::prelude::*;

    fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
        let mut datagram = Vec::new();
        push_publish(&mut datagram, 7, true, 0, Content::Text, topic, payload);
        datagram
    }

    fn check(datagram: &[u8]) -> Result<PublishView<'_>, Refusal> {
        PublishView::check(&Messages::new(datagram).next().unwrap().unwrap())
    }

    /// The bytes of one publish, so that a change of layout can't go unseen on both sides at once.
    #[test]
    fn a_publish_has_these_bytes() {
        let mut want = vec![0; 64];
        want[0..4].copy_from_slice(&66u32.to_ne_bytes());
        want[4..6].copy_from_slice(&0x10u16.to_ne_bytes());
        want[6..8].copy_from_slice(&5u16.to_ne_bytes());
        want[8..12].copy_from_slice(&7u32.to_ne_bytes());
        want[48..50].copy_from_slice(&3u16.to_ne_bytes());
        want[52..54].copy_from_slice(&1u16.to_ne_bytes());
        want[56..59].copy_from_slice(b"a/b");
        want.extend_from_slice(b"hi\0\0");
        assert_eq!(publish("a/b", b"hi"), want);
    }

    /// Each row: what is written over a good publish, where, and the errno that must answer.
    #[test]
    fn bad_publishes_are_refused_by_name() {
        let rows: &[(usize, &[u8], Errno)] = &[
            (16, &[1], Errno::EINVAL),
            (54, &[1], Errno::EINVAL),
            (50, &[1], Errno::EINVAL),
            (52, &[4], Errno::EINVAL),
            (48, &[0, 0], Errno::EINVAL),
            (48, &[0, 1], Errno::ENAMETOOLONG),
            (48, &[255, 0], Errno::EBADMSG),
            (56, b"\xff", Errno::EILSEQ),
            (56, b"\0", Errno::EINVAL),
            (56, b"+", Errno::EINVAL),
            (56, b"$SYS", Errno::EACCES),
        ];
        for (at, bytes, errno) in rows {
            let mut datagram = publish("abcd", b"payload");
            datagram[*at..at + bytes.len()].copy_from_slice(bytes);
            assert_eq!(check(&datagram).map_err(|refusal| refusal.errno), Err(*errno), "{bytes:?} at {at}");
        }
        assert_eq!(check(&publish("a", &[0; NLBUS_PAYLOAD_MAX + 1])).unwrap_err().errno, Errno::EMSGSIZE);
        assert_eq!(check(&publish("a", &[0; NLBUS_PAYLOAD_MAX])).unwrap().payload.len(), NLBUS_PAYLOAD_MAX);
        let mut two = publish("a", b"");
        two.extend(publish("a", b""));
        assert_eq!(check(&two).unwrap_err().errno, Errno::EINVAL, "an ack in the middle");
    }

    proptest! {
        #[test]
        fn a_publish_survives(topic in "[a-zé/]{1,40}", payload in prop::collection::vec(any::<u8>(), 0..100)) {
            let datagram = publish(&topic, &payload);
            prop_assert_eq!(datagram.len() % 4, 0);
            prop_assume!(!topic::is_reserved(&topic));
            let view = check(&datagram).unwrap();
            prop_assert_eq!((view.topic, view.payload, view.content), (&topic[..], &payload[..], 1));
        }

        #[test]
        fn any_body_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..120), topic_len in 0u16..300, last: bool) {
            let mut body = body;
            if body.len() >= 34 {
                body[32..34].copy_from_slice(&topic_len.to_ne_bytes());
            }
            let _ = PublishView::check(&Message { header: Header::default(), body: &body, offset: 0, last });
        }
    }
}
