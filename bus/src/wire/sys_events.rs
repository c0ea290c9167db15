//! Payloads of the broker's own events: packed little-endian structures, which are valid bincode too.

use super::Malformed;
use serde::{Deserialize, Serialize};

/// The payload of `$SYS/heartbeat` (`struct nlbus_sys_heartbeat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The bus's epoch.
    pub epoch: u64,
    /// Nanoseconds since the bus began.
    pub uptime_ns: u64,
    /// Events sequenced, the heartbeat itself not counted.
    pub published: u64,
    /// Broadcasts that some socket didn't take.
    pub overruns: u64,
    /// The bus's change count.
    pub change: u64,
    /// The newest topic's id.
    pub last_id: u32,
}

impl Heartbeat {
    /// Bytes of the payload.
    pub const LEN: usize = 44;

    /// The payload's bytes.
    ///
    /// ```
    /// use nlbus::wire::Heartbeat;
    ///
    /// let heartbeat = Heartbeat { epoch: 7, ..Heartbeat::default() };
    /// assert_eq!(Heartbeat::read(&heartbeat.to_bytes())?, heartbeat);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let numbers = [self.epoch, self.uptime_ns, self.published, self.overruns, self.change];
        for (chunk, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            chunk.copy_from_slice(&number.to_le_bytes());
        }
        bytes[40..].copy_from_slice(&self.last_id.to_le_bytes());
        bytes
    }

    /// Reads a payload; bytes behind it are a newer broker's and are skipped.
    ///
    /// ```
    /// use nlbus::wire::Heartbeat;
    ///
    /// let heartbeat = Heartbeat { epoch: 7, ..Heartbeat::default() };
    /// assert_eq!(Heartbeat::read(&heartbeat.to_bytes())?, heartbeat);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn read(payload: &[u8]) -> Result<Heartbeat, Malformed> {
        let short = Malformed("a heartbeat is cut");
        let number = |at: usize| -> Result<u64, Malformed> {
            let bytes = payload.get(at..at + 8).ok_or(short)?;
            Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| short)?))
        };
        Ok(Heartbeat {
            epoch: number(0)?,
            uptime_ns: number(8)?,
            published: number(16)?,
            overruns: number(24)?,
            change: number(32)?,
            last_id: TopicsAnnouncement::read(payload.get(40..).ok_or(short)?)?.last_id,
        })
    }
}

/// The payload of `$SYS/topics` (`struct nlbus_sys_topics`): there are new topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicsAnnouncement {
    /// The newest topic's id.
    pub last_id: u32,
}

impl TopicsAnnouncement {
    /// The payload's bytes.
    ///
    /// ```
    /// use nlbus::wire::TopicsAnnouncement;
    ///
    /// let announcement = TopicsAnnouncement { last_id: 7 };
    /// assert_eq!(TopicsAnnouncement::read(&announcement.to_bytes())?, announcement);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn to_bytes(self) -> [u8; 4] {
        self.last_id.to_le_bytes()
    }

    /// Reads a payload; bytes behind it are a newer broker's and are skipped.
    ///
    /// ```
    /// use nlbus::wire::TopicsAnnouncement;
    ///
    /// let announcement = TopicsAnnouncement { last_id: 7 };
    /// assert_eq!(TopicsAnnouncement::read(&announcement.to_bytes())?, announcement);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn read(payload: &[u8]) -> Result<TopicsAnnouncement, Malformed> {
        let bytes = payload.first_chunk().ok_or(Malformed("an announcement of topics is cut"))?;
        Ok(TopicsAnnouncement { last_id: u32::from_le_bytes(*bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn payloads_survive(n: [u64; 5], last_id: u32) {
            let beat = Heartbeat { epoch: n[0], uptime_ns: n[1], published: n[2], overruns: n[3], change: n[4], last_id };
            prop_assert_eq!(Heartbeat::read(&beat.to_bytes()), Ok(beat));
            let topics = TopicsAnnouncement { last_id };
            prop_assert_eq!(TopicsAnnouncement::read(&topics.to_bytes()), Ok(topics));
        }

        #[test]
        fn any_bytes_are_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(Heartbeat::read(&payload).is_ok(), payload.len() >= Heartbeat::LEN);
        }
    }
}
