//! The connection's last will: the broker has it, and the next one is to get it as well.

use super::answers::Purpose;
use super::{Client, Reply};
use crate::wire::{Content, WillRequest};
use bytes::Bytes;
use crossbeam_channel::Sender;
use std::time::Instant;

/// An event that is left to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Will {
    pub(crate) topic: Box<str>,
    pub(crate) content: Content,
    pub(crate) payload: Bytes,
}

impl Will {
    /// The request that leaves it, or takes back what is there.
    pub(crate) fn push(will: Option<&Will>, datagram: &mut Vec<u8>, seq: u32) {
        match will {
            Some(Will { topic, content, payload }) => {
                WillRequest::Set { topic, content: content.to_wire(), payload }.push(datagram, seq);
            }
            None => WillRequest::Clear.push(datagram, seq),
        }
    }
}

impl Client {
    /// A handle leaves a will, or takes it back, and waits for that until `deadline`.
    pub(crate) fn ask_for_will(&mut self, will: Option<Will>, reply: Sender<Reply>, deadline: Instant) {
        let mut datagram = Vec::new();
        let write = |seq| {
            Will::push(will.as_ref(), &mut datagram, seq);
            datagram
        };
        self.ask_for(Purpose::AskWill(reply.clone(), will.clone()), write, &reply, deadline);
    }

    /// The broker has it.
    pub(super) fn will_is(&mut self, will: Option<Will>, now: Instant) {
        self.will = will;
        // Without subscriptions nobody else watches whether there is another broker, who doesn't have it.
        if self.will.is_some() {
            self.heard.get_or_insert(now);
        } else if self.registry.subscribers.is_empty() {
            self.heard = None;
        }
    }

    /// Another broker was found.
    pub(super) fn leave_will_again(&mut self, now: Instant) {
        if self.will.is_some() {
            self.heard = Some(now);
            self.request(Purpose::Will, 0, now);
        }
    }
}
