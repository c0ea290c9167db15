//! A topic may say what its values are called: set by the first who publishes with a type, or by hand, and checked for who
//! subscribes with one.

use nix::errno::Errno;
use nlbus::wire::{TopicKey, TopicRecord, TopicRequest, TopicSettings};
use nlbus::{
    Bus, EndReason, Ended, PublishReason, RequestError, SubscribeReason, TypeMismatch, TypeName, TypedDelivery,
    TypedSubscription,
};
use nlbus_tests::{
    Args, Endpoint, Fixture, Place, Role, become_another, cases, no_other_user, patience, say, wait_for,
};
use serde::{Deserialize, Serialize};

cases![
    the_first_typed_publisher_says_what_a_topic_has,
    a_type_is_set_and_taken_away_by_hand,
    who_may_not_publish_names_no_type,
    a_subscription_to_another_type_is_refused,
    a_topic_that_turns_out_to_have_another_type_is_over,
    who_may_only_write_publishes_with_a_type,
    a_type_outlives_the_broker_with_its_publisher user_only,
];

pub(crate) const ROLES: &[(&str, Role)] = &[("typed", typed)];

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    celsius: f32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Count(u32);

fn type_of(bus: &Bus, topic: &str) -> Option<String> {
    bus.topic(topic).unwrap().expect("a topic").type_name.map(|name| name.as_str().to_owned())
}

fn named(name: &str) -> TypeName {
    name.parse().unwrap()
}

fn value<T: serde::de::DeserializeOwned + std::fmt::Debug>(subscription: &mut TypedSubscription<T>) -> T {
    match subscription.recv_timeout(patience()) {
        Ok(TypedDelivery::Value(value, _)) => value,
        other => panic!("{other:?}"),
    }
}

fn ended<T: serde::de::DeserializeOwned + std::fmt::Debug>(subscription: &mut TypedSubscription<T>) -> Ended {
    match subscription.recv_timeout(patience()) {
        Ok(TypedDelivery::Ended(ended)) => ended,
        other => panic!("{other:?}"),
    }
}

fn the_first_typed_publisher_says_what_a_topic_has() {
    let fixture = Fixture::new();
    let (bus, other) = (fixture.connect(), fixture.connect());
    let readings = bus.publisher_as::<Reading>("new").unwrap();
    assert_eq!((readings.type_name().as_str(), type_of(&bus, "new").as_deref()), ("Reading", Some("Reading")));
    let mut subscription = other.subscribe_as::<Reading>("new").unwrap();
    assert_eq!(readings.publish_acked(&Reading { celsius: 21.5 }).unwrap(), 1);
    readings.publish(&Reading { celsius: 22.5 }).unwrap();
    assert_eq!([(); 2].map(|()| value(&mut subscription).celsius), [21.5, 22.5]);
    // One that was there, and had none.
    bus.publish_value_acked("old", &Reading { celsius: 1.0 }).unwrap();
    assert_eq!(type_of(&bus, "old"), None);
    other.publisher_as::<Reading>("old").unwrap();
    assert_eq!(type_of(&bus, "old").as_deref(), Some("Reading"));
    // Then nobody else does.
    let error = other.publisher_as::<Count>("old").unwrap_err();
    assert!(matches!(error, RequestError::OtherType(_)), "{error:?}");
    let words = error.to_string();
    assert!(["'old'", "'Reading'", "'Count'"].iter().all(|word| words.contains(word)), "{words}");
    assert_eq!(type_of(&bus, "old").as_deref(), Some("Reading"));
    assert_eq!(bus.topics().unwrap().into_iter().filter(|topic| topic.type_name.is_some()).count(), 2, "as listed");
}

fn a_type_is_set_and_taken_away_by_hand() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let made = bus.topic_options("t").type_name(named("a b/C<~>")).history(1000).create_new().unwrap();
    assert_eq!((made.type_name, made.history), (Some(named("a b/C<~>")), 1000));
    let longest = named(&"x".repeat(63));
    assert_eq!(bus.topic_options("t").type_name(longest).mode(0o644).set().unwrap().type_name, Some(longest));
    // What isn't set stays, and what is set to what it is.
    assert_eq!(bus.topic_options("t").type_name(longest).set().unwrap().type_name, Some(longest));
    assert_eq!(bus.topic_options("t").history(2000).set().unwrap().type_name, Some(longest));
    assert_eq!(bus.topic_options("t").type_name(None).set().unwrap().type_name, None);
    let found = bus.topic_options("t").type_name(named("C")).mode(0o600).create().unwrap();
    assert_eq!(
        (found.type_name, found.mode, found.history),
        (Some(named("C")), 0o644, 2000),
        "the type and nothing else"
    );
    bus.delete_topic("t").unwrap();
    assert_eq!(bus.create_topic("t").unwrap().type_name, None, "another topic");
}

/// What somebody else is told of a topic that he asks for.
fn asked_by(fixture: &Fixture, who: &str, request: TopicRequest<'_>) -> Result<TopicRecord, Errno> {
    let mut frame = Vec::new();
    request.push(&mut frame, 7);
    let answer = fixture.socket_of(&[who]).ask(Endpoint::Request, &frame);
    if let [message] = &answer.messages()[..]
        && let Ok(record) = TopicRecord::read(message.body)
    {
        return Ok(record);
    }
    Err(answer.answer().result.expect_err("a refusal").errno)
}

fn who_may_not_publish_names_no_type() {
    if no_other_user() {
        return;
    }
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.topic_options("mine").mode(0o644).create_new().unwrap();
    bus.topic_options("secret").mode(0o622).create_new().unwrap();
    let settings = TopicSettings { type_name: Some(Some(named("Theirs"))), ..TopicSettings::default() };
    let create = |name| TopicRequest::Create { name, exclusive: false, settings };
    let found = asked_by(&fixture, "uid=65534", create("mine")).unwrap();
    assert_eq!((&*found.name, found.type_name), ("mine", None));
    // Refused, and so nothing is changed, though he may write.
    assert_eq!(asked_by(&fixture, "uid=65534", create("secret")), Err(Errno::EACCES));
    let change = TopicRequest::Change { key: TopicKey::Name("mine"), settings };
    assert_eq!(asked_by(&fixture, "uid=65534", change), Err(Errno::EACCES));
    assert_eq!((type_of(&bus, "mine"), type_of(&bus, "secret")), (None, None));
    let own = TopicRequest::Change { key: TopicKey::Name("$SYS/heartbeat"), settings };
    assert_eq!(asked_by(&fixture, "uid=0", own), Err(Errno::EACCES));
}

fn a_subscription_to_another_type_is_refused() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.publisher_as::<Count>("w/counts").unwrap().publish_acked(&Count(1)).unwrap();
    bus.publish_value_acked("w/unknown", &Reading { celsius: 1.0 }).unwrap();
    for filter in ["w/counts", "w/#"] {
        let error = bus.subscribe_as::<Reading>(filter).unwrap_err();
        let SubscribeReason::OtherType(mismatch) = error.reason() else { panic!("{error:?}") };
        let TypeMismatch { topic, has, wanted, .. } = &**mismatch;
        assert_eq!((&**topic, has.as_str(), wanted.as_str()), ("w/counts", "Count", "Reading"));
        let words = error.to_string();
        assert!(["'w/counts'", "'Count'", "'Reading'"].iter().all(|word| words.contains(word)), "{words}");
    }
    assert!(bus.subscriber("w/counts").type_name(named("Reading")).open().is_err(), "undecoded, but by name");
    // Who doesn't say what he expects gets anything.
    bus.subscribe("w/#").unwrap();
    bus.subscribe_as::<Reading>("w/unknown").unwrap();
    bus.subscriber("w/counts").type_name(named("Count")).open_as::<u32>().unwrap();
    let mut any = bus.subscriber("w/counts").any_type().open_as::<u32>().unwrap();
    bus.publish_value("w/counts", &Count(7)).unwrap();
    assert_eq!(value(&mut any), 7);
}

fn a_topic_that_turns_out_to_have_another_type_is_over() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut exact = bus.subscribe_as::<Reading>("t").unwrap();
    let mut all = bus.subscribe_as::<Reading>("#").unwrap();
    // New, and the wrong one from the start.
    bus.publisher_as::<Count>("new").unwrap().publish_acked(&Count(1)).unwrap();
    let over = ended(&mut all);
    assert_eq!((&*over.topic, over.reason), ("new", EndReason::OtherType));
    // Followed already.
    bus.publish_value("t", &Reading { celsius: 1.0 }).unwrap();
    assert_eq!((value(&mut exact), value(&mut all)), (Reading { celsius: 1.0 }, Reading { celsius: 1.0 }));
    bus.topic_options("t").type_name(named("Count")).set().unwrap();
    for subscription in [&mut exact, &mut all] {
        let over = ended(subscription);
        assert_eq!((&*over.topic, over.last, over.reason), ("t", 1, EndReason::OtherType));
    }
    // Nothing of it until it has the right one.
    bus.publish_value_acked("t", &Count(2)).unwrap();
    bus.topic_options("t").type_name(named("Reading")).set().unwrap();
    let number = wait_for("it to be followed again", || {
        bus.publish_value_acked("t", &Reading { celsius: 3.0 }).unwrap();
        match exact.try_recv() {
            Ok(TypedDelivery::Value(Reading { celsius: 3.0 }, event)) => Some(event.seq()),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        }
    });
    assert!(number > 2);
    assert_eq!(value(&mut all), Reading { celsius: 3.0 });
}

/// Becomes somebody, publishes a value to a topic, and says what became of that.
fn typed(place: Place, args: &Args) {
    become_another(place, args);
    let topic = args.get::<String>("topic").unwrap_or("drop/box".into());
    match place.connect().publisher_as::<Count>(&topic) {
        Ok(counts) => say(format_args!("published {}", counts.publish_acked(&Count(5)).unwrap())),
        Err(RequestError::Refused(refusal)) => say(format_args!("refused {:?} {refusal}", refusal.errno)),
        Err(error) => say(format_args!("{error}")),
    }
}

fn who_may_only_write_publishes_with_a_type() {
    if no_other_user() {
        return;
    }
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.topic_options("drop/box").mode(0o622).create_new().unwrap();
    let mut subscription = bus.subscribe_as::<Count>("drop/box").unwrap();
    let mut child = fixture.spawn("typed", &["uid=65534".to_owned()]);
    child.expect("published 1");
    assert_eq!(value(&mut subscription), Count(5));
    let mut child = fixture.spawn("typed", &["uid=65534".to_owned(), "topic=$SYS/x".to_owned()]);
    let said = child.line();
    assert!(said.starts_with("refused EACCES"), "{said}");
}

fn a_type_outlives_the_broker_with_its_publisher() {
    let mut fixture = Fixture::new();
    let (bus, other) = (fixture.connect(), fixture.connect());
    let counts = bus.publisher_as::<Count>("t").unwrap();
    counts.publish_acked(&Count(1)).unwrap();
    fixture.broker().expect("a broker").kill();
    counts.publish(&Count(2)).unwrap_err();
    fixture.start_broker();
    wait_for("the next one to be told", || {
        drop(counts.publish(&Count(2)));
        bus.topic("t").ok().flatten()?.type_name.filter(|name| *name == named("Count"))
    });
    // Or it has it with another type.
    fixture.broker().expect("a broker").kill();
    counts.publish(&Count(3)).unwrap_err();
    fixture.start_broker();
    wait_for("another one to be first", || other.publisher_as::<Reading>("t").ok());
    let error = wait_for("it to be told", || {
        counts.publish(&Count(3)).err().filter(|error| !matches!(error.reason(), PublishReason::NoBroker))
    });
    let words = error.to_string();
    assert!(["'t'", "'Reading'", "'Count'"].iter().all(|word| words.contains(word)), "{words}");
}
