//! Deliveries as JSON, one object a line. The keys are a promise to scripts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nlbus::{Content, Ended, Event, Lost, Restarted};
use serde::Serialize;
use serde_json::value::RawValue;

/// An event.
#[derive(Debug, Serialize)]
pub struct EventJson<'a> {
    topic: &'a str,
    seq: u64,
    time_ns: u64,
    origin: &'static str,
    portid: u32,
    pid: u32,
    uid: u32,
    content: &'static str,
    /// Only where it isn't 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    stands_for: Option<u64>,
    #[serde(flatten)]
    payload: Payload<'a>,
    /// What it is, where it says that it is JSON and that holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
}

/// JSON in one line: the characters that end lines are blanks between its parts, since its strings escape them.
fn decoded(content: Content, payload: &[u8]) -> Option<Box<RawValue>> {
    if content != Content::Json {
        return None;
    }
    let value: &RawValue = serde_json::from_slice(payload).ok()?;
    RawValue::from_string(value.get().replace(['\n', '\r'], " ")).ok()
}

/// A string where the bytes are UTF-8.
#[derive(Debug, PartialEq, Eq, Serialize)]
enum Payload<'a> {
    #[serde(rename = "payload")]
    Text(&'a str),
    #[serde(rename = "payload_base64")]
    Base64(String),
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => Payload::Text(text),
            Err(_) => Payload::Base64(STANDARD.encode(bytes)),
        }
    }
}

impl<'a> From<&'a Event> for EventJson<'a> {
    fn from(event: &'a Event) -> Self {
        let sender = event.sender();
        EventJson {
            topic: event.topic(),
            seq: event.seq(),
            time_ns: event.time_ns(),
            origin: if sender.kernel { "kernel" } else { "user" },
            portid: sender.portid,
            pid: sender.pid,
            uid: sender.uid,
            content: content_name(event.content()),
            stands_for: Some(event.stands_for()).filter(|events| *events != 1),
            payload: event.payload().into(),
            value: decoded(event.content(), event.payload()),
        }
    }
}

/// What a payload is, in a word.
pub fn content_name(content: Content) -> &'static str {
    match content {
        Content::Text => "text",
        Content::Bincode => "bincode",
        Content::Json => "json",
        // Content is non-exhaustive: what a newer library knows is opaque here.
        _ => "opaque",
    }
}

/// What stands in line with the events.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NoteJson<'a> {
    /// Events that will not come.
    Lost {
        /// Their topic.
        topic: &'a str,
        /// The first one.
        from: u64,
        /// The last one.
        to: u64,
        /// Why.
        cause: &'static str,
    },
    /// A topic of which nothing more will come.
    Ended {
        /// The topic.
        topic: &'a str,
        /// Why.
        reason: &'static str,
    },
    /// Another broker.
    Restarted {
        /// Its epoch.
        epoch: u64,
    },
}

impl<'a> From<&'a Lost> for NoteJson<'a> {
    fn from(lost: &'a Lost) -> Self {
        NoteJson::Lost { topic: &lost.topic, from: lost.from, to: lost.to, cause: lost.cause.as_str() }
    }
}

impl<'a> From<&'a Ended> for NoteJson<'a> {
    fn from(ended: &'a Ended) -> Self {
        NoteJson::Ended { topic: &ended.topic, reason: ended.reason.as_str() }
    }
}

impl From<&Restarted> for NoteJson<'_> {
    fn from(restarted: &Restarted) -> Self {
        NoteJson::Restarted { epoch: restarted.epoch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(payload: &[u8]) -> EventJson<'_> {
        EventJson {
            topic: "a b/ö",
            seq: 7,
            time_ns: u64::MAX,
            origin: "user",
            portid: 1,
            pid: 2,
            uid: 3,
            content: content_name(Content::Text),
            stands_for: None,
            payload: payload.into(),
            value: None,
        }
    }

    #[test]
    fn an_event_has_the_promised_keys() {
        assert_eq!(
            serde_json::to_string(&event(b"two\nlines")).unwrap(),
            r#"{"topic":"a b/ö","seq":7,"time_ns":18446744073709551615,"origin":"user","portid":1,"pid":2,"uid":3,"content":"text","payload":"two\nlines"}"#
        );
        let binary = serde_json::to_string(&event(b"\xff\0")).unwrap();
        assert!(binary.ends_with(r#","payload_base64":"/wA="}"#), "{binary}");
    }

    #[test]
    fn json_is_decoded_into_one_line_and_nothing_else_is() {
        let value = |content, payload: &str| decoded(content, payload.as_bytes()).map(|value| value.get().to_owned());
        assert_eq!(value(Content::Json, "{\n \"a\\n\":\r\n1.50}").as_deref(), Some("{  \"a\\n\":  1.50}"));
        let exact = "{\"b\":2,\"a\":1,\"a\":12345678901234567890123}";
        assert_eq!(value(Content::Json, exact).as_deref(), Some(exact), "no key is lost, no number rounded");
        for bad in ["", "{", "1 2", "nul", "\u{feff}1"] {
            assert_eq!(value(Content::Json, bad), None, "{bad}");
        }
        assert_eq!((value(Content::Text, "1"), value(Content::Opaque, "1")), (None, None));
        let json =
            EventJson { content: content_name(Content::Json), value: decoded(Content::Json, b"[1]"), ..event(b"[1]") };
        assert!(serde_json::to_string(&json).unwrap().ends_with(r#","payload":"[1]","value":[1]}"#));
    }

    #[test]
    fn notes_are_objects_of_their_own() {
        let lost = NoteJson::Lost { topic: "a", from: 2, to: 3, cause: "overrun" };
        let json = serde_json::to_string(&lost).unwrap();
        assert_eq!(json, r#"{"lost":{"topic":"a","from":2,"to":3,"cause":"overrun"}}"#);
        let json = serde_json::to_string(&NoteJson::Restarted { epoch: 9 }).unwrap();
        assert_eq!(json, r#"{"restarted":{"epoch":9}}"#);
        let json = serde_json::to_string(&NoteJson::Ended { topic: "a", reason: "deleted" }).unwrap();
        assert_eq!(json, r#"{"ended":{"topic":"a","reason":"deleted"}}"#);
    }
}
