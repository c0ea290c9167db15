//! Answers to requests: `INFO`, `TOPIC` and `REPLAY`. The requests have been checked.

use super::core::{Action, Core, Endpoint, Sender};
use super::topics::TopicId;
use crate::wire::uapi::{
    NETLINK_USERSOCK, NLBUS_DATAGRAM_MAX, NLBUS_EVENT_F_REPLAYED, NLBUS_MSG_EVENT, NLBUS_TOPIC_MAX, NLBUS_USER_GROUPS,
    NLBUS_VERSION, NLM_F_MULTI, NLMSG_ALIGNTO, NLMSG_HDRLEN,
};
use crate::wire::{
    self, BrokerKind, Counters, Header, Info, Refusal, ReplayEnd, ReplayRequest, Request, TopicKey, TopicPageEnd,
    TopicRequest,
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
        let answered = self.write_answer(&mut datagram, to, request, sender);
        if answered.is_ok() {
            out(Action::Unicast { port: sender.port, from: sender.to, datagram: &datagram });
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
    ) -> Result<(), Refusal> {
        match request {
            Request::Info => wire::push_info(datagram, to, &self.info()),
            Request::Topic(TopicRequest::Create { name, exclusive }) => {
                match self.topics.find(name) {
                    Some(_) if *exclusive => {
                        return Err(Refusal::new(Errno::EEXIST, format!("topic '{name}' exists")));
                    }
                    None if self.room_for_topics() == 0 => return Err(self.one_topic_too_many(name)),
                    _ => {}
                }
                let id = self.find_or_create(name, sender);
                self.topics.record(id).push(datagram, to, false);
            }
            Request::Topic(TopicRequest::Get(key)) => {
                let id = self.look_up(*key)?;
                self.topics.record(id).push(datagram, to, false);
            }
            Request::Topic(TopicRequest::Change { key, history }) => {
                let id = self.look_up(*key)?;
                self.check_change(id, *history, sender)?;
                self.topics.set_history(id, *history);
                self.topics.record(id).push(datagram, to, false);
            }
            Request::Topic(TopicRequest::List { cursor, since }) => self.list(datagram, to, *cursor, *since),
            Request::Replay(replay) => self.replay(datagram, to, replay)?,
            Request::Will(_) => return Err(Refusal::new(Errno::EOPNOTSUPP, "this broker doesn't serve wills")),
            // It has its place among the events and no answer but its ack.
            Request::Publish(_) => {}
        }
        Ok(())
    }

    fn look_up(&self, key: TopicKey<'_>) -> Result<TopicId, Refusal> {
        let (id, what) = match key {
            TopicKey::Name(name) => (self.topics.find(name), format!("'{name}'")),
            TopicKey::Id(id) => (self.topics.by_id(id), format!("with id {id}")),
        };
        id.ok_or_else(|| Refusal::new(Errno::ENOENT, format!("there is no topic {what}")))
    }

    /// Whether the sender may have a topic keep so much. Of the sender's capabilities nothing is known but that root has
    /// them.
    fn check_change(&self, id: TopicId, history: u64, sender: Sender) -> Result<(), Refusal> {
        let topic = self.topics.get(id);
        if self.topics.is_own(id) || (sender.uid != 0 && sender.uid != topic.owner.uid) {
            let why = format!("topic '{}': changing it takes its owner or root", self.topics.name(id));
            return Err(Refusal::new(Errno::EACCES, why));
        }
        if history > self.config.history {
            let most = self.config.history;
            let name = self.topics.name(id);
            let why = format!("topic '{name}': {history} bytes are more than all histories may keep, {most}");
            return Err(Refusal::new(Errno::ERANGE, why));
        }
        Ok(())
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
                ..self.counts
            },
        }
    }

    fn list(&self, datagram: &mut Vec<u8>, to: Header, cursor: u32, since: Option<u64>) {
        let mut last = None;
        let mut more = None;
        for id in self.topics.list(cursor, since) {
            if datagram.len() + TOPIC_LEN_MAX > NLBUS_DATAGRAM_MAX {
                more = last;
                break;
            }
            self.topics.record(id).push(datagram, to, true);
            last = Some(id.get());
        }
        TopicPageEnd::new(self.topics.len(), self.topics.change(), more).push(datagram, to);
    }

    fn replay(&mut self, datagram: &mut Vec<u8>, to: Header, replay: &ReplayRequest) -> Result<(), Refusal> {
        if replay.epoch != self.epoch {
            return Err(Refusal::new(Errno::ESTALE, format!("epoch {:#x} is not this bus's", replay.epoch)));
        }
        let Some(id) = self.topics.by_id(replay.topic_id) else {
            return Err(Refusal::new(Errno::ENOENT, format!("there is no topic with id {}", replay.topic_id)));
        };
        if replay.from > self.topics.head(id) + 1 {
            let beyond = format!("from {} is beyond the next event, {}", replay.from, self.topics.head(id) + 1);
            return Err(Refusal::new(Errno::ERANGE, beyond));
        }
        let kept = self.topics.kept(id);
        let mut next = replay.from.max(kept.start);
        let limit = replay.limit.map_or(usize::MAX, |limit| limit as usize);
        let header = Header { kind: NLBUS_MSG_EVENT, flags: NLM_F_MULTI, ..to };
        for (seq, body) in self.topics.events(id, next).take(limit) {
            let len = wire::align(NLMSG_HDRLEN + body.len(), NLMSG_ALIGNTO);
            if datagram.len() + len + ReplayEnd::LEN > NLBUS_DATAGRAM_MAX {
                break;
            }
            wire::push_event_body(datagram, header, body, NLBUS_EVENT_F_REPLAYED);
            next = seq + 1;
        }
        let replayed = next - replay.from.max(kept.start);
        self.counts.replayed += replayed;
        self.topics.count_replayed(id, replayed);
        let end = ReplayEnd { topic_id: id.get(), first: kept.start, next, head: kept.end - 1 };
        end.push(datagram, to);
        Ok(())
    }
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
