//! What errors say: what failed, of what, and what to do about it.

use nlbus::{Broker, BrokerHandle, Bus, Choice, Start};
use std::sync::atomic::{AtomicU32, Ordering};

fn connected() -> (BrokerHandle, Bus) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // A pair of port ids that nobody else has.
    let port = 0x1800_0000 + std::process::id() * 64 + NEXT.fetch_add(2, Ordering::Relaxed);
    let broker = Broker::builder().port(port).spawn().unwrap();
    let bus = Bus::builder().broker(Choice::User).port(port).direct().connect().unwrap();
    (broker, bus)
}

fn says<T: std::fmt::Debug, E: std::error::Error>(result: Result<T, E>, parts: &[&str]) {
    let text = result.unwrap_err().to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "'{text}' lacks one of {parts:?}");
}

#[test]
fn errors_name_their_topic_and_a_remedy() {
    let (_broker, bus) = connected();
    says(bus.publish("a", &[0; 70_000]), &["'a'", "70000 bytes", "64512", "split it"]);
    says(bus.topic("a/+"), &["'a/+'", "only filters"]);
    says(bus.create_topic("a\nb#"), &["'a\\nb#'"]);
    says(bus.subscriber("a").start(Start::From(9)).open(), &["topic 'a'", "start with Live or All"]);
    says(bus.subscriber("a/#").start(Start::From(9)).open(), &["one exact topic", "Last or All"]);
    let closed = bus.clone();
    bus.close().unwrap();
    says(closed.publish("a", ""), &["'a'", "closed; connect anew"]);
    says(closed.subscribe("a"), &["'a'", "closed; connect anew"]);
    says(closed.info(), &["closed; connect anew"]);
}
