//! What a broker says of topics.

use crate::topic::check_name;
use crate::type_name::TypeName;
use crate::wire::uapi::*;
use crate::wire::{AttributeIter, Header, Malformed, push_message};

/// What a broker says of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TopicRecord {
    /// The broker's id, from 1, never reused within an epoch.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its multicast group, from 1.
    pub group: u32,
    /// Newest sequence number, 0 for none yet.
    pub head: u64,
    /// First sequence number that history keeps; `head + 1` when it keeps none.
    pub first: u64,
    /// Bytes that history keeps.
    pub bytes: u64,
    /// The bus's change count when the topic last changed.
    pub change: u64,
    /// Who may read and write: bits of `0o666`, as chmod(2) has them.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Bytes that history may keep.
    pub history: u64,
    /// Events sent to its group: by the module while anybody is in it, by the user broker all.
    pub broadcast: u64,
    /// Of these, those that some socket had no room for, as far as the broker can tell.
    pub dropped: u64,
    /// Events sent out of history.
    pub replayed: u64,
    /// What its values are called, if that is known.
    pub type_name: Option<TypeName>,
}

impl TopicRecord {
    /// Appends a `TOPIC` reply; `more` when it isn't the datagram's last message.
    ///
    /// ```
    /// use nlbus::TopicRecord;
    /// use nlbus::wire::{Header, Messages};
    ///
    /// let mut record = TopicRecord::default();
    /// (record.id, record.name, record.group) = (4, "jobs".into(), 5);
    /// let mut datagram = Vec::new();
    /// record.push(&mut datagram, Header::default(), false);
    /// assert_eq!(TopicRecord::read(Messages::new(&datagram).next().unwrap().unwrap().body)?, record);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn push(&self, datagram: &mut Vec<u8>, to: Header, more: bool) {
        let flags = if more { NLM_F_MULTI } else { 0 };
        let header = Header { kind: NLBUS_MSG_TOPIC, flags, seq: to.seq, portid: to.portid };
        push_message(datagram, header, |body| {
            body.u32(NLBUS_TOPIC_A_ID, self.id);
            body.bytes(NLBUS_TOPIC_A_NAME, self.name.as_bytes());
            body.u32(NLBUS_TOPIC_A_GROUP, self.group);
            body.u64(NLBUS_TOPIC_A_HEAD, self.head);
            body.u64(NLBUS_TOPIC_A_FIRST, self.first);
            body.u64(NLBUS_TOPIC_A_BYTES, self.bytes);
            body.u64(NLBUS_TOPIC_A_CHANGE, self.change);
            body.u32(NLBUS_TOPIC_A_MODE, self.mode);
            body.u32(NLBUS_TOPIC_A_UID, self.uid);
            body.u32(NLBUS_TOPIC_A_GID, self.gid);
            body.u64(NLBUS_TOPIC_A_HISTORY, self.history);
            body.u64(NLBUS_TOPIC_A_BROADCAST, self.broadcast);
            body.u64(NLBUS_TOPIC_A_DROPPED, self.dropped);
            body.u64(NLBUS_TOPIC_A_REPLAYED, self.replayed);
            if let Some(name) = &self.type_name {
                body.bytes(NLBUS_TOPIC_A_TYPE, name.as_str().as_bytes());
            }
        });
    }

    /// Reads the body of a `TOPIC` reply that names a topic.
    ///
    /// ```
    /// use nlbus::TopicRecord;
    /// use nlbus::wire::{Header, Messages};
    ///
    /// let mut record = TopicRecord::default();
    /// (record.id, record.name, record.group) = (4, "jobs".into(), 5);
    /// let mut datagram = Vec::new();
    /// record.push(&mut datagram, Header::default(), false);
    /// assert_eq!(TopicRecord::read(Messages::new(&datagram).next().unwrap().unwrap().body)?, record);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn read(body: &[u8]) -> Result<TopicRecord, Malformed> {
        let mut record = TopicRecord::default();
        for attribute in AttributeIter::new(body) {
            let attribute = attribute?;
            match attribute.kind {
                NLBUS_TOPIC_A_ID => record.id = attribute.u32()?,
                NLBUS_TOPIC_A_NAME => {
                    let name = check_name(attribute.value).map_err(|_| Malformed("TOPIC with a bad name"))?;
                    record.name = name.to_owned();
                }
                NLBUS_TOPIC_A_GROUP => record.group = attribute.u32()?,
                NLBUS_TOPIC_A_HEAD => record.head = attribute.u64()?,
                NLBUS_TOPIC_A_FIRST => record.first = attribute.u64()?,
                NLBUS_TOPIC_A_BYTES => record.bytes = attribute.u64()?,
                NLBUS_TOPIC_A_CHANGE => record.change = attribute.u64()?,
                NLBUS_TOPIC_A_MODE => record.mode = attribute.u32()?,
                NLBUS_TOPIC_A_UID => record.uid = attribute.u32()?,
                NLBUS_TOPIC_A_GID => record.gid = attribute.u32()?,
                NLBUS_TOPIC_A_HISTORY => record.history = attribute.u64()?,
                NLBUS_TOPIC_A_BROADCAST => record.broadcast = attribute.u64()?,
                NLBUS_TOPIC_A_DROPPED => record.dropped = attribute.u64()?,
                NLBUS_TOPIC_A_REPLAYED => record.replayed = attribute.u64()?,
                NLBUS_TOPIC_A_TYPE => {
                    let name = str::from_utf8(attribute.value).ok().and_then(|name| name.parse().ok());
                    record.type_name = Some(name.ok_or(Malformed("TOPIC with a bad type"))?);
                }
                _ => {}
            }
        }
        if record.id == 0 || record.name.is_empty() || record.group == 0 {
            return Err(Malformed("TOPIC without id, name or group"));
        }
        Ok(record)
    }
}

/// The closing message of a page of topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TopicPageEnd {
    /// The newest topic's id.
    pub last_id: u32,
    /// The bus's change count.
    pub change: u64,
    /// How many topics were said to have moved: [`TopicsAnnouncement::moved`](crate::wire::TopicsAnnouncement::moved) of the
    /// last announcement.
    pub moved: u64,
    /// Where to go on from, if there is more.
    pub cursor: Option<u32>,
}

impl TopicPageEnd {
    /// The closing message with all its fields.
    ///
    /// ```
    /// use nlbus::wire::{Header, Messages, TopicPageEnd};
    ///
    /// let end = TopicPageEnd::new(7, 9, 2, Some(5)); // more from id 5 on
    /// let mut datagram = Vec::new();
    /// end.push(&mut datagram, Header::default());
    /// assert_eq!(TopicPageEnd::read(Messages::new(&datagram).next().unwrap().unwrap().body)?, end);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn new(last_id: u32, change: u64, moved: u64, cursor: Option<u32>) -> Self {
        TopicPageEnd { last_id, change, moved, cursor }
    }

    /// Appends the closing message.
    ///
    /// ```
    /// use nlbus::wire::{Header, Messages, TopicPageEnd};
    ///
    /// let end = TopicPageEnd::new(7, 9, 2, Some(5)); // more from id 5 on
    /// let mut datagram = Vec::new();
    /// end.push(&mut datagram, Header::default());
    /// assert_eq!(TopicPageEnd::read(Messages::new(&datagram).next().unwrap().unwrap().body)?, end);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn push(&self, datagram: &mut Vec<u8>, to: Header) {
        let header = Header { kind: NLBUS_MSG_TOPIC, flags: 0, seq: to.seq, portid: to.portid };
        push_message(datagram, header, |body| {
            body.u32(NLBUS_TOPIC_A_LAST_ID, self.last_id);
            body.u64(NLBUS_TOPIC_A_CHANGE, self.change);
            body.u64(NLBUS_TOPIC_A_MOVED, self.moved);
            if let Some(cursor) = self.cursor {
                body.u32(NLBUS_TOPIC_A_CURSOR, cursor);
            }
        });
    }

    /// Reads the closing message's body.
    ///
    /// ```
    /// use nlbus::wire::{Header, Messages, TopicPageEnd};
    ///
    /// let end = TopicPageEnd::new(7, 9, 2, Some(5)); // more from id 5 on
    /// let mut datagram = Vec::new();
    /// end.push(&mut datagram, Header::default());
    /// assert_eq!(TopicPageEnd::read(Messages::new(&datagram).next().unwrap().unwrap().body)?, end);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn read(body: &[u8]) -> Result<TopicPageEnd, Malformed> {
        let mut end = TopicPageEnd::default();
        for attribute in AttributeIter::new(body) {
            let attribute = attribute?;
            match attribute.kind {
                NLBUS_TOPIC_A_LAST_ID => end.last_id = attribute.u32()?,
                NLBUS_TOPIC_A_CHANGE => end.change = attribute.u64()?,
                NLBUS_TOPIC_A_MOVED => end.moved = attribute.u64()?,
                NLBUS_TOPIC_A_CURSOR => end.cursor = Some(attribute.u32()?),
                _ => {}
            }
        }
        Ok(end)
    }
}

/// The answer to a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopicDeleted {
    /// The id that the topic had.
    pub id: u32,
}

impl TopicDeleted {
    /// Appends the reply.
    ///
    /// ```
    /// use nlbus::wire::{Header, Messages, TopicDeleted};
    ///
    /// let deleted = TopicDeleted { id: 4 };
    /// let mut datagram = Vec::new();
    /// deleted.push(&mut datagram, Header::default());
    /// assert_eq!(TopicDeleted::read(Messages::new(&datagram).next().unwrap().unwrap().body)?, deleted);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn push(&self, datagram: &mut Vec<u8>, to: Header) {
        let header = Header { kind: NLBUS_MSG_TOPIC, flags: 0, seq: to.seq, portid: to.portid };
        push_message(datagram, header, |body| body.u32(NLBUS_TOPIC_A_ID, self.id));
    }

    /// Reads the reply's body.
    ///
    /// ```
    /// use nlbus::wire::{Header, Messages, TopicDeleted};
    ///
    /// let deleted = TopicDeleted { id: 4 };
    /// let mut datagram = Vec::new();
    /// deleted.push(&mut datagram, Header::default());
    /// assert_eq!(TopicDeleted::read(Messages::new(&datagram).next().unwrap().unwrap().body)?, deleted);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn read(body: &[u8]) -> Result<TopicDeleted, Malformed> {
        for attribute in AttributeIter::new(body) {
            let attribute = attribute?;
            if attribute.kind == NLBUS_TOPIC_A_ID {
                return Ok(TopicDeleted { id: attribute.u32()? });
            }
        }
        Err(Malformed("TOPIC of a deletion without id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Messages;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn replies_survive(name in "[a-z/]{1,20}", n: [u32; 4], m: [u64; 8], cursor: Option<u32>,
                           type_name in prop::option::of("[ -~]{1,63}")) {
            let type_name = type_name.map(|name| name.parse().unwrap());
            let record = TopicRecord { id: n[0].max(1), name, group: n[1].max(1), head: m[0], first: m[1], bytes: m[2],
                change: m[3], mode: n[2], uid: n[3], gid: n[0], history: m[4], broadcast: m[5], dropped: m[6],
                replayed: m[7], type_name };
            let end = TopicPageEnd { last_id: n[0], change: m[0], moved: m[1], cursor };
            let deleted = TopicDeleted { id: n[0] };
            let mut datagram = Vec::new();
            record.push(&mut datagram, Header::default(), true);
            end.push(&mut datagram, Header::default());
            deleted.push(&mut datagram, Header::default());
            let messages: Vec<_> = Messages::new(&datagram).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(TopicRecord::read(messages[0].body), Ok(record));
            prop_assert_eq!(TopicPageEnd::read(messages[1].body), Ok(end));
            prop_assert_eq!(TopicDeleted::read(messages[2].body), Ok(deleted));
        }

        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = TopicRecord::read(&body);
            let _ = TopicPageEnd::read(&body);
            let _ = TopicDeleted::read(&body);
        }
    }
}
