//! Promise 4: a subscriber says where to begin, and the seam between history and live neither skips nor repeats.

use nlbus::{BrokerKind, Bus, Cause, Delivery, Start, SubscribeReason, Subscription};
use nlbus_tests::{Fixture, Tally, broker_kind, cases, collect, events, limits, patience, payload, quiet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

cases![
    live_begins_with_what_comes_next,
    last_counts_per_topic,
    all_is_what_is_kept,
    from_is_a_number_of_one_topic,
    what_is_asked_for_and_no_longer_kept_is_reported,
    the_newest_event_is_kept_without_history user_only,
    the_seam_neither_skips_nor_repeats,
    all_of_a_topic_in_full_flow_a_hundred_times,
];

fn publish(bus: &Bus, topic: &str, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        assert_eq!(bus.publish_acked(topic, &payload(1, number, 64)).unwrap(), number);
    }
}

fn numbers(subscription: &mut Subscription, count: usize) -> Vec<(String, u64, bool)> {
    let events = events(subscription, count);
    let mut seen: Vec<_> = events.iter().map(|e| (e.topic().to_owned(), e.seq(), e.is_replayed())).collect();
    seen.sort();
    seen
}

fn live_begins_with_what_comes_next() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    publish(&bus, "a", 1..=5);
    let mut subscriptions = ["a", "+"].map(|filter| bus.subscriber(filter).start(Start::Live).open().unwrap());
    publish(&bus, "a", 6..=7);
    for subscription in &mut subscriptions {
        assert_eq!(numbers(subscription, 2), [("a".into(), 6, false), ("a".into(), 7, false)]);
        quiet(subscription);
    }
}

fn last_counts_per_topic() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    publish(&bus, "last/a", 1..=10);
    publish(&bus, "last/b", 1..=2);
    let mut one = bus.subscriber("last/a").start(Start::Last(1)).open().unwrap();
    let mut three = bus.subscriber("last/+").start(Start::Last(3)).open().unwrap();
    let mut none = bus.subscriber("last/+").start(Start::Last(0)).open().unwrap();
    let mut many = bus.subscriber("last/a").start(Start::Last(1000)).open().unwrap();
    publish(&bus, "last/a", 11..=11);
    publish(&bus, "last/c", 1..=1);
    let a = |seq, replayed| ("last/a".to_owned(), seq, replayed);
    assert_eq!(numbers(&mut one, 2), [a(10, true), a(11, false)]);
    let seen = numbers(&mut three, 7);
    let seen: Vec<_> = seen.iter().map(|(topic, seq, _)| (topic.as_str(), *seq)).collect();
    let (b, c) = ("last/b", "last/c");
    assert_eq!(seen, [("last/a", 8), ("last/a", 9), ("last/a", 10), ("last/a", 11), (b, 1), (b, 2), (c, 1)]);
    assert_eq!(numbers(&mut none, 2).iter().map(|(_, seq, _)| *seq).collect::<Vec<_>>(), [11, 1]);
    assert_eq!(numbers(&mut many, 11).iter().map(|(_, seq, _)| *seq).collect::<Vec<_>>(), Vec::from_iter(1..=11));
    for subscription in [&mut one, &mut three, &mut none, &mut many] {
        quiet(subscription);
    }
}

fn all_is_what_is_kept() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    publish(&bus, "all/a", 1..=300);
    publish(&bus, "all/b", 1..=1);
    for filter in ["all/a", "all/#"] {
        let mut subscription = bus.subscriber(filter).start(Start::All).open().unwrap();
        let mut tally = Tally::from_one();
        tally.take(&mut subscription, if filter == "all/a" { 300 } else { 301 });
        assert_eq!((tally.lost, tally.replayed), (0, tally.delivered));
        quiet(&mut subscription);
    }
}

fn from_is_a_number_of_one_topic() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    publish(&bus, "a", 1..=10);
    let from = |filter: &str, seq| bus.subscriber(filter).start(Start::From(seq)).open();
    let mut middle = from("a", 4).unwrap();
    let mut next = from("a", 11).unwrap();
    let mut waiting = from("not/yet", 1).unwrap();
    publish(&bus, "a", 11..=11);
    publish(&bus, "not/yet", 1..=1);
    assert_eq!(events(&mut middle, 8).iter().map(|e| e.seq()).collect::<Vec<_>>(), Vec::from_iter(4..=11));
    assert_eq!(events(&mut next, 1)[0].seq(), 11);
    assert_eq!(events(&mut waiting, 1)[0].seq(), 1);
    let error = from("a", 13).unwrap_err();
    assert!(matches!(error.reason(), SubscribeReason::Beyond { head: 11, .. }), "{error:?}");
    let error = from("nowhere", 2).unwrap_err();
    assert!(matches!(error.reason(), SubscribeReason::Beyond { head: 0, .. }), "{error:?}");
    let error = from("+", 1).unwrap_err();
    assert!(matches!(error.reason(), SubscribeReason::FromWildcard), "{error:?}");
}

fn what_is_asked_for_and_no_longer_kept_is_reported() {
    let fixture = match broker_kind() {
        BrokerKind::Module => Fixture::new(),
        _ => Fixture::with(&["topic_history=262144"]),
    };
    let bus = fixture.connect();
    for number in 1..=20 {
        bus.publish_acked("a", &payload(1, number, 30_000)).unwrap();
    }
    let first = bus.topic("a").unwrap().expect("a topic").first;
    assert!((2..=19).contains(&first), "history keeps some and not all: first {first}");
    let mut subscription = bus.subscriber("a").start(Start::From(2)).open().unwrap();
    let mut tally = Tally::new();
    let seen = collect(&mut subscription, |seen| {
        seen.last().into_iter().for_each(|delivery| tally.add(delivery));
        tally.total() == 19
    });
    let Delivery::Lost(lost) = &seen[0] else { panic!("not a loss: {:?}", seen[0]) };
    assert_eq!((lost.from, lost.to, lost.cause), (2, first - 1, Cause::Late));
    assert_eq!((tally.lost, tally.delivered), (first - 2, 21 - first), "one loss, and all that is kept");
    // Who asks for what is kept has lost nothing.
    let mut subscription = bus.subscriber("a").start(Start::All).open().unwrap();
    assert_eq!(events(&mut subscription, (21 - first) as usize)[0].seq(), first);
}

/// With a module parameter, in `tests/module`, for the module.
fn the_newest_event_is_kept_without_history() {
    let fixture = Fixture::with(&["topic_history=0", "history=0"]);
    limits::the_newest_event_is_kept(&fixture.connect());
}

/// Subscriptions begin while three connections publish: each round lets them publish a few more, and meanwhile opens
/// one. All together fits a topic's history.
/// Each time the subscription opens while events are published, exact and wildcard in turn, and sees all from the first.
fn all_of_a_topic_in_full_flow_a_hundred_times() {
    const ROUNDS: u64 = 100;
    const EACH_ROUND: u64 = 100;
    let fixture = Fixture::new();
    let (bus, subscribers) = (fixture.connect(), fixture.connect());
    bus.create_topic("flow/x").unwrap();
    bus.set_history("flow/x", 16 << 20).unwrap();
    let (mut live, mut replayed) = (0, 0);
    for round in 1..=ROUNDS {
        let total = round * EACH_ROUND;
        let mut subscription = thread::scope(|scope| {
            scope.spawn(|| {
                for number in total - EACH_ROUND + 1..=total {
                    // One after the other, so that it takes longer than the subscription does.
                    assert_eq!(bus.publish_acked("flow/x", &payload(1, number, 64)).unwrap(), number);
                }
            });
            let filter = if round % 2 == 0 { "flow/x" } else { "flow/+" };
            subscribers.subscriber(filter).start(Start::All).open().unwrap()
        });
        let mut tally = Tally::from_one();
        tally.take(&mut subscription, total);
        assert_eq!((tally.delivered, tally.lost), (total, 0), "round {round}: {tally:?}");
        replayed += tally.replayed;
        live += tally.delivered - tally.replayed;
    }
    println!("    {ROUNDS} times all of it, {replayed} events out of history and {live} live, none missing or twice");
}

fn the_seam_neither_skips_nor_repeats() {
    const ROUNDS: u64 = 36;
    const EACH_ROUND: u64 = 30;
    let fixture = Fixture::new();
    let (bus, subscribers) = (fixture.connect(), fixture.connect());
    bus.publish_acked("seam/x", "first").unwrap();
    let (allowed, claimed) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut subscriptions = Vec::new();
    thread::scope(|scope| {
        for publisher in 1..=3 {
            let (bus, allowed, claimed) = (fixture.connect(), &allowed, &claimed);
            scope.spawn(move || {
                loop {
                    let number = claimed.fetch_add(1, Ordering::Relaxed);
                    if number >= ROUNDS * EACH_ROUND {
                        return;
                    }
                    let deadline = Instant::now() + patience();
                    while allowed.load(Ordering::Relaxed) <= number && Instant::now() < deadline {
                        thread::yield_now();
                    }
                    bus.publish_acked("seam/x", &payload(publisher, number, 64)).unwrap();
                }
            });
        }
        for round in 1..=ROUNDS {
            let head = bus.topic("seam/x").unwrap().expect("a topic").head;
            allowed.store(round * EACH_ROUND, Ordering::Relaxed);
            let (filter, start) = match round % 6 {
                0 => ("seam/x", Start::All),
                1 => ("seam/x", Start::Last(50)),
                2 => ("seam/x", Start::From(head.saturating_sub(20).max(1))),
                3 => ("seam/+", Start::Live),
                4 => ("seam/#", Start::Last(5)),
                _ => ("seam/x", Start::From(head + 1)),
            };
            subscriptions.push((start, head, subscribers.subscriber(filter).start(start).open().unwrap()));
        }
    });
    let last = bus.publish_acked("seam/x", "last").unwrap();
    assert_eq!(last, ROUNDS * EACH_ROUND + 2);
    for (start, head, subscription) in &mut subscriptions {
        let mut tally = Tally::new();
        let seen = collect(subscription, |seen| {
            seen.last().into_iter().for_each(|delivery| tally.add(delivery));
            tally.head("seam/x") >= last
        });
        assert_eq!(tally.lost, 0, "{start:?}: {tally:?}");
        let first = seen[0].event().expect("an event").seq();
        match start {
            Start::From(seq) => assert_eq!(first, *seq),
            Start::Last(n) => assert!((*head + 1).saturating_sub(*n) <= first, "{start:?} from {first}, head {head}"),
            Start::Live => assert!(first > *head, "{start:?} from {first}, head {head}"),
            _ => assert_eq!(first, 1, "{start:?}"),
        }
        quiet(subscription);
    }
}
