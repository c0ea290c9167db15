//! What a bus is told when it begins.

use crate::wire::Limits;
use crate::wire::uapi::{NLBUS_DATAGRAM_MAX, NLBUS_PAYLOAD_MAX, NLBUS_TOPIC_MODE_MASK, NLBUS_USER_PORT};
use std::time::Duration;

/// `SKB_WITH_OVERHEAD(65536)` on 64-bit machines, which is also the longest datagram: the most that a receiver is charged 64 KiB
/// for. A broadcast has to lie in one piece of memory; where the kernel finds none, the pack goes in parts.
pub(super) const PACK_DEFAULT: usize = NLBUS_DATAGRAM_MAX;

/// Settings of the pure core: numbers alone, no sockets, no clocks.
#[derive(Debug, Clone)]
pub(super) struct Config {
    /// Port id that takes publishes and sends events; the next one takes requests.
    pub(super) port: u32,
    /// Between heartbeats; zero for none.
    pub(super) heartbeat: Duration,
    /// Bytes of all histories.
    pub(super) history: u64,
    /// Bytes of one topic's history.
    pub(super) topic_history: u64,
    /// Topics on the bus, the broker's own included.
    pub(super) topics_max: u32,
    /// Of those, one ordinary user's; a quarter unless set.
    pub(super) user_topics: Option<u32>,
    /// Bytes of the histories of one ordinary user's topics; a quarter of all unless set.
    pub(super) user_history: Option<u64>,
    /// Last wills.
    pub(super) wills: u32,
    /// Of those, one ordinary user's; a quarter unless set.
    pub(super) user_wills: Option<u32>,
    /// Who may read and write a topic that is created without a mode.
    pub(super) topic_mode: u32,
    /// Bytes of a datagram that packs several events.
    pub(super) pack: usize,
    /// Bytes that may wait to be sequenced: the receive buffer that the kernel granted.
    pub(super) queue: u64,
    /// Who sends the broker's own events and owns its topics.
    pub(super) pid: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            port: NLBUS_USER_PORT,
            heartbeat: Duration::from_secs(1),
            history: 64 << 20,
            topic_history: 4 << 20,
            topics_max: 16384,
            user_topics: None,
            user_history: None,
            wills: 4096,
            user_wills: None,
            topic_mode: NLBUS_TOPIC_MODE_MASK,
            pack: PACK_DEFAULT,
            queue: 0,
            pid: 0,
            uid: 0,
            gid: 0,
        }
    }
}

impl Config {
    /// Between heartbeats in nanoseconds, 0 for none. Not below a millisecond, which is what `INFO` tells it in.
    pub(super) fn heartbeat_ns(&self) -> u64 {
        match u64::try_from(self.heartbeat.as_nanos()).unwrap_or(u64::MAX) {
            0 => 0,
            ns => ns.max(1_000_000),
        }
    }

    /// How many topics one ordinary user may have.
    pub(super) fn user_topics(&self) -> u32 {
        self.user_topics.unwrap_or(self.topics_max / 4)
    }

    /// How many bytes their histories may keep.
    pub(super) fn user_history(&self) -> u64 {
        self.user_history.unwrap_or(self.history / 4)
    }

    /// How many wills one ordinary user may leave.
    pub(super) fn user_wills(&self) -> u32 {
        self.user_wills.unwrap_or(self.wills / 4)
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            topics: self.topics_max,
            payload: NLBUS_PAYLOAD_MAX as u32,
            datagram: NLBUS_DATAGRAM_MAX as u32,
            pack: self.pack as u32,
            queue: self.queue,
            history: self.history,
            topic_history: self.topic_history,
            // Whoever may join any group may join all of them.
            private_groups: 0,
            topic_mode: self.topic_mode,
            user_topics: self.user_topics(),
            user_history: self.user_history(),
            wills: self.wills,
            user_wills: self.user_wills(),
            // The queue is one socket's receive buffer, and there are no private groups.
            user_queue: 0,
            user_private_groups: 0,
        }
    }
}
