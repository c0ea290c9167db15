//! `TOPIC`: look up, create and list topics.

use super::message::{Header, push_message};
use super::publish::{check_publishable, refuse_name};
use super::uapi::*;
use super::{Attribute, AttributeIter, Attributes, Malformed, Refusal};
use crate::topic::check_name;
use nix::errno::Errno;

/// How a request names a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicKey<'a> {
    /// By its name.
    Name(&'a str),
    /// By the broker's id.
    Id(u32),
}

/// A checked `TOPIC` request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicRequest<'a> {
    /// One topic.
    Get(TopicKey<'a>),
    /// One topic, which is created if it doesn't exist; with `exclusive` only then.
    Create {
        /// Its name, not a reserved one.
        name: &'a str,
        /// Refuse a topic that exists, with `EEXIST`.
        exclusive: bool,
    },
    /// One topic, whose bounds are set: its owner may, and `CAP_NET_ADMIN`.
    Change {
        /// Which one.
        key: TopicKey<'a>,
        /// Bytes that its history may keep; its newest event is kept in any case.
        history: u64,
    },
    /// A page of topics in the order of their ids.
    List {
        /// Those with higher ids than this.
        cursor: u32,
        /// Only those that changed after this change count.
        since: Option<u64>,
    },
}

impl<'a> TopicRequest<'a> {
    /// Appends the request to a datagram.
    ///
    /// ```
    /// use nlbus::wire::{Messages, TopicRequest};
    ///
    /// let request = TopicRequest::Create { name: "jobs", exclusive: false };
    /// let mut datagram = Vec::new();
    /// request.push(&mut datagram, 1);
    /// let message = Messages::new(&datagram).next().unwrap().unwrap();
    /// assert_eq!(TopicRequest::check(message.header.flags, message.body)?, request);
    /// # Ok::<(), nlbus::Refusal>(())
    /// ```
    pub fn push(&self, datagram: &mut Vec<u8>, seq: u32) {
        let flags = match self {
            TopicRequest::Create { exclusive: true, .. } => NLM_F_CREATE | NLM_F_EXCL,
            TopicRequest::Create { .. } => NLM_F_CREATE,
            TopicRequest::Change { .. } => NLM_F_REPLACE,
            _ => 0,
        };
        let header = Header { kind: NLBUS_MSG_TOPIC, flags: NLM_F_REQUEST | flags, seq, portid: 0 };
        push_message(datagram, header, |body| match self {
            TopicRequest::Get(key) => push_key(body, *key),
            TopicRequest::Create { name, .. } => push_key(body, TopicKey::Name(name)),
            TopicRequest::Change { key, history } => {
                push_key(body, *key);
                body.u64(NLBUS_TOPIC_A_HISTORY, *history);
            }
            TopicRequest::List { cursor, since } => {
                body.u32(NLBUS_TOPIC_A_OP, NLBUS_TOPIC_OP_LIST);
                body.u32(NLBUS_TOPIC_A_CURSOR, *cursor);
                if let Some(since) = since {
                    body.u64(NLBUS_TOPIC_A_SINCE, *since);
                }
            }
        });
    }

    /// Checks a request's flags and attributes, as docs/PROTOCOL.md has them.
    ///
    /// ```
    /// use nlbus::wire::{Messages, TopicRequest};
    ///
    /// let request = TopicRequest::Create { name: "jobs", exclusive: false };
    /// let mut datagram = Vec::new();
    /// request.push(&mut datagram, 1);
    /// let message = Messages::new(&datagram).next().unwrap().unwrap();
    /// assert_eq!(TopicRequest::check(message.header.flags, message.body)?, request);
    /// # Ok::<(), nlbus::Refusal>(())
    /// ```
    pub fn check(flags: u16, body: &'a [u8]) -> Result<Self, Refusal> {
        let bad = |what: &'static str| Refusal::new(Errno::EINVAL, what);
        let (mut op, mut id, mut name, mut cursor, mut since, mut history) = (None, None, None, None, None, None);
        for attribute in AttributeIter::flat(body) {
            let attribute = attribute.map_err(|error| bad(error.0))?;
            let number = |attribute: &Attribute<'_>| attribute.u32().map(Some).map_err(|error| bad(error.0));
            let large = |attribute: &Attribute<'_>| attribute.u64().map(Some).map_err(|error| bad(error.0));
            match attribute.kind {
                NLBUS_TOPIC_A_OP => op = number(&attribute)?,
                NLBUS_TOPIC_A_ID => id = number(&attribute)?,
                NLBUS_TOPIC_A_CURSOR => cursor = number(&attribute)?,
                NLBUS_TOPIC_A_SINCE => since = large(&attribute)?,
                NLBUS_TOPIC_A_HISTORY => history = large(&attribute)?,
                NLBUS_TOPIC_A_NAME => name = Some(attribute.value),
                _ => return Err(bad("TOPIC takes the attributes OP, ID, NAME, CURSOR, SINCE and HISTORY")),
            }
        }
        let (create, exclusive) = (flags & NLM_F_CREATE != 0, flags & NLM_F_EXCL != 0);
        if exclusive && !create {
            return Err(bad("EXCL goes with CREATE"));
        }
        let replace = flags & NLM_F_REPLACE != 0;
        if create && replace {
            return Err(bad("CREATE and REPLACE exclude each other"));
        }
        match (op.unwrap_or(NLBUS_TOPIC_OP_GET), create, id, name) {
            (NLBUS_TOPIC_OP_GET, ..) if cursor.is_some() || since.is_some() => {
                Err(bad("CURSOR and SINCE go with LIST"))
            }
            (NLBUS_TOPIC_OP_GET, ..) if replace != history.is_some() => Err(bad("REPLACE and HISTORY go together")),
            (NLBUS_TOPIC_OP_GET, true, None, Some(name)) => {
                Ok(TopicRequest::Create { name: check_publishable(name)?, exclusive })
            }
            (NLBUS_TOPIC_OP_GET, true, ..) => Err(bad("CREATE takes NAME alone")),
            (NLBUS_TOPIC_OP_GET, false, Some(id), None) => Ok(TopicRequest::about(TopicKey::Id(id), history)),
            (NLBUS_TOPIC_OP_GET, false, None, Some(name)) => {
                let name = check_name(name).map_err(refuse_name)?;
                Ok(TopicRequest::about(TopicKey::Name(name), history))
            }
            (NLBUS_TOPIC_OP_GET, false, ..) => Err(bad("a look-up takes either NAME or ID")),
            (NLBUS_TOPIC_OP_LIST, false, None, None) if !replace && history.is_none() => {
                Ok(TopicRequest::List { cursor: cursor.unwrap_or_default(), since })
            }
            (NLBUS_TOPIC_OP_LIST, ..) => Err(bad("LIST takes CURSOR and SINCE alone")),
            _ => Err(bad("unknown operation on topics")),
        }
    }

    /// Look it up, or set what is to be set.
    fn about(key: TopicKey<'a>, history: Option<u64>) -> Self {
        match history {
            Some(history) => TopicRequest::Change { key, history },
            None => TopicRequest::Get(key),
        }
    }
}

fn push_key(body: &mut Attributes<'_>, key: TopicKey<'_>) {
    match key {
        TopicKey::Id(id) => body.u32(NLBUS_TOPIC_A_ID, id),
        TopicKey::Name(name) => body.bytes(NLBUS_TOPIC_A_NAME, name.as_bytes()),
    }
}

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
    /// Who may read and write, as chmod(2).
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
    /// Where to go on from, if there is more.
    pub cursor: Option<u32>,
}

impl TopicPageEnd {
    /// The closing message with all its fields.
    ///
    /// ```
    /// use nlbus::wire::{Header, Messages, TopicPageEnd};
    ///
    /// let end = TopicPageEnd::new(7, 9, Some(5)); // more from id 5 on
    /// let mut datagram = Vec::new();
    /// end.push(&mut datagram, Header::default());
    /// assert_eq!(TopicPageEnd::read(Messages::new(&datagram).next().unwrap().unwrap().body)?, end);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn new(last_id: u32, change: u64, cursor: Option<u32>) -> Self {
        TopicPageEnd { last_id, change, cursor }
    }

    /// Appends the closing message.
    ///
    /// ```
    /// use nlbus::wire::{Header, Messages, TopicPageEnd};
    ///
    /// let end = TopicPageEnd::new(7, 9, Some(5)); // more from id 5 on
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
    /// let end = TopicPageEnd::new(7, 9, Some(5)); // more from id 5 on
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
                NLBUS_TOPIC_A_CURSOR => end.cursor = Some(attribute.u32()?),
                _ => {}
            }
        }
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Messages;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn requests_survive(name in "[a-z/]{1,20}", id: u32, since: Option<u64>, exclusive: bool) {
            prop_assume!(!crate::topic::is_reserved(&name));
            for request in [
                TopicRequest::Get(TopicKey::Name(&name)),
                TopicRequest::Get(TopicKey::Id(id)),
                TopicRequest::Create { name: &name, exclusive },
                TopicRequest::Change { key: TopicKey::Name(&name), history: since.unwrap_or_default() },
                TopicRequest::Change { key: TopicKey::Id(id), history: since.unwrap_or_default() },
                TopicRequest::List { cursor: id, since },
            ] {
                let mut datagram = Vec::new();
                request.push(&mut datagram, 3);
                let message = Messages::new(&datagram).next().unwrap().unwrap();
                prop_assert_eq!(TopicRequest::check(message.header.flags, message.body), Ok(request));
            }
        }

        #[test]
        fn replies_survive(name in "[a-z/]{1,20}", n: [u32; 4], m: [u64; 8], cursor: Option<u32>) {
            let record = TopicRecord { id: n[0].max(1), name, group: n[1].max(1), head: m[0], first: m[1], bytes: m[2],
                change: m[3], mode: n[2], uid: n[3], gid: n[0], history: m[4], broadcast: m[5], dropped: m[6],
                replayed: m[7] };
            let end = TopicPageEnd { last_id: n[0], change: m[0], cursor };
            let mut datagram = Vec::new();
            record.push(&mut datagram, Header::default(), true);
            end.push(&mut datagram, Header::default());
            let messages: Vec<_> = Messages::new(&datagram).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(TopicRecord::read(messages[0].body), Ok(record));
            prop_assert_eq!(TopicPageEnd::read(messages[1].body), Ok(end));
        }

        #[test]
        fn any_bytes_are_read_or_refused(flags: u16, body in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = TopicRequest::check(flags, &body);
            let _ = TopicRecord::read(&body);
            let _ = TopicPageEnd::read(&body);
        }
    }
}
