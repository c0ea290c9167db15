//! Promise 12: what is over a limit is a clear error, and what is just within it works.

use nlbus::wire::uapi::{NLBUS_DATAGRAM_MAX, NLBUS_PAYLOAD_MAX, NLBUS_TOPIC_MAX};
use nlbus::{PublishReason, RequestError, Start, TopicError};
use nlbus_tests::{Fixture, cases, events, limits, quiet};

cases![
    the_largest_event_goes_through_live_and_out_of_history,
    a_payload_may_be_empty,
    one_byte_too_many_is_refused,
    a_batch_fills_a_datagram_to_the_last_byte,
    too_many_topics_are_refused user_only,
    topics_that_were_deleted_leave_room user_only,
    history_stays_within_its_bytes,
];

fn the_largest_event_goes_through_live_and_out_of_history() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let topic = format!("{}/{}", "t".repeat(126), "ü".repeat(64));
    assert_eq!(topic.len(), NLBUS_TOPIC_MAX);
    let payload: Vec<u8> = (0..NLBUS_PAYLOAD_MAX).map(|at| (at % 251) as u8).collect();
    let mut live = bus.subscribe(&topic).unwrap();
    assert_eq!(bus.publish_acked(&topic, &payload).unwrap(), 1);
    assert_eq!(bus.publish_acked(&topic, &payload).unwrap(), 2);
    let mut replayed = bus.subscriber(&topic).start(Start::Last(1)).open().unwrap();
    for event in events(&mut live, 2).iter().chain(&events(&mut replayed, 1)) {
        assert_eq!(event.topic(), topic);
        assert!(event.payload() == payload, "{} bytes came back otherwise", event.payload().len());
    }
}

fn a_payload_may_be_empty() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("e").unwrap();
    bus.publish_acked("e", "").unwrap();
    assert_eq!(events(&mut subscription, 1)[0].payload(), b"");
}

/// By the library here, before anything is sent; by the broker in `malformed`.
fn one_byte_too_many_is_refused() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("#").unwrap();
    let error = bus.publish("x", &vec![0; NLBUS_PAYLOAD_MAX + 1]).unwrap_err();
    assert!(matches!(error.reason(), PublishReason::TooLarge(64513)), "{error:?}");
    let long = "x".repeat(NLBUS_TOPIC_MAX + 1);
    for error in [bus.publish(&long, "").unwrap_err(), bus.batch().push(&long, "").unwrap_err()] {
        assert!(matches!(error.reason(), PublishReason::Topic(TopicError::TooLong(256))), "{error:?}");
        assert_eq!(error.topic(), long);
    }
    for name in ["", "a+", "a/#", "nul\0"] {
        let error = bus.publish(name, "").unwrap_err();
        assert!(matches!(error.reason(), PublishReason::Topic(_)), "{error:?}");
        let error = bus.create_topic(name).unwrap_err();
        assert!(matches!(error, RequestError::Topic { .. }), "{error:?}");
    }
    quiet(&mut subscription);
    assert!(bus.topics().unwrap().iter().all(|topic| topic.name.starts_with("$SYS/")));
}

fn a_batch_fills_a_datagram_to_the_last_byte() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("b").unwrap();
    let mut batch = bus.batch();
    // A message header, an event header and a topic of one byte, padded, take 64 bytes.
    let half = NLBUS_DATAGRAM_MAX / 2 - 64;
    batch.push("b", &vec![1; half]).unwrap();
    let error = batch.push("b", &vec![2; half + 1]).unwrap_err();
    assert!(matches!(error.reason(), PublishReason::BatchFull), "{error:?}");
    assert_eq!(batch.len(), 1, "what doesn't fit leaves the batch as it was");
    batch.push("b", &vec![2; half]).unwrap();
    let error = batch.push("b", "").unwrap_err();
    assert!(matches!(error.reason(), PublishReason::BatchFull), "{error:?}");
    assert_eq!(batch.send_acked().unwrap(), Some(2));
    let seen: Vec<_> = events(&mut subscription, 2).iter().map(|e| (e.seq(), e.payload().len())).collect();
    assert_eq!(seen, [(1, half), (2, half)]);
}

/// With a module parameter, in `tests/module`, for the module.
fn too_many_topics_are_refused() {
    let fixture = Fixture::with(&["topics_max=8"]);
    limits::one_topic_too_many_is_refused(&fixture.connect(), 8);
}

/// With a module parameter, in `tests/module`, for the module.
fn topics_that_were_deleted_leave_room() {
    let fixture = Fixture::with(&["topics_max=8"]);
    limits::topics_that_were_deleted_leave_room(&fixture.connect(), 8);
}

fn history_stays_within_its_bytes() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let limit = bus.info().unwrap().limits.topic_history;
    let payload = vec![7; 60_000];
    let count = limit / 60_000 + 5;
    for _ in 0..count {
        bus.publish_acked("h", &payload).unwrap();
    }
    let topic = bus.topic("h").unwrap().expect("a topic");
    assert!(topic.first > 1 && topic.bytes <= limit && topic.history == limit, "{topic:?}");
    let counters = bus.info().unwrap().counters;
    assert_eq!(counters.evicted, topic.first - 1, "{counters:?}");
    assert!(counters.history >= topic.bytes, "{counters:?}");
}
