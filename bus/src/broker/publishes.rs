//! The publishes of a datagram: whether they can be accepted, all of them, and how they are.

use super::access::Access;
use super::core::{Action, Core, PendingAck, Sender, length, named, refused};
use super::topics::Slot;
use crate::wire::uapi::NLM_F_ACK;
use crate::wire::{EventHeader, Header, Message, Refusal, RefusedDatagram, Request};
use nix::errno::Errno;
use std::collections::HashSet;

/// See [`Core::find_whole`].
#[derive(Debug)]
pub(super) struct Whole {
    slot: Slot,
    last: Header,
    len: u32,
}

impl Core {
    /// Whether the publishes of a datagram can be accepted, all of them: what else is wrong with them is told by their
    /// bytes alone. Their topics are found on the way.
    pub(super) fn check_publishes(
        &mut self,
        requests: &[(Message<'_>, Request<'_>)],
        sender: Sender,
    ) -> Result<(), RefusedDatagram> {
        if let (true, Some((message, _))) = (self.closing, requests.first()) {
            return Err(refused(message, Refusal::new(Errno::ESHUTDOWN, "the bus is closing")));
        }
        self.targets.clear();
        let charged = self.charged(sender);
        let is_any_overdrawn = self.topics.history().is_any_overdrawn();
        // Asked for where there is a new topic. Nearly always there is room for as many as the datagram could create.
        let mut room = None;
        let mut created: Option<HashSet<&str>> = None;
        for (message, request) in requests {
            let Some(topic) = request.topic_published() else { continue };
            let target = self.topics.find_again(topic);
            if target.is_none() {
                let room = *room.get_or_insert_with(|| self.room_for_topics(charged).0);
                if requests.len() > room {
                    let created = created.get_or_insert_default();
                    created.insert(topic);
                    if created.len() > room {
                        return Err(refused(message, self.one_topic_too_many(topic, charged)));
                    }
                }
            }
            let access = target.map_or_else(|| self.new_access(sender), |slot| self.topics.get(slot).access);
            if !access.may_write(sender) {
                return Err(refused(message, access.denied(&named(topic), "publish to", sender)));
            }
            if is_any_overdrawn && let Some(refusal) = self.overdrawn(topic, target, charged) {
                return Err(refused(message, refusal));
            }
            if let (Request::Lost(lost), Some(slot)) = (request, target) {
                self.check_lost(lost, slot).map_err(|refusal| refused(message, refusal))?;
            }
            self.targets.push(target);
        }
        Ok(())
    }

    /// What a topic begins with that a sender creates, unless he says otherwise.
    pub(super) fn new_access(&self, sender: Sender) -> Access {
        Access { owner: sender.as_owner(), mode: self.config.topic_mode }
    }

    /// Accepts the publishes of a datagram that was checked.
    pub(super) fn publish_all(
        &mut self,
        requests: &[(Message<'_>, Request<'_>)],
        sender: Sender,
        out: &mut impl FnMut(Action<'_>) -> bool,
    ) {
        let mut at = 0;
        for (message, request) in requests {
            let Some(topic) = request.topic_published() else { continue };
            let slot = self.target(topic, self.targets[at], sender);
            at += 1;
            let ((to, len), seq) = match request {
                Request::Publish(run) => (run.last(), self.sequence(slot, run.messages(), event_of(sender), out)),
                Request::Lost(lost) => ((message.header, length(message)), self.lose(slot, lost.count)),
                _ => continue,
            };
            self.note_ack(sender, to, len, seq);
        }
    }

    /// A datagram that is one run and that history can keep as it is: its topic, and the header and length of its last message.
    pub(super) fn find_whole(&self, requests: &[(Message<'_>, Request<'_>)], datagram: &Vec<u8>) -> Option<Whole> {
        let ([(_, Request::Publish(run))], [Some(slot)]) = (requests, &self.targets[..]) else { return None };
        let (last, len) = run.last();
        self.keeps_whole(*slot, datagram).then_some(Whole { slot: *slot, last, len })
    }

    /// Accepts it.
    pub(super) fn publish_whole(
        &mut self,
        whole: Whole,
        datagram: &mut Vec<u8>,
        sender: Sender,
        out: &mut impl FnMut(Action<'_>) -> bool,
    ) {
        let seq = self.sequence_whole(whole.slot, datagram, event_of(sender), out);
        self.note_ack(sender, whole.last, whole.len, seq);
    }

    /// If the last message of a run asks for an ack: it waits for the broadcast.
    fn note_ack(&mut self, sender: Sender, to: Header, len: u32, seq: u64) {
        if to.flags & NLM_F_ACK != 0 {
            self.acks.push(PendingAck { sender, to, len, seq });
        }
    }

    /// The topic of a publish that was found, or is created now.
    fn target(&mut self, topic: &str, target: Option<Slot>, sender: Sender) -> Slot {
        // The same datagram may have created it.
        let target = target.or_else(|| self.topics.find_again(topic));
        target.unwrap_or_else(|| self.create(topic, self.new_access(sender), self.charged(sender)))
    }
}

/// What the header of an event says of its sender. Of the publisher's flags none is about the event itself.
fn event_of(sender: Sender) -> EventHeader {
    let Sender { port: portid, pid, uid, .. } = sender;
    EventHeader { portid, pid, uid, ..EventHeader::default() }
}
