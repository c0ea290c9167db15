//! The broker as a pure function of (frame, sender, now): no sockets, no clocks, no chance. It is the executable
//! model of the kernel module, too.
//!
//! [`Core::accept`] takes one datagram: it checks all of it before it does any of it, sequences its events into packs, of
//! which it sends those that are full, and answers its requests. [`Core::flush`] sends the others, and then the acks that
//! wait for that, so that an ack says that every subscriber's socket took the event or counted a drop. Whoever drives it
//! accepts what waits and then flushes.

use super::config::Config;
use super::pack::{Outgoing, Packs};
use super::topics::{Owner, SYS_CLOSING, SYS_HEARTBEAT, SYS_TOPICS, TopicId, Topics};
use crate::history;
use crate::wire::uapi::{
    NLBUS_CONTENT_BINCODE, NLBUS_MSG_EVENT, NLBUS_USER_GROUPS, NLM_F_ACK, NLM_F_MULTI, NLMSG_ALIGNTO, NLMSG_HDRLEN,
};
use crate::wire::{
    self, Counters, EventHeader, Header, Heartbeat, Message, PublishRun, Refusal, RefusedDatagram, Request,
    TopicsAnnouncement,
};
use nix::errno::Errno;
use std::collections::HashSet;
use std::io::IoSlice;

/// Memory for a datagram: longer than any may be, so that one that is too long shows; and as long as a segment of history, which
/// it can become.
pub(super) const MEMORY: usize = history::SEGMENT_MAX;

/// Announcements of new topics are at least this far apart.
const ANNOUNCE_NS: u64 = 20_000_000;

/// Which of the broker's two port ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// Takes publishes, sends events.
    Publish,
    /// Takes and answers requests.
    Request,
}

/// Who sent a datagram, and to which endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sender {
    pub(super) port: u32,
    pub(super) pid: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) to: Endpoint,
}

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
    /// Send to a client from the endpoint that it wrote to.
    Unicast { port: u32, from: Endpoint, datagram: &'a [u8] },
}

/// An ack that waits for its event's broadcast.
#[derive(Debug)]
struct PendingAck {
    sender: Sender,
    to: Header,
    len: u32,
    seq: u64,
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
    acks: Vec<PendingAck>,
    /// Room for what a datagram asks for.
    requests: Vec<(Message<'static>, Request<'static>)>,
    /// Answers are encoded here.
    pub(super) scratch: Vec<u8>,
    pub(super) counts: Counters,
    next_heartbeat_ns: Option<u64>,
    /// There are topics that no announcement has named, and the next one goes out at `announce_ns`.
    announce: bool,
    announce_ns: u64,
    closing: bool,
}

impl Core {
    /// A new bus. The epoch is random and not 0.
    pub(super) fn new(config: Config, epoch: u64, now: Now) -> Core {
        let owner = Owner { uid: config.uid, gid: config.gid };
        let interval = config.heartbeat_ns();
        Core {
            topics: Topics::new(config.history, config.topic_history, owner),
            packs: Packs::new(NLBUS_USER_GROUPS, config.pack),
            acks: Vec::new(),
            requests: Vec::new(),
            scratch: Vec::new(),
            counts: Counters::default(),
            next_heartbeat_ns: (interval != 0).then(|| now.boot_ns.saturating_add(interval)),
            announce: false,
            announce_ns: 0,
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
        match checked.and_then(|()| self.check_publishes(&requests)) {
            Ok(()) => {
                whole = self.find_whole(&requests, datagram, sender);
                // As the module does, and as was checked: a request of the same datagram can't take a publish's room.
                for publishes in [true, false].into_iter().filter(|_| whole.is_none()) {
                    for (message, request) in &requests {
                        if matches!(request, Request::Publish(_)) == publishes {
                            self.execute(message, request, sender, out);
                        }
                    }
                }
            }
            Err(refused) => self.refuse(&refused, sender, out),
        }
        self.requests = emptied(requests);
        if let Some((id, last, len)) = whole {
            let seq = self.sequence_whole(id, datagram, event_of(sender), out);
            self.note_ack(sender, last, len, seq);
        }
    }

    /// The topic of a datagram that is one run and that history can keep as it is; with the last message's header and length.
    fn find_whole(
        &mut self,
        requests: &[(Message<'_>, Request<'_>)],
        datagram: &Vec<u8>,
        sender: Sender,
    ) -> Option<(TopicId, Header, u32)> {
        let [(_, Request::Publish(run))] = requests else { return None };
        if !history::is_segment(datagram) || datagram.len() > self.config.pack {
            return None;
        }
        let id = self.find_or_create(run.topic, sender);
        let (last, len) = run.last();
        self.topics.adopts(id).then_some((id, last, len))
    }

    /// Sends what was accepted and is due: packs, then acks. Then history keeps within its limits.
    pub(super) fn flush(&mut self, now: Now, out: &mut impl FnMut(Action<'_>) -> bool) {
        self.advance(now);
        self.say_what_is_due(out);
        self.broadcast(None, out);
        self.topics.settle();
        for ack in self.acks.drain(..) {
            self.scratch.clear();
            wire::push_ack(&mut self.scratch, ack.to, ack.len, Some(ack.seq));
            out(Action::Unicast { port: ack.sender.port, from: ack.sender.to, datagram: &self.scratch });
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
        let announce = self.announce.then_some(self.announce_ns);
        [self.next_heartbeat_ns, announce].into_iter().flatten().min()
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

    /// Whether the publishes of a datagram can be accepted, all of them: what else is wrong with them is told by their
    /// bytes alone.
    fn check_publishes(&self, requests: &[(Message<'_>, Request<'_>)]) -> Result<(), RefusedDatagram> {
        if let (true, Some((message, _))) = (self.closing, requests.first()) {
            return Err(refused(message, Refusal::new(Errno::ESHUTDOWN, "the bus is closing")));
        }
        // The path of nearly all publishes: there is room for as many topics as the datagram could create.
        let room = self.room_for_topics();
        if requests.len() <= room {
            return Ok(());
        }
        let mut created: HashSet<&str> = HashSet::new();
        for (message, request) in requests {
            let Request::Publish(PublishRun { topic, .. }) = request else { continue };
            if self.topics.find(topic).is_none() && created.insert(topic) && created.len() > room {
                return Err(refused(message, self.one_topic_too_many(topic)));
            }
        }
        Ok(())
    }

    /// How many topics may still be created.
    pub(super) fn room_for_topics(&self) -> usize {
        self.config.topics_max.saturating_sub(self.topics.len()) as usize
    }

    pub(super) fn one_topic_too_many(&self, name: &str) -> Refusal {
        let text = format!("topic '{name}' would be one too many: the limit is {}", self.config.topics_max);
        Refusal::new(Errno::ENOSPC, text)
    }

    fn execute(
        &mut self,
        message: &Message<'_>,
        request: &Request<'_>,
        sender: Sender,
        out: &mut impl FnMut(Action<'_>) -> bool,
    ) {
        if let Request::Publish(run) = request {
            let id = self.find_or_create(run.topic, sender);
            let seq = self.sequence(id, run.messages(), event_of(sender), out);
            let (last, len) = run.last();
            return self.note_ack(sender, last, len, seq);
        }
        if let Err(refusal) = self.answer(message.header, request, sender, out) {
            return self.refuse(&refused(message, refusal), sender, out);
        }
        if message.header.flags & NLM_F_ACK != 0 {
            self.scratch.clear();
            wire::push_ack(&mut self.scratch, message.header, length(message), None);
            out(Action::Unicast { port: sender.port, from: sender.to, datagram: &self.scratch });
        }
    }

    fn refuse(&mut self, refused: &RefusedDatagram, sender: Sender, out: &mut impl FnMut(Action<'_>) -> bool) {
        self.counts.refused += 1;
        self.scratch.clear();
        wire::push_refusal(&mut self.scratch, refused.header, refused.len, &refused.refusal);
        out(Action::Unicast { port: sender.port, from: sender.to, datagram: &self.scratch });
    }

    /// The topic of a name, which is created if need be: the datagram has been checked.
    pub(super) fn find_or_create(&mut self, name: &str, sender: Sender) -> TopicId {
        if let Some(id) = self.topics.find_again(name) {
            return id;
        }
        self.announce = true;
        self.topics.create(name, Owner { uid: sender.uid, gid: sender.gid })
    }

    /// If the last message of a run asks for an ack: it waits for the broadcast.
    fn note_ack(&mut self, sender: Sender, to: Header, len: u32, seq: u64) {
        if to.flags & NLM_F_ACK != 0 {
            self.acks.push(PendingAck { sender, to, len, seq });
        }
    }

    fn publish_own(&mut self, id: TopicId, payload: &[u8], out: &mut impl FnMut(Action<'_>) -> bool) {
        let Config { pid, uid, .. } = self.config;
        let event = EventHeader { pid, uid, content: NLBUS_CONTENT_BINCODE, ..EventHeader::default() };
        let mut message = std::mem::take(&mut self.scratch);
        message.clear();
        wire::push_event(&mut message, Header::default(), &event, self.topics.name(id), payload);
        self.sequence(id, [&message[..]].into_iter(), event, out);
        self.scratch = message;
    }

    /// The headers of a topic's next events; of the number, the newest one's.
    fn headers(&self, id: TopicId, event: EventHeader) -> (Header, EventHeader) {
        let header = Header { kind: NLBUS_MSG_EVENT, flags: NLM_F_MULTI, seq: self.epoch as u32, portid: 0 };
        (header, EventHeader { seq: self.topics.head(id), time_ns: self.now.boot_ns, topic_id: id.get(), ..event })
    }

    /// Gives events of a topic their numbers and time, keeps them, and puts them where the next flush takes them. Returns the
    /// last one's number.
    fn sequence<'m>(
        &mut self,
        id: TopicId,
        messages: impl Iterator<Item = &'m [u8]>,
        event: EventHeader,
        out: &mut impl FnMut(Action<'_>) -> bool,
    ) -> u64 {
        let group = self.topics.get(id).group;
        let (header, mut event) = self.headers(id, event);
        let before = event.seq;
        for message in messages {
            if !self.packs.has_room(group, wire::align(message.len(), NLMSG_ALIGNTO)) {
                self.broadcast(Some(group), out);
            }
            event.seq += 1;
            let (place, bytes) = self.topics.append(id, message);
            wire::stamp_event(bytes, header, &event);
            self.packs.push(group, place, 1, place.start);
        }
        self.counts.published += event.seq - before;
        event.seq
    }

    /// The same of a datagram of publishes that history keeps as it is.
    fn sequence_whole(
        &mut self,
        id: TopicId,
        datagram: &mut Vec<u8>,
        event: EventHeader,
        out: &mut impl FnMut(Action<'_>) -> bool,
    ) -> u64 {
        let group = self.topics.get(id).group;
        let (header, mut event) = self.headers(id, event);
        let before = event.seq;
        let last = wire::stamp_publishes(datagram, header, &mut event);
        if !self.packs.has_room(group, datagram.len()) {
            self.broadcast(Some(group), out);
        }
        let events = event.seq - before;
        let place = self.topics.adopt(id, datagram, events);
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
            self.announce = false;
        }
        if self.announce && now >= self.announce_ns {
            self.announce = false;
            self.announce_ns = now + ANNOUNCE_NS;
            self.publish_own(SYS_TOPICS, &TopicsAnnouncement { last_id: self.topics.len() }.to_bytes(), out);
        }
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
                last_id: self.topics.len(),
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

/// What the header of an event says of its sender. Of the publisher's flags none is about the event itself.
fn event_of(sender: Sender) -> EventHeader {
    let Sender { port: portid, pid, uid, .. } = sender;
    EventHeader { portid, pid, uid, ..EventHeader::default() }
}

/// `nlmsg_len` of a message that was read.
fn length(message: &Message<'_>) -> u32 {
    (NLMSG_HDRLEN + message.body.len()) as u32
}

/// The refusal of a message.
fn refused(message: &Message<'_>, refusal: Refusal) -> RefusedDatagram {
    RefusedDatagram { header: message.header, len: length(message), refusal }
}

#[cfg(test)]
mod tests;
