//! The broker as a pure function of (frame, sender, now): no sockets, no clocks, no chance. It is the executable
//! model of the kernel module, too.
//!
//! [`Core::accept`] takes one datagram: it checks all of it before it does any of it, sequences its events into packs, of
//! which it sends those that are full, and answers its requests. [`Core::flush`] sends the others, and then the acks that
//! wait for that, so that an ack says that every subscriber's socket took the event or counted a drop. Whoever drives it
//! accepts what waits and then flushes.

use super::access::Access;
use super::announce::Announcer;
use super::clients::Clients;
use super::config::Config;
use super::pack::{Outgoing, Packs};
pub(super) use super::sender::{Endpoint, Sender};
use super::topics::{SYS_CLOSING, SYS_HEARTBEAT, SYS_TOPICS, Slot, Topics};
use super::users::Charged;
use crate::history;
use crate::wire::uapi::{
    NLBUS_CONTENT_BINCODE, NLBUS_MSG_EVENT, NLBUS_USER_GROUPS, NLM_F_ACK, NLM_F_MULTI, NLMSG_ALIGNTO, NLMSG_HDRLEN,
};
use crate::wire::{
    self, Counters, EventHeader, Header, Heartbeat, Message, Refusal, RefusedDatagram, Request, TopicSettings,
};
use std::io::IoSlice;

/// Memory for a datagram: longer than any may be, so that one that is too long shows; and as long as a segment of history, which
/// it can become.
pub(super) const MEMORY: usize = history::SEGMENT_MAX;

/// The clocks, as the driver reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Now {
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub(super) boot_ns: u64,
    /// `CLOCK_REALTIME` minus that.
    pub(super) clock_offset_ns: i64,
}

/// What the driver is to do. It says whether the kernel took it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action<'a> {
    /// Send a datagram, in pieces, to a multicast group, from the publish endpoint.
    Broadcast { group: u32, datagram: &'a [IoSlice<'a>] },
    /// Send to a client, who was this user's, from the endpoint that it wrote to.
    Unicast { port: u32, uid: u32, from: Endpoint, datagram: &'a [u8] },
}

impl Sender {
    /// What he is sent.
    pub(super) fn sent(self, datagram: &[u8]) -> Action<'_> {
        Action::Unicast { port: self.port, uid: self.uid, from: self.to, datagram }
    }
}

/// An ack that waits for its event's broadcast.
#[derive(Debug)]
pub(super) struct PendingAck {
    pub(super) sender: Sender,
    pub(super) to: Header,
    pub(super) len: u32,
    pub(super) seq: u64,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: Config,
    pub(super) epoch: u64,
    pub(super) start_ns: u64,
    /// Never goes back.
    pub(super) now: Now,
    pub(super) topics: Topics,
    packs: Packs,
    pub(super) acks: Vec<PendingAck>,
    /// Room for what a datagram asks for.
    requests: Vec<(Message<'static>, Request<'static>)>,
    /// The topics that its publishes go to, one a run, as far as they exist.
    pub(super) targets: Vec<Option<Slot>>,
    /// Answers are encoded here.
    pub(super) scratch: Vec<u8>,
    pub(super) counts: Counters,
    next_heartbeat_ns: Option<u64>,
    /// Ids of topics whose newest numbers may be no event's, so that nothing shows them.
    pub(super) lost: Vec<u32>,
    /// What is to be said of topics.
    pub(super) announcer: Announcer,
    /// Who ever sent something.
    pub(super) clients: Clients,
    pub(super) closing: bool,
}

impl Core {
    /// A new bus. The epoch is random and not 0.
    pub(super) fn new(config: Config, epoch: u64, now: Now) -> Core {
        let interval = config.heartbeat_ns();
        Core {
            topics: Topics::new(&config),
            packs: Packs::new(NLBUS_USER_GROUPS, config.pack),
            acks: Vec::new(),
            requests: Vec::new(),
            targets: Vec::new(),
            scratch: Vec::new(),
            counts: Counters::default(),
            next_heartbeat_ns: (interval != 0).then(|| now.boot_ns.saturating_add(interval)),
            lost: Vec::new(),
            announcer: Announcer::default(),
            clients: Clients::default(),
            closing: false,
            start_ns: now.boot_ns,
            now,
            config,
            epoch,
        }
    }

    /// Takes a datagram from a client: all of it, or none and refuses it. What is as large as a segment of history may become
    /// one, and memory for another datagram, or none, be left in its place.
    pub(super) fn accept(
        &mut self,
        datagram: &mut Vec<u8>,
        sender: Sender,
        now: Now,
        out: &mut impl FnMut(Action<'_>) -> bool,
    ) {
        self.advance(now);
        let mut requests = emptied(std::mem::take(&mut self.requests));
        let checked = wire::check_datagram_into(datagram, &mut requests);
        let mut whole = None;
        match checked.and_then(|()| self.check_publishes(&requests, sender)) {
            Ok(()) => {
                self.clients.note(sender);
                whole = self.find_whole(&requests, datagram);
                // As the module does, and as was checked: a request of the same datagram can't take a publish's room.
                if whole.is_none() {
                    self.publish_all(&requests, sender, out);
                }
                if self.targets.len() < requests.len() {
                    for (message, request) in &requests {
                        self.execute(message, request, sender, out);
                    }
                }
            }
            Err(refused) => self.refuse(&refused, sender, out),
        }
        self.requests = emptied(requests);
        if let Some(whole) = whole {
            self.publish_whole(whole, datagram, sender, out);
        }
    }

    /// Sends what was accepted and is due: packs, then acks. Then history keeps within its limits.
    pub(super) fn flush(&mut self, now: Now, out: &mut impl FnMut(Action<'_>) -> bool) {
        self.advance(now);
        self.say_what_is_due(out);
        self.broadcast(None, out);
        self.tell_of_lost();
        self.topics.settle();
        for ack in self.acks.drain(..) {
            self.scratch.clear();
            wire::push_ack(&mut self.scratch, ack.to, ack.len, Some(ack.seq));
            out(ack.sender.sent(&self.scratch));
        }
    }

    /// Says that the bus closes. What comes later is refused; one more flush sends what is left.
    pub(super) fn close(&mut self, now: Now, out: &mut impl FnMut(Action<'_>) -> bool) {
        self.advance(now);
        if !self.closing {
            self.publish_own(SYS_CLOSING, &[], out);
            self.closing = true;
        }
    }

    /// When [`flush`](Self::flush) has something to say by itself, in `CLOCK_BOOTTIME` nanoseconds.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let clients = [self.clients.look_at(), self.clients.news_at().filter(|_| !self.closing)];
        [self.next_heartbeat_ns, self.announcer.due()].into_iter().chain(clients).flatten().min()
    }

    pub(super) fn port(&self) -> u32 {
        self.config.port
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Bytes that wait in front of the broker now.
    pub(super) fn set_queued(&mut self, bytes: u64) {
        self.counts.queue = bytes;
    }

    fn advance(&mut self, now: Now) {
        self.now = Now { boot_ns: now.boot_ns.max(self.now.boot_ns), ..now };
    }

    /// Answers a request; a publish has its place among the events and no answer but its ack.
    fn execute(
        &mut self,
        message: &Message<'_>,
        request: &Request<'_>,
        sender: Sender,
        out: &mut impl FnMut(Action<'_>) -> bool,
    ) {
        if request.topic_published().is_some() {
            return;
        }
        if let Err(refusal) = self.answer(message.header, request, sender, out) {
            return self.refuse(&refused(message, refusal), sender, out);
        }
        if message.header.flags & NLM_F_ACK != 0 {
            self.scratch.clear();
            wire::push_ack(&mut self.scratch, message.header, length(message), None);
            out(sender.sent(&self.scratch));
        }
    }

    /// Counts a datagram as refused, of whoever isn't told: there was no room for it.
    pub(super) fn count_refused(&mut self) {
        self.counts.refused += 1;
    }

    fn refuse(&mut self, refused: &RefusedDatagram, sender: Sender, out: &mut impl FnMut(Action<'_>) -> bool) {
        self.count_refused();
        self.scratch.clear();
        wire::push_refusal(&mut self.scratch, refused.header, refused.len, &refused.refusal);
        out(sender.sent(&self.scratch));
    }

    /// Creates a topic that doesn't exist, and for which there is room.
    pub(super) fn create(&mut self, name: &str, access: Access, charged: Charged) -> Slot {
        self.announcer.created();
        self.topics.create(name, access, charged)
    }

    /// Ends a topic. What was accepted of it is sent before.
    pub(super) fn delete(&mut self, slot: Slot, out: &mut impl FnMut(Action<'_>) -> bool) {
        self.broadcast(Some(self.topics.get(slot).group), out);
        self.announcer.moved(self.topics.get(slot).id, self.topics.head(slot) + 1);
        self.topics.delete(slot);
    }

    /// Sets what is to be set of a topic, by who may.
    pub(super) fn change(&mut self, slot: Slot, access: Access, settings: &TopicSettings) {
        if self.topics.set(slot, access, settings) {
            self.announcer.moved(self.topics.get(slot).id, 0);
        }
    }

    pub(super) fn publish_own(&mut self, slot: Slot, payload: &[u8], out: &mut impl FnMut(Action<'_>) -> bool) {
        let Config { pid, uid, .. } = self.config;
        let event = EventHeader { pid, uid, content: NLBUS_CONTENT_BINCODE, ..EventHeader::default() };
        let mut message = std::mem::take(&mut self.scratch);
        message.clear();
        wire::push_event(&mut message, Header::default(), &event, self.topics.name(slot), payload);
        self.sequence(slot, [&message[..]].into_iter(), event, out);
        self.scratch = message;
    }

    /// Whether history can keep a datagram of publishes as it is, and a pack take it.
    pub(super) fn keeps_whole(&self, slot: Slot, datagram: &Vec<u8>) -> bool {
        history::is_segment(datagram) && datagram.len() <= self.config.pack && self.topics.adopts(slot)
    }

    /// The headers of a topic's next events; of the number, the newest one's.
    fn headers(&self, slot: Slot, event: EventHeader) -> (Header, EventHeader) {
        let header = Header { kind: NLBUS_MSG_EVENT, flags: NLM_F_MULTI, seq: self.epoch as u32, portid: 0 };
        let (seq, topic_id) = (self.topics.head(slot), self.topics.get(slot).id);
        (header, EventHeader { seq, time_ns: self.now.boot_ns, topic_id, ..event })
    }

    /// Gives events of a topic their numbers and time, keeps them, and puts them where the next flush takes them. Returns the
    /// last one's number.
    pub(super) fn sequence<'m>(
        &mut self,
        slot: Slot,
        messages: impl Iterator<Item = &'m [u8]>,
        event: EventHeader,
        out: &mut impl FnMut(Action<'_>) -> bool,
    ) -> u64 {
        let group = self.topics.get(slot).group;
        let (header, mut event) = self.headers(slot, event);
        let before = event.seq;
        for message in messages {
            if !self.packs.has_room(group, wire::align(message.len(), NLMSG_ALIGNTO)) {
                self.broadcast(Some(group), out);
            }
            event.seq += 1;
            let (place, bytes) = self.topics.append(slot, message);
            wire::stamp_event(bytes, header, &event);
            self.packs.push(group, place, 1, place.start);
        }
        self.counts.published += event.seq - before;
        event.seq
    }

    /// The same of a datagram of publishes that history keeps as it is.
    pub(super) fn sequence_whole(
        &mut self,
        slot: Slot,
        datagram: &mut Vec<u8>,
        event: EventHeader,
        out: &mut impl FnMut(Action<'_>) -> bool,
    ) -> u64 {
        let group = self.topics.get(slot).group;
        let (header, mut event) = self.headers(slot, event);
        let before = event.seq;
        let last = wire::stamp_publishes(datagram, header, &mut event);
        if !self.packs.has_room(group, datagram.len()) {
            self.broadcast(Some(group), out);
        }
        let events = event.seq - before;
        let place = self.topics.adopt(slot, datagram, events);
        self.packs.push(group, place, events, last);
        self.counts.published += events;
        event.seq
    }

    /// Sends what waits for a group, or for all.
    fn broadcast(&mut self, group: Option<u32>, out: &mut impl FnMut(Action<'_>) -> bool) {
        let Core { packs, topics, counts, .. } = self;
        let mut dropped = Vec::new();
        let mut send = |pack: Outgoing<'_>| {
            let taken = out(Action::Broadcast { group: pack.group, datagram: pack.datagram });
            if taken || pack.is_least {
                counts.broadcasts += 1;
            }
            if !taken && pack.is_least {
                counts.overruns += 1;
                dropped.extend(pack.events());
            }
            taken
        };
        match group {
            Some(group) => packs.send(group, topics.history_mut(), send),
            None => packs.flush(topics.history_mut(), &mut send),
        }
        for (topic, events) in dropped {
            topics.count_dropped(topic, events);
        }
    }

    /// Heartbeats and announcements whose time has come.
    fn say_what_is_due(&mut self, out: &mut impl FnMut(Action<'_>) -> bool) {
        let now = self.now.boot_ns;
        if self.closing {
            self.next_heartbeat_ns = None;
            return;
        }
        for announcement in self.announcer.announce(self.topics.last_id(), now) {
            self.publish_own(SYS_TOPICS, &announcement.to_bytes(), out);
        }
        self.say_who_is_there(out);
        if self.next_heartbeat_ns.is_some_and(|due| now >= due) {
            // The next one keeps the beat, unless that has passed as well: a suspended machine doesn't catch up.
            let interval = self.config.heartbeat_ns();
            let next = self.next_heartbeat_ns.map(|due| due.saturating_add(interval));
            self.next_heartbeat_ns = next.map(|next| if next > now { next } else { now.saturating_add(interval) });
            let heartbeat = Heartbeat {
                epoch: self.epoch,
                uptime_ns: now - self.start_ns,
                published: self.counts.published,
                overruns: self.counts.overruns,
                change: self.topics.change(),
                last_id: self.topics.last_id(),
                moved: self.announcer.announced(),
            };
            self.publish_own(SYS_HEARTBEAT, &heartbeat.to_bytes(), out);
        }
    }
}

/// The room of a list, for the requests of another datagram: collecting a `Vec`'s own iterator takes its allocation over.
fn emptied<'b>(mut requests: Vec<(Message<'_>, Request<'_>)>) -> Vec<(Message<'b>, Request<'b>)> {
    requests.clear();
    requests.into_iter().map(|_| unreachable!("it is empty")).collect()
}

/// A topic in words, as somebody named it who named it by its name.
pub(super) fn named(name: &str) -> String {
    format!("'{name}'")
}

/// `nlmsg_len` of a message that was read.
pub(super) fn length(message: &Message<'_>) -> u32 {
    (NLMSG_HDRLEN + message.body.len()) as u32
}

/// The refusal of a message.
pub(super) fn refused(message: &Message<'_>, refusal: Refusal) -> RefusedDatagram {
    RefusedDatagram { header: message.header, len: length(message), refusal }
}

#[cfg(test)]
mod tests;
