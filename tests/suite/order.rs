//! Promise 2: a topic's events have consecutive numbers from 1, and every subscriber sees them in that order, each at
//! most once.

use nlbus::Delivery;
use nlbus_tests::{Fixture, Tally, cases, collect, payload, value};
use std::thread;

cases![numbers_are_consecutive_from_one, publishers_of_one_topic_are_put_in_one_order];

fn numbers_are_consecutive_from_one() {
    let fixture = Fixture::new();
    let (one, two) = (fixture.connect(), fixture.connect());
    for seq in 1..=50 {
        let bus = if seq % 2 == 0 { &one } else { &two };
        assert_eq!(bus.publish_acked("topic/a", "x").unwrap(), seq);
        assert_eq!(bus.publish_acked("topic/b", "x").unwrap(), seq, "a topic's numbers are its own");
    }
}

/// Threads of one connection, other connections, other processes, all at once.
fn publishers_of_one_topic_are_put_in_one_order() {
    const EACH: u64 = 500;
    const TOPICS: [&str; 2] = ["order/a", "order/b"];
    let fixture = Fixture::new();
    let watchers = [fixture.connect(), fixture.connect()];
    // Where nobody drives a connection while this publishes, the groups of new topics aren't joined meanwhile.
    for topic in TOPICS {
        watchers[0].create_topic(topic).unwrap();
    }
    let mut subscriptions: Vec<_> = watchers.iter().map(|bus| bus.subscribe("order/+").unwrap()).collect();
    let mut processes: Vec<_> = TOPICS
        .iter()
        .map(|topic| {
            fixture.spawn("publisher", &[format!("topic={topic}"), format!("count={EACH}"), "window=7".into()])
        })
        .collect();
    processes.iter_mut().for_each(|process| process.expect("ready"));
    processes.iter_mut().for_each(|process| process.say("go"));
    let shared = fixture.connect();
    thread::scope(|scope| {
        for publisher in 1..=4u32 {
            // Two threads share a connection, two have their own.
            let bus = if publisher <= 2 { shared.clone() } else { fixture.connect() };
            scope.spawn(move || {
                for number in 1..=EACH {
                    for topic in TOPICS {
                        bus.publish(topic, &payload(publisher, number, 64)).unwrap();
                    }
                }
                bus.flush().unwrap();
            });
        }
    });
    for process in &mut processes {
        assert_eq!(value(&process.line(), "count"), EACH);
    }
    // Per topic four threads and a process.
    let total = TOPICS.len() as u64 * EACH * 5;
    let orders = subscriptions.iter_mut().map(|subscription| {
        let mut tally = Tally::from_one();
        let seen = collect(subscription, |seen| {
            seen.last().into_iter().for_each(|delivery| tally.add(delivery));
            tally.total() == total
        });
        assert_eq!((tally.lost, tally.head(TOPICS[0]), tally.head(TOPICS[1])), (0, EACH * 5, EACH * 5));
        let mut order: Vec<_> = seen
            .iter()
            .filter_map(Delivery::event)
            .map(|event| (event.topic().to_owned(), event.seq(), event.sender(), event.payload().to_vec()))
            .collect();
        // Between topics no order is promised; within one it was just checked.
        order.sort_by(|one, two| (&one.0, one.1).cmp(&(&two.0, two.1)));
        order
    });
    let orders: Vec<_> = orders.collect();
    assert!(orders[0] == orders[1], "two subscribers saw different events under the same numbers");
}
