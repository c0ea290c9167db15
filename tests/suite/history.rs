//! Promises 4 and 12: how much a topic keeps is bounded and can be changed; what became of its events is counted.

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nlbus::{BrokerKind, Bus, RequestError, Start, TopicRecord};
use nlbus_tests::{Fixture, Tally, broker_kind, cases, events, other_users, payload, value, wait_for};

cases![
    a_topics_bound_can_be_lowered_and_raised,
    the_newest_event_is_kept_with_a_bound_of_zero,
    a_bound_is_the_owners_to_change,
    a_topic_that_keeps_much_makes_room_for_the_others,
    what_became_of_events_is_counted_by_topic,
];

fn publish(bus: &Bus, topic: &str, from: u64, to: u64) {
    for number in from..=to {
        bus.publish(topic, &payload(1, number, 1000)).unwrap();
    }
    bus.flush().unwrap();
}

fn topic(bus: &Bus, name: &str) -> TopicRecord {
    bus.topic(name).unwrap().expect("a topic")
}

fn refusal(error: RequestError) -> (Errno, String) {
    match error {
        RequestError::Refused(refusal) => (refusal.errno, refusal.message.into_owned()),
        other => panic!("not refused by the broker: {other:?}"),
    }
}

fn a_topics_bound_can_be_lowered_and_raised() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    publish(&bus, "x", 1, 100);
    wait_for("all of them", || (topic(&bus, "x").head == 100).then_some(()));
    assert_eq!(topic(&bus, "x").first, 1);
    let set = bus.set_history("x", 20_000).unwrap();
    assert_eq!((set.name.as_str(), set.history), ("x", 20_000));
    // The module's thread does it in its own time, without another event.
    let lowered = wait_for("the rest to go", || Some(topic(&bus, "x")).filter(|topic| topic.bytes <= 20_000));
    assert_eq!(lowered.head, 100);
    assert!((81..100).contains(&lowered.first), "{lowered:?}");
    let mut subscription = bus.subscriber("x").start(Start::All).open().unwrap();
    assert_eq!(events(&mut subscription, 1)[0].seq(), lowered.first);
    bus.set_history("x", 2_000_000).unwrap();
    publish(&bus, "x", 101, 1000);
    let raised = wait_for("the new ones", || Some(topic(&bus, "x")).filter(|topic| topic.head == 1000));
    assert_eq!((raised.first, raised.history), (lowered.first, 2_000_000));
}

fn the_newest_event_is_kept_with_a_bound_of_zero() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    publish(&bus, "x", 1, 10);
    assert_eq!(bus.set_history("x", 0).unwrap().history, 0);
    wait_for("all but one to go", || (topic(&bus, "x").first == 10).then_some(()));
    publish(&bus, "x", 11, 20);
    let kept = wait_for("the new ones", || Some(topic(&bus, "x")).filter(|topic| topic.head == 20));
    assert_eq!(kept.first, 20);
}

fn a_bound_is_the_owners_to_change() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    assert_eq!(refusal(bus.set_history("nothing", 1).unwrap_err()).0, Errno::ENOENT);
    assert_eq!(refusal(bus.set_history("$SYS/heartbeat", 1).unwrap_err()).0, Errno::EACCES);
    let most = bus.info().unwrap().limits.history;
    bus.create_topic("mine").unwrap();
    let (errno, text) = refusal(bus.set_history("mine", most + 1).unwrap_err());
    assert_eq!(errno, Errno::ERANGE, "{text}");
    assert!(text.contains("mine") && text.contains(&most.to_string()), "{text}");
    assert_eq!(bus.set_history("mine", most).unwrap().history, most);
    if !other_users() {
        println!("    not tried as another user: this user namespace has one user only");
        return;
    }
    let mut child = fixture.spawn("client", &["uid=65534".to_owned()]);
    child.expect("ready");
    child.say("set mine history=5");
    let refused = child.line();
    assert!(refused.starts_with("refused EACCES"), "{refused}");
    child.say("publish theirs");
    child.line();
    child.say("set theirs history=5");
    assert_eq!(value(&child.line(), "history"), 5);
    // Root may with everybody's.
    assert_eq!(bus.set_history("theirs", 7).unwrap().history, 7);
}

/// The bound of all histories together: fair between topics.
fn a_topic_that_keeps_much_makes_room_for_the_others() {
    let fixture = match broker_kind() {
        // The module's bounds are the whole machine's: in `tests/module`.
        BrokerKind::Module => return,
        _ => Fixture::with(&["history=300000", "topic_history=300000"]),
    };
    let bus = fixture.connect();
    publish(&bus, "large", 1, 400);
    for at in 0..10 {
        publish(&bus, &format!("small/{at}"), 1, 10);
    }
    let kept = |name: &str| topic(&bus, name).bytes;
    for at in 0..10 {
        assert_eq!(topic(&bus, &format!("small/{at}")).first, 1, "small/{at}");
    }
    assert!(kept("large") > 150_000, "{}", kept("large"));
    assert!(bus.info().unwrap().counters.history <= 300_000 + 10_000);
}

fn what_became_of_events_is_counted_by_topic() {
    const COUNT: u64 = 2000;
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.create_topic("seen").unwrap();
    publish(&bus, "unseen", 1, 5);
    let args = ["filter=seen", "buffer=4096", "one=true", &format!("total={COUNT}")];
    let mut slow = fixture.spawn("subscriber", &args.map(str::to_owned));
    slow.expect("subscribed");
    slow.signal(Signal::SIGSTOP);
    for number in 1..=COUNT {
        bus.publish("seen", &payload(1, number, 64)).unwrap();
    }
    bus.flush().unwrap();
    slow.signal(Signal::SIGCONT);
    let line = slow.line();
    assert_eq!(value(&line, "delivered") + value(&line, "lost"), COUNT, "{line}");
    let seen = topic(&bus, "seen");
    assert_eq!(seen.broadcast, COUNT);
    // Some it may have asked for twice, where an answer was late.
    assert!(seen.replayed >= value(&line, "replayed"), "{seen:?}: {line}");
    if broker_kind() == BrokerKind::Module {
        // The user broker isn't told.
        assert!(seen.dropped > 0 && seen.dropped <= COUNT, "{seen:?}");
    }
    // Whether anybody is in a group the kernel says for all namespaces together (netlink_has_listeners).
    assert!(topic(&bus, "unseen").broadcast <= 5);
    let mut late = bus.subscriber("unseen").start(Start::All).open().unwrap();
    Tally::from_one().take(&mut late, 5);
    assert_eq!(topic(&bus, "unseen").replayed, 5);
    slow.end_well();
}
