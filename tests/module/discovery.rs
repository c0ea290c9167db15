//! The module absent, of another version, and appearing while a user broker runs. Never are there two brokers.

use crate::kernel::{MODULE, OTHER_VERSION, absent, load, reload, unload_at_last};
use nlbus::{Broker, BrokerError, BrokerKind, Bus, Choice, ConnectError, Delivery, PublishReason};
use nlbus_tests::{cases, collect, wait_for};

cases![
    the_absent_module_is_an_error_with_both_remedies module_only alone,
    a_module_of_another_version_is_an_error_and_no_reason_to_fall_back module_only alone,
    a_user_broker_gives_way_to_the_module module_only alone,
    clients_of_the_module_find_it_in_a_namespace_older_than_it module_only alone,
];

fn the_absent_module_is_an_error_with_both_remedies() {
    absent();
    let error = Bus::connect().unwrap_err();
    assert!(matches!(error, ConnectError::NoBroker { choice: Choice::Auto, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("modprobe nlbus") && text.contains("nlbus broker"), "{text}");
    let error = Bus::builder().broker(Choice::Module).connect().unwrap_err();
    assert!(matches!(error, ConnectError::NoBroker { choice: Choice::Module, .. }), "{error:?}");
}

fn a_module_of_another_version_is_an_error_and_no_reason_to_fall_back() {
    absent();
    load(OTHER_VERSION, "").unwrap();
    for choice in [Choice::Auto, Choice::Module] {
        let error = Bus::builder().broker(choice).connect().unwrap_err();
        assert!(matches!(error, ConnectError::Version { broker: BrokerKind::Module, found: 999 }), "{error:?}");
        assert!(error.to_string().contains("999"), "{error}");
    }
    // It is there, whatever it speaks.
    let error = Broker::builder().bind().unwrap_err();
    assert!(matches!(error, BrokerError::ModuleLoaded), "{error:?}");
    unload_at_last();
}

fn a_user_broker_gives_way_to_the_module() {
    absent();
    let broker = Broker::builder().spawn().unwrap();
    let (free, pinned) = (Bus::connect().unwrap(), Bus::builder().broker(Choice::User).connect().unwrap());
    let user = free.info().unwrap();
    assert_eq!(user.broker, BrokerKind::User);
    let mut moving = free.subscribe("split/#").unwrap();
    let mut staying = pinned.subscribe("split/#").unwrap();
    pinned.publish_acked("split/brain", "on the user broker").unwrap();
    load(MODULE, "").unwrap();
    wait_for("the user broker to close", || broker.is_finished().then_some(()));
    let end = broker.stop().unwrap_err();
    assert!(matches!(end, BrokerError::ModuleAppeared), "{end:?}");
    let error = Broker::builder().bind().unwrap_err();
    assert!(matches!(error, BrokerError::ModuleLoaded), "{error:?}");
    // Whoever takes any broker goes on with the module, and says so.
    let fresh = Bus::connect().unwrap();
    let module = fresh.info().unwrap();
    assert_eq!(module.broker, BrokerKind::Module);
    assert_ne!(module.epoch, user.epoch);
    fresh.publish_acked("split/brain", "on the module").unwrap();
    let seen = collect(&mut moving, |seen| seen.len() == 3);
    let words = seen.iter().map(|delivery| match delivery {
        Delivery::Event(event) => format!("{} {}", event.seq(), String::from_utf8_lossy(event.payload())),
        Delivery::Restarted(restarted) => format!("restarted {}", restarted.epoch == module.epoch),
        other => format!("{other:?}"),
    });
    assert_eq!(words.collect::<Vec<_>>(), ["1 on the user broker", "restarted true", "1 on the module"]);
    wait_for("the publisher to move", || free.publish_acked("split/brain", "moved").ok());
    // Whoever wants the user broker has none.
    let error = pinned.publish_acked("split/brain", "x").unwrap_err();
    assert!(matches!(error.reason(), PublishReason::NoBroker), "{error:?}");
    let only = collect(&mut staying, |seen| !seen.is_empty());
    assert!(only[0].event().is_some() && staying.try_recv().is_err(), "{only:?}");
    drop((free, moving, fresh, pinned, staying));
    unload_at_last();
}

/// Each test's namespace exists before the module is loaded.
fn clients_of_the_module_find_it_in_a_namespace_older_than_it() {
    reload("");
    let bus = Bus::connect().unwrap();
    assert_eq!(bus.info().unwrap().broker, BrokerKind::Module);
    assert_eq!(bus.publish_acked("x", "x").unwrap(), 1);
    drop(bus);
    unload_at_last();
}
