//! Promise 6: when the publish queue is full a publisher waits for room and nothing is lost; who doesn't want to wait is
//! refused: in `tests/module`, where the queue can be made small.

use nix::sys::signal::Signal;
use nlbus::wire::push_info_request;
use nlbus::{Bus, PublishError};
use nlbus_tests::{Endpoint, Fixture, cases, patience, payload, wait_for};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

cases![
    a_flood_is_taken_as_fast_as_it_can_be,
    a_publisher_waits_for_a_stopped_broker user_only,
    who_does_not_wait_is_told_and_loses_nothing user_only,
    publishers_killed_while_they_wait_leave_nothing_behind,
    a_question_that_finds_no_room_is_asked_again user_only,
    who_waits_for_an_answer_waits_for_room_no_longer user_only,
];

/// Four publishers send more than any queue holds.
fn a_flood_is_taken_as_fast_as_it_can_be() {
    const EACH: u64 = 100;
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let queue = bus.info().unwrap().limits.queue;
    let before = bus.info().unwrap().counters.published;
    thread::scope(|scope| {
        for publisher in 1..=4 {
            let bus = fixture.connect();
            scope.spawn(move || {
                for number in 1..=EACH {
                    bus.publish("flood", &payload(publisher, number, 60_000)).unwrap();
                }
                bus.flush().unwrap();
                assert_eq!(bus.counters().unwrap().refused, 0);
            });
        }
    });
    assert!(4 * EACH * 60_000 > queue, "a queue of {queue} bytes holds it all");
    // Flushed is accepted; room goes back once an event has its number.
    wait_for("the queue to be empty", || (bus.info().unwrap().counters.queue == 0).then_some(()));
    assert_eq!(bus.topic("flood").unwrap().expect("a topic").head, 4 * EACH);
    // The broker's own events count as well.
    let published = bus.info().unwrap().counters.published;
    assert!(published - before >= 4 * EACH, "{before} to {published}");
}

/// For the module in `tests/module`, where the queue can be made small.
fn who_does_not_wait_is_told_and_loses_nothing() {
    let mut fixture = Fixture::new();
    let bus = fixture.connect();
    fixture.broker().expect("a broker").signal(Signal::SIGSTOP);
    let mut batch = bus.batch().no_wait();
    let sent = loop_until_full(&bus, 60_000);
    for payload in [&[0u8; 30_000], &[1u8; 30_000]] {
        batch.push("hasty", payload).unwrap();
    }
    let error = batch.send().unwrap_err();
    assert!(error.would_block(), "{error:?}");
    assert_eq!(batch.len(), 2, "as it was");
    fixture.broker().expect("a broker").signal(Signal::SIGCONT);
    wait_for("room", || batch.send().ok());
    bus.flush().unwrap();
    assert_eq!(bus.topic("hasty").unwrap().expect("a topic").head, sent + 2, "all or none of a datagram");
}

/// Publishes without waiting until the queue is full. How many events fit.
fn loop_until_full(bus: &Bus, size: usize) -> u64 {
    (0..)
        .find(|_| {
            let mut one = bus.batch().no_wait();
            one.push("hasty", &vec![0u8; size]).unwrap();
            one.send().map_err(|error| assert!(error.would_block(), "{error:?}")).is_err()
        })
        .expect("an end")
}

/// Kills them in the midst of it, again and again: whether they slept for room, had it, or gave it back.
fn publishers_killed_while_they_wait_leave_nothing_behind() {
    const ROUNDS: u32 = 10;
    let fixture = Fixture::new();
    let bus = fixture.connect();
    for round in 1..=ROUNDS {
        let args = ["topic=killed", "count=1000000000", "size=60000", "window=1000000000"].map(str::to_owned);
        let mut publishers = [(); 4].map(|()| fixture.spawn("publisher", &args));
        for publisher in &mut publishers {
            publisher.expect("ready");
            publisher.say("go");
        }
        let before = bus.info().unwrap().counters.published;
        wait_for("a flood", || (bus.info().unwrap().counters.published > before + 20).then_some(()));
        for publisher in &mut publishers {
            publisher.kill();
        }
        wait_for("the queue to be empty", || (bus.info().unwrap().counters.queue == 0).then_some(()));
        let head = bus.topic("killed").unwrap().expect("a topic").head;
        assert_eq!(bus.publish_acked("killed", "alive").unwrap(), head + 1, "round {round}");
    }
}

fn a_publisher_waits_for_a_stopped_broker() {
    const COUNT: u64 = 1000;
    let mut fixture = Fixture::new();
    let bus = fixture.connect();
    fixture.broker().expect("a broker").signal(Signal::SIGSTOP);
    let sent = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=COUNT {
                bus.publish("wait", &payload(1, number, 60_000)).unwrap();
                sent.store(number, Ordering::Relaxed);
            }
        });
        // It has come to a stand when the number doesn't rise any more; that takes looking twice.
        let mut last = 0;
        wait_for("the queue to be full", || {
            thread::sleep(Duration::from_millis(100));
            let before = std::mem::replace(&mut last, sent.load(Ordering::Relaxed));
            (last > 0 && last == before).then_some(())
        });
        assert!(last < COUNT, "60 MB fit the queue");
        fixture.broker().expect("a broker").signal(Signal::SIGCONT);
    });
    bus.flush().unwrap();
    assert_eq!(bus.topic("wait").unwrap().expect("a topic").head, COUNT, "who waited has lost nothing");
}

fn a_question_that_finds_no_room_is_asked_again() {
    let mut fixture = Fixture::quiet();
    let bus = fixture.connect();
    fixture.broker().expect("a broker").signal(Signal::SIGSTOP);
    let others = fixture.raw();
    let mut request = Vec::new();
    push_info_request(&mut request, 1);
    while others.try_send(Endpoint::Request, &request).is_ok() {}
    drop(others);
    thread::scope(|scope| {
        let answer = scope.spawn(|| bus.info());
        // Until it has found no room; if it hasn't yet, it finds some.
        thread::sleep(Duration::from_millis(100));
        fixture.broker().expect("a broker").signal(Signal::SIGCONT);
        let answer = answer.join().expect("no panic");
        assert!(answer.is_ok(), "{answer:?}");
    });
}

/// How long acks and answers may take bounds all of the call, and what found no room was not published.
fn who_waits_for_an_answer_waits_for_room_no_longer() {
    type Call = fn(Bus) -> Result<(), PublishError>;
    let mut fixture = Fixture::quiet();
    let bus = fixture.builder().patience(Duration::from_millis(200)).connect().unwrap();
    fixture.broker().expect("a broker").signal(Signal::SIGSTOP);
    // Until not even a small one fits.
    let sent = loop_until_full(&bus, 60_000) + loop_until_full(&bus, 0);
    let calls: [(&str, Call); 4] = [
        ("flush", |bus| bus.flush()),
        ("publish_acked", |bus| bus.publish_acked("hasty", "").map(drop)),
        ("send_acked", |bus| {
            let mut batch = bus.batch();
            batch.push("hasty", "")?;
            batch.send_acked().map(drop)
        }),
        ("close", Bus::close),
    ];
    for (name, call) in calls {
        let (bus, (ended, end)) = (bus.clone(), mpsc::channel());
        thread::spawn(move || ended.send(call(bus)));
        let error = end.recv_timeout(patience()).unwrap_or_else(|_| panic!("{name} waits for ever")).unwrap_err();
        assert!(error.would_block(), "{name}: {error:?}");
    }
    fixture.broker().expect("a broker").signal(Signal::SIGCONT);
    let fresh = fixture.connect();
    fresh.publish_acked("after", "x").unwrap();
    assert_eq!(fresh.topic("hasty").unwrap().expect("a topic").head, sent);
}
