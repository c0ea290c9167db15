//! Waiting for a condition with a deadline. Nothing in the suite sleeps to let something happen.

use crate::broker_kind;
use nlbus::{BrokerKind, Bus};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that should happen at once: longer where the module runs under emulation.
pub fn patience() -> Duration {
    match broker_kind() {
        BrokerKind::Module => Duration::from_secs(120),
        _ => Duration::from_secs(30),
    }
}

/// Looks until there is something to see.
///
/// # Panics
/// When there is nothing after [`patience`].
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {:?} in vain for {what}", patience());
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until a topic has an event of this number as its newest: the module accepts events before it numbers them, and
/// a flush says that they were accepted.
///
/// # Panics
/// When it hasn't after [`patience`], or has a later one.
pub fn wait_for_head(bus: &Bus, topic: &str, head: u64) {
    let seen = wait_for("the topic's newest event", || {
        let seen = bus.topic(topic).expect("an answer").map_or(0, |topic| topic.head);
        (seen >= head).then_some(seen)
    });
    assert_eq!(seen, head, "{topic}");
}
