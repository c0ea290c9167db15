//! The core, driven without sockets: what goes in is frames, what is looked at is frames.

mod requests;

use super::*;
use crate::broker::pack::join;
use crate::wire::uapi::*;
use crate::wire::{
    Answer, Content, EventView, Info, Messages, ReplayEnd, ReplayRequest, TopicKey, TopicPageEnd, TopicRecord,
    TopicRequest, TopicsAnnouncement, WillRequest, push_info_request, push_publish,
};
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;

const EPOCH: u64 = 0x1234_5678_9abc_def0;
const MS: u64 = 1_000_000;

/// An event as a subscriber reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    group: u32,
    header: EventHeader,
    topic: String,
    payload: Vec<u8>,
}

/// A core with a clock, and what it has sent since it was last asked.
struct Bus {
    core: Core,
    ms: u64,
    broadcasts: Vec<(u32, Vec<u8>)>,
    unicasts: Vec<(u32, Endpoint, Vec<u8>)>,
    /// The kernel takes no broadcast.
    is_refused: bool,
}

impl Bus {
    fn new(config: Config) -> Bus {
        let now = Now { boot_ns: 1000 * MS, clock_offset_ns: 77 };
        Bus {
            core: Core::new(config, EPOCH, now),
            ms: 1000,
            broadcasts: Vec::new(),
            unicasts: Vec::new(),
            is_refused: false,
        }
    }

    fn quiet() -> Bus {
        Bus::new(Config { heartbeat: Duration::ZERO, ..Config::default() })
    }

    fn drive(&mut self, run: impl FnOnce(&mut Core, Now, &mut dyn FnMut(Action<'_>) -> bool)) {
        let now = Now { boot_ns: self.ms * MS, clock_offset_ns: 77 };
        let Bus { broadcasts, unicasts, is_refused, .. } = self;
        run(&mut self.core, now, &mut |action| {
            match action {
                Action::Broadcast { .. } if *is_refused => return false,
                Action::Broadcast { group, datagram } => broadcasts.push((group, join(datagram))),
                Action::Unicast { port, from, datagram } => unicasts.push((port, from, datagram.to_vec())),
            }
            true
        });
    }

    fn accept(&mut self, port: u32, datagram: &[u8]) {
        let sender = Sender { port, pid: port + 1, uid: port + 2, gid: port + 3, to: Endpoint::Publish };
        self.drive(|core, now, mut out| core.accept(datagram, sender, now, &mut out));
    }

    fn flush(&mut self) {
        self.drive(|core, now, mut out| core.flush(now, &mut out));
    }

    /// The events of the broadcasts so far, each datagram checked as a receiver would.
    fn events(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        for (group, datagram) in self.broadcasts.drain(..) {
            for message in Messages::new(&datagram) {
                let message = message.unwrap();
                assert_eq!(message.header.kind, NLBUS_MSG_EVENT);
                assert_eq!((message.header.seq, message.header.portid), (EPOCH as u32, 0));
                assert_eq!(message.header.flags, if message.last { 0 } else { NLM_F_MULTI });
                seen.push(read_event(group, message.body));
            }
        }
        seen
    }

    /// Sends a request and returns its answers.
    fn ask(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.accept(50, datagram);
        self.unicasts.drain(..).map(|(port, _, datagram)| (assert_eq!(port, 50), datagram).1).collect()
    }

    /// The errno that a datagram is refused with, and the `nlmsg_seq` that the refusal echoes.
    fn refusal(&mut self, datagram: &[u8]) -> (Errno, u32) {
        let answers = self.ask(datagram);
        assert_eq!(answers.len(), 1, "exactly one answer");
        let answer = read_answer(&answers[0]);
        (answer.result.unwrap_err().errno, answer.to.seq)
    }

    fn topic(&mut self, request: TopicRequest<'_>) -> TopicRecord {
        let mut datagram = Vec::new();
        request.push(&mut datagram, 5);
        let answers = self.ask(&datagram);
        assert_eq!(answers.len(), 1);
        let message = Messages::new(&answers[0]).next().unwrap().unwrap();
        assert_eq!((message.header.kind, message.header.seq, message.last), (NLBUS_MSG_TOPIC, 5, true));
        TopicRecord::read(message.body).unwrap()
    }

    fn replay(&mut self, topic_id: u32, from: u64, limit: Option<u32>) -> (Vec<Seen>, ReplayEnd) {
        let mut datagram = Vec::new();
        ReplayRequest { epoch: EPOCH, topic_id, from, limit }.push(&mut datagram, 6);
        let answers = self.ask(&datagram);
        assert_eq!(answers.len(), 1);
        assert!(answers[0].len() <= NLBUS_DATAGRAM_MAX);
        let (mut events, mut end) = (Vec::new(), None);
        for message in Messages::new(&answers[0]) {
            let message = message.unwrap();
            assert_eq!((message.header.seq, message.header.portid), (6, 50));
            assert_eq!(message.header.flags, if message.last { 0 } else { NLM_F_MULTI });
            if message.last {
                assert_eq!(message.header.kind, NLBUS_MSG_REPLAY);
                end = Some(ReplayEnd::read(message.body).unwrap());
            } else {
                events.push(read_event(0, message.body));
            }
        }
        (events, end.unwrap())
    }
}

fn read_event(group: u32, body: &[u8]) -> Seen {
    let event = EventView::parse(body).unwrap();
    Seen { group, header: event.header, topic: event.topic.into(), payload: event.payload.into() }
}

fn read_answer(datagram: &[u8]) -> Answer {
    let message = Messages::new(datagram).next().unwrap().unwrap();
    assert_eq!(message.header.kind, NLMSG_ERROR);
    Answer::parse(&message).unwrap()
}

fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    push_publish(&mut datagram, 1, false, 0, Content::Text, topic, payload);
    datagram
}

fn publish_acked(topic: &str, seq: u32) -> Vec<u8> {
    let mut datagram = Vec::new();
    push_publish(&mut datagram, seq, true, 0, Content::Opaque, topic, b"");
    datagram
}

#[test]
fn an_event_carries_number_time_topic_and_sender() {
    let mut bus = Bus::quiet();
    bus.accept(50, &publish("a/b", b"one"));
    bus.ms += 3;
    bus.accept(60, &publish("a/b", b"two"));
    bus.flush();
    let events: Vec<_> = bus.events().into_iter().filter(|event| event.topic == "a/b").collect();
    let header = |seq, ms: u64, port| EventHeader {
        seq,
        time_ns: ms * MS,
        topic_id: 4,
        portid: port,
        pid: port + 1,
        uid: port + 2,
        flags: 0,
        content: NLBUS_CONTENT_TEXT,
    };
    assert_eq!(events.len(), 2);
    assert_eq!((events[0].group, &events[0].payload[..]), (NLBUS_GROUP_FIRST, &b"one"[..]));
    assert_eq!(events[0].header, header(1, 1000, 50));
    assert_eq!(events[1].header, header(2, 1003, 60));
}

#[test]
fn time_never_goes_back() {
    let mut bus = Bus::quiet();
    bus.accept(50, &publish("a", b""));
    bus.ms -= 500;
    bus.accept(50, &publish("a", b""));
    bus.flush();
    assert!(bus.events().iter().all(|event| event.header.time_ns == 1000 * MS));
}

#[test]
fn events_of_one_group_share_a_datagram() {
    let mut bus = Bus::quiet();
    for _ in 0..100 {
        bus.accept(50, &publish("a", b"12345678"));
    }
    bus.flush();
    assert_eq!(bus.broadcasts.iter().filter(|(group, _)| *group == NLBUS_GROUP_FIRST).count(), 1);
    assert_eq!(bus.core.info().counters.broadcasts, 2, "the events and the announcement of the topic");
}

#[test]
fn an_ack_carries_the_number_and_follows_the_broadcast() {
    let mut bus = Bus::quiet();
    bus.accept(50, &publish("a", b""));
    bus.accept(50, &publish_acked("a", 9));
    assert!(bus.unicasts.is_empty());
    let mut order = Vec::new();
    bus.drive(|core, now, _| {
        core.flush(now, &mut |action: Action<'_>| {
            order.push(matches!(action, Action::Unicast { .. }));
            true
        });
    });
    assert_eq!(order, [false, false, true]);

    bus.accept(50, &publish_acked("a", 10));
    bus.flush();
    let (port, from, datagram) = bus.unicasts.pop().unwrap();
    assert_eq!((port, from), (50, Endpoint::Publish));
    let answer = read_answer(&datagram);
    assert_eq!((answer.to.seq, answer.result), (10, Ok(Some(3))));
}

#[test]
fn a_bad_message_refuses_the_whole_datagram() {
    let mut bus = Bus::quiet();
    let mut datagram = publish("a", b"");
    push_info_request(&mut datagram, 2);
    push_publish(&mut datagram, 3, false, 0, Content::Text, "a/+", b"");
    push_publish(&mut datagram, 4, false, 0, Content::Text, "b", b"");
    assert_eq!(bus.refusal(&datagram), (Errno::EINVAL, 3));
    bus.flush();
    assert!(bus.events().is_empty());
    assert_eq!(bus.core.topics.len(), 3);
    assert_eq!(bus.core.info().counters.refused, 1);
}

#[test]
fn one_topic_too_many_is_refused_with_its_datagram() {
    let mut bus = Bus::new(Config { topics_max: 5, heartbeat: Duration::ZERO, ..Config::default() });
    let mut datagram = Vec::new();
    for (seq, topic) in ["a", "b", "a", "c", "d"].into_iter().enumerate() {
        push_publish(&mut datagram, seq as u32, false, 0, Content::Text, topic, b"");
    }
    assert_eq!(bus.refusal(&datagram), (Errno::ENOSPC, 3));
    assert_eq!(bus.core.topics.len(), 3);
    for topic in ["a", "b", "a"] {
        bus.accept(50, &publish(topic, b""));
    }
    assert!(bus.unicasts.is_empty());
    assert_eq!(bus.refusal(&publish("c", b"")).0, Errno::ENOSPC);
    let mut create = Vec::new();
    TopicRequest::Create { name: "c", exclusive: false }.push(&mut create, 8);
    assert_eq!(bus.refusal(&create), (Errno::ENOSPC, 8));
    assert_eq!(bus.topic(TopicRequest::Create { name: "a", exclusive: false }).id, 4);
}

#[test]
fn new_topics_are_announced_at_once_and_then_at_most_every_20_ms() {
    let mut bus = Bus::quiet();
    let announced = |bus: &mut Bus| {
        bus.flush();
        let events = bus.events().into_iter().filter(|event| event.topic == NLBUS_SYS_TOPICS);
        events.map(|event| TopicsAnnouncement::read(&event.payload).unwrap().last_id).collect::<Vec<_>>()
    };
    assert_eq!(bus.core.next_deadline(), None);
    assert_eq!(announced(&mut bus), [0; 0]);
    bus.accept(50, &publish("a", b""));
    bus.accept(50, &publish("b", b""));
    assert_eq!(announced(&mut bus), [5]);
    for at in 0..19 {
        bus.ms += 1;
        bus.accept(50, &publish(&format!("c/{at}"), b""));
        assert_eq!(announced(&mut bus), [0; 0]);
        assert_eq!(bus.core.next_deadline(), Some(1020 * MS));
    }
    bus.ms += 1;
    assert_eq!(announced(&mut bus), [24]);
    assert_eq!(bus.core.next_deadline(), None);
}

#[test]
fn heartbeats_keep_their_beat_and_do_not_catch_up() {
    let mut bus = Bus::new(Config::default());
    bus.accept(50, &publish("a", b""));
    let beats = |bus: &mut Bus, ms| {
        bus.ms = ms;
        bus.flush();
        let events = bus.events().into_iter().filter(|event| event.topic == NLBUS_SYS_HEARTBEAT);
        events
            .map(|event| (event.group, event.header.portid, Heartbeat::read(&event.payload).unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(beats(&mut bus, 1999), []);
    assert_eq!(bus.core.next_deadline(), Some(2000 * MS));
    let seen = beats(&mut bus, 2003);
    let beat = Heartbeat { epoch: EPOCH, uptime_ns: 1003 * MS, published: 2, overruns: 0, change: 6, last_id: 4 };
    assert_eq!(seen, [(1, 0, beat)]);
    assert_eq!(bus.core.next_deadline(), Some(3000 * MS));
    assert_eq!(beats(&mut bus, 60_500).len(), 1);
    assert_eq!(bus.core.next_deadline(), Some(61_500 * MS));
}

#[test]
fn a_closing_bus_says_so_and_refuses() {
    let mut bus = Bus::new(Config::default());
    bus.accept(50, &publish_acked("a", 1));
    bus.drive(|core, now, mut out| core.close(now, &mut out));
    bus.drive(|core, now, mut out| core.close(now, &mut out));
    assert_eq!(bus.refusal(&publish("a", b"")).0, Errno::ESHUTDOWN);
    bus.ms += 10_000;
    bus.flush();
    let topics: Vec<_> = bus.events().into_iter().map(|event| event.topic).collect();
    assert_eq!(topics, ["a", NLBUS_SYS_CLOSING]);
    assert_eq!(read_answer(&bus.unicasts.pop().unwrap().2).result, Ok(Some(1)));
}

/// A step of a bus's life.
#[derive(Debug, Clone)]
enum Step {
    Publish { port: u32, events: Vec<(u8, usize)>, ack: bool, bad_at: Option<usize> },
    Create(u8),
    Replay { topic: u8, from: u64, limit: Option<u32> },
    Flush,
    Pass(u64),
    Noise(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let events = prop::collection::vec((0u8..6, 0usize..2000), 1..8);
    prop_oneof![
        5 => (50u32..53, events, any::<bool>(), prop::option::weighted(0.2, 0usize..8))
            .prop_map(|(port, events, ack, bad_at)| Step::Publish { port, events, ack, bad_at }),
        1 => (0u8..6).prop_map(Step::Create),
        2 => (0u8..6, 1u64..20, prop::option::of(1u32..5))
            .prop_map(|(topic, from, limit)| Step::Replay { topic, from, limit }),
        2 => Just(Step::Flush),
        1 => (0u64..30).prop_map(Step::Pass),
        1 => prop::collection::vec(any::<u8>(), 0..80).prop_map(Step::Noise),
    ]
}

proptest! {
    /// Whatever comes: numbers are consecutive, each accepted event is broadcast once and in order, a refused
    /// datagram leaves no trace, acks tell the truth, replay returns what history keeps and nothing else.
    #[test]
    fn promises_hold_through_any_life(steps in prop::collection::vec(step(), 1..60), topic_history in 0u64..20_000,
                                      history in 0u64..40_000) {
        let config = Config { topic_history, history, topics_max: 8, heartbeat: Duration::from_millis(50), ..Config::default() };
        let mut bus = Bus::new(config);
        // Per topic: payload lengths of what was accepted.
        let mut accepted: HashMap<String, Vec<usize>> = HashMap::new();
        let mut broadcast: HashMap<String, Vec<(u64, usize)>> = HashMap::new();
        let mut expected_acks = Vec::new();
        let mut acks = Vec::new();
        let mut last_time = HashMap::new();
        for step in steps.into_iter().chain([Step::Flush]) {
            match step {
                Step::Publish { port, events, ack, bad_at } => {
                    let mut datagram = Vec::new();
                    let count = events.len();
                    for (at, (topic, len)) in events.iter().enumerate() {
                        let topic = if bad_at == Some(at) { "bad/#".into() } else { format!("t/{topic}") };
                        push_publish(&mut datagram, at as u32, ack && at + 1 == count, 0, Content::Opaque, &topic, &vec![0; *len]);
                    }
                    let before = bus.core.topics.len();
                    let published = bus.core.info().counters.published;
                    let refusals = bus.core.info().counters.refused;
                    bus.accept(port, &datagram);
                    if bus.core.info().counters.refused == refusals {
                        prop_assert!(bad_at.is_none_or(|at| at >= count));
                        for (topic, len) in &events {
                            accepted.entry(format!("t/{topic}")).or_default().push(*len);
                        }
                        if ack {
                            expected_acks.push((port, accepted[&format!("t/{}", events[count - 1].0)].len() as u64));
                        }
                    } else {
                        prop_assert_eq!(bus.unicasts.len(), 1);
                        let errno = read_answer(&bus.unicasts.pop().unwrap().2).result.unwrap_err().errno;
                        prop_assert!(errno == Errno::ENOSPC || bad_at.is_some_and(|at| at < count));
                        prop_assert_eq!(bus.core.topics.len(), before);
                        prop_assert_eq!(bus.core.info().counters.published, published);
                    }
                }
                Step::Create(topic) => {
                    let mut datagram = Vec::new();
                    TopicRequest::Create { name: &format!("t/{topic}"), exclusive: false }.push(&mut datagram, 1);
                    prop_assert_eq!(bus.ask(&datagram).len(), 1);
                }
                Step::Replay { topic, from, limit } => {
                    let name = format!("t/{topic}");
                    if let Some(id) = bus.core.topics.find(&name) {
                        let lens = accepted.get(&name).cloned().unwrap_or_default();
                        let kept = bus.core.topics.kept(id);
                        prop_assert_eq!(kept.end, lens.len() as u64 + 1);
                        if from <= kept.end {
                            let (events, end) = bus.replay(id.get(), from, limit);
                            let want = (from.max(kept.start)..kept.end).take(limit.map_or(usize::MAX, |limit| limit as usize));
                            let want: Vec<_> = want.map(|seq| (seq, lens[seq as usize - 1])).collect();
                            let seen: Vec<_> = events.iter().map(|event| (event.header.seq, event.payload.len())).collect();
                            prop_assert_eq!(&seen, &want);
                            prop_assert_eq!(end.first, kept.start);
                            prop_assert_eq!(end.next, from.max(kept.start) + seen.len() as u64);
                            prop_assert_eq!(end.head, lens.len() as u64);
                        }
                    }
                }
                Step::Flush => {
                    bus.flush();
                    for event in bus.events() {
                        let last = last_time.entry(event.topic.clone()).or_insert(0);
                        prop_assert!(event.header.time_ns >= *last);
                        *last = event.header.time_ns;
                        broadcast.entry(event.topic).or_default().push((event.header.seq, event.payload.len()));
                    }
                    for (port, _, datagram) in bus.unicasts.drain(..) {
                        acks.push((port, read_answer(&datagram).result.unwrap().unwrap()));
                    }
                }
                Step::Pass(ms) => bus.ms += ms,
                Step::Noise(bytes) => {
                    bus.ask(&bytes);
                }
            }
        }
        prop_assert_eq!(acks, expected_acks);
        for (topic, seen) in broadcast {
            let numbers: Vec<_> = seen.iter().map(|(seq, _)| *seq).collect();
            prop_assert_eq!(numbers, (1..=seen.len() as u64).collect::<Vec<_>>(), "{}", &topic);
            if !topic.starts_with("$SYS") {
                let lens: Vec<_> = seen.iter().map(|(_, len)| *len).collect();
                prop_assert_eq!(Some(lens), accepted.remove(&topic));
            }
        }
        prop_assert!(accepted.is_empty());
    }
}
