//! Promise 10, its last sentence: a position to resume from is an epoch, a topic's id and a sequence number. Who saves his
//! positions goes on after them without hole or repetition, and never takes another broker's numbers for his.

use nlbus::{Bus, Delivery, Positions, Start, SubscribeReason, Subscription};
use nlbus_tests::{Fixture, cases, collect, events, payload, quiet};
use serde::Serialize;
use std::collections::BTreeMap;

cases![
    who_resumes_gets_the_rest_once,
    positions_outlive_the_process,
    topics_that_came_about_meanwhile_are_read_from_their_first_event,
    topics_that_were_quiet_are_not_read_anew,
    what_history_no_longer_keeps_is_lost_in_line,
    another_brokers_positions_begin_anew user_only,
    positions_of_the_future_are_refused,
];

/// Takes so many deliveries and moves the positions on.
fn take(subscription: &mut Subscription, positions: &mut Positions, count: usize) -> Vec<Delivery> {
    let seen = collect(subscription, |seen| seen.len() >= count);
    seen[..count].iter().for_each(|delivery| positions.advance(delivery));
    seen
}

fn numbers(deliveries: &[Delivery]) -> Vec<(String, u64)> {
    let events = deliveries.iter().map(|delivery| delivery.event().unwrap_or_else(|| panic!("{delivery:?}")));
    events.map(|event| (event.topic().to_owned(), event.seq())).collect()
}

fn resume(bus: &Bus, filter: &str, positions: &Positions) -> Subscription {
    bus.subscriber(filter).resume(positions.clone()).open().unwrap()
}

fn who_resumes_gets_the_rest_once() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("r/#").unwrap();
    let mut positions = subscription.positions().clone();
    assert_eq!(positions.epoch(), bus.info().unwrap().epoch);
    for number in 1..=20 {
        bus.publish("r/a", &payload(1, number, 64)).unwrap();
        bus.publish("r/b", &payload(2, number, 64)).unwrap();
    }
    let mut seen = numbers(&take(&mut subscription, &mut positions, 13)[..13]);
    // What it was given and hadn't dealt with comes again; and so does what came while it was away.
    drop(subscription);
    for number in 21..=30 {
        bus.publish("r/a", &payload(1, number, 64)).unwrap();
    }
    let other = fixture.connect();
    let mut resumed = resume(&other, "r/#", &positions);
    seen.extend(numbers(&take(&mut resumed, &mut positions, 50 - 13)));
    for (topic, count) in [("r/a", 30), ("r/b", 20)] {
        let of_topic: Vec<u64> = seen.iter().filter(|(name, _)| name == topic).map(|(_, seq)| *seq).collect();
        assert_eq!(of_topic, (1..=count).collect::<Vec<u64>>(), "{topic}");
    }
    assert_eq!(bus.publish_acked("r/b", "live").unwrap(), 21);
    assert_eq!(numbers(&take(&mut resumed, &mut positions, 1)), [("r/b".to_owned(), 21)]);
    quiet(&mut resumed);
    // An exact one, too.
    let mut exact = resume(&other, "r/a", &positions);
    assert_eq!(bus.publish_acked("r/a", "live").unwrap(), 31);
    assert_eq!(events(&mut exact, 1)[0].seq(), 31);
}

/// They are values like others: this is a good place to keep them, next to what they are about.
fn positions_outlive_the_process() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("r/a").unwrap();
    let mut positions = subscription.positions().clone();
    for number in 1..=5 {
        bus.publish_acked("r/a", &payload(1, number, 64)).unwrap();
    }
    take(&mut subscription, &mut positions, 3);
    let id = bus.topic("r/a").unwrap().expect("a topic").id;
    assert_eq!((positions.seq(id), positions.seq(id + 1000)), (Some(3), None));
    bus.publish_value_acked("saved", &positions).unwrap();
    let mut saved = bus.subscriber("saved").start(Start::Last(1)).open().unwrap();
    let saved: Positions = events(&mut saved, 1)[0].decode().unwrap();
    assert_eq!(saved, positions);
    let mut resumed = resume(&bus, "r/a", &saved);
    let rest: Vec<u64> = events(&mut resumed, 2).iter().map(|event| event.seq()).collect();
    assert_eq!(rest, [4, 5]);
    quiet(&mut resumed);
}

fn topics_that_came_about_meanwhile_are_read_from_their_first_event() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.publish_acked("r/old", "1").unwrap();
    for filter in ["r/#", "r/new"] {
        let positions = bus.subscribe(filter).unwrap().positions().clone();
        let new = if filter == "r/new" { "r/new".to_owned() } else { "r/newer".to_owned() };
        for number in 1..=3 {
            bus.publish_acked(&new, &payload(1, number, 64)).unwrap();
        }
        let mut resumed = resume(&bus, filter, &positions);
        let seen = numbers(&collect(&mut resumed, |seen| seen.len() == 3));
        assert_eq!(seen, [1, 2, 3].map(|seq| (new.clone(), seq)), "{filter}");
        quiet(&mut resumed);
    }
}

fn topics_that_were_quiet_are_not_read_anew() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    for _ in 0..5 {
        bus.publish_acked("r/quiet", "before").unwrap();
    }
    let positions = bus.subscribe("r/#").unwrap().positions().clone();
    bus.publish_acked("r/quiet", "after").unwrap();
    let mut resumed = resume(&bus, "r/#", &positions);
    assert_eq!(numbers(&collect(&mut resumed, |seen| seen.len() == 1)), [("r/quiet".to_owned(), 6)]);
    quiet(&mut resumed);
}

fn what_history_no_longer_keeps_is_lost_in_line() {
    const COUNT: u64 = 200;
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("r/much").unwrap();
    let mut positions = subscription.positions().clone();
    bus.publish_acked("r/much", "first").unwrap();
    take(&mut subscription, &mut positions, 1);
    drop(subscription);
    // More than a topic's history, whichever broker it is: the module keeps 256 KiB, the user broker 4 MiB.
    for number in 1..=COUNT {
        bus.publish("r/much", &payload(1, number, 60_000)).unwrap();
    }
    bus.flush().unwrap();
    let mut resumed = resume(&bus, "r/much", &positions);
    let mut next = positions.seq(bus.topic("r/much").unwrap().expect("a topic").id).unwrap() + 1;
    let mut lost = 0;
    while next <= COUNT + 1 {
        let delivery = collect(&mut resumed, |seen| !seen.is_empty()).remove(0);
        positions.advance(&delivery);
        next = match delivery {
            Delivery::Lost(range) => {
                assert_eq!(range.from, next, "{range:?}");
                lost += range.count();
                range.to + 1
            }
            Delivery::Event(event) => {
                assert_eq!(event.seq(), next);
                next + 1
            }
            other => panic!("{other:?}"),
        };
    }
    assert!(lost > 0, "all of {COUNT} events of 60 000 bytes were kept");
    // The loss has been told of: it isn't told again.
    quiet(&mut resume(&bus, "r/much", &positions));
}

fn another_brokers_positions_begin_anew() {
    let mut fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("r/#").unwrap();
    let mut positions = subscription.positions().clone();
    for _ in 0..9 {
        bus.publish_acked("r/a", "old").unwrap();
    }
    take(&mut subscription, &mut positions, 9);
    drop((subscription, bus));
    fixture.broker().expect("a broker").kill();
    fixture.start_broker();
    let bus = fixture.connect();
    for _ in 0..3 {
        bus.publish_acked("r/a", "new").unwrap();
    }
    for filter in ["r/#", "r/a"] {
        let mut resumed = resume(&bus, filter, &positions);
        let seen = collect(&mut resumed, |seen| seen.len() == 4);
        let epoch = bus.info().unwrap().epoch;
        assert!(matches!(&seen[0], Delivery::Restarted(restarted) if restarted.epoch == epoch), "{seen:?}");
        assert_eq!(numbers(&seen[1..]), [1, 2, 3].map(|seq| ("r/a".to_owned(), seq)));
        quiet(&mut resumed);
        let mut moved = positions.clone();
        seen.iter().for_each(|delivery| moved.advance(delivery));
        assert_eq!(moved.epoch(), epoch);
        quiet(&mut resume(&bus, filter, &moved));
    }
    // Where nothing is to be read, the restart is told all the same.
    let mut nothing = resume(&bus, "r/none", &positions);
    assert!(matches!(collect(&mut nothing, |seen| seen.len() == 1)[..], [Delivery::Restarted(_)]));
}

/// As a damaged file would have them.
fn positions_of_the_future_are_refused() {
    #[derive(Serialize)]
    struct Forged {
        epoch: u64,
        last_id: u32,
        topics: BTreeMap<u32, u64>,
    }
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.publish_acked("r/a", "1").unwrap();
    let (epoch, id) = (bus.info().unwrap().epoch, bus.topic("r/a").unwrap().expect("a topic").id);
    let forged = Forged { epoch, last_id: id, topics: [(id, 2)].into() };
    bus.publish_value_acked("forged", &forged).unwrap();
    let mut subscription = bus.subscriber("forged").start(Start::All).open().unwrap();
    let forged: Positions = events(&mut subscription, 1)[0].decode().unwrap();
    for filter in ["r/a", "r/#"] {
        let error = bus.subscriber(filter).resume(forged.clone()).open().unwrap_err();
        assert!(
            matches!(error.reason(), SubscribeReason::Beyond { topic, head: 1 } if topic == "r/a"),
            "{filter}: {error:?}"
        );
    }
}
