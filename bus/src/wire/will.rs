//! `WILL`: the event that the broker publishes when a client goes away without taking it back.

use super::message::{Header, Messages, push_message};
use super::publish::check_publishable;
use super::uapi::*;
use super::{AttributeIter, Refusal};
use nix::errno::Errno;

/// A checked `WILL` request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WillRequest<'a> {
    /// Leave this event.
    Set {
        /// Its topic.
        topic: &'a str,
        /// `NLBUS_CONTENT_*`
        content: u16,
        /// Its payload.
        payload: &'a [u8],
    },
    /// Take it back.
    Clear,
}

impl<'a> WillRequest<'a> {
    /// Appends the request to a datagram, with a wish for an ack.
    ///
    /// ```
    /// use nlbus::wire::{Messages, WillRequest};
    ///
    /// let will = WillRequest::Set { topic: "jobs/dead", content: 1, payload: b"17" };
    /// let mut datagram = Vec::new();
    /// will.push(&mut datagram, 1);
    /// assert_eq!(WillRequest::check(Messages::new(&datagram).next().unwrap().unwrap().body)?, will);
    /// # Ok::<(), nlbus::Refusal>(())
    /// ```
    pub fn push(&self, datagram: &mut Vec<u8>, seq: u32) {
        let header = Header { kind: NLBUS_MSG_WILL, flags: NLM_F_REQUEST | NLM_F_ACK, seq, portid: 0 };
        push_message(datagram, header, |body| {
            if let WillRequest::Set { topic, content, payload } = self {
                body.bytes(NLBUS_WILL_A_TOPIC, topic.as_bytes());
                body.u32(NLBUS_WILL_A_CONTENT, u32::from(*content));
                body.bytes(NLBUS_WILL_A_PAYLOAD, payload);
            }
        });
    }

    /// Checks a request's attributes.
    ///
    /// ```
    /// use nlbus::wire::{Messages, WillRequest};
    ///
    /// let will = WillRequest::Set { topic: "jobs/dead", content: 1, payload: b"17" };
    /// let mut datagram = Vec::new();
    /// will.push(&mut datagram, 1);
    /// assert_eq!(WillRequest::check(Messages::new(&datagram).next().unwrap().unwrap().body)?, will);
    /// # Ok::<(), nlbus::Refusal>(())
    /// ```
    pub fn check(body: &'a [u8]) -> Result<Self, Refusal> {
        let bad = |what: &'static str| Refusal::new(Errno::EINVAL, what);
        let (mut topic, mut content, mut payload) = (None, None, None);
        for attribute in AttributeIter::flat(body) {
            let attribute = attribute.map_err(|error| bad(error.0))?;
            match attribute.kind {
                NLBUS_WILL_A_TOPIC => topic = Some(attribute.value),
                NLBUS_WILL_A_CONTENT => content = Some(attribute.u32().map_err(|error| bad(error.0))?),
                NLBUS_WILL_A_PAYLOAD => payload = Some(attribute.value),
                _ => return Err(bad("WILL takes the attributes TOPIC, CONTENT and PAYLOAD")),
            }
        }
        let Some(topic) = topic else {
            return match (content, payload) {
                (None, None) => Ok(WillRequest::Clear),
                _ => Err(bad("a will needs a TOPIC")),
            };
        };
        let topic = check_publishable(topic)?;
        let content = match content {
            None => NLBUS_CONTENT_OPAQUE,
            Some(content) if content <= u32::from(NLBUS_CONTENT_MAX) => content as u16,
            Some(_) => return Err(bad("unknown content")),
        };
        let payload = payload.unwrap_or_default();
        if payload.len() > NLBUS_PAYLOAD_MAX {
            return Err(Refusal::new(
                Errno::EMSGSIZE,
                format!("a will's payload has at most {NLBUS_PAYLOAD_MAX} bytes"),
            ));
        }
        Ok(WillRequest::Set { topic, content, payload })
    }
}

/// Whether a request of a datagram, which needn't be well-formed, is about a will.
pub(crate) fn has_will(datagram: &[u8]) -> bool {
    Messages::new(datagram).map_while(Result::ok).any(|message| message.header.kind == NLBUS_MSG_WILL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Messages;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn wills_survive(topic in "[a-z]{1,20}", content in 0..=NLBUS_CONTENT_MAX, payload in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assume!(!crate::topic::is_reserved(&topic));
            for will in [WillRequest::Set { topic: &topic, content, payload: &payload }, WillRequest::Clear] {
                let mut datagram = Vec::new();
                will.push(&mut datagram, 3);
                prop_assert_eq!(WillRequest::check(Messages::new(&datagram).next().unwrap().unwrap().body), Ok(will));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = WillRequest::check(&body);
        }
    }
}
