//! The broker as a pure function of (frame, sender, now): no sockets, no clocks, no chance. It is the executable
//! model of the kernel module, too.
//!
//! [`Core::accept`] takes one datagram: it checks all of it before it does any of it, sequences its events into packs
//! and answers its requests. [`Core::flush`] sends the packs, and then the acks that wait for that, so that an ack says that
//! every subscriber's socket took the event or counted a drop. Whoever drives it accepts what waits and then flushes.

use super::config::Config;
use super::pack::Packs;
use super::topics::{Owner, SYS_CLOSING, SYS_HEARTBEAT, SYS_TOPICS, TopicId, Topics};
use crate::wire::uapi::{NLBUS_CONTENT_BINCODE, NLBUS_USER_GROUPS, NLM_F_ACK, NLMSG_HDRLEN};
use crate::wire::{
    self, Counters, EventHeader, Header, Heartbeat, Message, PublishView, Refusal, RefusedDatagram, Request,
    TopicsAnnouncement,
};
use nix::errno::Errno;
use std::collections::HashSet;

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

/// What the driver is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action<'a> {
    /// Send to a multicast group, from the publish endpoint.
    Broadcast { group: u32, datagram: &'a [u8] },
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
            packs: Packs::new(NLBUS_USER_GROUPS, config.pack, epoch),
            acks: Vec::new(),
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

    /// Takes a datagram from a client: all of it, or none and refuses it.
    pub(super) fn accept(&mut self, datagram: &[u8], sender: Sender, now: Now, out: &mut impl FnMut(Action<'_>)) {
        self.advance(now);
        let checked = wire::check_datagram(datagram);
        let checked = checked.and_then(|requests| self.check_publishes(&requests).map(|()| requests));
        match checked {
            Ok(requests) => {
                // As the module does, and as was checked: a request of the same datagram can't take a publish's room.
                for publishes in [true, false] {
                    for (message, request) in &requests {
                        if matches!(request, Request::Publish(_)) == publishes {
                            self.execute(message, request, sender, out);
                        }
                    }
                }
            }
            Err(refused) => self.refuse(&refused, sender, out),
        }
    }

    /// Sends what was accepted and is due: packs, then acks.
    pub(super) fn flush(&mut self, now: Now, out: &mut impl FnMut(Action<'_>)) {
        self.advance(now);
        self.say_what_is_due();
        let count = self.packs.drain(|group, datagram| out(Action::Broadcast { group, datagram }));
        self.counts.broadcasts += count as u64;
        for ack in self.acks.drain(..) {
            self.scratch.clear();
            wire::push_ack(&mut self.scratch, ack.to, ack.len, Some(ack.seq));
            out(Action::Unicast { port: ack.sender.port, from: ack.sender.to, datagram: &self.scratch });
        }
    }

    /// Says that the bus closes. What comes later is refused; one more flush sends what is left.
    pub(super) fn close(&mut self, now: Now) {
        self.advance(now);
        if !self.closing {
            self.publish_own(SYS_CLOSING, &[]);
            self.closing = true;
        }
    }

    /// When [`flush`](Self::flush) has something to say by itself, in `CLOCK_BOOTTIME` nanoseconds.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let announce = self.announce.then_some(self.announce_ns);
        [self.next_heartbeat_ns, announce].into_iter().flatten().min()
    }

    /// A broadcast failed, as far as the driver can tell: of these topics, one for each event.
    pub(super) fn count_overrun(&mut self, topics: impl Iterator<Item = u32>) {
        self.counts.overruns += 1;
        for id in topics {
            if let Some(id) = self.topics.by_id(id) {
                self.topics.count_dropped(id);
            }
        }
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
            let Request::Publish(PublishView { topic, .. }) = request else { continue };
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
        out: &mut impl FnMut(Action<'_>),
    ) {
        let (len, ack) = (length(message), message.header.flags & NLM_F_ACK != 0);
        if let Request::Publish(publish) = request {
            let seq = self.publish(publish, sender);
            if ack {
                self.acks.push(PendingAck { sender, to: message.header, len, seq });
            }
            return;
        }
        if let Err(refusal) = self.answer(message.header, request, sender, out) {
            return self.refuse(&refused(message, refusal), sender, out);
        }
        if ack {
            self.scratch.clear();
            wire::push_ack(&mut self.scratch, message.header, len, None);
            out(Action::Unicast { port: sender.port, from: sender.to, datagram: &self.scratch });
        }
    }

    fn refuse(&mut self, refused: &RefusedDatagram, sender: Sender, out: &mut impl FnMut(Action<'_>)) {
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

    fn publish(&mut self, publish: &PublishView<'_>, sender: Sender) -> u64 {
        let id = self.find_or_create(publish.topic, sender);
        // Of the publisher's flags none is about the event itself.
        let event = EventHeader {
            portid: sender.port,
            pid: sender.pid,
            uid: sender.uid,
            content: publish.content,
            ..EventHeader::default()
        };
        self.sequence(id, event, publish.payload)
    }

    fn publish_own(&mut self, id: TopicId, payload: &[u8]) {
        let Config { pid, uid, .. } = self.config;
        let event = EventHeader { pid, uid, content: NLBUS_CONTENT_BINCODE, ..EventHeader::default() };
        self.sequence(id, event, payload);
    }

    /// Gives an event its number and time, keeps it, and puts it where the next flush takes it.
    fn sequence(&mut self, id: TopicId, event: EventHeader, payload: &[u8]) -> u64 {
        let topic = self.topics.get(id);
        let seq = self.topics.head(id) + 1;
        let event = EventHeader { seq, time_ns: self.now.boot_ns, topic_id: id.get(), ..event };
        let body = self.packs.push(topic.group, &event, &topic.name, payload);
        self.counts.published += 1;
        self.topics.append(id, body)
    }

    /// Heartbeats and announcements whose time has come.
    fn say_what_is_due(&mut self) {
        let now = self.now.boot_ns;
        if self.closing {
            self.next_heartbeat_ns = None;
            self.announce = false;
        }
        if self.announce && now >= self.announce_ns {
            self.announce = false;
            self.announce_ns = now + ANNOUNCE_NS;
            self.publish_own(SYS_TOPICS, &TopicsAnnouncement { last_id: self.topics.len() }.to_bytes());
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
            self.publish_own(SYS_HEARTBEAT, &heartbeat.to_bytes());
        }
    }
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
