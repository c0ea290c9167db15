//! `REPLAY`: events out of a topic's history, one datagram a request.

use super::message::{Header, push_message};
use super::uapi::*;
use super::{AttributeIter, Malformed, Refusal};
use nix::errno::Errno;

/// A checked `REPLAY` request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayRequest {
    /// The epoch that the topic id and the sequence number are of.
    pub epoch: u64,
    /// The topic's id.
    pub topic_id: u32,
    /// First sequence number wanted, from 1.
    pub from: u64,
    /// At most this many events; `None` for as many as fit.
    pub limit: Option<u32>,
}

impl ReplayRequest {
    /// Appends the request to a datagram.
    ///
    /// ```
    /// use nlbus::wire::{Messages, ReplayRequest};
    ///
    /// let request = ReplayRequest { epoch: 7, topic_id: 4, from: 1, limit: Some(100) };
    /// let mut datagram = Vec::new();
    /// request.push(&mut datagram, 1);
    /// assert_eq!(ReplayRequest::check(Messages::new(&datagram).next().unwrap().unwrap().body)?, request);
    /// # Ok::<(), nlbus::Refusal>(())
    /// ```
    pub fn push(&self, datagram: &mut Vec<u8>, seq: u32) {
        let header = Header { kind: NLBUS_MSG_REPLAY, flags: NLM_F_REQUEST, seq, portid: 0 };
        push_message(datagram, header, |body| {
            body.u64(NLBUS_REPLAY_A_EPOCH, self.epoch);
            body.u32(NLBUS_REPLAY_A_TOPIC, self.topic_id);
            body.u64(NLBUS_REPLAY_A_FROM, self.from);
            if let Some(limit) = self.limit {
                body.u32(NLBUS_REPLAY_A_LIMIT, limit);
            }
        });
    }

    /// Checks a request's attributes; whether epoch, topic and number fit the bus is the broker's to say.
    ///
    /// ```
    /// use nlbus::wire::{Messages, ReplayRequest};
    ///
    /// let request = ReplayRequest { epoch: 7, topic_id: 4, from: 1, limit: Some(100) };
    /// let mut datagram = Vec::new();
    /// request.push(&mut datagram, 1);
    /// assert_eq!(ReplayRequest::check(Messages::new(&datagram).next().unwrap().unwrap().body)?, request);
    /// # Ok::<(), nlbus::Refusal>(())
    /// ```
    pub fn check(body: &[u8]) -> Result<Self, Refusal> {
        let bad = |what: &'static str| Refusal::new(Errno::EINVAL, what);
        let (mut epoch, mut topic_id, mut from, mut limit) = (None, None, None, None);
        for attribute in AttributeIter::flat(body) {
            let attribute = attribute.map_err(|error| bad(error.0))?;
            match attribute.kind {
                NLBUS_REPLAY_A_EPOCH => epoch = Some(attribute.u64().map_err(|error| bad(error.0))?),
                NLBUS_REPLAY_A_TOPIC => topic_id = Some(attribute.u32().map_err(|error| bad(error.0))?),
                NLBUS_REPLAY_A_FROM => from = Some(attribute.u64().map_err(|error| bad(error.0))?),
                NLBUS_REPLAY_A_LIMIT => limit = Some(attribute.u32().map_err(|error| bad(error.0))?),
                _ => return Err(bad("REPLAY takes the attributes EPOCH, TOPIC, FROM and LIMIT")),
            }
        }
        let (Some(epoch), Some(topic_id), Some(from)) = (epoch, topic_id, from) else {
            return Err(bad("REPLAY needs EPOCH, TOPIC and FROM"));
        };
        if from == 0 {
            return Err(bad("sequence numbers begin at 1"));
        }
        Ok(ReplayRequest { epoch, topic_id, from, limit: limit.filter(|limit| *limit != 0) })
    }
}

/// The closing message of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplayEnd {
    /// The topic's id.
    pub topic_id: u32,
    /// First sequence number that history keeps.
    pub first: u64,
    /// Where to go on from.
    pub next: u64,
    /// Newest sequence number.
    pub head: u64,
}

impl ReplayEnd {
    /// Bytes of the closing message, which a page of events leaves room for.
    pub const LEN: usize = NLMSG_HDRLEN + (NLA_HDRLEN + 4) + 3 * (NLA_HDRLEN + 8);

    /// Appends the closing message.
    ///
    /// ```
    /// use nlbus::wire::{Header, Messages, ReplayEnd};
    ///
    /// let end = ReplayEnd { topic_id: 4, first: 1, next: 101, head: 5000 };
    /// let mut datagram = Vec::new();
    /// end.push(&mut datagram, Header::default());
    /// assert_eq!(ReplayEnd::read(Messages::new(&datagram).next().unwrap().unwrap().body)?, end);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn push(&self, datagram: &mut Vec<u8>, to: Header) {
        let header = Header { kind: NLBUS_MSG_REPLAY, flags: 0, seq: to.seq, portid: to.portid };
        push_message(datagram, header, |body| {
            body.u32(NLBUS_REPLAY_A_TOPIC, self.topic_id);
            body.u64(NLBUS_REPLAY_A_FIRST, self.first);
            body.u64(NLBUS_REPLAY_A_NEXT, self.next);
            body.u64(NLBUS_REPLAY_A_HEAD, self.head);
        });
    }

    /// Reads the closing message's body.
    ///
    /// ```
    /// use nlbus::wire::{Header, Messages, ReplayEnd};
    ///
    /// let end = ReplayEnd { topic_id: 4, first: 1, next: 101, head: 5000 };
    /// let mut datagram = Vec::new();
    /// end.push(&mut datagram, Header::default());
    /// assert_eq!(ReplayEnd::read(Messages::new(&datagram).next().unwrap().unwrap().body)?, end);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn read(body: &[u8]) -> Result<ReplayEnd, Malformed> {
        let (mut topic_id, mut first, mut next, mut head) = (None, None, None, None);
        for attribute in AttributeIter::new(body) {
            let attribute = attribute?;
            match attribute.kind {
                NLBUS_REPLAY_A_TOPIC => topic_id = Some(attribute.u32()?),
                NLBUS_REPLAY_A_FIRST => first = Some(attribute.u64()?),
                NLBUS_REPLAY_A_NEXT => next = Some(attribute.u64()?),
                NLBUS_REPLAY_A_HEAD => head = Some(attribute.u64()?),
                _ => {}
            }
        }
        match (topic_id, first, next, head) {
            (Some(topic_id), Some(first), Some(next), Some(head)) => Ok(ReplayEnd { topic_id, first, next, head }),
            _ => Err(Malformed("a replay's end without topic, first, next or head")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Messages;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_ends_survive(epoch: u64, topic_id: u32, from in 1u64.., limit in prop::option::of(1u32..), head: u64) {
            let request = ReplayRequest { epoch, topic_id, from, limit };
            let end = ReplayEnd { topic_id, first: epoch, next: from, head };
            let mut datagram = Vec::new();
            request.push(&mut datagram, 3);
            let at = datagram.len();
            end.push(&mut datagram, Header::default());
            prop_assert_eq!(datagram.len() - at, ReplayEnd::LEN);
            let messages: Vec<_> = Messages::new(&datagram).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(ReplayRequest::check(messages[0].body), Ok(request));
            prop_assert_eq!(ReplayEnd::read(messages[1].body), Ok(end));
        }

        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = ReplayRequest::check(&body);
            let _ = ReplayEnd::read(&body);
        }
    }
}
