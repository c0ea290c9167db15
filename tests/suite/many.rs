//! Many subscribers, many subscriptions, many events: everyone gets all of them, in order.

use nlbus_tests::{Child, Fixture, Tally, cases, payload, value};
use std::time::Instant;

cases![
    thirty_two_processes_get_everything,
    two_hundred_subscriptions_of_one_process_get_everything,
    a_hundred_thousand_events_reach_eight_processes alone,
];

fn subscribers(fixture: &Fixture, count: usize, args: &[&str]) -> Vec<Child> {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let mut children: Vec<_> = (0..count).map(|_| fixture.spawn("subscriber", &args)).collect();
    children.iter_mut().for_each(|child| child.expect("subscribed"));
    children
}

fn thirty_two_processes_get_everything() {
    const COUNT: u64 = 1000;
    let fixture = Fixture::new();
    let mut children = subscribers(&fixture, 32, &["filter=many/#", "one=true", &format!("total={COUNT}")]);
    let bus = fixture.connect();
    for number in 1..=COUNT {
        bus.publish(["many/a", "many/b"][number as usize % 2], &payload(1, number, 64)).unwrap();
    }
    bus.flush().unwrap();
    for child in &mut children {
        let line = child.line();
        assert_eq!((value(&line, "delivered"), value(&line, "lost")), (COUNT, 0), "{line}");
    }
    children.into_iter().for_each(Child::end_well);
}

fn two_hundred_subscriptions_of_one_process_get_everything() {
    const COUNT: u64 = 300;
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let filters = ["many/1", "many/+", "many/#", "#"];
    let mut subscriptions: Vec<_> = (0..200).map(|at| bus.subscribe(filters[at % 4]).unwrap()).collect();
    for number in 1..=COUNT {
        bus.publish("many/1", &payload(1, number, 64)).unwrap();
        bus.publish("many/2", &payload(2, number, 64)).unwrap();
    }
    for (at, subscription) in subscriptions.iter_mut().enumerate() {
        let mut tally = Tally::from_one();
        tally.take(subscription, if at % 4 == 0 { COUNT } else { 2 * COUNT });
        assert_eq!(tally.lost, 0, "subscription {at}: {tally:?}");
    }
}

/// Paced: each publisher waits for the broker's ack after a window of events, so that nobody is overrun.
fn a_hundred_thousand_events_reach_eight_processes() {
    const EACH: u64 = 50_000;
    const SUBSCRIBERS: usize = 8;
    let fixture = Fixture::new();
    let total = format!("total={}", 2 * EACH);
    let mut children = subscribers(&fixture, SUBSCRIBERS, &["filter=many/+", "one=true", "buffer=16777216", &total]);
    let publisher = |topic: &str| {
        let count = format!("count={EACH}");
        let mut child = fixture.spawn("publisher", &[topic.to_owned(), count, "size=64".into(), "window=50".into()]);
        child.expect("ready");
        child
    };
    let mut publishers = [publisher("topic=many/a"), publisher("topic=many/b")];
    let start = Instant::now();
    publishers.iter_mut().for_each(|child| child.say("go"));
    for publisher in &mut publishers {
        assert_eq!(value(&publisher.line(), "count"), EACH);
    }
    let published = start.elapsed();
    let lines: Vec<_> = children.iter_mut().map(Child::line).collect();
    let elapsed = start.elapsed();
    println!("    {} events of 64 bytes from 2 processes to {SUBSCRIBERS}, published in {published:.2?}:", 2 * EACH);
    for line in &lines {
        println!("        {line}");
    }
    let rate = (2 * EACH) as f64 * SUBSCRIBERS as f64 / elapsed.as_secs_f64();
    println!("        all there after {elapsed:.2?}: {rate:.0} deliveries/s");
    for line in &lines {
        assert_eq!((value(line, "delivered"), value(line, "lost"), value(line, "topics")), (2 * EACH, 0, 2), "{line}");
        assert_eq!(value(line, "overruns"), 0, "somebody was overrun: {line}");
    }
    children.into_iter().for_each(Child::end_well);
}
