//! The systems, a file each.

pub mod buffers;
#[cfg(any(feature = "dbus", feature = "sd-bus"))]
mod dbus;
#[cfg(feature = "iceoryx2")]
mod iceoryx2;
mod mmsg;
#[cfg(feature = "mosquitto")]
mod mosquitto;
#[cfg(feature = "nats")]
mod nats;
mod netlink;
pub mod nlbus;
#[cfg(feature = "nng")]
mod nng;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sd-bus")]
mod sd_bus;
mod seqpacket;
pub mod shaped;
mod two_hop;
#[cfg(feature = "zenoh")]
mod zenoh;
#[cfg(feature = "zeromq")]
mod zeromq;

use crate::system::System;

/// What [`System::peer`] says of nlbus itself.
pub const OURS: &str = "nlbus";

/// What it says of what is no peer, but bounds what nlbus could reach.
pub const FLOOR: &str = "floor";

/// The rows that the ratios are about: events collected in the publisher until a datagram is full, and each sent at once.
/// Both are received on a bus that its caller drives.
pub const BUFFERED: &str = "nlbus-buffered";
pub const UNBUFFERED: &str = "nlbus-direct";

pub fn all() -> Vec<Box<dyn System>> {
    let mut all = Vec::new();
    all.extend(nlbus::variants());
    all.extend(two_hop::variants());
    all.extend(netlink::variants());
    all.extend(seqpacket::variants());
    #[cfg(feature = "zeromq")]
    all.extend(zeromq::variants());
    #[cfg(feature = "nng")]
    all.extend(nng::variants());
    #[cfg(feature = "dbus")]
    all.extend(dbus::variants());
    #[cfg(feature = "sd-bus")]
    all.extend(sd_bus::variants());
    #[cfg(feature = "mosquitto")]
    all.extend(mosquitto::variants());
    #[cfg(feature = "redis")]
    all.extend(redis::variants());
    #[cfg(feature = "nats")]
    all.extend(nats::variants());
    #[cfg(feature = "iceoryx2")]
    all.extend(iceoryx2::variants());
    #[cfg(feature = "zenoh")]
    all.extend(zenoh::variants());
    all
}

pub fn named(name: &str) -> Option<Box<dyn System>> {
    all().into_iter().find(|system| system.name() == name)
}

/// Peers that this program was built without, and why: benches/run tells.
pub fn not_built() -> Vec<(&'static str, String)> {
    let reason = |name: &str| {
        let given = std::env::var(format!("NLBUS_BENCH_WITHOUT_{}", name.to_uppercase().replace('-', "_")));
        given.unwrap_or_else(|_| format!("built without the feature {name}"))
    };
    let features = [
        ("zeromq", cfg!(feature = "zeromq")),
        ("nng", cfg!(feature = "nng")),
        ("dbus", cfg!(feature = "dbus")),
        ("sd-bus", cfg!(feature = "sd-bus")),
        ("mosquitto", cfg!(feature = "mosquitto")),
        ("redis", cfg!(feature = "redis")),
        ("nats", cfg!(feature = "nats")),
        ("iceoryx2", cfg!(feature = "iceoryx2")),
        ("zenoh", cfg!(feature = "zenoh")),
    ];
    features.into_iter().filter(|(_, built)| !built).map(|(name, _)| (name, reason(name))).collect()
}
