//! Promise 7: who published an event is what the kernel saw, and nobody can claim to be another one.

use nix::unistd::getuid;
use nlbus::wire::push_publish;
use nlbus::wire::uapi::NLBUS_BRIDGE_PORT_FIRST;
use nlbus::{BrokerKind, ConnectError, Content};
use nlbus_tests::{Endpoint, Fixture, broker_kind, cases, events, no_other_user, value, wait_for};
use std::io::ErrorKind;
use std::process;

cases![
    an_event_names_its_process_user_and_socket,
    processes_are_told_apart,
    another_user_is_told_apart,
    a_bridge_publishes_from_a_port_of_its_own,
    the_brokers_own_events_are_from_port_0,
    control_messages_do_not_lie_to_the_kernel module_only,
];

fn an_event_names_its_process_user_and_socket() {
    let fixture = Fixture::new();
    let (bus, other, raw) = (fixture.connect(), fixture.connect(), fixture.raw());
    let mut subscription = bus.subscribe("who").unwrap();
    bus.publish_acked("who", "1").unwrap();
    other.publish_acked("who", "2").unwrap();
    bus.publish_acked("who", "3").unwrap();
    let mut datagram = Vec::new();
    push_publish(&mut datagram, 1, true, 0, Content::Opaque, "who", b"4");
    raw.send(Endpoint::Publish, &datagram);
    assert_eq!(raw.receive().answer().result.unwrap(), Some(4));
    let senders: Vec<_> = events(&mut subscription, 4).iter().map(|event| event.sender()).collect();
    for sender in &senders {
        assert_eq!((sender.kernel, sender.pid, sender.uid), (false, process::id(), getuid().as_raw()), "{senders:?}");
        assert_ne!(sender.portid, 0);
    }
    assert_eq!(senders[0], senders[2]);
    assert_ne!(senders[0].portid, senders[1].portid, "each connection has a socket of its own");
    assert_eq!(senders[3].portid, raw.port());
}

/// So that bridges know what isn't their host's, whoever published it and whenever.
fn a_bridge_publishes_from_a_port_of_its_own() {
    let fixture = Fixture::new();
    let ports = NLBUS_BRIDGE_PORT_FIRST..=NLBUS_BRIDGE_PORT_FIRST + 1;
    let builder = || fixture.builder().send_ports(ports.clone());
    let (first, second) = (builder().connect().unwrap(), builder().connect().unwrap());
    let mut subscription = first.subscribe("who").unwrap();
    second.publish_acked("who", "2").unwrap();
    first.publish_acked("who", "1").unwrap();
    let senders: Vec<_> = events(&mut subscription, 2).iter().map(|event| event.sender().portid).collect();
    assert_eq!(senders, [NLBUS_BRIDGE_PORT_FIRST + 1, NLBUS_BRIDGE_PORT_FIRST]);
    let error = builder().connect().unwrap_err();
    assert!(matches!(&error, ConnectError::Io { error, .. } if error.kind() == ErrorKind::AddrInUse), "{error:?}");
    // Given up, it is free again.
    first.close().unwrap();
    drop(subscription);
    wait_for("a port", || builder().connect().ok());
}

fn processes_are_told_apart() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("who").unwrap();
    let mut children = [(); 3].map(|()| fixture.spawn("client", &[]));
    for child in &mut children {
        child.expect("ready");
        child.say("publish who");
        assert_eq!(value(&child.line(), "pid"), u64::from(child.pid()));
    }
    let pids: Vec<_> = events(&mut subscription, 3).iter().map(|event| event.sender().pid).collect();
    assert_eq!(pids, children.map(|child| child.pid()));
}

fn another_user_is_told_apart() {
    if no_other_user() {
        return;
    }
    let fixture = Fixture::new();
    let mut subscription = fixture.connect().subscribe("who").unwrap();
    let mut child = fixture.spawn("client", &["uid=65534".to_owned()]);
    child.expect("ready");
    child.say("publish who");
    child.line();
    let sender = events(&mut subscription, 1)[0].sender();
    assert_eq!((sender.uid, sender.pid, sender.kernel), (65534, child.pid(), false), "{sender:?}");
}

fn the_brokers_own_events_are_from_port_0() {
    let fixture = Fixture::new();
    let mut subscription = fixture.connect().subscribe("$SYS/heartbeat").unwrap();
    let kernel = broker_kind() == BrokerKind::Module;
    for event in events(&mut subscription, 2) {
        let sender = event.sender();
        assert_eq!((sender.portid, sender.kernel), (0, kernel), "{event:?}");
        if kernel {
            assert_eq!((sender.pid, sender.uid), (0, 0), "{event:?}");
        }
    }
}

/// Whoever has the capabilities may send credentials of others along (`scm_check_creds`). The module doesn't look at them.
fn control_messages_do_not_lie_to_the_kernel() {
    let fixture = Fixture::new();
    let mut subscription = fixture.connect().subscribe("who").unwrap();
    let raw = fixture.raw();
    let mut datagram = Vec::new();
    push_publish(&mut datagram, 1, true, 0, Content::Opaque, "who", b"x");
    raw.send_claiming(Endpoint::Publish, &datagram, 1, 12345).unwrap();
    assert_eq!(raw.receive().answer().result.unwrap(), Some(1));
    let sender = events(&mut subscription, 1)[0].sender();
    assert_eq!((sender.pid, sender.uid, sender.portid), (process::id(), getuid().as_raw(), raw.port()), "{sender:?}");
}
