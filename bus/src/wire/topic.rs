//! `TOPIC`: look up, create, change, delete and list topics. What is asked is here, what is answered in `reply`.

mod reply;

pub use reply::{TopicDeleted, TopicPageEnd, TopicRecord};

use super::message::{Header, push_message};
use super::publish::{check_publishable, refuse_name};
use super::uapi::*;
use super::{Attribute, AttributeIter, Attributes, Malformed, Refusal};
use crate::topic::check_name;
use crate::type_name::{TYPE_MAX, TypeName, TypeNameError};
use nix::errno::Errno;

const _: () = assert!(TYPE_MAX == NLBUS_TYPE_MAX, "the library's own limit is the protocol's");

/// How a request names a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicKey<'a> {
    /// By its name.
    Name(&'a str),
    /// By the broker's id.
    Id(u32),
}

/// What can be set of a topic, as far as it is to be: who may use it, how much of it is kept, what its values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopicSettings {
    /// Who may read and write: bits of `0o666`, as chmod(2) has them.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Owning group.
    pub gid: Option<u32>,
    /// Bytes that its history may keep; its newest event is kept in any case.
    pub history: Option<u64>,
    /// What its values are called; `Some(None)` takes that away.
    pub type_name: Option<Option<TypeName>>,
}

impl TopicSettings {
    /// Whether there is nothing to set.
    ///
    /// ```
    /// use nlbus::wire::TopicSettings;
    ///
    /// assert!(TopicSettings::default().is_empty());
    /// assert!(!TopicSettings { mode: Some(0o640), ..TopicSettings::default() }.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        *self == TopicSettings::default()
    }

    fn write(&self, body: &mut Attributes<'_>) {
        let numbers = [(NLBUS_TOPIC_A_MODE, self.mode), (NLBUS_TOPIC_A_UID, self.uid), (NLBUS_TOPIC_A_GID, self.gid)];
        for (kind, number) in numbers {
            if let Some(number) = number {
                body.u32(kind, number);
            }
        }
        if let Some(history) = self.history {
            body.u64(NLBUS_TOPIC_A_HISTORY, history);
        }
        if let Some(name) = &self.type_name {
            body.bytes(NLBUS_TOPIC_A_TYPE, name.as_ref().map_or("", TypeName::as_str).as_bytes());
        }
    }

    /// Whether there is a mode that no topic can have.
    fn has_bad_mode(&self) -> bool {
        self.mode.is_some_and(|mode| mode & !NLBUS_TOPIC_MODE_MASK != 0)
    }
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
        /// What it begins with; of one that exists they change nothing, but that one without a type gets this one, if
        /// the sender may publish to it.
        settings: TopicSettings,
    },
    /// One topic, of which something is set: its owner may, and `CAP_NET_ADMIN`.
    Change {
        /// Which one.
        key: TopicKey<'a>,
        /// What, at least one of them.
        settings: TopicSettings,
    },
    /// One topic, which ends: its owner may have that, and `CAP_NET_ADMIN`.
    Delete(TopicKey<'a>),
    /// A page of topics in the order of their ids.
    List {
        /// Those with higher ids than this.
        cursor: u32,
        /// Only those that changed after this change count.
        since: Option<u64>,
    },
}

impl<'a> TopicRequest<'a> {
    /// Creates a topic as the broker has them, unless it exists.
    ///
    /// ```
    /// use nlbus::wire::{TopicRequest, TopicSettings};
    ///
    /// let settings = TopicSettings::default();
    /// assert_eq!(TopicRequest::create("jobs"), TopicRequest::Create { name: "jobs", exclusive: false, settings });
    /// ```
    pub fn create(name: &'a str) -> Self {
        TopicRequest::Create { name, exclusive: false, settings: TopicSettings::default() }
    }

    /// Appends the request to a datagram.
    ///
    /// ```
    /// use nlbus::wire::{Messages, TopicRequest};
    ///
    /// let request = TopicRequest::create("jobs");
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
            TopicRequest::Create { name, settings, .. } => {
                push_key(body, TopicKey::Name(name));
                settings.write(body);
            }
            TopicRequest::Change { key, settings } => {
                push_key(body, *key);
                settings.write(body);
            }
            TopicRequest::Delete(key) => {
                body.u32(NLBUS_TOPIC_A_OP, NLBUS_TOPIC_OP_DELETE);
                push_key(body, *key);
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
    /// let request = TopicRequest::create("jobs");
    /// let mut datagram = Vec::new();
    /// request.push(&mut datagram, 1);
    /// let message = Messages::new(&datagram).next().unwrap().unwrap();
    /// assert_eq!(TopicRequest::check(message.header.flags, message.body)?, request);
    /// # Ok::<(), nlbus::Refusal>(())
    /// ```
    pub fn check(flags: u16, body: &'a [u8]) -> Result<Self, Refusal> {
        let bad = |what: &'static str| Refusal::new(Errno::EINVAL, what);
        let given = Given::read(body).map_err(|error| bad(error.0))?;
        let Given { op, id, name, cursor, since, mut settings, type_name } = given;
        settings.type_name = type_name.map(check_type).transpose()?;
        let has = |flag: u16| flags & flag != 0;
        let (create, exclusive, replace) = (has(NLM_F_CREATE), has(NLM_F_EXCL), has(NLM_F_REPLACE));
        if exclusive && !create {
            return Err(bad("EXCL goes with CREATE"));
        }
        if create && replace {
            return Err(bad("CREATE and REPLACE exclude each other"));
        }
        if op != NLBUS_TOPIC_OP_GET && (create || replace) {
            return Err(bad("CREATE and REPLACE go with no OP but GET"));
        }
        if !settings.is_empty() && !create && !replace {
            return Err(bad("MODE, UID, GID, HISTORY and TYPE go with CREATE or REPLACE"));
        }
        if settings.is_empty() && replace {
            return Err(bad("REPLACE takes at least one of MODE, UID, GID, HISTORY and TYPE"));
        }
        if op != NLBUS_TOPIC_OP_LIST && (cursor.is_some() || since.is_some()) {
            return Err(bad("CURSOR and SINCE go with LIST"));
        }
        if settings.has_bad_mode() {
            return Err(bad("MODE has bits other than those of 0666"));
        }
        match (op, id, name) {
            (NLBUS_TOPIC_OP_GET, None, Some(name)) if create => {
                Ok(TopicRequest::Create { name: check_publishable(name)?, exclusive, settings })
            }
            (NLBUS_TOPIC_OP_GET, ..) if create => Err(bad("CREATE takes NAME and no ID")),
            (NLBUS_TOPIC_OP_GET, ..) => {
                let key = only_key(id, name)?;
                Ok(if replace { TopicRequest::Change { key, settings } } else { TopicRequest::Get(key) })
            }
            (NLBUS_TOPIC_OP_DELETE, ..) => Ok(TopicRequest::Delete(only_key(id, name)?)),
            (NLBUS_TOPIC_OP_LIST, None, None) => Ok(TopicRequest::List { cursor: cursor.unwrap_or_default(), since }),
            (NLBUS_TOPIC_OP_LIST, ..) => Err(bad("LIST takes CURSOR and SINCE alone")),
            _ => Err(bad("unknown operation on topics")),
        }
    }
}

/// A request's attributes, as they came.
#[derive(Debug, Default)]
struct Given<'a> {
    op: u32,
    id: Option<u32>,
    name: Option<&'a [u8]>,
    cursor: Option<u32>,
    since: Option<u64>,
    settings: TopicSettings,
    type_name: Option<&'a [u8]>,
}

impl<'a> Given<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut given = Given::default();
        let number = |attribute: &Attribute<'_>| attribute.u32().map(Some);
        let large = |attribute: &Attribute<'_>| attribute.u64().map(Some);
        for attribute in AttributeIter::flat(body) {
            let attribute = attribute?;
            match attribute.kind {
                NLBUS_TOPIC_A_OP => given.op = attribute.u32()?,
                NLBUS_TOPIC_A_ID => given.id = number(&attribute)?,
                NLBUS_TOPIC_A_NAME => given.name = Some(attribute.value),
                NLBUS_TOPIC_A_CURSOR => given.cursor = number(&attribute)?,
                NLBUS_TOPIC_A_SINCE => given.since = large(&attribute)?,
                NLBUS_TOPIC_A_MODE => given.settings.mode = number(&attribute)?,
                NLBUS_TOPIC_A_UID => given.settings.uid = number(&attribute)?,
                NLBUS_TOPIC_A_GID => given.settings.gid = number(&attribute)?,
                NLBUS_TOPIC_A_HISTORY => given.settings.history = large(&attribute)?,
                NLBUS_TOPIC_A_TYPE => given.type_name = Some(attribute.value),
                _ => {
                    return Err(Malformed(
                        "TOPIC takes the attributes OP, ID, NAME, CURSOR, SINCE, MODE, UID, GID, HISTORY and TYPE",
                    ));
                }
            }
        }
        Ok(given)
    }
}

/// The name of a type as it came; none takes it away.
fn check_type(name: &[u8]) -> Result<Option<TypeName>, Refusal> {
    let refuse = |error: TypeNameError| {
        let errno = if matches!(error, TypeNameError::TooLong(_)) { Errno::ENAMETOOLONG } else { Errno::EINVAL };
        Refusal::new(errno, error.to_string())
    };
    match str::from_utf8(name) {
        Ok("") => Ok(None),
        Ok(name) => name.parse().map(Some).map_err(refuse),
        Err(_) if name.len() > NLBUS_TYPE_MAX => Err(refuse(TypeNameError::TooLong(name.len()))),
        Err(_) => Err(refuse(TypeNameError::Unprintable)),
    }
}

/// The one topic that a request is about.
fn only_key<'a>(id: Option<u32>, name: Option<&'a [u8]>) -> Result<TopicKey<'a>, Refusal> {
    match (id, name) {
        (Some(id), None) => Ok(TopicKey::Id(id)),
        (None, Some(name)) => Ok(TopicKey::Name(check_name(name).map_err(refuse_name)?)),
        _ => Err(Refusal::new(Errno::EINVAL, "a topic is named by either NAME or ID")),
    }
}

fn push_key(body: &mut Attributes<'_>, key: TopicKey<'_>) {
    match key {
        TopicKey::Id(id) => body.u32(NLBUS_TOPIC_A_ID, id),
        TopicKey::Name(name) => body.bytes(NLBUS_TOPIC_A_NAME, name.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Messages;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn requests_survive(name in "[a-z/]{1,20}", id: u32, since: Option<u64>, exclusive: bool,
                            mode in prop::option::of(0u32..=0o666), gid in prop::option::of(any::<u32>()),
                            type_name in prop::option::of("[ -~]{0,63}")) {
            prop_assume!(!crate::topic::is_reserved(&name));
            let mode = mode.map(|mode| mode & NLBUS_TOPIC_MODE_MASK);
            let settings = TopicSettings { mode, uid: gid.map(|gid| gid / 2), gid, history: since,
                type_name: type_name.map(|name| name.parse().ok()) };
            let history = TopicSettings { history: Some(7), ..settings };
            for request in [
                TopicRequest::Get(TopicKey::Name(&name)),
                TopicRequest::Get(TopicKey::Id(id)),
                TopicRequest::Create { name: &name, exclusive, settings },
                TopicRequest::Change { key: TopicKey::Name(&name), settings: history },
                TopicRequest::Change { key: TopicKey::Id(id), settings: history },
                TopicRequest::Delete(TopicKey::Name(&name)),
                TopicRequest::Delete(TopicKey::Id(id)),
                TopicRequest::List { cursor: id, since },
            ] {
                let mut datagram = Vec::new();
                request.push(&mut datagram, 3);
                let message = Messages::new(&datagram).next().unwrap().unwrap();
                prop_assert_eq!(TopicRequest::check(message.header.flags, message.body), Ok(request));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(flags: u16, body in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = TopicRequest::check(flags, &body);
        }
    }

    /// Whatever the topic: the datagram is refused.
    #[test]
    fn modes_that_nothing_can_have_are_refused() {
        for mode in [0o1000, 0o700, u32::MAX] {
            let settings = TopicSettings { mode: Some(mode), ..TopicSettings::default() };
            for request in [
                TopicRequest::Create { name: "a", exclusive: false, settings },
                TopicRequest::Change { key: TopicKey::Id(4), settings },
            ] {
                let mut datagram = Vec::new();
                request.push(&mut datagram, 1);
                let message = Messages::new(&datagram).next().unwrap().unwrap();
                let refusal = TopicRequest::check(message.header.flags, message.body).unwrap_err();
                assert_eq!(refusal.errno, Errno::EINVAL, "{request:?}");
            }
        }
    }
}
