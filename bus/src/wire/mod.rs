//! The frames of the protocol, as `docs/PROTOCOL.md` and `kmod/include/uapi/linux/nlbus.h` have them:
//! bytes to values and back. Safe, without I/O and, on the path of an event, without allocation.
//!
//! Reading has two tempers. What a broker sent is read leniently ([`Malformed`] when it can't be
//! read; the client drops such a frame and counts it). What a client sent is checked strictly, and the
//! answer to a bad frame is a [`Refusal`] with the errno of the protocol's table.

mod attr;
mod diag;
mod error;
mod event;
mod genl;
mod info;
mod lost;
mod message;
mod publish;
mod replay;
mod request;
mod successors;
mod sys_events;
mod topic;
pub mod uapi;
mod will;

pub use attr::{Attribute, AttributeIter, Attributes};
pub use diag::{NETLINK_SOCK_DIAG, netlink_socket, netlink_sockets_request};
pub use error::{Answer, Refusal, push_ack, push_refusal};
pub use event::{Content, EVENT_HDRLEN, EventHeader, EventView, push_event, push_event_body};
pub(crate) use event::{EventParts, event_len, stamp_event};
pub use genl::{
    families_request, family_id, info_reply as genl_info_reply, info_request as genl_info_request,
    retire_request as genl_retire_request,
};
pub use info::{BrokerKind, Counters, Info, Limits, check_info_request, push_info, push_info_request};
pub use lost::{LostNumbers, push_lost};
pub(crate) use message::align;
pub use message::{FrameError, Header, Message, Messages, end_multi, push_message};
pub use publish::{PublishRun, PublishView, push_publish};
pub(crate) use publish::{address_publishes, push_publish_alike, stamp_publishes, written_topic};
pub use replay::{ReplayEnd, ReplayRequest};
pub(crate) use request::check_datagram_into;
pub use request::{RefusedDatagram, Request, check_datagram};
pub(crate) use successors::Successors;
pub use sys_events::{ClientNews, ClientsAnnouncement, Heartbeat, MovedTopic, TopicsAnnouncement};
pub use topic::{TopicDeleted, TopicKey, TopicPageEnd, TopicRecord, TopicRequest, TopicSettings};
pub use will::WillRequest;
pub(crate) use will::has_will;

use std::fmt;
use uapi::NLBUS_TOPIC_ALIGNTO;

/// Bytes from a broker that can't be read: what is wrong with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// Two bytes at an offset, host-endian.
#[inline]
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

/// Four bytes at an offset, host-endian.
#[inline]
fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// Compares two padded names of one length, a word at a time: a call of memcmp costs more than all else that is done for an
/// event.
#[inline]
fn same_words(one: &[u8], other: &[u8]) -> bool {
    let (one, other) = (one.as_chunks::<NLBUS_TOPIC_ALIGNTO>().0, other.as_chunks().0);
    one.iter().zip(other).all(|(one, other)| u64::from_ne_bytes(*one) == u64::from_ne_bytes(*other))
}

/// Eight bytes at an offset, host-endian.
#[inline]
fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes)
}
