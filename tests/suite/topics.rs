//! Promise 1: topics are names with levels, filters are MQTT's; publishing creates a topic and subscribing never does; a
//! filter for a topic that doesn't exist yet waits, and misses nothing of it.

use nlbus::wire::uapi::NLBUS_GROUP_FIRST;
use nlbus::{SubscribeReason, Subscription, TopicError};
use nlbus_tests::{Fixture, Tally, cases, collect, events, payload, quiet};
use std::collections::BTreeSet;

cases![
    filters_match_as_mqtt_says,
    bad_filters_are_refused,
    publishing_creates_a_topic,
    subscribing_creates_nothing_and_waits,
    a_wildcard_misses_no_first_event_in_a_burst_of_new_topics,
    exact_filters_miss_no_first_event_in_a_burst_of_new_topics,
    a_wildcard_sees_old_and_new_topics,
    new_topics_are_announced_without_a_heartbeat user_only,
    sys_topics_come_to_those_who_name_them,
    a_dropped_subscription_ends_alone,
];

/// MQTT 5.0 section 4.7 and its examples: the filter, and which of the topics it matches.
const TOPICS: [&str; 12] =
    ["a", "a/b", "a/b/c", "a//c", "/a", "a/", "b/b", "$data/x", "$data", "sport/tennis/player1", "sport", "ä/ö €"];
const FILTERS: [(&str, &[&str]); 18] = [
    ("a", &["a"]),
    ("a/b", &["a/b"]),
    ("a/+", &["a/b", "a/"]),
    ("a/#", &["a", "a/b", "a/b/c", "a//c", "a/"]),
    ("#", &["a", "a/b", "a/b/c", "a//c", "/a", "a/", "b/b", "sport/tennis/player1", "sport", "ä/ö €"]),
    ("+", &["a", "sport"]),
    ("+/+", &["a/b", "/a", "a/", "b/b", "ä/ö €"]),
    ("/+", &["/a"]),
    ("+/+/+", &["a/b/c", "a//c", "sport/tennis/player1"]),
    ("a/+/c", &["a/b/c", "a//c"]),
    ("+/b", &["a/b", "b/b"]),
    ("+/b/#", &["a/b", "a/b/c", "b/b"]),
    ("$data/#", &["$data/x", "$data"]),
    ("$data/+", &["$data/x"]),
    ("+/x", &[]),
    ("sport/tennis/player1/#", &["sport/tennis/player1"]),
    ("sport/#", &["sport/tennis/player1", "sport"]),
    ("ä/+", &["ä/ö €"]),
];

fn filters_match_as_mqtt_says() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let subscribe = |(filter, matched)| (bus.subscribe(filter).unwrap(), BTreeSet::from_iter(matched));
    let mut subscriptions: Vec<(Subscription, BTreeSet<&str>)> =
        FILTERS.into_iter().map(|(filter, matched)| subscribe((filter, matched.iter().copied()))).collect();
    // Once as new topics and once as known ones: these ways differ.
    for round in 1..=2 {
        for topic in TOPICS {
            assert_eq!(bus.publish_acked(topic, topic).unwrap(), round);
        }
        for (subscription, matched) in &mut subscriptions {
            let seen = events(subscription, matched.len());
            for event in &seen {
                assert_eq!((event.topic().as_bytes(), event.seq()), (event.payload(), round));
            }
            let seen: BTreeSet<_> = seen.iter().map(|event| event.topic()).collect();
            assert_eq!(seen, *matched, "'{}' in round {round}", subscription.filter().as_str());
        }
    }
    for (subscription, _) in &mut subscriptions {
        quiet(subscription);
    }
}

fn bad_filters_are_refused() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let long = "x".repeat(256);
    for (filter, why) in [
        ("", TopicError::Empty),
        (&long, TopicError::TooLong(256)),
        ("a\0b", TopicError::Nul),
        ("a+", TopicError::Misplaced),
        ("#/a", TopicError::Misplaced),
        ("a/#b", TopicError::Misplaced),
    ] {
        let error = bus.subscribe(filter).unwrap_err();
        assert_eq!(error.filter(), filter);
        assert!(matches!(error.reason(), SubscribeReason::Filter(reason) if *reason == why), "{filter:?}: {error:?}");
    }
}

fn publishing_creates_a_topic() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let before = bus.topics().unwrap();
    assert!(before.iter().all(|topic| topic.name.starts_with("$SYS/")), "{before:?}");
    assert_eq!(bus.topic("new/one").unwrap(), None);
    bus.publish_acked("new/one", "x").unwrap();
    let topic = bus.topic("new/one").unwrap().expect("a topic");
    assert_eq!((topic.name.as_str(), topic.head, topic.first), ("new/one", 1, 1));
    assert!(topic.group >= NLBUS_GROUP_FIRST && topic.bytes > 0, "{topic:?}");
    assert_eq!(bus.topics().unwrap().len(), before.len() + 1);
    // A topic can also be made before anything is published, and making it twice is one.
    let made = bus.create_topic("new/two").unwrap();
    assert_eq!((made.head, made.first, made.bytes), (0, 1, 0));
    assert_eq!(bus.create_topic("new/two").unwrap().id, made.id);
    assert_eq!(bus.publish_acked("new/two", "x").unwrap(), 1);
}

fn subscribing_creates_nothing_and_waits() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut exact = bus.subscribe("late/topic").unwrap();
    let mut wild = bus.subscribe("late/+").unwrap();
    assert!(bus.topics().unwrap().iter().all(|topic| topic.name.starts_with("$SYS/")));
    // From another connection, which knows nothing of the subscriptions.
    fixture.connect().publish_acked("late/topic", "first").unwrap();
    for subscription in [&mut exact, &mut wild] {
        let seen = events(subscription, 1);
        assert_eq!((seen[0].topic(), seen[0].seq(), seen[0].payload()), ("late/topic", 1, &b"first"[..]));
        quiet(subscription);
    }
}

const NEW_TOPICS: u64 = 500;
const EACH: u64 = 3;

fn a_wildcard_misses_no_first_event_in_a_burst_of_new_topics() {
    let fixture = Fixture::new();
    let (bus, publisher) = (fixture.connect(), fixture.connect());
    let mut subscription = bus.subscribe("#").unwrap();
    for number in 1..=EACH {
        for topic in 0..NEW_TOPICS {
            publisher.publish(&format!("burst/{topic}"), &payload(topic as u32, number, 32)).unwrap();
        }
    }
    publisher.flush().unwrap();
    let mut tally = Tally::from_one();
    tally.take(&mut subscription, NEW_TOPICS * EACH);
    assert_eq!((tally.lost, tally.topics()), (0, NEW_TOPICS as usize), "{tally:?}");
    quiet(&mut subscription);
}

fn exact_filters_miss_no_first_event_in_a_burst_of_new_topics() {
    const TOPICS: u64 = 64;
    let fixture = Fixture::new();
    let (bus, publisher) = (fixture.connect(), fixture.connect());
    let name = |topic: u64| format!("burst/{topic}");
    let mut subscriptions: Vec<_> = (0..TOPICS).map(|topic| bus.subscribe(&name(topic)).unwrap()).collect();
    for number in 1..=EACH {
        for topic in 0..TOPICS {
            publisher.publish(&name(topic), &payload(topic as u32, number, 32)).unwrap();
        }
    }
    publisher.flush().unwrap();
    for (topic, subscription) in subscriptions.iter_mut().enumerate() {
        let mut tally = Tally::from_one();
        tally.take(subscription, EACH);
        assert_eq!((tally.lost, tally.head(&name(topic as u64))), (0, EACH));
    }
}

fn a_wildcard_sees_old_and_new_topics() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.publish_acked("mixed/old", "before").unwrap();
    let mut subscription = bus.subscribe("mixed/#").unwrap();
    bus.publish_acked("mixed/old", "after").unwrap();
    bus.publish_acked("mixed/new", "first").unwrap();
    let mut seen: Vec<_> = events(&mut subscription, 2).iter().map(|e| (e.topic().to_owned(), e.seq())).collect();
    seen.sort();
    assert_eq!(seen, [("mixed/new".to_owned(), 1), ("mixed/old".to_owned(), 2)]);
    quiet(&mut subscription);
}

/// The heartbeat would tell of them, too, a second later. For the module in `tests/module`.
fn new_topics_are_announced_without_a_heartbeat() {
    let fixture = Fixture::with(&["heartbeat_ms=0"]);
    let (bus, publisher) = (fixture.connect(), fixture.connect());
    let mut subscription = bus.subscribe("#").unwrap();
    for topic in ["one", "two", "three"] {
        publisher.publish(topic, "x").unwrap();
        assert_eq!(events(&mut subscription, 1)[0].topic(), topic);
    }
}

fn sys_topics_come_to_those_who_name_them() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let (mut all, mut first) = (bus.subscribe("#").unwrap(), bus.subscribe("+/heartbeat").unwrap());
    let mut sys = bus.subscribe("$SYS/#").unwrap();
    // Two heartbeats: had the others matched, they would have had them as well.
    collect(&mut sys, |seen| {
        seen.iter().filter_map(|delivery| delivery.event()).filter(|e| e.topic() == "$SYS/heartbeat").count() == 2
    });
    quiet(&mut all);
    quiet(&mut first);
}

fn a_dropped_subscription_ends_alone() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let (one, mut two) = (bus.subscribe("shared").unwrap(), bus.subscribe("shared").unwrap());
    bus.publish_acked("shared", "1").unwrap();
    drop(one);
    bus.publish_acked("shared", "2").unwrap();
    assert_eq!(events(&mut two, 2).iter().map(|event| event.seq()).collect::<Vec<_>>(), [1, 2]);
    // The group was left with the last follower, and is joined again.
    drop(two);
    let mut three = bus.subscribe("shared").unwrap();
    bus.publish_acked("shared", "3").unwrap();
    assert_eq!(events(&mut three, 1)[0].seq(), 3);
}
