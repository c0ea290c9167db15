//! An event that finds the bus idle goes out in its publisher's own task.

use crate::kernel::reload;
use nlbus::Bus;
use nlbus_tests::{cases, payload, wait_for};
use std::fs;

cases![
    a_lone_event_wakes_its_subscriber_and_nobody_else module_only alone,
    what_takes_a_larger_ring_is_left_to_the_thread module_only alone,
];

/// How often the bus thread of this namespace slept.
fn sleeps() -> u64 {
    let of = |dir: &fs::DirEntry| -> Option<u64> {
        let read = |name| fs::read_to_string(dir.path().join(name)).ok();
        if read("comm")?.trim() != "nlbus" || !read("cmdline")?.is_empty() {
            return None;
        }
        let status = read("status")?;
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    fs::read_dir("/proc").expect("/proc").flatten().filter_map(|dir| of(&dir)).sum()
}

fn a_lone_event_wakes_its_subscriber_and_nobody_else() {
    const COUNT: u64 = 1000;
    reload("heartbeat_ms=0");
    let bus = Bus::builder().direct().connect().unwrap();
    bus.create_topic("lone").unwrap();
    let mut subscription = bus.subscribe("lone").unwrap();
    let publisher = Bus::connect().unwrap();
    // $SYS/topics is the thread's, and so is what makes the ring of history grow.
    for number in 1..=COUNT {
        publisher.publish_acked("lone", &payload(1, number, 64)).unwrap();
        subscription.recv().unwrap();
    }
    let mut before = sleeps();
    wait_for("the thread to have slept", || {
        let now = sleeps();
        std::mem::replace(&mut before, now).eq(&now).then_some(())
    });
    for number in 1..=COUNT {
        assert_eq!(publisher.publish_acked("lone", &payload(1, number, 64)).unwrap(), COUNT + number);
        assert_eq!(subscription.recv().unwrap().event().unwrap().seq(), COUNT + number);
    }
    let woken = sleeps() - before;
    println!("    for {COUNT} lone events the bus thread was woken {woken} times");
    // The ring of history may have grown once; and where the machine stood still, a broadcast seemed to take long.
    assert!(woken <= COUNT / 10, "woken {woken} times");
}

/// The ring of history grows with the events, whoever dispatches them, and loses none.
fn what_takes_a_larger_ring_is_left_to_the_thread() {
    reload("");
    let bus = Bus::connect().unwrap();
    for number in 1..=1000 {
        bus.publish_acked("grows", &payload(1, number, 16)).unwrap();
    }
    let topic = bus.topic("grows").unwrap().unwrap();
    assert_eq!((topic.first, topic.head), (1, 1000));
}
