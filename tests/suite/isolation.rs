//! Promise 9: one bus for each network namespace, and they know nothing of each other.

use nlbus::{BrokerKind, ConnectError, Delivery};
use nlbus_tests::{Fixture, Tally, broker_kind, cases, collect, events, in_new_namespace, payload, quiet};
use std::thread;
use std::time::Duration;

cases![
    namespaces_see_nothing_of_each_other,
    traffic_in_many_namespaces_stays_apart,
    a_connection_stays_in_its_namespace_whoever_drives_it user_only,
];

fn namespaces_see_nothing_of_each_other() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut here = bus.subscribe("#").unwrap();
    bus.publish_acked("same/name", "here").unwrap();
    let (epoch, place) = (bus.info().unwrap().epoch, *fixture);
    in_new_namespace(|| {
        if broker_kind() == BrokerKind::User {
            let error = place.builder().connect().unwrap_err();
            assert!(matches!(error, ConnectError::NoBroker { .. }), "{error:?}");
        }
        let there = Fixture::new();
        let bus = there.connect();
        assert_ne!(bus.info().unwrap().epoch, epoch);
        assert_eq!(bus.topic("same/name").unwrap(), None);
        let mut subscription = bus.subscribe("#").unwrap();
        assert_eq!(bus.publish_acked("same/name", "there").unwrap(), 1, "it counts for itself");
        assert_eq!(events(&mut subscription, 1)[0].payload(), b"there");
        quiet(&mut subscription);
    });
    assert_eq!(events(&mut here, 1)[0].payload(), b"here");
    quiet(&mut here);
    assert_eq!(bus.topic("same/name").unwrap().expect("a topic").head, 1);
    assert_eq!(bus.info().unwrap().epoch, epoch);
}

fn traffic_in_many_namespaces_stays_apart() {
    const COUNT: u64 = 300;
    thread::scope(|scope| {
        for namespace in 1..=6u32 {
            scope.spawn(move || {
                in_new_namespace(|| {
                    let fixture = Fixture::new();
                    let bus = fixture.connect();
                    let mut subscription = bus.subscribe("#").unwrap();
                    for number in 1..=COUNT {
                        bus.publish("x/y", &payload(namespace, number, 64)).unwrap();
                    }
                    let mut tally = Tally::from_one();
                    tally.take(&mut subscription, COUNT);
                    assert_eq!((tally.lost, tally.topics()), (0, 1), "namespace {namespace}");
                    let counted = bus.info().unwrap().counters.published;
                    assert!((COUNT..2 * COUNT).contains(&counted), "it counts its own events: {counted}");
                });
            });
        }
    });
}

fn a_connection_stays_in_its_namespace_whoever_drives_it() {
    let mut fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("#").unwrap();
    fixture.broker().expect("a broker").kill();
    bus.publish("x", "into the void").unwrap_err();
    in_new_namespace(|| {
        let _there = Fixture::new();
        let seen = subscription.recv_timeout(Duration::from_secs(1));
        assert!(seen.is_err(), "this broker is another bus's: {seen:?}");
    });
    fixture.start_broker();
    let seen = collect(&mut subscription, |seen| !seen.is_empty());
    let epoch = fixture.connect().info().unwrap().epoch;
    assert!(matches!(seen[0], Delivery::Restarted(restarted) if restarted.epoch == epoch), "{seen:?}, not {epoch}");
}
