//! Promise 5: what happens when a subscription is full is its own choice, and accounts for every event whatever it is.

use nlbus::{Bus, Cause, Delivery, Overflow, Subscription, SubscriptionCounters, TypedDelivery};
use nlbus_tests::{Fixture, Tally, cases, events, patience, payload, quiet, wait_for};
use std::thread;
use std::time::Duration;

cases![
    drop_oldest_keeps_the_newest,
    drop_newest_keeps_the_oldest,
    latest_keeps_one_of_each_topic,
    every_policy_accounts_for_every_event_of_a_flood,
    a_full_subscription_leaves_its_neighbours_alone,
    a_typed_subscription_counts_too,
];

const COUNT: u64 = 1000;

fn publish(bus: &Bus, topic: &str, from: u64, to: u64) {
    for number in from..=to {
        bus.publish(topic, &payload(1, number, 64)).unwrap();
    }
    bus.flush().unwrap();
}

/// Waits until so many events came for a subscription that nobody reads.
fn came(subscription: &Subscription, events: u64) -> SubscriptionCounters {
    wait_for("the events", || (subscription.counters().received >= events).then(|| subscription.counters()))
}

fn lost(delivery: Delivery) -> (u64, u64, Cause) {
    match delivery {
        Delivery::Lost(lost) => (lost.from, lost.to, lost.cause),
        other => panic!("not a loss: {other:?}"),
    }
}

fn numbers(subscription: &mut Subscription, count: usize) -> Vec<u64> {
    events(subscription, count).iter().map(|event| event.seq()).collect()
}

fn drop_oldest_keeps_the_newest() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscriber("x").capacity(10).overflow(Overflow::DropOldest).open().unwrap();
    publish(&bus, "x", 1, COUNT);
    let counters = came(&subscription, COUNT);
    assert_eq!((counters.received, counters.dropped, counters.lost), (COUNT, COUNT - 10, 0));
    assert_eq!(lost(subscription.recv().unwrap()), (1, COUNT - 10, Cause::Overflow));
    assert_eq!(numbers(&mut subscription, 10), (COUNT - 9..=COUNT).collect::<Vec<_>>());
    quiet(&mut subscription);
    publish(&bus, "x", COUNT + 1, COUNT + 1);
    assert_eq!(numbers(&mut subscription, 1), [COUNT + 1]);
}

fn drop_newest_keeps_the_oldest() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscriber("x").capacity(10).overflow(Overflow::DropNewest).open().unwrap();
    publish(&bus, "x", 1, COUNT);
    let counters = came(&subscription, COUNT);
    assert_eq!((counters.received, counters.dropped, counters.lost), (COUNT, COUNT - 10, 0));
    assert_eq!(numbers(&mut subscription, 10), (1..=10).collect::<Vec<_>>());
    assert_eq!(lost(subscription.recv().unwrap()), (11, COUNT, Cause::Overflow));
    quiet(&mut subscription);
    publish(&bus, "x", COUNT + 1, COUNT + 1);
    assert_eq!(numbers(&mut subscription, 1), [COUNT + 1]);
}

fn latest_keeps_one_of_each_topic() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscriber("+").capacity(1).overflow(Overflow::Latest).open().unwrap();
    for topic in ["a", "b", "c"] {
        publish(&bus, topic, 1, 300);
    }
    assert_eq!(came(&subscription, 900).dropped, 897);
    for event in events(&mut subscription, 3) {
        assert_eq!((event.seq(), event.stands_for()), (300, 300), "{event:?}");
    }
    quiet(&mut subscription);
    publish(&bus, "b", 301, 301);
    let event = &events(&mut subscription, 1)[0];
    assert_eq!((event.topic(), event.seq(), event.stands_for()), ("b", 301, 1));
}

/// Sockets too small for the flood, consumers too slow for it: overruns and full subscriptions together.
fn every_policy_accounts_for_every_event_of_a_flood() {
    const FLOOD: u64 = 20_000;
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.create_topic("flood").unwrap();
    let readers: Vec<_> = [Overflow::CatchUp, Overflow::DropOldest, Overflow::DropNewest, Overflow::Latest]
        .into_iter()
        .map(|overflow| {
            let own = fixture.builder().receive_buffer(16 << 10).connect().unwrap();
            let mut subscription = own.subscriber("flood").capacity(100).overflow(overflow).open().unwrap();
            thread::spawn(move || {
                let mut tally = Tally::from_one();
                while tally.head("flood") < FLOOD {
                    let Ok(delivery) = subscription.recv_timeout(patience()) else {
                        panic!("{overflow:?} stopped: {tally:?}")
                    };
                    tally.add(&delivery);
                    if tally.delivered.is_multiple_of(64) {
                        thread::sleep(Duration::from_micros(300));
                    }
                }
                (overflow, tally, subscription.counters(), own.counters().unwrap().client.overruns)
            })
        })
        .collect();
    publish(&bus, "flood", 1, FLOOD);
    for reader in readers {
        let (overflow, tally, counters, overruns) = reader.join().unwrap();
        println!(
            "    {overflow:?}: {} delivered, {} lost; {counters:?}, {overruns} overruns",
            tally.delivered, tally.lost
        );
        assert_eq!(tally.total(), FLOOD, "{overflow:?}");
        assert_eq!(counters.received + counters.lost, FLOOD, "{overflow:?}");
        assert_eq!(counters.received - counters.dropped, tally.delivered, "{overflow:?}");
        assert!(overflow != Overflow::Latest || tally.lost == 0, "the latest event stands for all before it");
    }
}

fn a_full_subscription_leaves_its_neighbours_alone() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let policies = [Overflow::DropOldest, Overflow::DropNewest, Overflow::Latest];
    let stuck = policies.map(|overflow| bus.subscriber("x").capacity(1).overflow(overflow).open().unwrap());
    let mut reading = bus.subscribe("x").unwrap();
    publish(&bus, "x", 1, COUNT);
    let mut tally = Tally::from_one();
    tally.take(&mut reading, COUNT);
    assert_eq!(tally.lost, 0);
    for subscription in stuck {
        assert_eq!(came(&subscription, COUNT).received, COUNT);
        assert_eq!(subscription.batches().len(), 1, "one batch says all");
    }
}

fn a_typed_subscription_counts_too() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut values = bus.subscriber("x").overflow(Overflow::Latest).open_as::<u64>().unwrap();
    for value in 1..=10u64 {
        bus.publish_value("x", &value).unwrap();
    }
    bus.flush().unwrap();
    wait_for("the values", || (values.counters().received == 10).then_some(()));
    match values.recv().unwrap() {
        TypedDelivery::Value(10, event) => assert_eq!(event.stands_for(), 10),
        other => panic!("not the latest: {other:?}"),
    }
}
