//! Requests and their answers: `TOPIC`, `REPLAY`, `INFO`, `WILL`.

use super::*;

#[test]
fn topics_are_created_looked_up_and_refused() {
    let mut bus = Bus::quiet();
    let created = bus.topic(TopicRequest::Create { name: "a", exclusive: true, settings: TopicSettings::default() });
    assert_eq!((created.id, created.group, created.head, created.first), (FIRST, NLBUS_GROUP_FIRST, 0, 1));
    assert_eq!((created.mode, created.uid, created.gid, created.history), (0o666, 52, 53, 4 << 20));
    assert_eq!(bus.topic(TopicRequest::create("a")), created);
    assert_eq!(bus.topic(TopicRequest::Get(TopicKey::Id(FIRST))), created);
    bus.accept(50, &publish("a", b""));
    let record = bus.topic(TopicRequest::Get(TopicKey::Name("a")));
    assert_eq!((record.head, record.first, record.bytes), (1, 1, 64));
    assert!(record.change > created.change);
    for (request, errno) in [
        (TopicRequest::Create { name: "a", exclusive: true, settings: TopicSettings::default() }, Errno::EEXIST),
        (TopicRequest::Get(TopicKey::Name("b")), Errno::ENOENT),
        (TopicRequest::Get(TopicKey::Id(0)), Errno::ENOENT),
        (TopicRequest::Get(TopicKey::Id(FIRST + 1)), Errno::ENOENT),
        (TopicRequest::create("$SYS/x"), Errno::EACCES),
    ] {
        let mut datagram = Vec::new();
        request.push(&mut datagram, 7);
        assert_eq!(bus.refusal(&datagram), (errno, 7), "{request:?}");
    }
}

#[test]
fn a_datagram_may_create_a_topic_and_then_ask_for_it() {
    let mut bus = Bus::quiet();
    let mut datagram = publish("a", b"");
    TopicRequest::Get(TopicKey::Name("a")).push(&mut datagram, 2);
    let answers = bus.ask(&datagram);
    assert_eq!(answers.len(), 1);
    let message = Messages::new(&answers[0]).next().unwrap().unwrap();
    assert_eq!(TopicRecord::read(message.body).unwrap().head, 1);
}

#[test]
fn a_list_comes_in_pages_that_miss_nothing() {
    let mut bus = Bus::quiet();
    for at in 0..600 {
        bus.accept(50, &publish(&format!("{at}/{}", "x".repeat(200)), b""));
    }
    let mut list = |cursor, since| {
        let mut datagram = Vec::new();
        TopicRequest::List { cursor, since }.push(&mut datagram, 5);
        let answers = bus.ask(&datagram);
        assert!(answers.len() == 1 && answers[0].len() <= NLBUS_DATAGRAM_MAX);
        let mut ids = Vec::new();
        for message in Messages::new(&answers[0]) {
            let message = message.unwrap();
            assert_eq!(message.header.flags, if message.last { 0 } else { NLM_F_MULTI });
            if message.last {
                return (ids, TopicPageEnd::read(message.body).unwrap());
            }
            ids.push(TopicRecord::read(message.body).unwrap().id);
        }
        unreachable!();
    };
    let (mut ids, mut end) = list(0, None);
    let mut pages = 1;
    while let Some(cursor) = end.cursor {
        let (more, next) = list(cursor, None);
        assert!(!more.is_empty());
        ids.extend(more);
        (end, pages) = (next, pages + 1);
    }
    assert!(pages > 1);
    assert_eq!(ids, (1..=SYS_COUNT + 600).collect::<Vec<_>>());
    assert_eq!(end.last_id, SYS_COUNT + 600);
    assert_eq!(list(0, Some(end.change)).0, [0; 0]);
    bus.accept(50, &publish("late", b""));
    let mut datagram = Vec::new();
    TopicRequest::List { cursor: 0, since: Some(end.change) }.push(&mut datagram, 5);
    assert_eq!(Messages::new(&bus.ask(&datagram)[0]).count(), 2);
}

#[test]
fn replay_says_what_it_has_and_refuses_what_cannot_be() {
    let mut bus = Bus::new(Config { topic_history: 140, heartbeat: Duration::ZERO, ..Config::default() });
    for at in 0..5u8 {
        bus.accept(50, &publish("a", &[at]));
        bus.flush();
    }
    // Two messages of 65 bytes fit, padded to 68.
    let (events, end) = bus.replay(FIRST, 1, None);
    let numbers: Vec<_> = events.iter().map(|event| (event.header.seq, event.payload[0])).collect();
    assert_eq!(numbers, [(4, 3), (5, 4)]);
    assert!(events.iter().all(|event| event.header.flags == NLBUS_EVENT_F_REPLAYED && event.header.portid == 50));
    assert_eq!(end, ReplayEnd { topic_id: FIRST, first: 4, next: 6, head: 5 });
    assert_eq!(bus.replay(FIRST, 1, Some(1)).1.next, 5);
    let (events, end) = bus.replay(FIRST, 6, None);
    assert_eq!((events.len(), end.next, end.head), (0, 6, 5));
    assert_eq!(bus.core.info().counters.evicted, 3);
    for (epoch, topic_id, from, errno) in [
        (EPOCH + 1, FIRST, 1, Errno::ESTALE),
        (EPOCH, FIRST + 1, 1, Errno::ENOENT),
        (EPOCH, 0, 1, Errno::ENOENT),
        (EPOCH, FIRST, 0, Errno::EINVAL),
        (EPOCH, FIRST, 7, Errno::ERANGE),
    ] {
        let mut datagram = Vec::new();
        ReplayRequest { epoch, topic_id, from, limit: None }.push(&mut datagram, 3);
        assert_eq!(bus.refusal(&datagram), (errno, 3));
    }
}

#[test]
fn the_largest_event_is_broadcast_and_replayed() {
    let mut bus = Bus::quiet();
    let topic = "x".repeat(NLBUS_TOPIC_MAX);
    bus.accept(50, &publish(&topic, &vec![7; NLBUS_PAYLOAD_MAX]));
    bus.accept(50, &publish(&topic, &[7; 100]));
    bus.flush();
    assert!(bus.broadcasts.iter().all(|(_, datagram)| datagram.len() <= NLBUS_DATAGRAM_MAX));
    assert_eq!(bus.events()[0].payload.len(), NLBUS_PAYLOAD_MAX);
    let (events, end) = bus.replay(FIRST, 1, None);
    assert_eq!((events.len(), end.next), (1, 2));
    assert_eq!(bus.replay(FIRST, 2, None).0.len(), 1);
}

#[test]
fn info_tells_version_ports_limits_and_counters() {
    let mut bus = Bus::quiet();
    bus.accept(50, &publish("a", b""));
    bus.ms += 5;
    bus.core.set_queued(99);
    bus.taken = 0;
    bus.flush();
    let mut datagram = Vec::new();
    push_info_request(&mut datagram, 4);
    let answers = bus.ask(&datagram);
    let message = Messages::new(&answers[0]).next().unwrap().unwrap();
    assert_eq!((message.header.seq, message.header.portid), (4, 50));
    let info = Info::read(message.body).unwrap();
    assert_eq!((info.version, info.epoch, info.protocol, info.groups), (1, EPOCH, 2, 32));
    assert_eq!((info.publish_port, info.request_port), (NLBUS_USER_PORT, NLBUS_USER_PORT + 1));
    assert_eq!((info.uptime_ns, info.clock_offset_ns, info.heartbeat_ms), (5 * MS, 77, 0));
    assert_eq!((info.limits.pack, info.limits.topics), (65216, 16384));
    let counters = info.counters;
    assert_eq!((counters.published, counters.topics, counters.history), (2, u64::from(FIRST), 64 + 92));
    assert_eq!((counters.queue, counters.overruns, counters.refused), (99, 2, 0));
    assert_eq!(bus.topic(TopicRequest::Get(TopicKey::Id(FIRST))).dropped, 1);
}

#[test]
fn a_request_that_asks_for_an_ack_gets_it_after_the_reply() {
    let mut bus = Bus::quiet();
    let mut datagram = Vec::new();
    let header = Header { kind: NLBUS_MSG_INFO, flags: NLM_F_REQUEST | NLM_F_ACK, seq: 11, portid: 0 };
    wire::push_message(&mut datagram, header, |_| {});
    let answers = bus.ask(&datagram);
    assert_eq!(answers.len(), 2);
    assert_eq!(Messages::new(&answers[0]).next().unwrap().unwrap().header.kind, NLBUS_MSG_INFO);
    let answer = read_answer(&answers[1]);
    assert_eq!((answer.to.seq, answer.result), (11, Ok(None)));
}

#[test]
fn requests_take_no_room_from_the_publishes_of_their_datagram() {
    let mut bus = Bus::new(Config { topics_max: FIRST, heartbeat: Duration::ZERO, ..Config::default() });
    let mut datagram = Vec::new();
    TopicRequest::create("created").push(&mut datagram, 1);
    push_publish(&mut datagram, 2, false, 0, Content::Opaque, "published", b"x");
    bus.accept(7, &datagram);
    bus.flush();
    assert_eq!(bus.core.info().counters.topics, u64::from(FIRST), "the limit holds");
    assert!(bus.broadcasts.iter().any(|(group, _)| *group == NLBUS_GROUP_FIRST), "it was published");
}
