//! The roles that several tests need. A test file may have its own besides.

use crate::{Args, Place, Tally, users};
use nlbus::wire::uapi::NLBUS_PAYLOAD_MAX;
use nlbus::{Broker, Bus, Start};
use std::io::{self, Write};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

/// What a process does on a bus.
pub type Role = fn(Place, &Args);

pub(crate) const COMMON: &[(&str, Role)] = &[
    ("broker", broker),
    ("publisher", publisher),
    ("subscriber", subscriber),
    ("client", users::client),
    ("socket", users::socket),
];

/// Marks payloads of publishers, so that those of other tests aren't mistaken for them.
const MARK: [u8; 4] = *b"nlbs";
const STAMP: usize = 16;

/// A payload that carries who published it and as which of his events, padded to `size` bytes.
///
/// # Panics
/// When it has no room for that, or is too large for an event.
pub fn payload(publisher: u32, number: u64, size: usize) -> Vec<u8> {
    assert!((STAMP..=NLBUS_PAYLOAD_MAX).contains(&size), "a payload of {size} bytes");
    let mut payload = vec![number as u8; size];
    payload[..4].copy_from_slice(&MARK);
    payload[4..8].copy_from_slice(&publisher.to_ne_bytes());
    payload[8..STAMP].copy_from_slice(&number.to_ne_bytes());
    payload
}

/// Who published a [`payload`], and as which of his events.
///
/// # Panics
/// When its padding isn't what it was.
pub fn stamp(payload: &[u8]) -> Option<(u32, u64)> {
    let rest = payload.strip_prefix(&MARK)?;
    let (publisher, rest) = rest.split_first_chunk()?;
    let (number, padding) = rest.split_first_chunk()?;
    let number = u64::from_ne_bytes(*number);
    assert!(padding.iter().all(|byte| *byte == number as u8), "the payload was changed: {payload:?}");
    Some((u32::from_ne_bytes(*publisher), number))
}

/// The number behind a key in what a role said.
///
/// # Panics
/// When it isn't there.
pub fn value(line: &str, key: &str) -> u64 {
    let mut words = line.split_whitespace();
    let value = words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {key} in '{line}'"))
}

/// Says a line to the test, as a role does.
///
/// # Panics
/// When the test doesn't listen any more.
pub fn say(line: std::fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("a test that listens");
}

/// What the test says next to a role, which ends when nothing follows.
///
/// # Panics
/// When the test can't be heard.
pub fn hear() -> String {
    let mut line = String::new();
    if io::stdin().read_line(&mut line).expect("a test that speaks") == 0 {
        process::exit(0);
    }
    line.trim_end().to_owned()
}

/// Says `ready` and is a user broker until its standard input ends. Settings as `nlbus::BrokerBuilder` has them.
fn broker(place: Place, args: &Args) {
    let mut builder = Broker::builder().port(place.port);
    if let Some(ms) = args.get("heartbeat_ms") {
        builder = builder.heartbeat(Duration::from_millis(ms));
    }
    if let Some(bytes) = args.get("receive_buffer") {
        builder = builder.receive_buffer(bytes);
    }
    if let Some(bytes) = args.get("history") {
        builder = builder.history(bytes);
    }
    if let Some(bytes) = args.get("topic_history") {
        builder = builder.topic_history(bytes);
    }
    if let Some(topics) = args.get("topics_max") {
        builder = builder.topics_max(topics);
    }
    if let Some(topics) = args.get("user_topics") {
        builder = builder.user_topics(topics);
    }
    if let Some(bytes) = args.get("user_history") {
        builder = builder.user_history(bytes);
    }
    if let Some(wills) = args.get("wills") {
        builder = builder.wills(wills);
    }
    if let Some(wills) = args.get("user_wills") {
        builder = builder.user_wills(wills);
    }
    if let Some(mode) = args.get::<String>("topic_mode") {
        builder = builder.topic_mode(u32::from_str_radix(&mode, 8).unwrap_or_else(|error| panic!("{mode}: {error}")));
    }
    if let Some(uid) = args.get::<u32>("uid") {
        nix::unistd::setuid(uid.into()).unwrap_or_else(|errno| panic!("become {uid}: {errno}"));
    }
    let broker = builder.bind().unwrap_or_else(|error| panic!("{error}"));
    say(format_args!("ready"));
    broker.run(io::stdin()).unwrap_or_else(|error| panic!("{error}"));
}

/// Says `ready`, waits for a word, publishes `count` events of `size` bytes to `topic` and waits for the broker's ack
/// after each `window` of them. Says `published count= ms=`.
fn publisher(place: Place, args: &Args) {
    let bus = place.connect();
    let (topic, count): (String, u64) = (args.need("topic"), args.need("count"));
    let (size, window) = (args.get("size").unwrap_or(64), args.get("window").unwrap_or(100));
    let id = process::id();
    say(format_args!("ready"));
    hear();
    let start = Instant::now();
    publish(&bus, &topic, id, count, size, window);
    say(format_args!("published count={count} ms={}", start.elapsed().as_millis()));
}

fn publish(bus: &Bus, topic: &str, id: u32, count: u64, size: usize, window: u64) {
    for number in 1..=count {
        let payload = payload(id, number, size);
        let result = match number % window == 0 || number == count {
            true => bus.publish_acked(topic, &payload).map(drop),
            false => bus.publish(topic, &payload),
        };
        result.unwrap_or_else(|error| panic!("{number} of {count}: {error}"));
    }
}

/// Subscribes to `filter`, says `subscribed`, and takes deliveries until `total` events are delivered or lost: then it
/// says `done delivered= lost= replayed= overruns= topics=`. Checks the order of all. `start` is `live` or `all`,
/// `capacity` and `buffer` are those of channel and sockets; with `one` each topic begins with number 1. With `nap` it sleeps
/// 10 ms after each so many deliveries.
fn subscriber(place: Place, args: &Args) {
    let buffer = args.get("buffer").unwrap_or(8 << 20);
    let bus = place.builder().receive_buffer(buffer).connect().unwrap_or_else(|error| panic!("{error}"));
    let start = match args.get::<String>("start").as_deref() {
        None | Some("live") => Start::Live,
        Some("all") => Start::All,
        Some(other) => panic!("start={other}"),
    };
    let subscriber = bus.subscriber(&args.need::<String>("filter")).start(start);
    let subscriber = subscriber.capacity(args.get("capacity").unwrap_or(nlbus::CAPACITY));
    let mut subscription = subscriber.open().unwrap_or_else(|error| panic!("{error}"));
    say(format_args!("subscribed"));
    let mut tally = if args.get("one").unwrap_or(false) { Tally::from_one() } else { Tally::new() };
    let (total, nap): (u64, u64) = (args.need("total"), args.get::<u64>("nap").unwrap_or(u64::MAX));
    while tally.total() < total {
        tally.take(&mut subscription, total.min(tally.total().saturating_add(nap)));
        if tally.total() < total {
            thread::sleep(Duration::from_millis(10));
        }
    }
    let overruns = bus.counters().map(|counters| counters.client.overruns).unwrap_or_else(|error| panic!("{error}"));
    let (delivered, lost, replayed, topics) = (tally.delivered, tally.lost, tally.replayed, tally.topics());
    say(format_args!("done delivered={delivered} lost={lost} replayed={replayed} overruns={overruns} topics={topics}"));
    hear();
}
