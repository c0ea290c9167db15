//! A datagram from a client, checked whole: what both brokers do before they accept anything of it.

use super::message::{FrameError, Header, Message, Messages};
use super::uapi::*;
use super::{
    LostNumbers, PublishRun, PublishView, Refusal, ReplayRequest, TopicRequest, WillRequest, check_info_request,
};
use nix::errno::Errno;

/// What a message asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request<'a> {
    /// Publish events to a topic.
    Publish(PublishRun<'a>),
    /// Use up numbers of a topic.
    Lost(LostNumbers<'a>),
    /// Say who you are.
    Info,
    /// Look up, create, list topics.
    Topic(TopicRequest<'a>),
    /// Send events out of history.
    Replay(ReplayRequest),
    /// Set or clear the last will.
    Will(WillRequest<'a>),
}

impl<'a> Request<'a> {
    /// The topic that it publishes to, if it does.
    #[inline]
    pub(crate) fn topic_published(&self) -> Option<&'a str> {
        match self {
            Request::Publish(PublishRun { topic, .. }) | Request::Lost(LostNumbers { topic, .. }) => Some(topic),
            _ => None,
        }
    }
}

/// A datagram that is refused: what its `NLMSG_ERROR` echoes, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedDatagram {
    /// Header of the first bad message; zeros when it has none.
    pub header: Header,
    /// Its `nlmsg_len`.
    pub len: u32,
    /// Why.
    pub refusal: Refusal,
}

/// Checks a datagram from front to back, as docs/PROTOCOL.md has it. Publishes to one topic that follow each other are one
/// request, and its message is the first of them.
///
/// # Errors
/// The first thing that is wrong. Then nothing of the datagram may be accepted.
///
/// # Example
/// ```
/// use nlbus::wire::{Request, check_datagram, push_info_request};
///
/// let mut datagram = Vec::new();
/// push_info_request(&mut datagram, 1);
/// assert!(matches!(check_datagram(&datagram).unwrap()[..], [(_, Request::Info)]));
/// datagram.pop();
/// assert!(check_datagram(&datagram).is_err());
/// ```
pub fn check_datagram(datagram: &[u8]) -> Result<Vec<(Message<'_>, Request<'_>)>, RefusedDatagram> {
    let mut requests = Vec::new();
    check_datagram_into(datagram, &mut requests)?;
    Ok(requests)
}

/// The same, to an empty list.
pub(crate) fn check_datagram_into<'a>(
    datagram: &'a [u8],
    requests: &mut Vec<(Message<'a>, Request<'a>)>,
) -> Result<(), RefusedDatagram> {
    if datagram.len() > NLBUS_DATAGRAM_MAX {
        let refusal = Refusal::new(
            Errno::EMSGSIZE,
            format!("the datagram has {} bytes, at most {NLBUS_DATAGRAM_MAX} are allowed", datagram.len()),
        );
        let len = super::u32_at(datagram, 0).unwrap_or_default();
        return Err(RefusedDatagram { header: Header::parse(datagram).unwrap_or_default(), len, refusal });
    }
    let mut messages = Messages::new(datagram);
    while let Some(message) = messages.next() {
        let message = message.map_err(refuse_frame)?;
        let refuse = |refusal| RefusedDatagram {
            header: message.header,
            len: (NLMSG_HDRLEN + message.body.len()) as u32,
            refusal,
        };
        check_header(&message.header).map_err(refuse)?;
        if message.header.kind != NLBUS_MSG_PUBLISH {
            requests.push((message, check_request(&message).map_err(refuse)?));
            continue;
        }
        let before = requests.last().and_then(|(_, request)| request.topic_published());
        let publish = PublishView::check_after(&message, before).map_err(refuse)?;
        if let Some(lost) = publish.lost() {
            requests.push((message, Request::Lost(lost)));
            continue;
        }
        let is_alike = match requests.last_mut() {
            Some((_, Request::Publish(run))) => run.extend(&message, &publish),
            _ => false,
        };
        if !is_alike {
            requests.push((message, Request::Publish(PublishRun::new(datagram, &message, &publish))));
        }
        if let Some((_, Request::Publish(run))) = requests.last_mut() {
            messages = Messages::starting_at(datagram, run.extend_alike());
        }
    }
    if requests.is_empty() {
        return Err(refuse_frame(FrameError::Truncated { offset: 0 }));
    }
    Ok(())
}

fn refuse_frame(error: FrameError) -> RefusedDatagram {
    match error {
        FrameError::Truncated { offset } => RefusedDatagram {
            header: Header::default(),
            len: 0,
            refusal: Refusal::new(Errno::EBADMSG, format!("the message at byte {offset} is cut within its header")),
        },
        FrameError::Length { header, offset, claimed } => RefusedDatagram {
            header,
            len: claimed,
            refusal: Refusal::new(
                Errno::EBADMSG,
                format!("the message at byte {offset} claims {claimed} bytes: below 16 or beyond the datagram"),
            ),
        },
    }
}

/// Whether it is a kind of message that clients send, with flags that it may have.
fn check_header(header: &Header) -> Result<(), Refusal> {
    let Header { kind, flags, .. } = *header;
    let known = match kind {
        NLBUS_MSG_PUBLISH | NLBUS_MSG_INFO | NLBUS_MSG_REPLAY | NLBUS_MSG_WILL => NLM_F_REQUEST | NLM_F_ACK,
        NLBUS_MSG_TOPIC => NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL | NLM_F_REPLACE,
        _ => return Err(Refusal::new(Errno::EOPNOTSUPP, format!("no client sends messages of type {kind:#x}"))),
    };
    if flags & NLM_F_REQUEST == 0 {
        return Err(Refusal::new(Errno::EINVAL, "NLM_F_REQUEST is missing"));
    }
    if flags & !known != 0 {
        return Err(Refusal::new(Errno::EINVAL, format!("unknown message flags {:#x}", flags & !known)));
    }
    Ok(())
}

/// Checks the body of what isn't a publish.
fn check_request<'a>(message: &Message<'a>) -> Result<Request<'a>, Refusal> {
    Ok(match message.header.kind {
        NLBUS_MSG_TOPIC => Request::Topic(TopicRequest::check(message.header.flags, message.body)?),
        NLBUS_MSG_REPLAY => Request::Replay(ReplayRequest::check(message.body)?),
        NLBUS_MSG_WILL => Request::Will(WillRequest::check(message.body)?),
        _ => {
            check_info_request(message.body)?;
            Request::Info
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Content, push_info_request, push_message, push_publish};
    use proptest::prelude::*;

    fn one(kind: u16, flags: u16) -> Vec<u8> {
        let mut datagram = Vec::new();
        push_message(&mut datagram, Header { kind, flags, seq: 9, portid: 0 }, |_| {});
        datagram
    }

    #[test]
    fn framing_errors_are_named() {
        for (datagram, errno, seq) in [
            (vec![], Errno::EBADMSG, 0),
            (vec![1; 15], Errno::EBADMSG, 0),
            (one(0x12, 1)[..12].to_vec(), Errno::EBADMSG, 0),
            (one(0x11, 1), Errno::EOPNOTSUPP, 9),
            (one(1, 1), Errno::EOPNOTSUPP, 9),
            (one(0x16, 1), Errno::EOPNOTSUPP, 9),
            (one(0x12, 0), Errno::EINVAL, 9),
            (one(0x12, 0x401), Errno::EINVAL, 9),
            (vec![0; NLBUS_DATAGRAM_MAX + 4], Errno::EMSGSIZE, 0),
        ] {
            let refused = check_datagram(&datagram).unwrap_err();
            assert_eq!((refused.refusal.errno, refused.header.seq), (errno, seq), "{refused:?}");
        }
    }

    #[test]
    fn a_payload_is_bounded_behind_one_like_it_too() {
        for (len, refused) in [(NLBUS_PAYLOAD_MAX, None), (NLBUS_PAYLOAD_MAX + 1, Some(Errno::EMSGSIZE))] {
            let mut datagram = Vec::new();
            push_publish(&mut datagram, 1, false, 0, Content::Text, "a", b"");
            push_publish(&mut datagram, 1, false, 0, Content::Text, "a", &vec![0; len]);
            assert_eq!(check_datagram(&datagram).err().map(|refused| refused.refusal.errno), refused);
        }
    }

    #[test]
    fn a_bad_message_anywhere_refuses_the_datagram() {
        let mut datagram = Vec::new();
        push_info_request(&mut datagram, 1);
        datagram.extend(one(0x99, 1));
        push_info_request(&mut datagram, 2);
        assert_eq!(check_datagram(&datagram).unwrap_err().header.seq, 9);
        assert_eq!(check_datagram(&datagram[..16]).unwrap().len(), 1);
    }

    /// The topic and the bytes of each publish, and an empty one for each other request.
    type Found = Vec<(String, Vec<u8>)>;

    /// What is found when each message is looked at as if it were alone: publishes, or the first refusal.
    fn check_each(datagram: &[u8]) -> Result<Found, (Errno, Header)> {
        Messages::new(datagram)
            .map(|message| {
                let message =
                    message.map_err(refuse_frame).map_err(|refused| (refused.refusal.errno, refused.header))?;
                let of = |refusal: Refusal| (refusal.errno, message.header);
                check_header(&message.header).map_err(of)?;
                if message.header.kind != NLBUS_MSG_PUBLISH {
                    check_request(&message).map_err(of)?;
                    return Ok((String::new(), Vec::new()));
                }
                let publish = PublishView::check(&message).map_err(of)?;
                let end = message.offset + NLMSG_HDRLEN + message.body.len();
                Ok((publish.topic.to_owned(), datagram[message.offset..end].to_vec()))
            })
            .collect()
    }

    proptest! {
        /// That most of a run is checked by comparing it with what is before changes nothing about what is found.
        #[test]
        fn a_run_is_checked_as_its_messages_are(
            events in prop::collection::vec((prop::bool::weighted(0.9), 0usize..20), 1..12),
            change in (prop::bool::weighted(0.8), 0usize..2000, any::<u8>()), ack: bool, cut in 0usize..8,
        ) {
            let mut datagram = Vec::new();
            for (at, (alike, len)) in events.iter().enumerate() {
                let (topic, ack) = (if *alike { "topic/name" } else { "other" }, ack && at + 1 == events.len());
                push_publish(&mut datagram, at as u32, ack, 0, Content::Text, topic, &vec![7; *len]);
            }
            if let (true, at, bits) = change {
                let at = at % datagram.len();
                datagram[at] ^= bits;
            }
            datagram.truncate(datagram.len() - cut);
            let found = check_datagram(&datagram).map_err(|refused| (refused.refusal.errno, refused.header));
            let found = found.map(|requests| {
                let messages = requests.iter().flat_map(|(_, request)| match request {
                    Request::Publish(run) => run.messages().map(|message| (run.topic.to_owned(), message.to_vec())).collect(),
                    _ => vec![(String::new(), Vec::new())],
                });
                messages.collect::<Found>()
            });
            prop_assert_eq!(found, check_each(&datagram));
        }

        #[test]
        fn any_bytes_are_checked(mut bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0x10u16..0x17, len in 0u32..220) {
            let _ = check_datagram(&bytes);
            if bytes.len() >= 16 {
                bytes[0..4].copy_from_slice(&len.to_ne_bytes());
                bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
                bytes[6..8].copy_from_slice(&1u16.to_ne_bytes());
                let _ = check_datagram(&bytes);
            }
        }
    }
}
