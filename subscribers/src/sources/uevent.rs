//! Uevents of the kernel, as `nlbus-uevent` publishes them, and how they are read. No I/O.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the kernel says when something about a device changes (`kobject_uevent_env`), published to
/// `kernel-uevent/SUBSYSTEM/ACTION`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uevent {
    /// add, remove, change, move, online, offline, bind or unbind.
    pub action: String,
    /// The device's path below /sys.
    pub devpath: String,
    /// Like block, net or usb; empty for none.
    pub subsystem: String,
    /// The kernel's own number, which grows by one an event; in a network namespace some are missing.
    pub seqnum: u64,
    /// The other variables, by name.
    pub variables: BTreeMap<String, String>,
}

/// Uevents that are not published: they came too fast and were dropped by the kernel, or no broker was there. Published to
/// `kernel-uevent-lost`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UeventsLost {
    /// How often the socket overran since the source began.
    pub overruns: u64,
    /// Uevents that no broker took since the source began.
    pub missed: u64,
}

impl Uevent {
    /// Reads a datagram: `ACTION@DEVPATH`, then `NAME=VALUE`, each ended by a NUL. `None` if it isn't one, like udev's own
    /// messages, which begin with libudev.
    pub fn read(datagram: &[u8]) -> Option<Uevent> {
        let mut parts = datagram.split(|byte| *byte == 0).filter(|part| !part.is_empty());
        let head = String::from_utf8_lossy(parts.next()?);
        let (action, devpath) = head.split_once('@')?;
        let mut uevent = Uevent {
            action: action.into(),
            devpath: devpath.into(),
            subsystem: String::new(),
            seqnum: 0,
            variables: BTreeMap::new(),
        };
        for part in parts {
            let part = String::from_utf8_lossy(part);
            match part.split_once('=')? {
                ("ACTION" | "DEVPATH", _) => {}
                ("SUBSYSTEM", value) => uevent.subsystem = value.into(),
                ("SEQNUM", value) => uevent.seqnum = value.parse().ok()?,
                (name, value) => drop(uevent.variables.insert(name.into(), value.into())),
            }
        }
        Some(uevent)
    }

    /// Its topic. A level that the kernel doesn't tell is `-`.
    pub fn topic(&self) -> String {
        let level = |text: &str| match text {
            "" => "-".to_owned(),
            text => text.replace(['/', '+', '#'], "_"),
        };
        format!("kernel-uevent/{}/{}", level(&self.subsystem), level(&self.action))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADD: &[u8] = b"add@/devices/virtual/net/d0\0ACTION=add\0DEVPATH=/devices/virtual/net/d0\0SUBSYSTEM=net\0\
        INTERFACE=d0\0IFINDEX=3\0SEQNUM=4711\0";

    #[test]
    fn a_uevent_is_read() {
        let uevent = Uevent::read(ADD).unwrap();
        assert_eq!((uevent.action.as_str(), uevent.subsystem.as_str(), uevent.seqnum), ("add", "net", 4711));
        assert_eq!(
            (uevent.devpath.as_str(), uevent.topic().as_str()),
            ("/devices/virtual/net/d0", "kernel-uevent/net/add")
        );
        assert_eq!(uevent.variables.get("INTERFACE").map(String::as_str), Some("d0"));
        assert_eq!(uevent.variables.len(), 2);
    }

    #[test]
    fn what_is_no_uevent_is_none() {
        for bytes in [&b""[..], b"\0\0", b"libudev\0\xfe\xed\xca\xfe", b"add@/x\0no value", b"add@/x\0SEQNUM=x"] {
            assert_eq!(Uevent::read(bytes), None, "{}", bytes.escape_ascii());
        }
        for cut in 0..ADD.len() {
            // Whole or not, it comes to an end.
            Uevent::read(&ADD[..cut]);
        }
        assert_eq!(Uevent::read(b"a/b@/x\0SUBSYSTEM=+\xff").unwrap().topic(), "kernel-uevent/_\u{fffd}/a_b");
    }
}
