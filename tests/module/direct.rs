//! An event that finds the bus idle goes out in its publisher's own task.

use crate::kernel::reload;
use nlbus::Bus;
use nlbus_tests::{cases, payload, wait_for};
use std::fs;
use std::thread;

cases![
    a_lone_event_wakes_its_subscriber_and_nobody_else module_only alone,
    a_datagram_of_many_topics_wakes_nobody_else module_only alone,
    what_takes_a_larger_ring_is_left_to_the_thread module_only alone,
    publishers_at_once_leave_history_dense module_only alone,
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

/// The same, once it doesn't change any more.
fn settled() -> u64 {
    let mut before = sleeps();
    wait_for("the thread to have slept", || {
        let now = sleeps();
        std::mem::replace(&mut before, now).eq(&now).then_some(now)
    })
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
    let before = settled();
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

/// The publisher dispatches a whole datagram as the bus thread would, whatever topics are in it.
fn a_datagram_of_many_topics_wakes_nobody_else() {
    const TOPICS: u64 = 40;
    const ROUNDS: u64 = 100;
    reload("heartbeat_ms=0");
    let bus = Bus::connect().unwrap();
    let send = |number| {
        let mut batch = bus.batch();
        for topic in 0..TOPICS {
            batch.push(&format!("many/{topic}"), &payload(topic as u32, number, 64)).unwrap();
        }
        batch.send_acked().unwrap()
    };
    for number in 1..=ROUNDS {
        send(number);
    }
    let before = settled();
    for number in ROUNDS + 1..=2 * ROUNDS {
        assert_eq!(send(number), Some(number));
    }
    let woken = sleeps() - before;
    println!("    for {ROUNDS} datagrams of {TOPICS} topics the bus thread was woken {woken} times");
    // Rings of history grow now and then; and where the machine stood still, a broadcast seemed to take long.
    assert!(woken <= ROUNDS / 2, "woken {woken} times");
}

/// Events that go through the queue come each with memory for more; what history keeps of it, it fills.
fn publishers_at_once_leave_history_dense() {
    const PUBLISHERS: u32 = 4;
    const EACH: u64 = 1000;
    reload("topic_history=4194304");
    let bus = Bus::connect().unwrap();
    bus.create_topic("dense").unwrap();
    thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            scope.spawn(move || {
                let bus = Bus::connect().unwrap();
                (1..=EACH).for_each(|number| bus.publish("dense", &payload(publisher, number, 64)).unwrap());
                bus.publish_acked("dense", &payload(publisher, EACH + 1, 64)).unwrap();
            });
        }
    });
    let topic = bus.topic("dense").unwrap().unwrap();
    assert_eq!((topic.first, topic.head), (1, u64::from(PUBLISHERS) * (EACH + 1)));
    // 16 + 40 + 8 + 64 bytes an event.
    let messages = topic.head * 128;
    assert!(topic.bytes < messages * 2, "{} bytes for messages of {messages}", topic.bytes);
}
