//! A million events at once, for subscribers that can't all keep up.

use crate::{Place, value};
use nlbus::{Bus, PublishReason};
use std::time::Instant;

/// How many events.
const COUNT: u64 = 1_000_000;

/// Bytes of each payload.
const SIZE: usize = 64;

/// The subscribers: one is fast, one sleeps 10 ms after each 1000 events, one has a small receive buffer, and one a small
/// channel as well.
const SUBSCRIBERS: [(&str, &[&str]); 4] = [
    ("fast", &[]),
    ("sleeps 10 ms every 1000", &["nap=1000"]),
    ("buffer of 64 KiB", &["buffer=65536"]),
    ("buffer of 64 KiB, channel of 100", &["buffer=65536", "capacity=100"]),
];

/// Publishes a million events of 64 bytes as fast as they go to four subscriber processes, to a topic whose history keeps
/// this many bytes. Each must account for all of them. Returns how many events were lost, and how many datagrams dropped,
/// for each.
///
/// # Panics
/// When one doesn't account for all of them.
pub fn burst(place: &Place, history: u64) -> Vec<(u64, u64)> {
    let bus = place.connect();
    bus.create_topic("burst").unwrap();
    bus.set_history("burst", history).unwrap();
    let total = format!("total={COUNT}");
    let subscribe = |(_, options): &(&str, &[&str])| {
        let args = ["filter=burst", "one=true", &total].into_iter().chain(options.iter().copied()).map(str::to_owned);
        let mut child = place.spawn("subscriber", &args.collect::<Vec<_>>());
        child.expect("subscribed");
        child
    };
    let mut children: Vec<_> = SUBSCRIBERS.iter().map(subscribe).collect();
    let start = Instant::now();
    publish(&bus);
    println!("    {COUNT} events of {SIZE} bytes published in {:.1?}, history of {history} bytes", start.elapsed());
    let mut account = Vec::new();
    for ((name, _), child) in SUBSCRIBERS.iter().zip(&mut children) {
        let line = child.line();
        println!("    {name}: {line}, after {:.1?}", start.elapsed());
        assert_eq!(value(&line, "delivered") + value(&line, "lost"), COUNT, "{name}: {line}");
        account.push((value(&line, "lost"), value(&line, "overruns")));
    }
    children.into_iter().for_each(crate::Child::end_well);
    account
}

fn publish(bus: &Bus) {
    let mut batch = bus.batch();
    for number in 1..=COUNT {
        let payload = crate::payload(1, number, SIZE);
        match batch.push("burst", &payload) {
            Err(error) if matches!(error.reason(), PublishReason::BatchFull) => {
                batch.send().unwrap();
                batch.push("burst", &payload).unwrap();
            }
            pushed => pushed.unwrap(),
        }
    }
    batch.send().unwrap();
    bus.flush().unwrap();
}
