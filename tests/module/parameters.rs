//! The module's parameters do what they say, and values that make no sense are refused when it is loaded.

use crate::kernel::{MODULE, absent, is_loaded, load, reload, unload_at_last};
use nix::errno::Errno;
use nlbus::wire::uapi::{NLBUS_EVENT_F_NO_WAIT, NLBUS_GROUP_FIRST, NLMSG_ERROR};
use nlbus::wire::{Heartbeat, push_info_request, push_publish};
use nlbus::{Bus, Content, RecvTimeoutError, RequestError};
use nlbus_tests::{Datagram, Endpoint, Fixture, Tally, cases, events, limits, patience, payload, quiet};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

cases![
    the_heartbeat_keeps_its_interval module_only alone,
    the_heartbeat_can_be_off module_only alone,
    topics_share_as_many_groups_as_there_are module_only alone,
    the_protocol_may_be_another_number module_only alone,
    too_many_topics_are_refused module_only alone,
    topics_that_were_deleted_leave_room module_only alone,
    what_the_module_was_given_is_what_new_topics_have module_only alone,
    private_groups_are_used_once_and_then_there_is_none module_only alone,
    the_newest_event_is_kept_without_history module_only alone,
    all_histories_share_a_limit module_only alone,
    a_flood_evicts_itself module_only alone,
    who_does_not_wait_for_the_queue_is_refused module_only alone,
    values_that_make_no_sense_are_refused module_only alone,
];

fn the_heartbeat_keeps_its_interval() {
    reload("heartbeat_ms=50");
    let bus = Bus::connect().unwrap();
    assert_eq!(bus.info().unwrap().heartbeat_ms, 50);
    let mut subscription = bus.subscribe("$SYS/heartbeat").unwrap();
    let beats = events(&mut subscription, 11);
    let up: Vec<_> =
        beats.iter().map(|event| Heartbeat::read(event.payload()).unwrap().uptime_ns / 1_000_000).collect();
    let took = up[10] - up[0];
    // An emulated machine may be late, and then doesn't hurry to make up for it.
    assert!((400..5_000).contains(&took), "ten intervals of 50 ms: {up:?}");
    assert!(beats.windows(2).all(|two| two[1].seq() == two[0].seq() + 1));
}

fn the_heartbeat_can_be_off() {
    reload("heartbeat_ms=0");
    let bus = Bus::connect().unwrap();
    assert_eq!(bus.info().unwrap().heartbeat_ms, 0);
    let mut subscription = bus.subscribe("$SYS/heartbeat").unwrap();
    // It takes time to see that nothing comes.
    assert_eq!(subscription.recv_timeout(Duration::from_millis(1500)).unwrap_err(), RecvTimeoutError::Timeout);
    let mut topics = bus.subscribe("+").unwrap();
    assert_eq!(bus.publish_acked("x", "x").unwrap(), 1);
    assert_eq!(events(&mut topics, 1)[0].seq(), 1, "new topics are announced all the same");
}

fn topics_share_as_many_groups_as_there_are() {
    const TOPICS: u64 = 200;
    reload("groups=32");
    let bus = Bus::connect().unwrap();
    assert_eq!(bus.info().unwrap().groups, 32);
    let mut all = bus.subscribe("g/#").unwrap();
    let mut one = bus.subscribe("g/7").unwrap();
    for topic in 0..TOPICS {
        bus.publish(&format!("g/{topic}"), &payload(topic as u32, 1, 32)).unwrap();
    }
    let mut tally = Tally::from_one();
    tally.take(&mut all, TOPICS);
    assert_eq!((tally.lost, tally.topics()), (0, TOPICS as usize));
    assert_eq!(events(&mut one, 1)[0].topic(), "g/7");
    quiet(&mut one);
    let topics = bus.topics().unwrap();
    let groups: BTreeSet<_> =
        topics.iter().filter(|topic| topic.name.starts_with("g/")).map(|topic| topic.group).collect();
    assert!(groups.iter().all(|group| (NLBUS_GROUP_FIRST..=32).contains(group)) && groups.len() > 1, "{groups:?}");
}

fn the_protocol_may_be_another_number() {
    reload("protocol=26");
    let bus = Bus::connect().unwrap();
    assert_eq!(bus.info().unwrap().protocol, 26);
    let mut subscription = bus.subscribe("#").unwrap();
    assert_eq!(bus.publish_acked("x", "x").unwrap(), 1);
    assert_eq!(events(&mut subscription, 1)[0].seq(), 1);
}

fn too_many_topics_are_refused() {
    reload("topics=8");
    limits::one_topic_too_many_is_refused(&Bus::connect().unwrap(), 8);
}

fn topics_that_were_deleted_leave_room() {
    reload("topics=8");
    limits::topics_that_were_deleted_leave_room(&Bus::connect().unwrap(), 8);
}

fn what_the_module_was_given_is_what_new_topics_have() {
    // Parameters are read as C has numbers.
    reload("topic_mode=0640");
    limits::new_topics_have_the_mode(&Bus::connect().unwrap(), 0o640);
    reload("topic_mode=0444");
    limits::what_nobody_may_write_to_is_not_made_by_writing(&Fixture::new());
}

/// What would need another one is refused, and what there is goes on.
fn private_groups_are_used_once_and_then_there_is_none() {
    reload("groups=32 private_groups=4");
    let bus = Bus::connect().unwrap();
    let limits = bus.info().unwrap().limits;
    assert_eq!(limits.private_groups, 4);
    let private = |name: &str| bus.topic_options(name).mode(0o600);
    for round in 0..2 {
        private("x").create_new().unwrap();
        bus.topic_options("x").mode(0o666).set().unwrap();
        private("x").set().unwrap();
        bus.delete_topic("x").unwrap();
        assert_eq!(bus.info().unwrap().counters.private_groups, 2 * (round + 1));
    }
    bus.create_topic("y").unwrap();
    for error in [private("x").create().unwrap_err(), private("y").set().unwrap_err()] {
        assert!(matches!(&error, RequestError::Refused(refusal) if refusal.errno == Errno::ENOSPC), "{error:?}");
        assert!(error.to_string().contains("private"), "{error}");
    }
    assert_eq!(bus.topic("x").unwrap(), None);
    assert_eq!(bus.topic("y").unwrap().map(|topic| topic.mode), Some(0o666));
    assert_eq!(bus.publish_acked("y", "x").unwrap(), 1);
    bus.topic_options("y").mode(0o644).set().unwrap();
    drop(bus);
    reload("groups=32 private_groups=1 topic_mode=0600");
    let bus = Bus::connect().unwrap();
    assert_eq!(bus.publish_acked("one", "x").unwrap(), 1);
    let error = bus.publish_acked("two", "x").unwrap_err();
    assert_eq!(error.errno(), Some(Errno::ENOSPC), "{error}");
    assert_eq!(bus.publish_acked("one", "x").unwrap(), 2);
}

fn the_newest_event_is_kept_without_history() {
    reload("topic_history=0 history=0");
    limits::the_newest_event_is_kept(&Bus::connect().unwrap());
}

fn all_histories_share_a_limit() {
    const LIMIT: u64 = 1 << 20;
    reload(&format!("history={LIMIT} topic_history={LIMIT}"));
    let bus = Bus::connect().unwrap();
    for number in 1..=100 {
        bus.publish_acked(&format!("h/{}", number % 5), &payload(1, number, 50_000)).unwrap();
    }
    let counters = bus.info().unwrap().counters;
    assert!(counters.history <= LIMIT && counters.history > LIMIT / 2, "{counters:?}");
    let topics = bus.topics().unwrap();
    let kept: u64 =
        topics.iter().filter(|topic| topic.name.starts_with("h/")).map(|topic| topic.head + 1 - topic.first).sum();
    assert_eq!(counters.evicted, 100 - kept, "{counters:?}");
}

/// Small neighbours on either side don't make the one that keeps the most spare itself at others' cost.
fn a_flood_evicts_itself() {
    const LIMIT: u64 = 1 << 20;
    reload(&format!("history={LIMIT} topic_history={}", LIMIT / 8));
    let bus = Bus::connect().unwrap();
    let kept = |name: &str| bus.topic(name).unwrap().unwrap().bytes;
    for quiet in ["a", "b", "c"] {
        for number in 1..=1000 {
            bus.publish(quiet, &payload(1, number, 200)).unwrap();
        }
        bus.publish_acked(&format!("{quiet}/small"), &payload(1, 1, 64)).unwrap();
        bus.publish_acked(&format!("{quiet}/small"), &payload(1, 2, 64)).unwrap();
    }
    let before = ["a", "b", "c"].map(kept);
    bus.set_history("flood", LIMIT).unwrap_err();
    bus.create_topic("flood").unwrap();
    bus.set_history("flood", LIMIT).unwrap();
    for number in 1..=100 {
        bus.publish_acked("flood", &payload(1, number, 60_000)).unwrap();
    }
    assert_eq!(["a", "b", "c"].map(kept), before);
    assert!(kept("flood") > LIMIT / 3, "{}", kept("flood"));
}

/// Publishers flood a queue that holds three of their events, until one was refused; and none of those that weren't is
/// missing.
fn who_does_not_wait_for_the_queue_is_refused() {
    reload("queue=262144");
    let fixture = Fixture::new();
    let (refused, sent) = (AtomicU64::new(0), AtomicU64::new(0));
    let deadline = Instant::now() + patience();
    thread::scope(|scope| {
        for publisher in 1..=4 {
            let (raw, refused, sent) = (fixture.raw(), &refused, &sent);
            scope.spawn(move || {
                // Reads what has come; whether it was the answer behind all the others.
                let read = |datagram: Datagram| {
                    let message = datagram.messages()[0].header;
                    if message.kind == NLMSG_ERROR {
                        let answer = datagram.answer();
                        let refusal = answer.result.unwrap_err();
                        assert_eq!((refusal.errno, answer.to.seq), (Errno::EAGAIN, 1), "of the event that won't wait");
                        assert!(refusal.message.contains("'flood'"), "it names another one: {refusal}");
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                    message.kind != NLMSG_ERROR
                };
                let mut number = 0;
                while number < 50 || (refused.load(Ordering::Relaxed) == 0 && Instant::now() < deadline) {
                    number += 1;
                    let mut datagram = Vec::new();
                    push_publish(&mut datagram, 3, false, 0, Content::Opaque, "patient", b"");
                    let payload = payload(publisher, number, 60_000);
                    push_publish(&mut datagram, 1, false, NLBUS_EVENT_F_NO_WAIT, Content::Opaque, "flood", &payload);
                    raw.send(Endpoint::Publish, &datagram);
                    sent.fetch_add(1, Ordering::Relaxed);
                    while let Some(datagram) = raw.try_receive() {
                        read(datagram);
                    }
                }
                let mut last = Vec::new();
                push_info_request(&mut last, 2);
                raw.send(Endpoint::Request, &last);
                while !read(raw.receive()) {}
            });
        }
    });
    let (refused, sent) = (refused.into_inner(), sent.into_inner());
    println!("    of {sent} events that wouldn't wait {refused} were refused");
    assert!(refused > 0, "the queue of 256 KiB was never full");
    let last = fixture.connect().publish_acked("flood", "the end").unwrap();
    assert_eq!(last - 1 + refused, sent, "each was taken or refused");
}

fn values_that_make_no_sense_are_refused() {
    absent();
    for parameters in [
        "protocol=0",
        "protocol=16",
        "protocol=32",
        "protocol=99",
        "protocol=x",
        "groups=1",
        "groups=100000",
        "topics=1",
        "topics=4294967295",
        "pack=100",
        "pack=65216",
        "heartbeat_ms=-1",
        "heartbeat_ms=99999999",
        "queue=1",
        "private_groups=0",
        "private_groups=1022",
        "topic_mode=0777",
        "topic_mode=-1",
        "user_topics=0",
        "user_topics=16385",
        "user_queue=1",
        "user_history=67108865",
        "user_private_groups=0",
        "wills=1048577",
        "user_wills=4097",
    ] {
        assert_eq!(load(MODULE, parameters), Err(Errno::EINVAL), "{parameters}");
        assert!(!is_loaded());
    }
    load(MODULE, "protocol=31 groups=32 heartbeat_ms=3600000").unwrap();
    unload_at_last();
}
