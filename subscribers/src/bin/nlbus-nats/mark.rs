//! A rule's own topic on the local bus: each datagram that the rule publishes says there which one it is, and how far in the
//! stream. The broker accepts a datagram whole or not at all, so what is published is known as long as the events themselves
//! are: to who waited for an ack in vain, and to a bridge whose predecessor was killed.

use crate::config::OWN_TOPICS;
use crate::declared::is_a_bridges;
use crate::state::InPlace;
use nix::unistd::geteuid;
use nlbus::{Bus, Content, Delivery, PublishBatch, PublishError, RequestError, Start};
use nlbus_subscribers::end::End;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long the local broker may take to say what it keeps.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of history: with some, the topic doesn't expire.
const HISTORY: u64 = 4096;

/// What a datagram says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Word {
    /// Which datagram it is; by chance, no two have the same.
    pub datagram: u64,
    /// How far the stream is with it, if the rule reads one.
    pub place: Option<InPlace>,
}

/// The topic.
#[derive(Debug)]
pub struct Mark {
    bus: Bus,
    topic: String,
}

impl Mark {
    /// That of a bridge's rule, which has a key by which it is known again.
    pub fn new(bus: &Bus, id: &str, key: &str) -> Mark {
        Mark { bus: bus.clone(), topic: format!("{OWN_TOPICS}/{id}/{:08x}", crc32c::crc32c(key.as_bytes())) }
    }

    /// Makes the topic, where there is none yet, for this bridge alone.
    ///
    /// # Errors
    /// When the local broker refuses.
    pub fn create(&self) -> Result<(), RequestError> {
        self.bus.topic_options(&self.topic).mode(0o600).history(HISTORY).create().map(drop)
    }

    /// Adds it to a datagram.
    ///
    /// # Errors
    /// As [`PublishBatch::push`].
    pub fn push(&self, batch: &mut PublishBatch<'_>, word: &Word) -> Result<(), PublishError> {
        batch.push_content(&self.topic, Content::Json, &serde_json::to_vec(word).unwrap_or_default())
    }

    /// What the last datagram said, in this life of the bridge or an earlier one; nothing, if this bus had none yet.
    ///
    /// # Errors
    /// When the local broker doesn't say, or somebody else has the topic.
    pub fn last(&self) -> Result<Option<Word>, End> {
        let topic = &self.topic;
        if self.bus.topic(topic)?.is_none_or(|topic| topic.head == 0) {
            return Ok(None);
        }
        let mut kept = self.bus.subscriber(topic).start(Start::Last(1)).open()?;
        let event = kept.recv_timeout(PATIENCE).ok().and_then(Delivery::into_event);
        let event = event.ok_or_else(|| {
            End::Failed(format!(
                "the local broker doesn't give the last event of {topic}; nlbus doctor looks for the cause"
            ))
        })?;
        // Nobody else's word counts.
        let is_own = is_a_bridges(&event) && [0, geteuid().as_raw()].contains(&event.sender().uid);
        let word = serde_json::from_slice(event.payload()).ok().filter(|_| is_own);
        word.map(Some).ok_or_else(|| {
            End::Failed(format!(
                "the topic {topic} has what isn't this bridge's; delete it (nlbus topic rm) if it may begin anew"
            ))
        })
    }
}
