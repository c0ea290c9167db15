//! Finding the broker: absent, present, of another version, silent, not a broker at all; and never two at once. What needs
//! the module loaded and unloaded is in `tests/module`.

use nlbus::wire::uapi::*;
use nlbus::wire::{Header, Info, Messages, push_info};
use nlbus::{Broker, BrokerError, BrokerKind, Bus, Choice, ConnectError};
use nlbus_tests::{Fixture, Place, RawClient, broker_kind, cases, events};
use std::thread;
use std::time::Duration;

cases![
    the_broker_is_found_unasked,
    an_absent_broker_is_an_error_with_both_remedies user_only,
    a_client_may_wait_for_its_broker user_only,
    another_version_is_an_error_that_says_which user_only,
    a_silent_broker_is_an_error user_only,
    what_is_no_broker_is_an_error user_only,
    a_port_has_one_broker user_only,
    a_broker_lives_in_a_thread_too user_only,
    no_user_broker_beside_the_module module_only,
];

fn the_broker_is_found_unasked() {
    let fixture = Fixture::new();
    let bus = Bus::connect().unwrap();
    let info = bus.info().unwrap();
    assert_eq!((info.broker, info.version), (broker_kind(), NLBUS_VERSION));
    assert_eq!(fixture.connect().info().unwrap().epoch, info.epoch, "the same bus");
    let protocol = if broker_kind() == BrokerKind::Module { NLBUS_PROTOCOL } else { NETLINK_USERSOCK };
    assert_eq!(info.protocol, protocol);
    let later = bus.info().unwrap();
    assert!(later.uptime_ns >= info.uptime_ns && later.epoch == info.epoch);
}

fn an_absent_broker_is_an_error_with_both_remedies() {
    let error = Bus::connect().unwrap_err();
    assert!(matches!(error, ConnectError::NoBroker { choice: Choice::Auto, port: NLBUS_USER_PORT }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("modprobe nlbus") && text.contains("nlbus broker"), "{text}");
    let error = Bus::builder().broker(Choice::Module).connect().unwrap_err().to_string();
    assert!(error.contains("modprobe nlbus"), "{error}");
    let error = Bus::builder().broker(Choice::User).port(0x7000_0000).connect().unwrap_err().to_string();
    assert!(error.contains("nlbus broker") && error.contains("1879048192"), "{error}");
}

fn a_client_may_wait_for_its_broker() {
    thread::scope(|scope| {
        let waiting = scope.spawn(|| Bus::builder().wait(nlbus_tests::patience()).connect());
        let fixture = Fixture::new();
        let bus = waiting.join().unwrap().unwrap();
        assert_eq!(bus.info().unwrap().epoch, fixture.connect().info().unwrap().epoch);
    });
    let error = Bus::builder().port(0x7000_0000).wait(Duration::from_millis(120)).connect().unwrap_err();
    assert!(matches!(error, ConnectError::NoBroker { .. }), "{error:?}");
}

const PLACE: Place = Place { kind: BrokerKind::User, port: NLBUS_USER_PORT };

/// Connects while somebody at the request port answers with what `answer` makes of the request's number.
fn connect_to(answer: impl FnOnce(Header) -> Vec<u8> + Send) -> ConnectError {
    let port = RawClient::bind(PLACE, NLBUS_USER_PORT + 1).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let request = port.receive();
            let header = Messages::new(&request.bytes).next().unwrap().unwrap().header;
            let reply = answer(header);
            if !reply.is_empty() {
                port.send_to(request.port, 0, &reply).unwrap();
            }
        });
        Bus::connect().unwrap_err()
    })
}

fn another_version_is_an_error_that_says_which() {
    let error = connect_to(|to| {
        let mut info = Info::default();
        (info.version, info.broker, info.epoch) = (999, BrokerKind::User, 7);
        (info.protocol, info.publish_port, info.request_port) =
            (NETLINK_USERSOCK, NLBUS_USER_PORT, NLBUS_USER_PORT + 1);
        let mut reply = Vec::new();
        push_info(&mut reply, to, &info);
        reply
    });
    assert!(matches!(error, ConnectError::Version { broker: BrokerKind::User, found: 999 }), "{error:?}");
    assert!(error.to_string().contains("999"), "{error}");
}

fn a_silent_broker_is_an_error() {
    let error = connect_to(|_| Vec::new());
    assert!(matches!(error, ConnectError::Silent { broker: BrokerKind::User }), "{error:?}");
}

fn what_is_no_broker_is_an_error() {
    let error = connect_to(|to| Header { kind: NLBUS_MSG_INFO, ..to }.to_bytes(16).to_vec());
    assert!(matches!(error, ConnectError::NotABroker { .. }), "{error:?}");
}

fn a_port_has_one_broker() {
    let fixture = Fixture::new();
    let error = Broker::builder().bind().unwrap_err();
    assert!(matches!(error, BrokerError::PortTaken { port: NLBUS_USER_PORT }), "{error:?}");
    // At another port there may be another bus.
    let other = Broker::builder().port(0x6000_0000).spawn().unwrap();
    let bus = Bus::builder().broker(Choice::User).port(0x6000_0000).connect().unwrap();
    assert_ne!(bus.info().unwrap().epoch, fixture.connect().info().unwrap().epoch);
    assert_eq!(bus.info().unwrap().epoch, other.epoch());
    other.stop().unwrap();
}

fn a_broker_lives_in_a_thread_too() {
    let broker = Broker::builder().spawn().unwrap();
    let bus = Bus::connect().unwrap();
    let mut subscription = bus.subscribe("#").unwrap();
    assert_eq!(bus.publish_acked("in/a/thread", "x").unwrap(), 1);
    assert_eq!(events(&mut subscription, 1)[0].topic(), "in/a/thread");
    assert_eq!((broker.port(), broker.is_finished()), (NLBUS_USER_PORT, false));
    broker.stop().unwrap();
    let error = Bus::connect().unwrap_err();
    assert!(matches!(error, ConnectError::NoBroker { .. }), "{error:?}");
}

fn no_user_broker_beside_the_module() {
    let error = Broker::builder().bind().unwrap_err();
    assert!(matches!(error, BrokerError::ModuleLoaded), "{error:?}");
    let error = Bus::builder().broker(Choice::User).connect().unwrap_err();
    assert!(matches!(error, ConnectError::NoBroker { choice: Choice::User, .. }), "{error:?}");
    assert_eq!(Bus::connect().unwrap().info().unwrap().broker, BrokerKind::Module);
}
