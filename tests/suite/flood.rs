//! Promise 12, of one who is left in peace: whatever an ordinary user's processes do as fast as they can, another one's events
//! are taken, acknowledged and delivered.

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nlbus::wire::uapi::{NLBUS_DATAGRAM_MAX, NLMSG_ERROR};
use nlbus::wire::{Answer, Content, ReplayRequest, TopicKey, TopicRequest, push_info_request, push_publish};
use nlbus::{BrokerKind, Info};
use nlbus_tests::{
    Args, Child, Endpoint, Fixture, Place, RawClient, Role, Tally, become_another, broker_kind, cases, hear,
    no_other_user, payload, say, value,
};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

cases![nobody_floods_and_somebody_is_served alone, who_asks_for_much_waits_for_himself user_only];

pub(crate) const ROLES: &[(&str, Role)] = &[("flooder", flooder), ("served", served)];

/// No other test has these: what the flooder created counts for a while after it.
const FLOODER: u32 = 60010;
const SOMEBODY: u32 = 60011;
const FLOODERS: u64 = 10;
/// Events of who is to be served, one after the other: an ack of the user broker, where a publish waits behind others', takes as
/// long as some of the module's.
fn events() -> u64 {
    if broker_kind() == BrokerKind::Module { 2000 } else { 300 }
}

/// He says something after each so many, so that the test sees him go on.
const PART: u64 = 25;

/// What a flooder sends next: of ten of them each begins with another one.
fn frame(step: u64, epoch: u64, turn: u64) -> (Endpoint, Vec<u8>) {
    let mut frame = Vec::new();
    // Valid names, more than a user may have.
    let name = |at: u64| format!("flood/{}", at % 20_000);
    let mut publish = |topic: &str, len: usize, ack| {
        push_publish(&mut frame, step as u32, ack, 0, Content::Opaque, topic, &vec![step as u8; len]);
    };
    match turn {
        0 | 1 => publish(&name(step % 50), 64, false),
        2 => publish(&name(step % 50), NLBUS_DATAGRAM_MAX - 400, false),
        3 => publish(&name(step), 1000, true),
        4 => (0..300).for_each(|at| publish(&name(step % 3 + at), 64, false)),
        5 => TopicRequest::create(&name(step)).push(&mut frame, 1),
        6 => TopicRequest::Delete(TopicKey::Name(&name(step))).push(&mut frame, 1),
        7 | 8 => {
            let topic_id = step as u32 % 50;
            ReplayRequest { epoch, topic_id, from: 1, limit: None }.push(&mut frame, 1);
        }
        _ => TopicRequest::List { cursor: 0, since: Some(step % 2) }.push(&mut frame, 1),
    }
    (if turn < 5 { Endpoint::Publish } else { Endpoint::Request }, frame)
}

/// Becomes somebody, says `ready` and sends frames of all kinds as fast as it can, mostly those of one, and reads what it is
/// answered or doesn't. Until it is told anything: then it says `sent= full= refused= quota=`, frames that the kernel took, and
/// didn't for want of room, what the broker refused, and of that for a quota.
fn flooder(place: Place, args: &Args) {
    become_another(place, args);
    let raw = place.raw();
    let (epoch, number): (u64, u64) = (args.need("epoch"), args.need("number"));
    static STOP: AtomicBool = AtomicBool::new(false);
    thread::spawn(|| {
        hear();
        STOP.store(true, Ordering::Relaxed);
    });
    say(format_args!("ready"));
    let (mut sent, mut full, mut refused) = (0u64, 0u64, [0, 0]);
    let mut step = number * 1000;
    while !STOP.load(Ordering::Relaxed) {
        step += 1;
        let turn = if step % 8 == 0 { step / 8 % 10 } else { number };
        let (to, datagram) = frame(step, epoch, turn);
        // Some of them sleep for room, as publishers do, and others don't.
        let taken = match number % 4 {
            0 => raw.try_send(to, &datagram),
            _ => raw.send_to(raw.port_of(to), 0, &datagram),
        };
        match taken {
            Ok(()) => sent += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => full += 1,
            Err(error) => panic!("{error}"),
        }
        // Half of them never read, and have more answers waiting than there is room for.
        if number % 2 == 0 {
            count_refusals(&raw, &mut refused);
        }
    }
    count_refusals(&raw, &mut refused);
    let [refused, quota] = refused;
    say(format_args!("sent={sent} full={full} refused={refused} quota={quota}"));
}

/// Reads what is there, and counts what says no, and of that what a quota is the reason for.
fn count_refusals(raw: &RawClient, counts: &mut [u64; 2]) {
    while let Ok(Some(datagram)) = raw.receive_now() {
        for message in datagram.messages().iter().filter(|message| message.header.kind == NLMSG_ERROR) {
            if let Err(refusal) = Answer::parse(message).expect("an answer").result {
                counts[0] += 1;
                counts[1] += u64::from(refusal.errno == Errno::EDQUOT);
            }
        }
    }
}

/// Becomes somebody, subscribes to a topic, and publishes events to it, each after the ack of the one before. Says `served` after
/// each [`PART`] of them, which were delivered by then, and at last `done p50_us= max_us=`.
fn served(place: Place, args: &Args) {
    become_another(place, args);
    let (bus, watcher) = (place.connect(), place.connect());
    let mut subscription = watcher.subscribe("peace").unwrap();
    let mut tally = Tally::from_one();
    let mut times = Vec::new();
    let count = events();
    for number in 1..=count {
        let start = Instant::now();
        assert_eq!(bus.publish_acked("peace", &payload(1, number, 64)).unwrap(), number);
        times.push(start.elapsed());
        if number % PART == 0 {
            tally.take(&mut subscription, number);
            say(format_args!("served {number}"));
        }
    }
    assert_eq!((tally.delivered, tally.lost), (count, 0), "{tally:?}");
    times.sort();
    let us = |time: Duration| time.as_micros();
    say(format_args!("done p50_us={} max_us={}", us(times[times.len() / 2]), us(times[times.len() - 1])));
}

fn flood(fixture: &Fixture, epoch: u64) -> Vec<Child> {
    let start = |number| {
        let words = [format!("uid={FLOODER}"), format!("epoch={epoch}"), format!("number={number}")];
        let mut child = fixture.spawn("flooder", &words);
        child.expect("ready");
        child
    };
    (0..FLOODERS).map(start).collect()
}

fn nobody_floods_and_somebody_is_served() {
    if no_other_user() {
        return;
    }
    let fixture = match broker_kind() {
        BrokerKind::Module => Fixture::new(),
        // Which is what a publish waits behind there, whoever's it is: without it they take turns.
        _ => Fixture::with(&["receive_buffer=262144"]),
    };
    let epoch = fixture.connect().info().unwrap().epoch;
    let mut flooders = flood(&fixture, epoch);
    let mut child = fixture.spawn("served", &[format!("uid={SOMEBODY}"), "joins=true".to_owned()]);
    for part in 1..=events() / PART {
        child.expect(&format!("served {}", part * PART));
    }
    let line = child.line();
    flooders.iter_mut().for_each(|child| child.say("stop"));
    let lines: Vec<_> = flooders.iter_mut().map(Child::line).collect();
    let total = |key: &str| lines.iter().map(|line| value(line, key)).sum::<u64>();
    let [sent, full, refused, quota] = ["sent", "full", "refused", "quota"].map(total);
    println!(
        "    flooded with {sent} frames, and {full} found no room; {refused} refused, {quota} for a quota; served: {line}"
    );
    assert!(sent > events() && refused > 0, "that is no flood: {lines:?}");
    child.end_well();
}

/// The module answers in the system call of who asks. When each answer was written it says itself.
fn who_asks_for_much_waits_for_himself() {
    const MANY: usize = 300;
    let mut fixture = Fixture::new();
    let (greedy, modest) = (fixture.raw(), fixture.raw());
    let mut request = Vec::new();
    push_info_request(&mut request, 1);
    let broker = fixture.broker().expect("a broker");
    broker.signal(Signal::SIGSTOP);
    (0..MANY).for_each(|_| greedy.send(Endpoint::Request, &request));
    modest.send(Endpoint::Request, &request);
    broker.signal(Signal::SIGCONT);
    let answered = |raw: &RawClient| Info::read(raw.receive().messages()[0].body).expect("an answer").uptime_ns;
    let modest = answered(&modest);
    let before = (0..MANY).filter(|_| answered(&greedy) < modest).count();
    assert!(before <= 3, "{before} of {MANY} were answered before one that came last");
}
