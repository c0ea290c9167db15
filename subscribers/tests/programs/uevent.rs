//! `nlbus-uevent`: what the kernel says of devices comes out typed at a subscriber.

use crate::host::in_a_network_of_its_own;
use crate::links::{find, ip, kind};
use nlbus::Start;
use nlbus_subscribers::sources::uevent::{Uevent, UeventsLost};

const UEVENT: &str = env!("CARGO_BIN_EXE_nlbus-uevent");

#[test]
fn uevents_come_typed() {
    in_a_network_of_its_own(|host| {
        let _broker = host.broker();
        let kind = kind();
        for content in ["json", "bincode"] {
            let uevents = host.service(UEVENT, &["--content", content]);
            let mut subscription = host.connect().subscribe_as::<Uevent>("kernel-uevent/net/+").unwrap();
            ip(&format!("link add d0 type {kind}"));
            let added = find(&mut subscription, |uevent| uevent.action == "add");
            assert_eq!((added.subsystem.as_str(), added.devpath.as_str()), ("net", "/devices/virtual/net/d0"));
            assert_eq!(added.variables.get("INTERFACE").map(String::as_str), Some("d0"), "{added:?}");
            ip("link del d0");
            let removed = find(&mut subscription, |uevent| uevent.action == "remove");
            assert!(removed.seqnum > added.seqnum, "{removed:?} after {added:?}");
            uevents.signal("TERM");
            uevents.succeeds();
        }
    });
}

#[test]
fn uevents_without_a_broker_are_counted_outage_by_outage() {
    in_a_network_of_its_own(|host| {
        let mut broker = host.broker();
        let kind = kind();
        let mut uevents = host.service(UEVENT, &[]);
        let mut before = 0;
        for round in 0..2 {
            drop(broker);
            // Said once an outage, by the first that finds no broker.
            ip(&format!("link add d{round} type {kind}"));
            while !uevents.next_note().contains("the broker is gone") {}
            broker = host.broker();
            let mut lost = host.connect().subscriber("kernel-uevent-lost").start(Start::All).open_as().unwrap();
            let lost = find(&mut lost, |lost: &UeventsLost| lost.missed > before);
            assert_eq!(lost.overruns, 0, "{lost:?}");
            before = lost.missed;
            while !uevents.next_note().contains("values were published to none") {}
        }
        uevents.signal("TERM");
        uevents.succeeds();
    });
}
