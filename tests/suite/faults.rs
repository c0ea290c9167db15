//! Promises 2 and 3 when everything goes wrong: datagrams of events and of replies are lost, late, out of order and cut on
//! their way from the sockets, by a seed. Whatever happens, what is delivered and reported lost is what was published.

use nlbus::{Bus, Overflow, Start, SubscribeReason};
use nlbus_tests::{Fixture, Tally, cases, in_new_namespace, patience, payload, wait_for};
use std::time::{Duration, Instant};

cases![every_event_is_accounted_for_whatever_happens_on_the_way, requests_are_answered_or_time_out];

const TOPICS: [&str; 4] = ["a/x", "a/y", "b", "c/d"];
const EACH: u64 = 300;

/// Events of one topic after the other, some of one datagram: the later topics come about while others subscribe.
fn publish(bus: &Bus) {
    for number in 1..=EACH / 10 {
        for topic in TOPICS {
            let mut batch = bus.batch();
            for at in 0..10 {
                batch.push(topic, &payload(1, (number - 1) * 10 + at, 100)).unwrap();
            }
            batch.send().unwrap();
        }
    }
    bus.flush().unwrap();
}

fn every_event_is_accounted_for_whatever_happens_on_the_way() {
    // A bus of its own for each: the module's is the namespace's.
    let found: Vec<_> = (0..4).map(|seed| in_new_namespace(move || account_for_all(seed))).collect();
    let (lost, overruns) = found.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!("    {overruns} datagrams dropped on the way, {lost} events reported as lost by policy or history");
    assert!(overruns > 0);
}

/// How many events were lost, and datagrams dropped.
fn account_for_all(seed: u64) -> (u64, u64) {
    let mut lost = 0;
    let fixture = Fixture::new();
    let publisher = fixture.connect();
    publisher.create_topic("a/x").unwrap();
    let bus = fixture.builder().faults(seed).connect().unwrap();
    let options = [
        ("#", Start::All, Overflow::CatchUp, 16_384),
        ("a/x", Start::Live, Overflow::CatchUp, 100),
        ("a/+", Start::Live, Overflow::DropOldest, 200),
        ("b", Start::All, Overflow::DropNewest, 200),
        ("+/+", Start::All, Overflow::Latest, 1),
    ];
    let mut readers: Vec<_> = options
        .into_iter()
        .map(|(filter, start, overflow, capacity)| {
            let subscriber = || bus.subscriber(filter).start(start).overflow(overflow).capacity(capacity);
            // Where all tries of a look-up meet a fault, it says so; which ones do depends on the time they take.
            let open = wait_for("a subscription", || match subscriber().open() {
                Err(error) if matches!(error.reason(), SubscribeReason::TimedOut) => None,
                open => Some(open.unwrap()),
            });
            (open, Tally::from_one())
        })
        .collect();
    publish(&publisher);
    for (subscription, tally) in &mut readers {
        let deadline = Instant::now() + patience();
        let filter = subscription.filter().clone();
        while TOPICS.iter().any(|topic| filter.matches(topic) && tally.head(topic) < EACH) {
            assert!(Instant::now() < deadline, "seed {seed}, {filter}: {tally:?}");
            if let Ok(delivery) = subscription.recv_timeout(Duration::from_millis(100)) {
                tally.add(&delivery);
            }
        }
        lost += tally.lost;
    }
    (lost, bus.counters().unwrap().client.overruns)
}

fn requests_are_answered_or_time_out() {
    let fixture = Fixture::new();
    let bus = fixture.builder().faults(3).patience(Duration::from_millis(100)).connect().unwrap();
    let answered = (0..100).filter(|_| bus.info().is_ok()).count();
    assert!((50..100).contains(&answered), "{answered} of 100");
}
