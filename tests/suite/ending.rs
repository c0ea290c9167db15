//! Promise 8 in the library: topics that move to other groups lose nothing, those that end say so after all that they had, and
//! what comes under their name later is followed again.

use nlbus::{
    Bus, Delivery, EndReason, Ended, Overflow, Positions, Start, SubscribeReason, Subscription, TypedDelivery,
};
use nlbus_tests::{
    Child, Fixture, Tally, cases, collect, events, in_new_namespace, no_other_user, payload, quiet, wait_for,
};
use std::time::Duration;

cases![
    a_deleted_topic_ends_after_all_that_it_had,
    what_is_published_to_the_name_later_is_another_topics,
    every_policy_says_what_ended_after_what_was_lost,
    a_typed_subscription_says_so_too,
    positions_forget_what_ended,
    who_may_no_longer_read_is_told_and_goes_on_once_he_may_again,
    a_topic_that_becomes_readable_is_covered_from_then_on,
    a_topic_that_moves_loses_and_repeats_nothing,
    many_topics_end_at_once,
    ends_and_moves_are_seen_whatever_is_lost_on_the_way,
];

const POLICIES: [Overflow; 4] = [Overflow::CatchUp, Overflow::DropOldest, Overflow::DropNewest, Overflow::Latest];

fn ended(delivery: Option<&Delivery>) -> &Ended {
    match delivery {
        Some(Delivery::Ended(ended)) => ended,
        other => panic!("not an end: {other:?}"),
    }
}

/// All that comes up to the end of a topic.
fn until_the_end(subscription: &mut Subscription) -> Vec<Delivery> {
    collect(subscription, |seen| matches!(seen.last(), Some(Delivery::Ended(_))))
}

fn publish(bus: &Bus, topic: &str, from: u64, to: u64) {
    for number in from..=to {
        bus.publish(topic, &payload(1, number, 100)).unwrap();
    }
    bus.flush().unwrap();
}

fn a_deleted_topic_ends_after_all_that_it_had() {
    let fixture = Fixture::quiet();
    let (bus, publisher) = (fixture.connect(), fixture.connect());
    let id = publisher.create_topic("x").unwrap().id;
    let mut subscriptions = ["x", "+", "#"].map(|filter| bus.subscribe(filter).unwrap());
    publish(&publisher, "x", 1, 500);
    publisher.publish_acked("x", &payload(1, 501, 100)).unwrap();
    publisher.delete_topic("x").unwrap();
    let epoch = bus.info().unwrap().epoch;
    for subscription in &mut subscriptions {
        let seen = until_the_end(subscription);
        let mut tally = Tally::from_one();
        seen.iter().for_each(|delivery| tally.add(delivery));
        assert_eq!((tally.delivered, tally.lost), (501, 0), "{tally:?}");
        let end = ended(seen.last());
        assert_eq!((end.epoch, &*end.topic, end.topic_id, end.last), (epoch, "x", id, 501));
        assert_eq!(end.reason, EndReason::Deleted);
        quiet(subscription);
    }
}

/// The same names again and again, each time another topic. (One that goes before a subscriber has found it leaves nothing there.)
fn what_is_published_to_the_name_later_is_another_topics() {
    let fixture = Fixture::quiet();
    let (bus, publisher) = (fixture.connect(), fixture.connect());
    let mut subscriptions = ["x", "+", "#"].map(|filter| (bus.subscribe(filter).unwrap(), Tally::from_one()));
    for round in 1..=20 {
        publish(&publisher, "x", 1, 10);
        for (subscription, tally) in &mut subscriptions {
            tally.take(subscription, round * 15 - 5);
        }
        publish(&publisher, "x", 11, 15);
        wait_for("the events to be numbered", || publisher.topic("x").unwrap().filter(|topic| topic.head == 15));
        publisher.delete_topic("x").unwrap();
        for (subscription, tally) in &mut subscriptions {
            until_the_end(subscription).iter().for_each(|delivery| tally.add(delivery));
            assert_eq!((tally.delivered, tally.lost, tally.ended), (round * 15, 0, round), "{tally:?}");
        }
    }
    for (subscription, _) in &mut subscriptions {
        quiet(subscription);
    }
}

fn every_policy_says_what_ended_after_what_was_lost() {
    const COUNT: u64 = 3000;
    let fixture = Fixture::new();
    let (bus, publisher) = (fixture.connect(), fixture.connect());
    publisher.create_topic("x").unwrap();
    let open = |overflow| bus.subscriber("x").capacity(10).overflow(overflow).open().unwrap();
    let mut subscriptions = POLICIES.map(open);
    publish(&publisher, "x", 1, COUNT);
    wait_for("the events to be numbered", || publisher.topic("x").unwrap().filter(|topic| topic.head == COUNT));
    publisher.delete_topic("x").unwrap();
    for (subscription, overflow) in subscriptions.iter_mut().zip(POLICIES) {
        let mut tally = Tally::from_one();
        until_the_end(subscription).iter().for_each(|delivery| tally.add(delivery));
        assert_eq!((tally.total(), tally.ended), (COUNT, 1), "{overflow:?}: {tally:?}");
    }
    publisher.publish_acked("x", "another topic's").unwrap();
    for (subscription, overflow) in subscriptions.iter_mut().zip(POLICIES) {
        let next = events(subscription, 1);
        assert_eq!((next[0].seq(), next[0].payload()), (1, &b"another topic's"[..]), "{overflow:?}");
    }
}

fn a_typed_subscription_says_so_too() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.create_topic("n").unwrap();
    let mut numbers = bus.subscribe_as::<u32>("n").unwrap();
    bus.publish_value_acked("n", &7u32).unwrap();
    bus.delete_topic("n").unwrap();
    let mut next = || numbers.recv_timeout(nlbus_tests::patience()).unwrap();
    assert!(matches!(next(), TypedDelivery::Value(7, _)));
    assert!(matches!(next(), TypedDelivery::Ended(ended) if ended.last == 1 && ended.reason == EndReason::Deleted));
}

/// Who goes on where he was reads a new topic of the name from its first event.
fn positions_forget_what_ended() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    publish(&bus, "x", 1, 5);
    let mut subscription = bus.subscriber("x").start(Start::All).open().unwrap();
    let mut positions: Positions = subscription.positions().clone();
    let id = bus.topic("x").unwrap().expect("a topic").id;
    for event in events(&mut subscription, 5) {
        positions.event(&event);
    }
    assert_eq!(positions.seq(id), Some(5));
    bus.delete_topic("x").unwrap();
    until_the_end(&mut subscription).iter().for_each(|delivery| positions.advance(delivery));
    assert_eq!(positions.seq(id), None);
    drop(subscription);
    publish(&bus, "x", 1, 3);
    let mut resumed = bus.subscriber("x").resume(positions).open().unwrap();
    assert_eq!(events(&mut resumed, 3).iter().map(|event| event.seq()).collect::<Vec<_>>(), [1, 2, 3]);
}

/// Somebody who isn't root, and follows topics also where that takes `CAP_NET_ADMIN`.
fn stranger(fixture: &Fixture) -> Option<Child> {
    if no_other_user() {
        return None;
    }
    let mut child = fixture.spawn("client", &["uid=65534".to_owned(), "joins=true".to_owned()]);
    child.expect("ready");
    Some(child)
}

/// What the child has to say of the next delivery.
fn next(child: &mut Child) -> String {
    child.say("next");
    child.line()
}

/// Publishes until the child is given an event, and returns its number and the last one that was published. When the library
/// sees that a topic may be read nobody is told, and it begins with what comes then.
fn publish_until_seen(bus: &Bus, child: &mut Child, topic: &str) -> (u64, u64) {
    wait_for("an event to be seen", || {
        let last = bus.publish_acked(topic, "x").unwrap();
        child.say("soon");
        let seen = child.line();
        let seq = seen.strip_prefix(topic).and_then(|rest| rest.trim().parse().ok());
        assert!(seq.is_some() || seen == "nothing", "{seen}");
        seq.map(|seq| (seq, last))
    })
}

fn who_may_no_longer_read_is_told_and_goes_on_once_he_may_again() {
    let fixture = Fixture::quiet();
    let bus = fixture.connect();
    bus.create_topic("x").unwrap();
    for filter in ["x", "#"] {
        let Some(mut child) = stranger(&fixture) else { return };
        child.say(&format!("subscribe {filter}"));
        child.expect("subscribed");
        for mode in [0o600, 0o640] {
            let seq = bus.publish_acked("x", "x").unwrap();
            assert_eq!(next(&mut child), format!("x {seq}"));
            bus.topic_options("x").mode(mode).set().unwrap();
            assert_eq!(next(&mut child), "ended x denied");
            let unseen = bus.publish_acked("x", "x").unwrap();
            bus.topic_options("x").mode(0o664).set().unwrap();
            let (seen, last) = publish_until_seen(&bus, &mut child, "x");
            assert!(seen > unseen, "{seen} was not for him, nor was {unseen}");
            for seq in seen + 1..=last {
                assert_eq!(next(&mut child), format!("x {seq}"));
            }
        }
        bus.topic_options("x").mode(0o666).set().unwrap();
        child.end_well();
    }
}

fn a_topic_that_becomes_readable_is_covered_from_then_on() {
    let fixture = Fixture::quiet();
    let bus = fixture.connect();
    bus.topic_options("w/x").mode(0o600).create().unwrap();
    bus.publish_acked("w/x", "secret").unwrap();
    let Some(mut child) = stranger(&fixture) else { return };
    child.say("subscribe w/#");
    child.expect("subscribed");
    bus.publish_acked("w/x", "secret").unwrap();
    bus.topic_options("w/x").mode(0o604).set().unwrap();
    let (seen, _) = publish_until_seen(&bus, &mut child, "w/x");
    assert!(seen >= 3, "{seen} was not for him");
}

/// Whoever may read it goes where it goes.
fn a_topic_that_moves_loses_and_repeats_nothing() {
    const COUNT: u64 = 20_000;
    let fixture = Fixture::quiet();
    let (bus, publisher, owner) = (fixture.connect(), fixture.connect(), fixture.connect());
    // While it moves much comes out of history, which is to hold all.
    let mut group = owner.topic_options("x").history(32 << 20).create().unwrap().group;
    let mut subscriptions = [("x", Overflow::CatchUp), ("#", Overflow::CatchUp), ("+", Overflow::DropOldest)]
        .map(|(filter, overflow)| bus.subscriber(filter).capacity(1 << 20).overflow(overflow).open().unwrap());
    let publishing = std::thread::spawn(move || {
        for at in 0..COUNT / 100 {
            publish(&publisher, "x", at * 100 + 1, (at + 1) * 100);
        }
    });
    let mut moves = 0;
    while !publishing.is_finished() {
        for mode in [0o600, 0o666] {
            let set = owner.topic_options("x").mode(mode).set();
            let moved = match set {
                Ok(topic) => topic.group,
                // No group is left for it, since each is used once.
                Err(error) => {
                    assert!(error.to_string().contains("private"), "{error}");
                    group
                }
            };
            moves += u32::from(std::mem::replace(&mut group, moved) != moved);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    publishing.join().unwrap();
    println!("    moved {moves} times");
    for subscription in &mut subscriptions {
        let mut tally = Tally::from_one();
        tally.take(subscription, COUNT);
        assert_eq!((tally.lost, tally.ended), (0, 0), "{tally:?}");
        quiet(subscription);
    }
}

fn many_topics_end_at_once() {
    const TOPICS: u64 = 700;
    let fixture = Fixture::new();
    let (bus, publisher) = (fixture.connect(), fixture.connect());
    let mut all = bus.subscribe("#").unwrap();
    let name = |at: u64| format!("t/{at}");
    let mut tally = Tally::from_one();
    for round in 1..=2 {
        for at in 0..TOPICS {
            publisher.publish(&name(at), &payload(at as u32, 1, 40)).unwrap();
        }
        publisher.flush().unwrap();
        tally.take(&mut all, round * TOPICS);
        for at in 0..TOPICS {
            publisher.delete_topic(&name(at)).unwrap();
        }
        while tally.ended < round * TOPICS {
            let seen = collect(&mut all, |seen| seen.len() == 1);
            seen.iter().for_each(|delivery| tally.add(delivery));
        }
        assert_eq!((tally.delivered, tally.topics()), (round * TOPICS, 0), "{tally:?}");
    }
}

/// Announcements among them: then heartbeats tell, and lists.
fn ends_and_moves_are_seen_whatever_is_lost_on_the_way() {
    let overruns: u64 = (0..3).map(|seed| in_new_namespace(move || end_whatever_is_lost(seed))).sum();
    assert!(overruns > 0);
}

/// How many datagrams were dropped.
fn end_whatever_is_lost(seed: u64) -> u64 {
    const ROUNDS: u64 = 5;
    let fixture = Fixture::new();
    let publisher = fixture.connect();
    let bus = fixture.builder().faults(seed).connect().unwrap();
    let mut subscription = wait_for("a subscription", || match bus.subscribe("#") {
        Err(error) if matches!(error.reason(), SubscribeReason::TimedOut) => None,
        open => Some(open.unwrap()),
    });
    publisher.create_topic("stays").unwrap();
    let mut tally = Tally::from_one();
    for round in 1..=ROUNDS {
        publish(&publisher, "goes", 1, 20);
        publish(&publisher, "stays", round * 20 - 19, round * 20);
        let goes = wait_for("the topic", || publisher.topic("goes").unwrap().filter(|topic| topic.head == 20)).id;
        // What comes of it behind the last one it may miss, but not its end.
        let (mut stays, mut last) = (round * 20 - 20, 0);
        while stays < round * 20 || last < 20 {
            let seen = collect(&mut subscription, |seen| seen.len() == 1).remove(0);
            tally.add(&seen);
            match seen {
                Delivery::Event(event) if event.topic() == "stays" => stays = event.seq(),
                Delivery::Lost(lost) if &*lost.topic == "stays" => stays = lost.to,
                Delivery::Event(event) if event.topic_id() == goes => last = event.seq(),
                Delivery::Lost(lost) if lost.topic_id == goes => last = lost.to,
                _ => {}
            }
        }
        publisher.topic_options("stays").mode(if round % 2 == 0 { 0o600 } else { 0o666 }).set().unwrap();
        publisher.delete_topic("goes").unwrap();
    }
    while tally.ended < ROUNDS {
        tally.add(&collect(&mut subscription, |seen| seen.len() == 1)[0]);
    }
    assert_eq!((tally.total(), tally.ended), (ROUNDS * 40, ROUNDS), "{tally:?}");
    println!("    seed {seed}: {tally:?}");
    bus.counters().unwrap().client.overruns
}
