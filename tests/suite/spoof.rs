//! Only the broker's word counts: what others send into groups or to a client's port is dropped and counted.

use nix::errno::Errno;
use nlbus::wire::uapi::*;
use nlbus::wire::{EventHeader, Header, Refusal, push_ack, push_event, push_refusal};
use nlbus::{ConnectError, Delivery, PublishReason};
use nlbus_tests::{Fixture, RawClient, cases, events, no_other_user, patience, quiet, wait_for};

cases![
    an_event_of_somebody_else_in_the_group_is_dropped,
    an_answer_of_somebody_else_is_dropped,
    a_broker_of_another_user_is_not_believed user_only,
    who_takes_the_port_of_a_broker_that_went_is_not_believed user_only,
];

const NOBODY: u32 = 65534;

fn forged(epoch: u64, topic_id: u32, seq: u64) -> Vec<u8> {
    let header = Header { kind: NLBUS_MSG_EVENT, flags: 0, seq: epoch as u32, portid: 0 };
    let event = EventHeader { seq, time_ns: 1, topic_id, pid: 1, ..EventHeader::default() };
    let mut datagram = Vec::new();
    push_event(&mut datagram, header, &event, "spoof", b"forged");
    datagram
}

/// Everything about it is right, but for where it comes from.
fn an_event_of_somebody_else_in_the_group_is_dropped() {
    let fixture = Fixture::new();
    let (bus, liar) = (fixture.connect(), fixture.raw());
    bus.publish_acked("spoof", "1").unwrap();
    let mut subscription = bus.subscribe("spoof").unwrap();
    let (epoch, topic) = (bus.info().unwrap().epoch, bus.topic("spoof").unwrap().expect("a topic"));
    assert!(topic.group <= 32, "{topic:?}");
    let group = 1 << (topic.group - 1);
    for count in 1..=5 {
        // To the group, and to a port where nobody is: that alone fails, and after the group got it.
        let _ = liar.send_to(0x7000_0001, group, &forged(epoch, topic.id, 1 + count));
        wait_for("the forged event to be counted", || (bus.counters().unwrap().client.foreign == count).then_some(()));
    }
    // The heartbeat's group, too: a forged one could make a client believe that it is behind.
    let _ = liar.send_to(0x7000_0001, 1 << (NLBUS_GROUP_SYS - 1), &forged(epoch, 1, 1 << 40));
    wait_for("the forged heartbeat to be counted", || (bus.counters().unwrap().client.foreign == 6).then_some(()));
    quiet(&mut subscription);
    assert_eq!(bus.publish_acked("spoof", "2").unwrap(), 2);
    let seen = events(&mut subscription, 1);
    assert_eq!((seen[0].seq(), seen[0].payload(), seen[0].sender().pid), (2, &b"2"[..], std::process::id()));
}

/// Sent to the ports of the client's own sockets: events, verdicts on publishes that nobody has given.
fn an_answer_of_somebody_else_is_dropped() {
    let fixture = Fixture::new();
    let (bus, liar) = (fixture.connect(), fixture.raw());
    let mut subscription = bus.subscribe("spoof").unwrap();
    bus.publish_acked("spoof", "1").unwrap();
    // The socket that publishes is the one that takes answers.
    let port = events(&mut subscription, 1)[0].sender().portid;
    let epoch = bus.info().unwrap().epoch;
    let id = bus.topic("spoof").unwrap().expect("a topic").id;
    let before = bus.counters().unwrap().client.foreign;
    let to = Header { kind: NLBUS_MSG_PUBLISH, flags: 5, seq: 3, portid: 0 };
    let (mut refusal, mut ack) = (Vec::new(), Vec::new());
    push_refusal(&mut refusal, to, 60, &Refusal::new(Errno::EACCES, "forged"));
    push_ack(&mut ack, to, 60, Some(99));
    for datagram in [&refusal, &ack, &forged(epoch, id, 2), &vec![0xff; 100]] {
        liar.send_to(port, 0, datagram).unwrap();
    }
    wait_for("the forged answers to be counted", || {
        (bus.counters().unwrap().client.foreign == before + 4).then_some(())
    });
    bus.flush().unwrap();
    assert_eq!(bus.counters().unwrap().refused, 0);
    assert_eq!(bus.publish_acked("spoof", "2").unwrap(), 2);
    assert_eq!(events(&mut subscription, 1)[0].seq(), 2);
    quiet(&mut subscription);
    drop::<RawClient>(liar);
}

/// The port is anybody's who comes first.
fn a_broker_of_another_user_is_not_believed() {
    if no_other_user() {
        return;
    }
    let fixture = Fixture::with(&[&format!("uid={NOBODY}")]);
    let error = fixture.builder().connect().unwrap_err();
    assert!(matches!(error, ConnectError::Untrusted { uid: Some(NOBODY), .. }), "{error:?}");
    assert!(error.to_string().contains("user 65534 has the user broker's port"), "{error}");
    // Unless that is who it should be; and his own processes have no doubt.
    let bus = fixture.builder().broker_uid(NOBODY).connect().unwrap();
    assert_eq!(bus.publish_acked("spoof", "1").unwrap(), 1);
    let mut child = fixture.spawn("client", &[format!("uid={NOBODY}")]);
    child.expect("ready");
    child.say("publish spoof");
    assert!(child.line().starts_with("published seq=2"));
}

fn who_takes_the_port_of_a_broker_that_went_is_not_believed() {
    if no_other_user() {
        return;
    }
    let mut fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("spoof").unwrap();
    bus.publish_acked("spoof", "1").unwrap();
    events(&mut subscription, 1);
    fixture.broker().expect("a broker").kill();
    let mut liar = fixture.spawn("broker", &[format!("uid={NOBODY}")]);
    liar.expect("ready");
    // Its heartbeats are in the groups, and it would take whatever is published.
    wait_for("what the liar says to be counted", || (bus.counters().unwrap().client.foreign > 0).then_some(()));
    let error = wait_for("nothing to be published to it", || bus.publish("spoof", "secret").err());
    assert!(matches!(error.reason(), PublishReason::NoBroker), "{error:?}");
    quiet(&mut subscription);
    drop(liar);
    fixture.start_broker();
    assert!(matches!(subscription.recv_timeout(patience()), Ok(Delivery::Restarted(_))));
    wait_for("the right one to be found", || bus.publish_acked("spoof", "2").ok());
    assert_eq!(events(&mut subscription, 1)[0].payload(), b"2");
}
