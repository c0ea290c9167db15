//! Promise 13: publishing says what becomes of an event: queued, numbered, refused; and a batch goes whole or not at all.

use nix::errno::Errno;
use nlbus::wire::push_publish;
use nlbus::{Content, PublishReason, RequestError, TypedDelivery};
use nlbus_tests::{Endpoint, Fixture, RawClient, cases, events, quiet, wait_for};
use serde::{Deserialize, Serialize};

cases![
    an_ack_has_the_sequence_number,
    an_ack_comes_after_every_socket_has_the_event,
    a_refusal_names_topic_and_errno,
    a_refusal_without_an_ack_surfaces_later,
    a_flush_tells_of_refusals,
    a_batch_is_published_whole,
    a_batch_with_a_bad_message_is_not_published_at_all,
    values_are_published_and_decoded,
    what_cannot_be_decoded_is_delivered_as_such,
    contents_are_kept,
    a_closed_bus_publishes_no_more,
];

fn an_ack_has_the_sequence_number() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.publish("x", "1").unwrap();
    assert_eq!(bus.publish_acked("x", "2").unwrap(), 2);
    assert_eq!(bus.publish_acked("y", "1").unwrap(), 1);
    assert_eq!(bus.publish_content_acked("x", Content::Text, "3").unwrap(), 3);
    assert_eq!(bus.publish_value_acked("x", &4u32).unwrap(), 4);
}

/// So that a receiver needs no patience once the publisher knows. Many receivers, so that giving it to them takes a while.
fn an_ack_comes_after_every_socket_has_the_event() {
    let fixture = Fixture::new();
    let (group, raw) = (fixture.connect().create_topic("acked").unwrap().group, fixture.raw());
    let watchers: Vec<_> = (0..64).map(|_| fixture.raw()).collect();
    for watcher in &watchers {
        watcher.join(group).unwrap();
    }
    let mut datagram = Vec::new();
    push_publish(&mut datagram, 1, true, 0, Content::Opaque, "acked", &[0; 8000]);
    for seq in 1..=100 {
        raw.send(Endpoint::Publish, &datagram);
        assert_eq!(raw.receive().answer().result.unwrap(), Some(seq));
        // Without waiting.
        let seen = watchers.iter().map(RawClient::try_receive).filter(Option::is_some).count();
        assert_eq!(seen, watchers.len(), "event {seq} is acked, and some have it");
    }
}

fn a_refusal_names_topic_and_errno() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    for topic in ["$SYS", "$SYS/heartbeat", "kernel", "kernel/module/x"] {
        let error = bus.publish_acked(topic, "x").unwrap_err();
        assert!(matches!(error.reason(), PublishReason::Refused(_)), "{error:?}");
        assert_eq!((error.topic(), error.errno()), (topic, Some(Errno::EACCES)));
        assert!(error.to_string().contains(topic), "{error}");
        let error = bus.create_topic(topic).unwrap_err();
        let RequestError::Refused(refusal) = error else { panic!("{error:?}") };
        assert_eq!(refusal.errno, Errno::EACCES);
    }
    // What only begins alike is anybody's.
    for topic in ["$SYSTEM", "kernels/x", "$data/x", "x/kernel", "/kernel"] {
        assert_eq!(bus.publish_acked(topic, "x").unwrap(), 1);
    }
    assert_eq!(bus.counters().unwrap().refused, 0, "somebody waited for each of them");
}

fn a_refusal_without_an_ack_surfaces_later() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.publish("$SYS/x", "x").unwrap();
    wait_for("the refusal", || (bus.counters().unwrap().refused == 1).then_some(()));
    let error = bus.publish("x", "not sent").unwrap_err();
    assert!(matches!(error.reason(), PublishReason::EarlierRefused { .. }), "{error:?}");
    assert_eq!(error.errno(), Some(Errno::EACCES));
    assert!(error.to_string().contains("$SYS/x"), "it names the topic that was refused: {error}");
    // It is told once, and the event that came in its way wasn't sent.
    assert_eq!(bus.publish_acked("x", "sent").unwrap(), 1);
    bus.flush().unwrap();
}

fn a_flush_tells_of_refusals() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.flush().unwrap();
    for _ in 0..20 {
        bus.publish("good", "x").unwrap();
    }
    bus.publish("kernel/bad", "x").unwrap();
    let error = bus.flush().unwrap_err();
    assert!(matches!(error.reason(), PublishReason::EarlierRefused { .. }), "{error:?}");
    assert_eq!(error.errno(), Some(Errno::EACCES));
    bus.flush().unwrap();
    assert_eq!(bus.counters().unwrap().refused, 1);
    assert_eq!(bus.publish_acked("good", "x").unwrap(), 21, "what was published before the flush was accepted");
}

fn a_batch_is_published_whole() {
    const COUNT: u64 = 500;
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("batch/#").unwrap();
    let mut batch = bus.batch();
    assert_eq!(batch.send_acked().unwrap(), None);
    batch.send().unwrap();
    for number in 0..COUNT {
        batch.push("batch/a", &number.to_le_bytes()).unwrap();
    }
    assert_eq!((batch.len() as u64, batch.is_empty()), (COUNT, false));
    assert_eq!(batch.send_acked().unwrap(), Some(COUNT));
    assert!(batch.is_empty());
    // It can be used again, for different topics too.
    batch.push("batch/b", "x").unwrap();
    batch.push_value("batch/a", &COUNT).unwrap();
    batch.send().unwrap();
    bus.flush().unwrap();
    let seen = events(&mut subscription, COUNT as usize + 2);
    let a: Vec<u64> = seen.iter().filter(|event| event.topic() == "batch/a").map(|e| e.decode().unwrap()).collect();
    assert_eq!(a, Vec::from_iter(0..=COUNT));
}

fn a_batch_with_a_bad_message_is_not_published_at_all() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("#").unwrap();
    let mut batch = bus.batch();
    for topic in ["one", "$SYS/two", "three"] {
        batch.push(topic, "x").unwrap();
    }
    let error = batch.send_acked().unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EACCES), "{error}");
    assert_eq!(batch.len(), 3, "it is as it was");
    batch.send().unwrap();
    assert_eq!(bus.flush().unwrap_err().errno(), Some(Errno::EACCES));
    assert_eq!((bus.topic("one").unwrap(), bus.topic("three").unwrap()), (None, None), "nothing of it was accepted");
    quiet(&mut subscription);
    assert_eq!(bus.publish_acked("one", "x").unwrap(), 1);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Reading {
    sensor: u16,
    celsius: f64,
    labels: Vec<String>,
}

fn values_are_published_and_decoded() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut typed = bus.subscribe_as::<Reading>("sensor/+").unwrap();
    let reading =
        |sensor| Reading { sensor, celsius: -1.5 * f64::from(sensor), labels: vec!["ä".into(); sensor.into()] };
    for sensor in 0..4 {
        bus.publish_value(&format!("sensor/{}", sensor % 2), &reading(sensor)).unwrap();
    }
    bus.flush().unwrap();
    let mut seen: Vec<Reading> = (0..4)
        .map(|_| match typed.recv_timeout(nlbus_tests::patience()).unwrap() {
            TypedDelivery::Value(value, event) => {
                assert_eq!(
                    (event.content(), event.topic()),
                    (Content::Bincode, &*format!("sensor/{}", value.sensor % 2))
                );
                value
            }
            other => panic!("{other:?}"),
        })
        .collect();
    seen.sort_by_key(|reading| reading.sensor);
    assert_eq!(seen, [0, 1, 2, 3].map(reading));
}

fn what_cannot_be_decoded_is_delivered_as_such() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut typed = bus.subscribe_as::<u32>("n").unwrap();
    let mut raw = bus.subscribe("n").unwrap();
    bus.publish("n", b"12345").unwrap();
    bus.publish("n", &[0xff; 3]).unwrap();
    bus.publish_value_acked("n", &7u32).unwrap();
    let mut next = || typed.recv_timeout(nlbus_tests::patience()).unwrap();
    for bytes in [&b"12345"[..], &[0xff; 3]] {
        match next() {
            TypedDelivery::Undecodable(event, _) => assert_eq!(event.payload(), bytes),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(next(), TypedDelivery::Value(7, _)), "the next one is decoded again");
    assert_eq!(events(&mut raw, 3).len(), 3);
}

fn contents_are_kept() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("c").unwrap();
    let all = [Content::Opaque, Content::Text, Content::Bincode, Content::Json];
    for content in all {
        bus.publish_content_acked("c", content, "x").unwrap();
    }
    assert_eq!(events(&mut subscription, 4).iter().map(|event| event.content()).collect::<Vec<_>>(), all);
}

fn a_closed_bus_publishes_no_more() {
    let fixture = Fixture::new();
    let (bus, other) = (fixture.connect(), fixture.connect());
    let mut subscription = bus.subscribe("x").unwrap();
    bus.publish("x", "before").unwrap();
    bus.clone().close().unwrap();
    // Its thread ends in its own time.
    wait_for("the end of the connection", || {
        let error = bus.publish("x", "after").err()?;
        matches!(error.reason(), PublishReason::Closed).then_some(())
    });
    assert!(matches!(bus.topics(), Err(RequestError::Closed)));
    while subscription.recv_timeout(nlbus_tests::patience()).is_ok() {}
    // What was flushed is published, whatever became of the connection.
    wait_for("the event to have its number", || other.topic("x").unwrap().filter(|topic| topic.head >= 1));
}
