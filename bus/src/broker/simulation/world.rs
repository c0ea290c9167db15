//! The broker's core, two hosts and the network between them.

use super::consumer::{Consumer, Existing, Seen};
use super::{FILTERS, FLOODED, SOCKET, Step, TOPICS};
use crate::broker::config::Config;
use crate::broker::core::{Action, Core, Endpoint, Now, Sender};
use crate::broker::pack::join;
use crate::client::{Client, Opening, Output, Refused};
use crate::inlet::inlet;
use crate::intake::{Faults, Intake};
use crate::topic::Filter;
use crate::wire::{Content, TopicKey, TopicRequest, TopicSettings, push_lost, push_publish};
use bytes::Bytes;
use crossbeam_channel::bounded;
use nix::errno::Errno;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ROOT: u32 = 0;
/// Whose topics keep no more than this, and make nobody else's keep less.
const FLOODER: u32 = 2000;
const FLOOD_HISTORY: u64 = 4 << 10;

struct Host {
    client: Client,
    port: u32,
    /// The first one is root's.
    uid: u32,
    groups: BTreeSet<u32>,
    events: VecDeque<Bytes>,
    drops: u32,
    replies: VecDeque<Bytes>,
    reconnect: bool,
    /// A consumer made room, and the client doesn't know yet.
    woken: Arc<AtomicBool>,
    /// What happens to events and to replies between the socket and the client.
    intakes: [Intake; 2],
}

pub(super) struct World {
    core: Core,
    now: Now,
    instant: Instant,
    epoch: u64,
    hosts: Vec<Host>,
    consumers: Vec<Consumer>,
    heads: BTreeMap<String, u64>,
    /// Topics that root alone may read, and whether he still is the only one.
    restricted: BTreeMap<String, bool>,
}

impl World {
    pub(super) fn new(seed: Option<u64>) -> World {
        let now = Now::default();
        let host = |at| Host {
            client: Client::new(1),
            port: 100 + at,
            uid: 1000 * at,
            groups: BTreeSet::new(),
            events: VecDeque::new(),
            drops: 0,
            replies: VecDeque::new(),
            reconnect: false,
            woken: Arc::default(),
            intakes: [0, 1].map(|way| {
                seed.map_or_else(Intake::default, |seed| Intake::with(Faults::new(seed ^ u64::from(2 * at + way))))
            }),
        };
        World {
            core: Core::new(World::config(), 1, now),
            now,
            instant: Instant::now(),
            epoch: 1,
            hosts: (0..2u32).map(host).collect(),
            consumers: Vec::new(),
            heads: BTreeMap::new(),
            restricted: BTreeMap::new(),
        }
    }

    /// A history of some thirty events, so that some are gone when they are asked for.
    fn config() -> Config {
        // Nothing may depend on heartbeats: a broker may have none.
        let heartbeat = Duration::ZERO;
        Config {
            topic_history: 4 << 10,
            history: 12 << 10,
            user_history: Some(FLOOD_HISTORY),
            heartbeat,
            ..Config::default()
        }
    }

    fn route(hosts: &mut [Host], action: Action<'_>) -> bool {
        match action {
            Action::Broadcast { group, datagram } => {
                let datagram = Bytes::from(join(datagram));
                for host in hosts.iter_mut().filter(|host| host.groups.contains(&group)) {
                    if host.events.len() < SOCKET {
                        host.events.push_back(datagram.clone());
                    } else {
                        host.drops += 1;
                    }
                }
            }
            Action::Unicast { port, datagram, .. } => {
                for host in hosts.iter_mut().filter(|host| host.port == port) {
                    host.replies.push_back(Bytes::copy_from_slice(datagram));
                }
            }
        }
        true
    }

    fn carry_out(&mut self) {
        for at in 0..self.hosts.len() {
            while let Some(output) = self.hosts[at].client.next_output() {
                match output {
                    Output::Send(datagram) => {
                        let Host { port, uid, .. } = self.hosts[at];
                        let sender = Sender { port, pid: 1, uid, gid: uid, to: Endpoint::Request };
                        self.core.accept(&mut datagram.to_vec(), sender, self.now, &mut |action| {
                            World::route(&mut self.hosts, action)
                        });
                    }
                    Output::Join(group) => drop(self.hosts[at].groups.insert(group)),
                    Output::Leave(group) => drop(self.hosts[at].groups.remove(&group)),
                    Output::Answer(..) => {}
                    Output::Reconnect => self.hosts[at].reconnect = true,
                }
            }
        }
        self.consumers.retain_mut(|consumer| match consumer.opener.try_recv() {
            Ok(Ok(_)) => {
                consumer.opened = Some(self.heads.clone());
                true
            }
            Ok(Err(refused)) => {
                let is_denied = matches!(&refused, Refused::Broker(refusal) if refusal.errno == Errno::EACCES);
                assert!(refused == Refused::TimedOut || (is_denied && !consumer.privileged), "{refused:?}");
                false
            }
            Err(_) => true,
        });
    }

    fn find_broker(&mut self) {
        for host in self.hosts.iter_mut().filter(|host| host.reconnect) {
            host.reconnect = false;
            host.groups.clear();
            host.events.clear();
            host.replies.clear();
            host.drops = 0;
            host.intakes.iter_mut().for_each(Intake::clear);
            host.client.restarted(self.epoch, self.instant);
        }
        self.carry_out();
    }

    pub(super) fn take(&mut self, step: &Step) {
        match *step {
            Step::Publish { topic, count, bytes } => {
                self.publish(ROOT, (0..count).map(|_| TOPICS[topic].to_owned()), bytes);
            }
            Step::Lose { topic, numbers, count } => {
                let mut datagram = Vec::new();
                push_lost(&mut datagram, 1, false, 0, TOPICS[topic], numbers);
                *self.heads.entry(TOPICS[topic].to_owned()).or_default() += numbers;
                self.publish_behind(datagram, ROOT, (0..count).map(|_| TOPICS[topic].to_owned()), 10);
            }
            Step::Flood { topics } => self.publish(FLOODER, (0..topics).map(|at| format!("f/{at}")), 10),
            Step::Create { topic } => {
                self.ask(TopicRequest::create(TOPICS[topic]));
                self.heads.entry(TOPICS[topic].to_owned()).or_default();
            }
            Step::Delete { topic } => {
                self.ask(TopicRequest::Delete(TopicKey::Name(TOPICS[topic])));
                self.heads.remove(TOPICS[topic]);
                self.restricted.remove(TOPICS[topic]);
                // Whatever bears the name next is newer than these.
                for consumer in &mut self.consumers {
                    consumer.asked.remove(TOPICS[topic]);
                    consumer.opened.as_mut().and_then(|heads| heads.remove(TOPICS[topic]));
                }
            }
            Step::Restrict { topic, restricted } => {
                let key = TopicKey::Name(TOPICS[topic]);
                let mode = Some(if restricted { 0o600 } else { 0o644 });
                self.ask(TopicRequest::Change { key, settings: TopicSettings { mode, ..TopicSettings::default() } });
                if self.heads.contains_key(TOPICS[topic]) {
                    self.restricted.insert(TOPICS[topic].to_owned(), restricted);
                }
            }
            Step::Flush => self.core.flush(self.now, &mut |action| World::route(&mut self.hosts, action)),
            Step::Open { client, filter, capacity, start, overflow } => {
                let woken = Arc::clone(&self.hosts[client].woken);
                let wake = Arc::new(move || woken.store(true, Ordering::Relaxed));
                let (inlet, outlet) = inlet(overflow, capacity, wake);
                let (opener, opened) = bounded(1);
                let filter = Filter::new(FILTERS[filter]).unwrap();
                self.consumers.push(Consumer {
                    filter: filter.clone(),
                    privileged: self.hosts[client].uid == 0,
                    start,
                    overflow,
                    asked: self.heads.clone(),
                    opened: None,
                    opener: opened,
                    batches: outlet.batches,
                    counts: outlet.counts,
                    delivered: 0,
                    lost: 0,
                    seen: Seen::new(),
                    epoch: self.epoch,
                    restarted: false,
                });
                let opening = Opening { filter, start, resume: None, type_name: None, inlet, opener };
                self.hosts[client].client.open(opening, self.instant);
            }
            Step::ReadReplies { client } => {
                self.read_replies(client);
            }
            Step::ReadEvents { client, count } => {
                self.read_events(client, count);
            }
            Step::LoseReply { client } => drop(self.hosts[client].replies.pop_front()),
            Step::Consume { subscription, batches } => {
                if let Some(consumer) = self.consumers.get_mut(subscription) {
                    consumer.consume(batches);
                }
            }
            Step::Pass { millis } => self.pass(millis),
            Step::Restart => {
                self.epoch += 1;
                self.heads.clear();
                self.restricted.clear();
                for consumer in self.consumers.iter_mut().filter(|consumer| consumer.opened.is_none()) {
                    // Whether it is told of the restart depends on whether it was told anything before.
                    consumer.asked.clear();
                }
                self.core = Core::new(World::config(), self.epoch, self.now);
                for host in &mut self.hosts {
                    host.client.disconnect();
                }
                self.carry_out();
                self.find_broker();
            }
        }
        self.carry_out();
    }

    /// A request of root's.
    fn ask(&mut self, request: TopicRequest<'_>) {
        let mut datagram = Vec::new();
        request.push(&mut datagram, 1);
        let sender = Sender { port: 7, pid: 1, uid: ROOT, gid: 0, to: Endpoint::Request };
        self.core.accept(&mut datagram, sender, self.now, &mut |action| World::route(&mut self.hosts, action));
    }

    /// Events of a user in one datagram.
    fn publish(&mut self, uid: u32, topics: impl Iterator<Item = String>, bytes: usize) {
        self.publish_behind(Vec::new(), uid, topics, bytes);
    }

    /// The same, behind what the datagram has.
    fn publish_behind(&mut self, mut datagram: Vec<u8>, uid: u32, topics: impl Iterator<Item = String>, bytes: usize) {
        for topic in topics {
            push_publish(&mut datagram, 1, false, 0, Content::Opaque, &topic, &vec![0; bytes]);
            *self.heads.entry(topic).or_default() += 1;
        }
        let sender = Sender { port: 7, pid: 1, uid, gid: uid, to: Endpoint::Publish };
        self.core.accept(&mut datagram, sender, self.now, &mut |action| World::route(&mut self.hosts, action));
    }

    fn read_replies(&mut self, at: usize) -> bool {
        let Host { replies, intakes: [_, intake], client, .. } = &mut self.hosts[at];
        let Some(datagram) = replies.pop_front() else { return false };
        intake.take(datagram, false, self.instant, |datagram, _| client.replies(&datagram, self.instant));
        self.carry_out();
        true
    }

    fn read_events(&mut self, at: usize, count: usize) -> bool {
        let Host { events, drops, intakes: [intake, _], client, .. } = &mut self.hosts[at];
        let mut any = false;
        for _ in 0..count {
            let Some(datagram) = events.pop_front() else {
                client.dropped(*drops + intake.drops(), self.instant);
                break;
            };
            any = true;
            intake.take(datagram, false, self.instant, |datagram, cut| client.events(&datagram, cut, self.instant));
        }
        client.finish(self.instant);
        self.carry_out();
        any
    }

    fn pass(&mut self, millis: u64) {
        self.now.boot_ns += millis * 1_000_000;
        self.instant += Duration::from_millis(millis);
        for Host { client, intakes: [events, replies], drops, woken, .. } in &mut self.hosts {
            events.pass(self.instant, |datagram, cut| client.events(&datagram, cut, self.instant));
            replies.pass(self.instant, |datagram, _| client.replies(&datagram, self.instant));
            client.dropped(*drops + events.drops(), self.instant);
            if woken.swap(false, Ordering::Relaxed) {
                client.room(self.instant);
            }
            client.tick(self.instant);
        }
        self.carry_out();
        self.core.flush(self.now, &mut |action| World::route(&mut self.hosts, action));
    }

    /// Lets everything happen that is under way. What went wrong before has to be made good without another mishap.
    fn settle(&mut self) {
        for intake in self.hosts.iter_mut().flat_map(|host| &mut host.intakes) {
            intake.calm();
        }
        // The longest silence is a request that was lost: its deadline passes within these rounds.
        for _ in 0..60 {
            self.pass(200);
            loop {
                let mut any = false;
                for at in 0..self.hosts.len() {
                    any |= self.read_replies(at);
                    any |= self.read_events(at, SOCKET + 1);
                }
                for consumer in &mut self.consumers {
                    any |= consumer.consume(usize::MAX);
                }
                for Host { client, woken, .. } in &mut self.hosts {
                    if woken.swap(false, Ordering::Relaxed) {
                        client.room(self.instant);
                    }
                }
                self.carry_out();
                if !any {
                    break;
                }
            }
        }
    }

    /// What is there, and one more event of each topic, which all who may have to be given.
    pub(super) fn end(&mut self) -> Result<(), TestCaseError> {
        self.settle();
        let names: Vec<String> = self.heads.keys().cloned().collect();
        for name in names {
            self.publish(ROOT, std::iter::once(name), 1);
        }
        self.settle();
        let flood: Vec<_> = (0..FLOODED).filter_map(|at| self.core.topics.find(&format!("f/{at}"))).collect();
        let bytes: u64 = flood.iter().map(|slot| self.core.topics.record(*slot).bytes).sum();
        prop_assert!(bytes <= FLOOD_HISTORY, "{} bytes", bytes);
        let topics = self.heads.iter().map(|(name, head)| {
            let slot = self.core.topics.find(name).expect("a topic");
            let (restricted, was_restricted) =
                (self.restricted.get(name) == Some(&true), self.restricted.contains_key(name));
            (name.clone(), Existing { id: self.core.topics.get(slot).id, head: *head, restricted, was_restricted })
        });
        let topics = topics.collect();
        self.consumers.iter().try_for_each(|consumer| consumer.check(self.epoch, &topics))
    }
}
