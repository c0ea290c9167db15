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
    /// Topics that were said to have moved: [`TopicsAnnouncement::moved`] of the last announcement.
    pub moved: u64,
}

impl Heartbeat {
    /// Bytes of the payload.
    pub const LEN: usize = 52;

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
        bytes[40..44].copy_from_slice(&self.last_id.to_le_bytes());
        bytes[44..].copy_from_slice(&self.moved.to_le_bytes());
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
        Ok(Heartbeat {
            epoch: le_u64(payload, 0)?,
            uptime_ns: le_u64(payload, 8)?,
            published: le_u64(payload, 16)?,
            overruns: le_u64(payload, 24)?,
            change: le_u64(payload, 32)?,
            last_id: le_u32(payload, 40)?,
            moved: le_u64(payload, 44)?,
        })
    }
}

/// The payload of `$SYS/topics` (`struct nlbus_sys_topics`): topics are new, moved or gone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicsAnnouncement {
    /// The newest topic's id.
    pub last_id: u32,
    /// Topics that all such events of the bus named, these included: who knows of fewer, by more than these, missed some.
    pub moved: u64,
    /// Those that this one names.
    pub topics: Vec<MovedTopic>,
}

/// A topic that was deleted, or may have another group (`struct nlbus_sys_topic`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MovedTopic {
    /// Its id.
    pub id: u32,
    /// 0 where its mode or owner changed; otherwise it was deleted, and this number would have been the next.
    pub end: u64,
}

impl MovedTopic {
    /// Bytes of one in a payload.
    pub const LEN: usize = 12;
}

impl TopicsAnnouncement {
    /// Bytes of the payload when it names no topic.
    pub const LEN: usize = 20;

    /// The payload's bytes.
    ///
    /// ```
    /// use nlbus::wire::{MovedTopic, TopicsAnnouncement};
    ///
    /// let topics = vec![MovedTopic { id: 5, end: 0 }];
    /// let announcement = TopicsAnnouncement { last_id: 7, moved: 1, topics };
    /// assert_eq!(TopicsAnnouncement::read(&announcement.to_bytes())?, announcement);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LEN + self.topics.len() * MovedTopic::LEN);
        bytes.extend_from_slice(&self.last_id.to_le_bytes());
        bytes.extend_from_slice(&self.moved.to_le_bytes());
        bytes.extend_from_slice(&(self.topics.len() as u64).to_le_bytes());
        for topic in &self.topics {
            bytes.extend_from_slice(&topic.id.to_le_bytes());
            bytes.extend_from_slice(&topic.end.to_le_bytes());
        }
        bytes
    }

    /// Reads a payload; bytes behind it are a newer broker's and are skipped.
    ///
    /// ```
    /// use nlbus::wire::{MovedTopic, TopicsAnnouncement};
    ///
    /// let topics = vec![MovedTopic { id: 5, end: 0 }];
    /// let announcement = TopicsAnnouncement { last_id: 7, moved: 1, topics };
    /// assert_eq!(TopicsAnnouncement::read(&announcement.to_bytes())?, announcement);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn read(payload: &[u8]) -> Result<TopicsAnnouncement, Malformed> {
        let (last_id, moved, count) = (le_u32(payload, 0)?, le_u64(payload, 4)?, le_u64(payload, 12)?);
        let named = payload[Self::LEN..].chunks_exact(MovedTopic::LEN);
        // Before anything is allocated: the number may be any.
        if count > named.len() as u64 {
            return Err(CUT);
        }
        let topic = |bytes| Ok(MovedTopic { id: le_u32(bytes, 0)?, end: le_u64(bytes, 4)? });
        let topics = named.take(count as usize).map(topic).collect::<Result<_, _>>()?;
        Ok(TopicsAnnouncement { last_id, moved, topics })
    }
}

/// The payload of `$SYS/clients` (`struct nlbus_sys_clients`): clients came or went.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClientsAnnouncement {
    /// Clients that came since the bus began, these included.
    pub joined: u64,
    /// Clients that went, likewise: who knows of fewer, by more than this one tells, missed some.
    pub left: u64,
    /// Who came and went, in this order.
    pub clients: Vec<ClientNews>,
}

/// A client that came or went (`struct nlbus_sys_client`). A client is a socket that sent something to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClientNews {
    /// Its port id.
    pub portid: u32,
    /// The process that first sent from it.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Whether it went.
    pub left: bool,
}

impl ClientNews {
    /// Bytes of one in a payload.
    pub const LEN: usize = 13;
}

impl ClientsAnnouncement {
    /// Bytes of the payload when it names no client.
    pub const LEN: usize = 24;

    /// The payload's bytes.
    ///
    /// ```
    /// use nlbus::wire::{ClientNews, ClientsAnnouncement};
    ///
    /// let clients = vec![ClientNews { portid: 5, pid: 6, uid: 0, left: false }];
    /// let announcement = ClientsAnnouncement { joined: 1, left: 0, clients };
    /// assert_eq!(ClientsAnnouncement::read(&announcement.to_bytes())?, announcement);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LEN + self.clients.len() * ClientNews::LEN);
        for number in [self.joined, self.left, self.clients.len() as u64] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for client in &self.clients {
            for number in [client.portid, client.pid, client.uid] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            bytes.push(client.left.into());
        }
        bytes
    }

    /// Reads a payload; bytes behind it are a newer broker's and are skipped.
    ///
    /// ```
    /// use nlbus::wire::{ClientNews, ClientsAnnouncement};
    ///
    /// let clients = vec![ClientNews { portid: 5, pid: 6, uid: 0, left: true }];
    /// let announcement = ClientsAnnouncement { joined: 1, left: 1, clients };
    /// assert_eq!(ClientsAnnouncement::read(&announcement.to_bytes())?, announcement);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn read(payload: &[u8]) -> Result<ClientsAnnouncement, Malformed> {
        let (joined, left, count) = (le_u64(payload, 0)?, le_u64(payload, 8)?, le_u64(payload, 16)?);
        let named = payload[Self::LEN..].chunks_exact(ClientNews::LEN);
        // Before anything is allocated: the number may be any.
        if count > named.len() as u64 {
            return Err(CUT);
        }
        let client = |bytes: &[u8]| {
            let (portid, pid, uid) = (le_u32(bytes, 0)?, le_u32(bytes, 4)?, le_u32(bytes, 8)?);
            Ok(ClientNews { portid, pid, uid, left: bytes[12] != 0 })
        };
        let clients = named.take(count as usize).map(client).collect::<Result<_, _>>()?;
        Ok(ClientsAnnouncement { joined, left, clients })
    }
}

const CUT: Malformed = Malformed("an event of the broker's own is cut");

fn le_u32(bytes: &[u8], at: usize) -> Result<u32, Malformed> {
    let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u32::from_le_bytes).ok_or(CUT)
}

fn le_u64(bytes: &[u8], at: usize) -> Result<u64, Malformed> {
    let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u64::from_le_bytes).ok_or(CUT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Content;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn payloads_survive(n: [u64; 6], last_id: u32, named in prop::collection::vec(any::<(u32, u64)>(), 0..9)) {
            let [epoch, uptime_ns, published, overruns, change, moved] = n;
            let beat = Heartbeat { epoch, uptime_ns, published, overruns, change, last_id, moved };
            prop_assert_eq!(Heartbeat::read(&beat.to_bytes()), Ok(beat));
            let topics: Vec<_> = named.into_iter().map(|(id, end)| MovedTopic { id, end }).collect();
            let topics = TopicsAnnouncement { last_id, moved, topics };
            prop_assert_eq!(TopicsAnnouncement::read(&topics.to_bytes()), Ok(topics.clone()));
            // As bincode has them: what follows is counted before it.
            let decoded = crate::codec::decode::<TopicsAnnouncement>(Content::Bincode, &topics.to_bytes());
            prop_assert_eq!(decoded.ok(), Some(topics));
        }

        #[test]
        fn comings_and_goings_survive(joined: u64, left: u64,
                                      named in prop::collection::vec(any::<(u32, u32, u32, bool)>(), 0..9)) {
            let news = |(portid, pid, uid, left)| ClientNews { portid, pid, uid, left };
            let said = ClientsAnnouncement { joined, left, clients: named.into_iter().map(news).collect() };
            prop_assert_eq!(ClientsAnnouncement::read(&said.to_bytes()), Ok(said.clone()));
            let decoded = crate::codec::decode::<ClientsAnnouncement>(Content::Bincode, &said.to_bytes());
            prop_assert_eq!(decoded.ok(), Some(said));
        }

        #[test]
        fn any_bytes_are_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..80), count in 0u64..9) {
            prop_assert_eq!(Heartbeat::read(&payload).is_ok(), payload.len() >= Heartbeat::LEN);
            let _ = TopicsAnnouncement::read(&payload);
            let _ = ClientsAnnouncement::read(&payload);
            let mut named = payload;
            if named.len() >= TopicsAnnouncement::LEN {
                named[12..20].copy_from_slice(&count.to_le_bytes());
                let has = (named.len() - TopicsAnnouncement::LEN) / MovedTopic::LEN;
                prop_assert_eq!(TopicsAnnouncement::read(&named).is_ok(), has as u64 >= count);
            }
        }
    }
}
