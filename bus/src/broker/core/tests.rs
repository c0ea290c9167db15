//! The core, driven without sockets: what goes in is frames, what is looked at is frames.

mod access;
mod life;
mod lost;
mod quota;
mod requests;
mod whole;
mod wills;

use super::*;
use crate::broker::pack::{LEAST, join};
use crate::broker::topics::SYS_COUNT;
use crate::wire::uapi::*;
use crate::wire::{
    Answer, Content, EventView, Info, Messages, MovedTopic, ReplayEnd, ReplayRequest, TopicDeleted, TopicKey,
    TopicPageEnd, TopicRecord, TopicRequest, TopicSettings, TopicsAnnouncement, WillRequest, push_info_request,
    push_lost, push_publish,
};
use nix::errno::Errno;
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;

const EPOCH: u64 = 0x1234_5678_9abc_def0;
const MS: u64 = 1_000_000;
/// The id of the first topic that isn't the broker's.
const FIRST: u32 = SYS_COUNT + 1;

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
    /// The longest broadcast that the kernel takes.
    taken: usize,
}

impl Bus {
    fn new(config: Config) -> Bus {
        let now = Now { boot_ns: 1000 * MS, clock_offset_ns: 77 };
        let mut core = Core::new(config, EPOCH, now);
        // Of clients only the tests of them are to hear.
        core.clients.can_look = false;
        Bus { core, ms: 1000, broadcasts: Vec::new(), unicasts: Vec::new(), taken: usize::MAX }
    }

    fn quiet() -> Bus {
        Bus::new(Config { heartbeat: Duration::ZERO, ..Config::default() })
    }

    fn drive(&mut self, run: impl FnOnce(&mut Core, Now, &mut dyn FnMut(Action<'_>) -> bool)) {
        let now = Now { boot_ns: self.ms * MS, clock_offset_ns: 77 };
        let Bus { broadcasts, unicasts, taken, .. } = self;
        run(&mut self.core, now, &mut |action| {
            match action {
                Action::Broadcast { datagram, .. } if join(datagram).len() > *taken => return false,
                Action::Broadcast { group, datagram } => broadcasts.push((group, join(datagram))),
                Action::Unicast { port, from, datagram, .. } => unicasts.push((port, from, datagram.to_vec())),
            }
            true
        });
    }

    fn accept(&mut self, port: u32, datagram: &[u8]) {
        let (uid, gid) = (port.wrapping_add(2), port.wrapping_add(3));
        let sender = Sender { port, pid: port + 1, uid, gid, to: Endpoint::Publish };
        self.core.clients.note_in_silence(sender);
        self.drive(|core, now, mut out| core.accept(&mut datagram.to_vec(), sender, now, &mut out));
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
                seen.push(read_event(group, &datagram, &message));
            }
        }
        seen
    }

    /// Sends a request and returns its answers.
    fn ask(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.ask_as(50, datagram)
    }

    /// The same as another client.
    fn ask_as(&mut self, client: u32, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.accept(client, datagram);
        self.unicasts.drain(..).map(|(port, _, datagram)| (assert_eq!(port, client), datagram).1).collect()
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
                events.push(read_event(0, &answers[0], &message));
            }
        }
        (events, end.unwrap())
    }
}

/// Reads an event, which has no byte that the broker doesn't write, paddings included.
fn read_event(group: u32, datagram: &[u8], message: &Message<'_>) -> Seen {
    let event = EventView::parse(message.body).unwrap();
    let mut written = Vec::new();
    wire::push_event(&mut written, message.header, &event.header, event.topic, event.payload);
    assert_eq!(datagram.get(message.offset..message.offset + written.len()), Some(&written[..]));
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
        topic_id: FIRST,
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
    assert_eq!(bus.core.topics.len(), SYS_COUNT);
    assert_eq!(bus.core.info().counters.refused, 1);
}

#[test]
fn one_topic_too_many_is_refused_with_its_datagram() {
    let mut bus = Bus::new(Config {
        topics_max: SYS_COUNT + 2,
        user_topics: Some(5),
        heartbeat: Duration::ZERO,
        ..Config::default()
    });
    let mut datagram = Vec::new();
    for (seq, topic) in ["a", "b", "a", "c", "d"].into_iter().enumerate() {
        push_publish(&mut datagram, seq as u32, false, 0, Content::Text, topic, b"");
    }
    assert_eq!(bus.refusal(&datagram), (Errno::ENOSPC, 3));
    assert_eq!(bus.core.topics.len(), SYS_COUNT);
    for topic in ["a", "b", "a"] {
        bus.accept(50, &publish(topic, b""));
    }
    assert!(bus.unicasts.is_empty());
    assert_eq!(bus.refusal(&publish("c", b"")).0, Errno::ENOSPC);
    let mut create = Vec::new();
    TopicRequest::create("c").push(&mut create, 8);
    assert_eq!(bus.refusal(&create), (Errno::ENOSPC, 8));
    assert_eq!(bus.topic(TopicRequest::create("a")).id, FIRST);
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
    assert_eq!(announced(&mut bus), [FIRST + 1]);
    for at in 0..19 {
        bus.ms += 1;
        bus.accept(50, &publish(&format!("c/{at}"), b""));
        assert_eq!(announced(&mut bus), [0; 0]);
        assert_eq!(bus.core.next_deadline(), Some(1020 * MS));
    }
    bus.ms += 1;
    assert_eq!(announced(&mut bus), [FIRST + 20]);
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
    let change = u64::from(SYS_COUNT) + 3;
    let beat =
        Heartbeat { epoch: EPOCH, uptime_ns: 1003 * MS, published: 2, overruns: 0, change, last_id: FIRST, moved: 0 };
    assert_eq!(seen, [(1, 0, beat)]);
    assert_eq!(bus.core.next_deadline(), Some(3000 * MS));
    assert_eq!(beats(&mut bus, 60_500).len(), 1);
    assert_eq!(bus.core.next_deadline(), Some(61_500 * MS));
}

/// For want of memory in one piece, mostly.
#[test]
fn what_the_kernel_does_not_take_goes_in_parts() {
    let mut bus = Bus::quiet();
    let mut datagram = Vec::new();
    for at in 0..200usize {
        // Runs of ten, and events by themselves.
        let topic = format!("t/{}", if at < 100 { at / 10 } else { at % 10 });
        push_publish(&mut datagram, 1, false, 0, Content::Opaque, &topic, &[at as u8; 200]);
    }
    for (taken, overruns, lost) in [(5000, 0, 0), (LEAST, 0, 0), (0, 1, 600)] {
        bus.taken = taken;
        let before = bus.core.info().counters;
        let heads: u64 =
            (FIRST..FIRST + 10).map(|id| bus.core.topics.by_id(id).map_or(0, |id| bus.core.topics.head(id))).sum();
        for _ in 0..3 {
            bus.accept(50, &datagram);
        }
        bus.flush();
        assert!(bus.broadcasts.iter().all(|(_, datagram)| datagram.len() <= taken));
        let mut last = HashMap::new();
        let mut seen = 0;
        for event in bus.events().into_iter().filter(|event| event.topic.starts_with("t/")) {
            let before = last.insert(event.topic, event.header.seq);
            assert!(
                before.is_none_or(|before| before + 1 == event.header.seq),
                "{before:?} before {}",
                event.header.seq
            );
            seen += 1;
        }
        let after: u64 = (FIRST..FIRST + 10).map(|id| bus.core.topics.head(bus.core.topics.by_id(id).unwrap())).sum();
        assert_eq!((seen, after - heads), (600 - lost, 600));
        let counted = bus.core.info().counters.overruns - before.overruns;
        assert!(counted >= overruns && (overruns > 0 || counted == 0), "{counted}");
    }
    let dropped = |id| bus.core.topics.record(bus.core.topics.by_id(id).unwrap()).dropped;
    assert_eq!((FIRST..FIRST + 10).map(dropped).sum::<u64>(), 600);
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
