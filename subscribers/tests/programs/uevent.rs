//! `nlbus-uevent`: what the kernel says of devices comes out typed at a subscriber.

use crate::host::in_a_network_of_its_own;
use crate::links::{find, ip, kind};
use nlbus_subscribers::sources::uevent::Uevent;

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
