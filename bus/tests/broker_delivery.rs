//! Events reach everybody in order, whatever a client does.

mod broker_common;

use broker_common::{Client, publish, quiet, start};
use nix::sched::{CloneFlags, unshare};
use nlbus::Broker;
use nlbus::wire::uapi::*;
use nlbus::wire::{Content, Heartbeat, TopicKey, TopicRequest, TopicsAnnouncement, push_info_request, push_publish};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn an_event_says_who_sent_it() {
    let broker = start(quiet());
    let client = Client::new(&broker);
    let topic = client.create("a/b");
    let member = Client::member(&broker, topic.group);
    assert_eq!(client.publish_acked("a/b", b"hello"), 1);
    let events = member.broadcast();
    assert_eq!(events.len(), 1);
    let header = events[0].header;
    assert_eq!((&*events[0].topic, &events[0].payload[..]), ("a/b", &b"hello"[..]));
    assert_eq!((header.seq, header.topic_id, header.portid), (1, topic.id, client.port));
    assert_eq!((header.pid, header.uid), (std::process::id(), nix::unistd::getuid().as_raw()));
    let boot = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).unwrap();
    let age = Duration::from(boot).as_nanos() as u64 - header.time_ns;
    assert!(age < 10_000_000_000, "{age}");
}

#[test]
fn an_ack_comes_after_every_socket_has_the_event() {
    let broker = start(quiet());
    let client = Client::new(&broker);
    let member = Client::member(&broker, client.create("a").group);
    for seq in 1..=200 {
        assert_eq!(client.publish_acked("a", b""), seq);
        // No waiting: it must be there.
        let (datagram, _) = member.receive_until(Instant::now()).expect("the event precedes its ack");
        assert!(!datagram.is_empty());
    }
}

#[test]
fn two_publishers_are_seen_by_all_in_one_order() {
    const EVENTS: usize = 5_000;
    let broker = start(quiet());
    let group = Client::new(&broker).create("a").group;
    let members: Vec<_> = (0..4).map(|_| Client::member(&broker, group)).collect();
    thread::scope(|scope| {
        for publisher in 0..2u8 {
            let client = Client::new(&broker);
            scope.spawn(move || {
                for at in 0..EVENTS as u32 {
                    let mut payload = vec![publisher];
                    payload.extend(at.to_ne_bytes());
                    client.publish("a", &payload);
                }
                // The last one's ack: all before it were sequenced.
                client.publish_acked("a", &[9]);
            });
        }
    });
    let mut orders = Vec::new();
    for member in &members {
        let events = member.events(2 * EVENTS + 2);
        let numbers: Vec<_> = events.iter().map(|event| event.header.seq).collect();
        assert_eq!(numbers, (1..=2 * EVENTS as u64 + 2).collect::<Vec<_>>());
        for publisher in 0..2u8 {
            let of: Vec<_> = events.iter().filter(|event| event.payload[0] == publisher).collect();
            let order: Vec<_> =
                of.iter().map(|event| u32::from_ne_bytes(event.payload[1..].try_into().unwrap())).collect();
            assert_eq!(order, (0..EVENTS as u32).collect::<Vec<_>>());
        }
        assert!(events.windows(2).all(|pair| pair[0].header.time_ns <= pair[1].header.time_ns));
        orders.push(events);
    }
    assert!(orders.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_batch_is_taken_whole_and_acked_once() {
    let broker = start(quiet());
    let client = Client::new(&broker);
    let (a, b) = (client.create("a"), client.create("b"));
    let (member_a, member_b) = (Client::member(&broker, a.group), Client::member(&broker, b.group));
    let mut datagram = Vec::new();
    for at in 0..100u32 {
        let topic = if at % 2 == 0 { "a" } else { "b" };
        push_publish(&mut datagram, at, at == 99, 0, Content::Text, topic, &at.to_ne_bytes());
    }
    client.send(&datagram);
    let answer = client.answer();
    assert_eq!((answer.to.seq, answer.result), (99, Ok(Some(50))));
    // One datagram each, though the topics took turns.
    for (member, first) in [(member_a, 0), (member_b, 1)] {
        let events = member.broadcast();
        let seen: Vec<_> =
            events.iter().map(|event| u32::from_ne_bytes(event.payload[..].try_into().unwrap())).collect();
        assert_eq!(seen, (first..100).step_by(2).collect::<Vec<_>>());
    }
}

#[test]
fn the_largest_event_arrives() {
    let broker = start(quiet());
    let client = Client::new(&broker);
    let topic = "x".repeat(NLBUS_TOPIC_MAX);
    let record = client.create(&topic);
    let member = Client::member(&broker, record.group);
    let payload: Vec<u8> = (0..NLBUS_PAYLOAD_MAX).map(|at| at as u8).collect();
    assert_eq!(client.publish_acked(&topic, &payload), 1);
    let events = member.broadcast();
    assert_eq!((events.len(), events[0].topic == topic, events[0].payload == payload), (1, true, true));
    let (events, end) = client.replay(broker.epoch(), record.id, 1, None);
    assert_eq!((events.len(), end.next), (1, 2));
    assert!(events[0].payload == payload && events[0].header.flags == NLBUS_EVENT_F_REPLAYED);
}

#[test]
fn a_client_that_does_not_read_stops_nobody_and_gets_its_answers_later() {
    let broker = start(quiet());
    let deaf = Client::new(&broker);
    nix::sys::socket::setsockopt(&deaf.socket, nix::sys::socket::sockopt::RcvBuf, &4096).unwrap();
    const ASKED: u32 = 500;
    for seq in 0..ASKED {
        let mut datagram = Vec::new();
        push_info_request(&mut datagram, seq);
        deaf.request(&datagram);
    }
    let other = Client::new(&broker);
    let begin = Instant::now();
    for seq in 1..=100 {
        assert_eq!(other.publish_acked("a", b""), seq);
        other.info();
    }
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    // 500 answers of 300 bytes are within what the broker keeps for one client.
    for seq in 0..ASKED {
        let reply = deaf.receive();
        let header = nlbus::wire::Messages::new(&reply).next().unwrap().unwrap().header;
        assert_eq!((header.kind, header.seq), (NLBUS_MSG_INFO, seq));
    }
}

#[test]
fn a_subscriber_that_does_not_read_loses_alone() {
    let broker = start(quiet());
    let client = Client::new(&broker);
    let group = client.create("a").group;
    let (deaf, good) = (Client::member(&broker, group), Client::member(&broker, group));
    nix::sys::socket::setsockopt(&deaf.socket, nix::sys::socket::sockopt::RcvBuf, &4096).unwrap();
    let mut seen = 0;
    for _ in 0..50 {
        for _ in 0..100 {
            client.publish("a", &[0; 500]);
        }
        client.publish_acked("a", b"");
        seen += good.events(101).len();
    }
    assert_eq!(seen, 5050);
    let kept = deaf.events(1);
    assert_eq!(kept[0].header.seq, 1, "what fitted is there");
}

#[test]
fn requests_are_answered_during_a_flood() {
    let broker = start(quiet());
    let stop = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            let client = Client::new(&broker);
            scope.spawn(|| {
                let (client, datagram) = (client, publish("flood", &[0; 64]));
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    client.send(&datagram);
                }
            });
        }
        let client = Client::new(&broker);
        for _ in 0..50 {
            client.info();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn new_topics_are_announced_and_can_be_listed_and_read_from_one() {
    let broker = start(quiet());
    let (client, member) = (Client::new(&broker), Client::member(&broker, NLBUS_GROUP_SYS));
    assert_eq!(client.publish_acked("new/one", b"first"), 1);
    let events = member.broadcast();
    assert_eq!((&*events[0].topic, events[0].header.topic_id, events[0].header.portid), (NLBUS_SYS_TOPICS, 2, 0));
    assert_eq!(
        TopicsAnnouncement::read(&events[0].payload),
        Ok(TopicsAnnouncement { last_id: 5, ..Default::default() })
    );
    let topic = client.topic(TopicRequest::Get(TopicKey::Id(5)));
    assert_eq!((&*topic.name, topic.head), ("new/one", 1));
    let (events, _) = client.replay(broker.epoch(), 5, 1, Some(1));
    assert_eq!(events[0].payload, b"first");
    // Many at once are one announcement more, or two.
    for at in 0..100 {
        client.publish(&format!("many/{at}"), b"");
    }
    let mut announcements = 0;
    loop {
        let events = member.broadcast();
        announcements += events.len();
        if TopicsAnnouncement::read(&events[events.len() - 1].payload).unwrap().last_id == 105 {
            break;
        }
    }
    assert!(announcements < 20, "{announcements}");
}

#[test]
fn heartbeats_tell_epoch_and_counters() {
    let broker = start(quiet().heartbeat(Duration::from_millis(30)));
    let member = Client::member(&broker, NLBUS_GROUP_SYS);
    let mut last = Heartbeat::default();
    for _ in 0..5 {
        let event = member.broadcast().remove(0);
        assert_eq!((&*event.topic, event.header.topic_id, event.header.content), (NLBUS_SYS_HEARTBEAT, 1, 2));
        let beat = Heartbeat::read(&event.payload).unwrap();
        assert_eq!((beat.epoch, beat.last_id), (broker.epoch(), 4));
        if last != Heartbeat::default() {
            assert_eq!((beat.published, beat.change), (last.published + 1, last.change + 1));
            assert!(beat.uptime_ns > last.uptime_ns);
        }
        last = beat;
    }
}

#[test]
fn each_network_namespace_has_its_own_bus() {
    let outside = start(quiet());
    let port = outside.port();
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace takes CAP_SYS_ADMIN: run as root");
        assert!(Client::at(port).send_to(port, b"x").is_err(), "nobody is there");
        let inside = start(Broker::builder().port(port).heartbeat(Duration::ZERO));
        let client = Client::new(&inside);
        assert_eq!(client.publish_acked("a", b""), 1);
        assert_eq!(client.info().counters.topics, 5);
    })
    .join()
    .unwrap();
    let counters = Client::new(&outside).info().counters;
    assert_eq!((counters.topics, counters.published), (4, 0));
}
