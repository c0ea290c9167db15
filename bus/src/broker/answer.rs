//! Answers to requests: `INFO`, `TOPIC` and `REPLAY`. The requests have been checked.

use super::core::{Action, Core, Endpoint, Sender, named};
use super::topics::Slot;
use crate::wire::uapi::{
    NETLINK_USERSOCK, NLBUS_DATAGRAM_MAX, NLBUS_EVENT_F_REPLAYED, NLBUS_MSG_EVENT, NLBUS_TOPIC_MAX, NLBUS_USER_GROUPS,
    NLBUS_VERSION, NLM_F_MULTI, NLMSG_ALIGNTO, NLMSG_HDRLEN,
};
use crate::wire::{
    self, BrokerKind, Counters, Header, Info, Refusal, ReplayEnd, ReplayRequest, Request, TopicDeleted, TopicKey,
    TopicPageEnd, TopicRequest, TopicSettings,
};
use nix::errno::Errno;

/// More than a `TOPIC` message that names a topic, and the closing one, take together.
const TOPIC_LEN_MAX: usize = 256 + NLBUS_TOPIC_MAX;

impl Core {
    pub(super) fn answer(
        &mut self,
        message: Header,
        request: &Request<'_>,
        sender: Sender,
        out: &mut impl FnMut(Action<'_>) -> bool,
    ) -> Result<(), Refusal> {
        let to = Header { portid: sender.port, ..message };
        let mut datagram = std::mem::take(&mut self.scratch);
        datagram.clear();
        let answered = self.write_answer(&mut datagram, to, request, sender, out);
        // To a will there is nothing to say but the ack.
        if answered.is_ok() && !datagram.is_empty() {
            out(sender.sent(&datagram));
        }
        self.scratch = datagram;
        answered
    }

    fn write_answer(
        &mut self,
        datagram: &mut Vec<u8>,
        to: Header,
        request: &Request<'_>,
        sender: Sender,
        out: &mut impl FnMut(Action<'_>) -> bool,
    ) -> Result<(), Refusal> {
        match request {
            Request::Info => wire::push_info(datagram, to, &self.info()),
            Request::Topic(request) => self.answer_topic(datagram, to, request, sender, out)?,
            Request::Replay(replay) => self.replay(datagram, to, replay, sender)?,
            Request::Will(will) => self.answer_will(will, sender)?,
            Request::Publish(_) | Request::Lost(_) => {}
        }
        Ok(())
    }

    fn answer_topic(
        &mut self,
        datagram: &mut Vec<u8>,
        to: Header,
        request: &TopicRequest<'_>,
        sender: Sender,
        out: &mut impl FnMut(Action<'_>) -> bool,
    ) -> Result<(), Refusal> {
        let slot = match *request {
            TopicRequest::List { cursor, since } => {
                self.list(datagram, to, cursor, since, sender);
                return Ok(());
            }
            TopicRequest::Delete(key) => {
                let slot = self.look_up_to_change(key, "deleting", sender)?;
                TopicDeleted { id: self.topics.get(slot).id }.push(datagram, to);
                self.delete(slot, out);
                return Ok(());
            }
            TopicRequest::Get(key) => self.look(key, sender)?,
            TopicRequest::Create { name, exclusive, settings } => match self.topics.find(name) {
                Some(_) if exclusive => return Err(Refusal::new(Errno::EEXIST, format!("topic '{name}' exists"))),
                Some(slot) => self.look_typed(slot, name, &settings, sender)?,
                None => self.create_checked(name, &settings, sender)?,
            },
            TopicRequest::Change { key, settings } => self.change_checked(key, &settings, sender)?,
        };
        self.topics.record(slot).push(datagram, to, false);
        Ok(())
    }

    fn create_checked(&mut self, name: &str, settings: &TopicSettings, sender: Sender) -> Result<Slot, Refusal> {
        let access = self.new_access(sender).with(settings, sender);
        let access = access.map_err(|(errno, why)| refuse(errno, &named(name), why))?;
        self.check_history(&named(name), settings.history)?;
        let charged = self.charged(sender);
        if self.room_for_topics(charged).0 == 0 {
            return Err(self.one_topic_too_many(name, charged));
        }
        let slot = self.create(name, access, charged);
        self.topics.set(slot, access, settings);
        Ok(slot)
    }

    fn change_checked(&mut self, key: TopicKey<'_>, settings: &TopicSettings, sender: Sender) -> Result<Slot, Refusal> {
        let slot = self.look_up_to_change(key, "changing", sender)?;
        let access = self.topics.get(slot).access.with(settings, sender);
        let access = access.map_err(|(errno, why)| refuse(errno, &in_words(key), why))?;
        self.check_history(&in_words(key), settings.history)?;
        self.change(slot, access, settings);
        Ok(slot)
    }

    fn look_up(&self, key: TopicKey<'_>) -> Result<Slot, Refusal> {
        let slot = match key {
            TopicKey::Name(name) => self.topics.find(name),
            TopicKey::Id(id) => self.topics.by_id(id),
        };
        slot.ok_or_else(|| Refusal::new(Errno::ENOENT, format!("there is no topic {}", in_words(key))))
    }

    /// A topic that the sender may be told of.
    fn look(&self, key: TopicKey<'_>, sender: Sender) -> Result<Slot, Refusal> {
        let slot = self.look_up(key)?;
        let access = self.topics.get(slot).access;
        if access.may_look(sender) { Ok(slot) } else { Err(access.denied(&in_words(key), "read", sender)) }
    }

    /// A topic that somebody would create: one that has no type gets his, if he may publish to it.
    fn look_typed(
        &mut self,
        slot: Slot,
        name: &str,
        settings: &TopicSettings,
        sender: Sender,
    ) -> Result<Slot, Refusal> {
        self.look(TopicKey::Name(name), sender)?;
        let access = self.topics.get(slot).access;
        if settings.type_name.is_some() && !self.topics.is_typed(slot) && access.may_write(sender) {
            self.change(slot, access, &TopicSettings { type_name: settings.type_name, ..TopicSettings::default() });
        }
        Ok(slot)
    }

    /// A topic that the sender may change, or delete.
    fn look_up_to_change(&self, key: TopicKey<'_>, what: &str, sender: Sender) -> Result<Slot, Refusal> {
        let slot = self.look_up(key)?;
        if self.topics.is_own(slot) {
            return Err(refuse(Errno::EACCES, &in_words(key), "it is the broker's own"));
        }
        if !self.topics.get(slot).access.may_change(sender) {
            let why = format!("{what} it takes its owner or root");
            return Err(refuse(Errno::EACCES, &in_words(key), &why));
        }
        Ok(slot)
    }

    /// Whether any topic may keep so much.
    fn check_history(&self, topic: &str, history: Option<u64>) -> Result<(), Refusal> {
        let most = self.config.history;
        match history {
            Some(history) if history > most => {
                let why = format!("{history} bytes are more than all histories may keep, {most}");
                Err(refuse(Errno::ERANGE, topic, &why))
            }
            _ => Ok(()),
        }
    }

    /// What the broker says of itself.
    pub(super) fn info(&self) -> Info {
        Info {
            version: NLBUS_VERSION,
            broker: BrokerKind::User,
            epoch: self.epoch,
            protocol: NETLINK_USERSOCK,
            publish_port: self.config.port,
            request_port: self.config.port + 1,
            groups: NLBUS_USER_GROUPS,
            uptime_ns: self.now.boot_ns - self.start_ns,
            clock_offset_ns: self.now.clock_offset_ns,
            heartbeat_ms: u32::try_from(self.config.heartbeat_ns() / 1_000_000).unwrap_or(u32::MAX),
            limits: self.config.limits(),
            counters: Counters {
                evicted: self.topics.history().evicted(),
                topics: u64::from(self.topics.len()),
                history: self.topics.history().bytes(),
                moved: self.announcer.announced(),
                clients: self.clients.len(),
                wills: self.clients.wills(),
                ..self.counts
            },
        }
    }

    /// A page of the topics that the sender may read. Those that he may not aren't there, for him.
    fn list(&self, datagram: &mut Vec<u8>, to: Header, cursor: u32, since: Option<u64>, sender: Sender) {
        let mut last = None;
        let mut more = None;
        let may_read = |slot: &Slot| self.topics.get(*slot).access.may_read(sender);
        for slot in self.topics.list(cursor, since).filter(may_read) {
            if datagram.len() + TOPIC_LEN_MAX > NLBUS_DATAGRAM_MAX {
                more = last;
                break;
            }
            self.topics.record(slot).push(datagram, to, true);
            last = Some(self.topics.get(slot).id);
        }
        let moved = self.announcer.announced();
        TopicPageEnd::new(self.topics.last_id(), self.topics.change(), moved, more).push(datagram, to);
    }

    fn replay(
        &mut self,
        datagram: &mut Vec<u8>,
        to: Header,
        replay: &ReplayRequest,
        sender: Sender,
    ) -> Result<(), Refusal> {
        if replay.epoch != self.epoch {
            return Err(Refusal::new(Errno::ESTALE, format!("epoch {:#x} is not this bus's", replay.epoch)));
        }
        let key = TopicKey::Id(replay.topic_id);
        let slot = self.look_up(key)?;
        let access = self.topics.get(slot).access;
        if !access.may_read(sender) {
            return Err(access.denied(&in_words(key), "read", sender));
        }
        let kept = self.topics.kept(slot);
        if replay.from > kept.end {
            let beyond = format!("from {} is beyond the next event, {}", replay.from, kept.end);
            return Err(Refusal::new(Errno::ERANGE, beyond));
        }
        let begin = self.topics.next_from(slot, replay.from);
        // None between is kept, though older ones may be.
        let first = if begin > replay.from { begin } else { kept.start };
        let mut next = begin;
        let limit = replay.limit.map_or(usize::MAX, |limit| limit as usize);
        let header = Header { kind: NLBUS_MSG_EVENT, flags: NLM_F_MULTI, ..to };
        for (seq, body) in self.topics.events(slot, next).take(limit) {
            let len = wire::align(NLMSG_HDRLEN + body.len(), NLMSG_ALIGNTO);
            // Or numbers follow that no event has: the rest is the next page's.
            if seq != next || datagram.len() + len + ReplayEnd::LEN > NLBUS_DATAGRAM_MAX {
                break;
            }
            wire::push_event_body(datagram, header, body, NLBUS_EVENT_F_REPLAYED);
            next = seq + 1;
        }
        let replayed = next - begin;
        self.counts.replayed += replayed;
        self.topics.count_replayed(slot, replayed);
        let end = ReplayEnd { topic_id: replay.topic_id, first, next, head: kept.end - 1 };
        end.push(datagram, to);
        Ok(())
    }
}

/// A topic as the request named it: whoever tries ids learns no names.
fn in_words(key: TopicKey<'_>) -> String {
    match key {
        TopicKey::Name(name) => named(name),
        TopicKey::Id(id) => format!("with id {id}"),
    }
}

fn refuse(errno: Errno, topic: &str, why: &str) -> Refusal {
    Refusal::new(errno, format!("topic {topic}: {why}"))
}

impl Endpoint {
    /// Its port id on a bus with this publish port.
    pub(super) fn port(self, publish_port: u32) -> u32 {
        match self {
            Endpoint::Publish => publish_port,
            Endpoint::Request => publish_port + 1,
        }
    }
}
