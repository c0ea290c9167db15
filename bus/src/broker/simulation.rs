//! The broker's core and several clients, wired together in memory: a network that drops what doesn't fit,
//! consumers that read when they please, time that moves when it is told to. What the promises say of order and
//! loss must hold whatever happens, and a failure shrinks to the few steps that make it.

use super::config::Config;
use super::core::{Action, Core, Endpoint, Now, Sender};
use crate::batch::Batch;
use crate::client::{Client, Opened, Opening, Output, Refused, Start};
use crate::counts::Counts;
use crate::delivery::Delivery;
use crate::inlet::{Overflow, inlet};
use crate::intake::{Faults, Intake};
use crate::topic::Filter;
use crate::wire::{Content, TopicRequest, push_publish};
use bytes::Bytes;
use crossbeam_channel::{Receiver, bounded};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

const TOPICS: [&str; 4] = ["a/x", "a/y", "b", "c/d/e"];
const FILTERS: [&str; 5] = ["a/x", "a/+", "#", "c/#", "b"];
/// Datagrams that an event socket holds.
const SOCKET: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    /// So many events of one topic in one datagram, `bytes` each.
    Publish {
        topic: usize,
        count: usize,
        bytes: usize,
    },
    /// A topic comes about without an event.
    Create {
        topic: usize,
    },
    /// The broker sends what it has.
    Flush,
    Open {
        client: usize,
        filter: usize,
        capacity: usize,
        start: Start,
        overflow: Overflow,
    },
    ReadReplies {
        client: usize,
    },
    ReadEvents {
        client: usize,
        count: usize,
    },
    /// A reply doesn't fit the request socket.
    LoseReply {
        client: usize,
    },
    Consume {
        subscription: usize,
        batches: usize,
    },
    Pass {
        millis: u64,
    },
    /// The broker is killed and another one takes its place.
    Restart,
}

fn step(restarts: bool) -> impl Strategy<Value = Step> {
    let start = prop_oneof![4 => Just(Start::Live), 1 => Just(Start::All), 1 => (0u64..5).prop_map(Start::Last)];
    let overflow = prop_oneof![
        3 => Just(Overflow::CatchUp),
        1 => Just(Overflow::DropOldest),
        1 => Just(Overflow::DropNewest),
        1 => Just(Overflow::Latest),
    ];
    prop_oneof![
        8 => (0..TOPICS.len(), 1usize..20, 0usize..400)
            .prop_map(|(topic, count, bytes)| Step::Publish { topic, count, bytes }),
        1 => (0..TOPICS.len()).prop_map(|topic| Step::Create { topic }),
        8 => Just(Step::Flush),
        2 => (0usize..2, 0..FILTERS.len(), 1usize..30, start, overflow).prop_map(
            |(client, filter, capacity, start, overflow)| Step::Open { client, filter, capacity, start, overflow }
        ),
        6 => (0usize..2).prop_map(|client| Step::ReadReplies { client }),
        8 => (0usize..2, 1usize..4).prop_map(|(client, count)| Step::ReadEvents { client, count }),
        1 => (0usize..2).prop_map(|client| Step::LoseReply { client }),
        6 => (0usize..6, 1usize..4).prop_map(|(subscription, batches)| Step::Consume { subscription, batches }),
        1 => (1u64..3000).prop_map(|millis| Step::Pass { millis }),
        u32::from(restarts) => Just(Step::Restart),
    ]
}

struct Host {
    client: Client,
    port: u32,
    groups: BTreeSet<u32>,
    events: VecDeque<Bytes>,
    drops: u32,
    replies: VecDeque<Bytes>,
    reconnect: bool,
    /// What happens to events and to replies between the socket and the client.
    intakes: [Intake; 2],
}

/// Ranges of one topic, as they were delivered: whether each event was, and the epoch.
type Seen = BTreeMap<(u64, String), Vec<(u64, u64, bool)>>;

struct Consumer {
    filter: Filter,
    start: Start,
    overflow: Overflow,
    /// Heads when the subscription was asked for, and when it was said to be there.
    asked: BTreeMap<String, u64>,
    opened: Option<BTreeMap<String, u64>>,
    opener: Receiver<Result<Opened, Refused>>,
    batches: Receiver<Batch>,
    counts: Arc<Counts>,
    delivered: u64,
    lost: u64,
    seen: Seen,
    epoch: u64,
    restarted: bool,
}

impl Consumer {
    fn consume(&mut self, batches: usize) -> bool {
        let mut any = false;
        for batch in self.batches.try_iter().take(batches) {
            any = true;
            for delivery in batch {
                let (topic, from, to, event) = match delivery {
                    Delivery::Event(event) => {
                        self.delivered += 1;
                        (event.topic().to_owned(), event.seq() - event.stands_for() + 1, event.seq(), true)
                    }
                    Delivery::Lost(lost) => {
                        self.lost += lost.count();
                        (lost.topic.to_string(), lost.from, lost.to, false)
                    }
                    Delivery::Restarted(restarted) => {
                        (self.epoch, self.restarted) = (restarted.epoch, true);
                        continue;
                    }
                };
                assert!(from <= to, "an empty loss of {topic}");
                self.seen.entry((self.epoch, topic)).or_default().push((from, to, event));
            }
        }
        any
    }
}

struct World {
    core: Core,
    now: Now,
    instant: Instant,
    epoch: u64,
    hosts: Vec<Host>,
    consumers: Vec<Consumer>,
    heads: BTreeMap<String, u64>,
}

impl World {
    fn new(seed: Option<u64>) -> World {
        let now = Now::default();
        let host = |at| Host {
            client: Client::new(1),
            port: 100 + at,
            groups: BTreeSet::new(),
            events: VecDeque::new(),
            drops: 0,
            replies: VecDeque::new(),
            reconnect: false,
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
        }
    }

    /// A history of some thirty events, so that some are gone when they are asked for.
    fn config() -> Config {
        // Nothing may depend on heartbeats: a broker may have none.
        Config { topic_history: 4 << 10, history: 12 << 10, heartbeat: Duration::ZERO, ..Config::default() }
    }

    fn route(hosts: &mut [Host], action: Action<'_>) {
        match action {
            Action::Broadcast { group, datagram } => {
                for host in hosts.iter_mut().filter(|host| host.groups.contains(&group)) {
                    if host.events.len() < SOCKET {
                        host.events.push_back(Bytes::copy_from_slice(datagram));
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
    }

    fn carry_out(&mut self) {
        for at in 0..self.hosts.len() {
            while let Some(output) = self.hosts[at].client.next_output() {
                match output {
                    Output::Send(datagram) => {
                        let sender =
                            Sender { port: self.hosts[at].port, pid: 1, uid: 0, gid: 0, to: Endpoint::Request };
                        self.core.accept(&datagram, sender, self.now, &mut |action| {
                            World::route(&mut self.hosts, action);
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
                assert_eq!(refused, Refused::TimedOut, "the only way to fail here");
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

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Publish { topic, count, bytes } => {
                let mut datagram = Vec::new();
                for _ in 0..count {
                    push_publish(&mut datagram, 1, false, 0, Content::Opaque, TOPICS[topic], &vec![0; bytes]);
                }
                let sender = Sender { port: 7, pid: 1, uid: 0, gid: 0, to: Endpoint::Publish };
                self.core.accept(&datagram, sender, self.now, &mut |action| World::route(&mut self.hosts, action));
                *self.heads.entry(TOPICS[topic].into()).or_default() += count as u64;
            }
            Step::Create { topic } => {
                let mut datagram = Vec::new();
                TopicRequest::Create { name: TOPICS[topic], exclusive: false }.push(&mut datagram, 1);
                let sender = Sender { port: 7, pid: 1, uid: 0, gid: 0, to: Endpoint::Request };
                self.core.accept(&datagram, sender, self.now, &mut |action| World::route(&mut self.hosts, action));
            }
            Step::Flush => self.core.flush(self.now, &mut |action| World::route(&mut self.hosts, action)),
            Step::Open { client, filter, capacity, start, overflow } => {
                let (inlet, outlet) = inlet(overflow, capacity, Arc::new(|| ()));
                let (opener, opened) = bounded(1);
                let filter = Filter::new(FILTERS[filter]).unwrap();
                self.consumers.push(Consumer {
                    filter: filter.clone(),
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
                let opening = Opening { filter, start, resume: None, inlet, opener };
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
                client.drained(*drops + intake.drops(), self.instant);
                break;
            };
            any = true;
            intake.take(datagram, false, self.instant, |datagram, cut| client.events(&datagram, cut, self.instant));
        }
        self.carry_out();
        any
    }

    fn pass(&mut self, millis: u64) {
        self.now.boot_ns += millis * 1_000_000;
        self.instant += Duration::from_millis(millis);
        for Host { client, intakes: [events, replies], drops, .. } in &mut self.hosts {
            events.pass(self.instant, |datagram, cut| client.events(&datagram, cut, self.instant));
            replies.pass(self.instant, |datagram, _| client.replies(&datagram, self.instant));
            client.drained(*drops + events.drops(), self.instant);
            client.room(self.instant);
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
                for host in &mut self.hosts {
                    host.client.room(self.instant);
                }
                self.carry_out();
                if !any {
                    break;
                }
            }
        }
    }

    /// Delivered and lost together are each event of the current epoch once, in order.
    fn check(&self) -> Result<(), TestCaseError> {
        for consumer in &self.consumers {
            let what = format!("{} {:?} {:?}", consumer.filter, consumer.start, consumer.overflow);
            prop_assert!(consumer.opened.is_some(), "{what}: never opened");
            let counted = consumer.counts.read();
            prop_assert_eq!(counted.received - counted.dropped, consumer.delivered, "{}: {:?}", what, counted);
            if consumer.overflow != Overflow::Latest {
                prop_assert_eq!(counted.lost + counted.dropped, consumer.lost, "{}: {:?}", what, counted);
            }
            for ((epoch, topic), ranges) in &consumer.seen {
                prop_assert!(topic.starts_with('$') || consumer.filter.matches(topic), "{what}: got {topic}");
                for pair in ranges.windows(2) {
                    prop_assert_eq!(pair[0].1 + 1, pair[1].0, "{} {}@{}: {:?}", what, topic, epoch, ranges);
                }
            }
            for (topic, head) in self.heads.iter().filter(|(topic, _)| consumer.filter.matches(topic)) {
                let ranges = consumer.seen.get(&(consumer.epoch, topic.clone())).map_or(&[][..], Vec::as_slice);
                let restarted = consumer.restarted;
                prop_assert!(!restarted || consumer.epoch == self.epoch, "{what}: not told of the last restart");
                let (asked, opened) = if restarted {
                    (0, 0)
                } else {
                    let at = |heads: &BTreeMap<String, u64>| heads.get(topic).copied().unwrap_or_default();
                    (at(&consumer.asked), consumer.opened.as_ref().map_or(0, at))
                };
                let first = ranges.first().map_or(head + 1, |range| range.0);
                let last = ranges.last().map_or(*head, |range| range.1);
                prop_assert_eq!(last, *head, "{} {}: the newest is missing: {:?}", what, topic, ranges);
                prop_assert!(first <= opened + 1, "{what} {topic}: begins at {first}, opened at {opened}: {ranges:?}");
                if consumer.start == Start::Live && !restarted {
                    prop_assert!(first > asked, "{what} {topic}: begins at {first}, asked for at {asked}: {ranges:?}");
                }
            }
        }
        Ok(())
    }
}

fn run(steps: &[Step], seed: Option<u64>) -> Result<(), TestCaseError> {
    let mut world = World::new(seed);
    for step in steps {
        world.take(step);
    }
    world.settle();
    world.check()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn delivered_and_lost_are_what_was_published(steps in prop::collection::vec(step(false), 0..120)) {
        run(&steps, None)?;
    }

    #[test]
    fn subscriptions_live_on_over_restarts(steps in prop::collection::vec(step(true), 0..120)) {
        run(&steps, None)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, ..ProptestConfig::default() })]

    #[test]
    fn every_event_is_accounted_for_whatever_happens_on_the_way(
        steps in prop::collection::vec(step(false), 0..120), seed in any::<u64>()
    ) {
        run(&steps, Some(seed))?;
    }

    #[test]
    fn and_so_it_is_over_restarts(steps in prop::collection::vec(step(true), 0..120), seed in any::<u64>()) {
        run(&steps, Some(seed))?;
    }
}
