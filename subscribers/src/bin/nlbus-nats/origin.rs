//! Where an event was published, in the headers of the message that carries it: its host, and on that host the broker's epoch,
//! the topic and the sequence number. That is what it is known by everywhere, whatever way it comes.

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use nlbus::wire::uapi::NLBUS_TOPIC_MAX as TOPIC_MAX;
use nlbus::{Cause, Content};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

const HOST: HeaderName = HeaderName::from_static("Nlbus-Host");
const EPOCH: HeaderName = HeaderName::from_static("Nlbus-Epoch");
const TOPIC: HeaderName = HeaderName::from_static("Nlbus-Topic");
const TOPIC_ID: HeaderName = HeaderName::from_static("Nlbus-Topic-Id");
const SEQ: HeaderName = HeaderName::from_static("Nlbus-Seq");
const SKIPPED: HeaderName = HeaderName::from_static("Nlbus-Skipped");
const LOST: HeaderName = HeaderName::from_static("Nlbus-Lost");
const CAUSE: HeaderName = HeaderName::from_static("Nlbus-Cause");
const CONTENT: HeaderName = HeaderName::from_static("Nlbus-Content");
const VIA: HeaderName = HeaderName::from_static("Nlbus-Via");

/// Bytes that a host's name has at most.
pub const HOST_MAX: usize = 64;

/// Bytes that the names of hosts that it went by have together at most.
const VIA_MAX: usize = 1024;

/// What a message is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The host where it was published.
    pub host: Arc<str>,
    /// The epoch of that host's broker.
    pub epoch: u64,
    /// The topic there, and that broker's id of it: a topic that was deleted and is there again numbers its events anew.
    pub topic: Arc<str>,
    pub topic_id: u32,
    /// The number of the event; or of the first one that is lost.
    pub from: u64,
    /// The same number; or the last one that is lost. Where it is the one before `from`, none is: it tells how far the topic is.
    pub to: u64,
    /// Numbers directly before `from` that are of events which aren't this host's own, and so don't go out.
    pub skipped: u64,
    /// Why the events are lost, if they are.
    pub lost: Option<Arc<str>>,
}

impl Origin {
    /// What JetStream knows duplicates by.
    pub fn id(&self) -> String {
        let Origin { host, epoch, topic_id, from, to, lost, .. } = self;
        match lost {
            None => format!("{host}:{epoch}:{topic_id}:{to}"),
            Some(_) => format!("{host}:{epoch}:{topic_id}:{from}-{to}"),
        }
    }

    /// How many events it is about.
    pub fn count(&self) -> u64 {
        self.to - (self.from - 1)
    }

    /// The headers of a message that carries it on from its own host.
    pub fn headers(&self, content: Content) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, &*self.host);
        headers.insert(EPOCH, self.epoch.to_string());
        headers.insert(TOPIC, &*self.topic);
        headers.insert(TOPIC_ID, self.topic_id.to_string());
        headers.insert(SEQ, self.to.to_string());
        if self.skipped > 0 {
            headers.insert(SKIPPED, self.skipped.to_string());
        }
        if let Some(cause) = &self.lost {
            headers.insert(LOST, self.count().to_string());
            headers.insert(CAUSE, &**cause);
        }
        if content != Content::Opaque {
            headers.insert(CONTENT, content_name(content));
        }
        headers
    }

    /// Reads it from a message's headers: `None` where they have none of it, as those of a program that knows nothing of
    /// nlbus.
    ///
    /// # Errors
    /// Which header is wrong.
    pub fn read(headers: &HeaderMap) -> Result<Option<Origin>, BadHeader> {
        let Some(host) = headers.get(HOST) else { return Ok(None) };
        let lost = number_of(headers, LOST)?;
        let to = number_of(headers, SEQ)?.filter(|to: &u64| *to > 0).ok_or(BadHeader(SEQ))?;
        let from = match lost {
            None => to,
            Some(count) => to.checked_sub(count).ok_or(BadHeader(LOST))?.saturating_add(1),
        };
        if headers.get(VIA).is_some_and(|via| via.as_str().len() > VIA_MAX) {
            return Err(BadHeader(VIA));
        }
        let skipped = number_of(headers, SKIPPED)?.unwrap_or(0);
        if skipped >= from {
            return Err(BadHeader(SKIPPED));
        }
        let cause = headers.get(CAUSE).map_or("unknown", |cause| cause.as_str());
        Ok(Some(Origin {
            host: short(host, HOST_MAX).ok_or(BadHeader(HOST))?,
            epoch: number_of(headers, EPOCH)?.ok_or(BadHeader(EPOCH))?,
            topic: headers.get(TOPIC).and_then(|topic| short(topic, TOPIC_MAX)).ok_or(BadHeader(TOPIC))?,
            topic_id: number_of(headers, TOPIC_ID)?.ok_or(BadHeader(TOPIC_ID))?,
            from,
            to,
            skipped,
            lost: lost.map(|_| cause.into()),
        }))
    }
}

/// A header that isn't what a bridge writes.
#[derive(Debug)]
pub struct BadHeader(HeaderName);

impl fmt::Display for BadHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its header {} is missing, or isn't what a bridge writes", self.0)
    }
}

/// A value that isn't longer than it may be: much is remembered by these.
fn short(value: &HeaderValue, most: usize) -> Option<Arc<str>> {
    Some(value.as_str()).filter(|text| (1..=most).contains(&text.len())).map(Arc::from)
}

fn number_of<T: FromStr>(headers: &HeaderMap, name: HeaderName) -> Result<Option<T>, BadHeader> {
    match headers.get(name.clone()) {
        None => Ok(None),
        Some(value) => value.as_str().parse().map(Some).map_err(|_| BadHeader(name)),
    }
}

/// What the payload is; bytes, where nothing says.
pub fn content_of(headers: &HeaderMap) -> Content {
    match headers.get(CONTENT).map(|content| content.as_str()) {
        Some("text") => Content::Text,
        Some("json") => Content::Json,
        Some("bincode") => Content::Bincode,
        _ => Content::Opaque,
    }
}

fn content_name(content: Content) -> &'static str {
    match content {
        Content::Text => "text",
        Content::Json => "json",
        Content::Bincode => "bincode",
        _ => "opaque",
    }
}

/// The word for a loss, on the other side too.
pub fn cause_name(cause: Cause) -> Arc<str> {
    cause.as_str().into()
}

/// Whether a message went by this host already.
pub fn went_by(headers: &HeaderMap, host: &str) -> bool {
    headers.get(VIA).is_some_and(|via| via.as_str().split(' ').any(|passed| passed == host))
}

/// The headers of a message that goes on from a host that it came to: as they were, but for what belonged to the way that it
/// came.
pub fn headers_onward(came: &HeaderMap, origin: &Origin, host: &str) -> HeaderMap {
    let mut headers = origin.headers(content_of(came));
    let via = came.get(VIA).map_or_else(|| host.to_owned(), |via| format!("{} {host}", via.as_str()));
    headers.insert(VIA, via);
    headers
}

/// Lets JetStream know a message again: sent twice, it is kept once.
pub fn identify(headers: &mut HeaderMap, id: &str) {
    headers.insert(NATS_MESSAGE_ID, id);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin {
            host: "web1".into(),
            epoch: u64::MAX,
            topic: "a/b.c".into(),
            topic_id: 9,
            from: 7,
            to: 7,
            skipped: 0,
            lost: None,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let lost = Origin { from: 3, skipped: 2, lost: Some("overrun".into()), ..origin() };
        for (origin, content) in [(origin(), Content::Json), (lost, Content::Opaque)] {
            let headers = origin.headers(content);
            assert_eq!(Origin::read(&headers).unwrap(), Some(origin));
            assert_eq!(content_of(&headers), content);
        }
        assert!(Origin::read(&HeaderMap::new()).unwrap().is_none());
    }

    #[test]
    fn an_event_and_a_loss_have_ids_of_their_own() {
        let lost = Origin { from: 7, lost: Some("late".into()), ..origin() };
        assert_eq!(origin().id(), "web1:18446744073709551615:9:7");
        assert_ne!(origin().id(), lost.id());
    }

    #[test]
    fn hostile_headers_are_refused() {
        for (name, value) in [
            ("Nlbus-Seq", "0"),
            ("Nlbus-Seq", "x"),
            ("Nlbus-Topic-Id", "4294967296"),
            ("Nlbus-Topic", &"t".repeat(256)),
            ("Nlbus-Host", &"h".repeat(65)),
            ("Nlbus-Epoch", "-1"),
            ("Nlbus-Lost", "8"),
            ("Nlbus-Skipped", "7"),
            ("Nlbus-Skipped", "18446744073709551615"),
        ] {
            let mut headers = origin().headers(Content::Opaque);
            headers.insert(name, value);
            let error = Origin::read(&headers).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_host_that_was_passed_is_known() {
        let came = origin().headers(Content::Text);
        assert!(!went_by(&came, "b"));
        let once = headers_onward(&came, &origin(), "b");
        let twice = headers_onward(&once, &origin(), "cc");
        assert!(went_by(&twice, "b") && went_by(&twice, "cc") && !went_by(&twice, "c"));
        assert_eq!((Origin::read(&twice).unwrap(), content_of(&twice)), (Some(origin()), Content::Text));
    }
}
