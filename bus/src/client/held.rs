//! Requests that met a full queue. The broker that has it is slow for a moment or stopped; when it goes on, there is room.

use super::{Client, Output};
use crate::wire::Messages;
use bytes::Bytes;
use std::time::{Duration, Instant};

/// How long to wait before sending them again: nothing tells that a netlink socket of somebody else has room.
const SOON: Duration = Duration::from_millis(20);

/// What waits to be sent again, and until when.
#[derive(Debug, Default)]
pub(super) struct Held {
    datagrams: Vec<Bytes>,
    until: Option<Instant>,
}

impl Held {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until
    }
}

impl Client {
    /// The driver could not send this for want of room.
    pub(crate) fn unsent(&mut self, datagram: Bytes, now: Instant) {
        self.held.until.get_or_insert(now + SOON);
        self.held.datagrams.push(datagram);
    }

    /// Sends again what is still waited for: what was given up, or made anew, is forgotten.
    pub(super) fn send_held(&mut self, now: Instant) {
        if self.held.until.is_none_or(|until| until > now) {
            return;
        }
        let Held { datagrams, .. } = std::mem::take(&mut self.held);
        for datagram in datagrams {
            let seq = Messages::new(&datagram).find_map(Result::ok).map(|message| message.header.seq);
            if seq.is_some_and(|seq| self.requests.is_waiting(seq)) {
                self.outputs.push_back(Output::Send(datagram));
            }
        }
    }
}
