//! Takes messages to NATS: to whoever listens, or into a stream.
//!
//! Into a stream they go in atomic batches, one after the other, and one that isn't known to be in it is sent again. All of a
//! batch get in, or none; so whatever is lost on the way, and wherever the stream's leader goes, a message never gets in before
//! one that was sent before it. What was in it already is known by its id.

use crate::login::causes;
use crate::metrics::Metrics;
use crate::origin::{Origin, identify};
use crate::stop::Stop;
use crate::streams::Target;
use async_nats::client::PublishErrorKind;
use async_nats::{Client, HeaderMap, HeaderName, Message, StatusCode, Subject};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use nlbus::Content;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

const BATCH_ID: HeaderName = HeaderName::from_static("Nats-Batch-Id");
const BATCH_SEQUENCE: HeaderName = HeaderName::from_static("Nats-Batch-Sequence");
const BATCH_COMMIT: HeaderName = HeaderName::from_static("Nats-Batch-Commit");

/// Messages of a batch at most; a server takes a thousand.
pub const BATCH: usize = 500;

/// Bytes of their payloads at most.
pub const BATCH_BYTES: usize = 1 << 20;

/// How long a stream's answer may take before the batch is sent again.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait before that, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// JetStream's error where a batch has a message that the stream has already (its errors.json).
const DUPLICATE: u32 = 10201;

/// Its errors where a message, or its headers, are larger than the stream takes.
const NEVER: [u32; 2] = [10054, 10097];

/// What a message's headers take at most, in bytes: a host, a topic twice, numbers, and the hosts that it went by.
const HEADERS: usize = 3072;

/// A message on its way out.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub subject: Subject,
    pub origin: Origin,
    pub content: Content,
    pub payload: Bytes,
    /// Those that it came with, if it is one that goes on.
    pub headers: Option<HeaderMap>,
}

impl Outgoing {
    /// What stands for it where it itself can't go: the word that it is lost.
    fn as_loss(&self, cause: &str) -> Outgoing {
        let origin = Origin { lost: Some(cause.into()), ..self.origin.clone() };
        Outgoing { origin, payload: Bytes::new(), content: Content::Opaque, headers: None, ..self.clone() }
    }

    fn headers(&self) -> HeaderMap {
        self.headers.clone().unwrap_or_else(|| self.origin.headers(self.content))
    }

    /// What a stream knows it by. What goes on under another subject is another message.
    fn id(&self) -> String {
        match self.headers {
            None => self.origin.id(),
            Some(_) => format!("{}>{}", self.origin.id(), self.subject),
        }
    }
}

/// The end came before the messages were where they were to go.
#[derive(Debug)]
pub struct GivenUp;

/// What became of a batch that isn't in the stream as a whole.
enum Failure {
    /// Nothing is known, or it may be better later.
    Later(String),
    /// Some messages are in it already.
    Duplicates,
    /// A message never gets in.
    Never(String),
}

/// Takes the messages of one rule.
#[derive(Debug)]
pub struct Courier {
    client: Client,
    /// The stream, if they go to one.
    target: Option<Target>,
    rule: String,
    metrics: Arc<Metrics>,
    stop: Stop,
}

/// What a stream answers to a message, or to the last one of a batch.
#[derive(Debug, Deserialize)]
struct Answer {
    error: Option<Refusal>,
    #[serde(default)]
    duplicate: bool,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

impl Courier {
    pub fn new(client: Client, target: Option<Target>, rule: &str, metrics: Arc<Metrics>, stop: Stop) -> Courier {
        Courier { client, target, rule: rule.to_owned(), metrics, stop }
    }

    /// Whether messages go to a stream.
    pub fn is_durable(&self) -> bool {
        self.target.is_some()
    }

    /// Takes messages out, in order, however long it takes. Of those that are too large, the other side is told that they are
    /// lost.
    ///
    /// # Errors
    /// When the end doesn't leave time for it: some of the first of them may have gone out.
    pub async fn send(&self, mut messages: Vec<Outgoing>) -> Result<(), GivenUp> {
        self.sieve(&mut messages);
        let sent = async {
            match &self.target {
                None => self.publish(&messages).await,
                Some(target) => {
                    for batch in messages.chunks(BATCH) {
                        self.store(target, batch).await;
                    }
                    Ok(())
                }
            }
        };
        tokio::select! {
            // What can be done at once is, even then.
            biased;
            sent = sent => sent?,
            () = self.stop.over() => return Err(GivenUp),
        }
        self.count(&messages);
        Ok(())
    }

    /// Sees to it that what was sent to whoever listens is at a server, if the end leaves time for it.
    pub async fn flush(&self) {
        tokio::select! {
            flushed = self.client.flush() => if let Err(error) = flushed {
                warn!("rule {}: the last events may not have gone out: {}", self.rule, causes(&error));
            },
            () = self.stop.over() => warn!("rule {}: ending without a server: the last events don't go out", self.rule),
        }
    }

    fn count(&self, messages: &[Outgoing]) {
        let rule = self.rule.as_str();
        let (mut events, mut bytes) = (0, 0);
        for message in messages {
            match &message.origin.lost {
                None => (events, bytes) = (events + 1, bytes + message.payload.len() as u64),
                Some(cause) => {
                    self.metrics.sent_lost.with_label_values(&[rule, cause]).inc_by(message.origin.count());
                }
            }
        }
        self.metrics.sent.with_label_values(&[rule]).inc_by(events);
        self.metrics.sent_bytes.with_label_values(&[rule]).inc_by(bytes);
    }

    /// Puts the word that it is lost in the place of what is larger than server or stream take.
    fn sieve(&self, messages: &mut [Outgoing]) {
        let most = self.target.as_ref().and_then(|target| target.max_message);
        let most = most.map_or(self.client.max_payload(), |most| most.min(self.client.max_payload()));
        for message in messages.iter_mut().filter(|message| message.payload.len() + HEADERS > most) {
            let (rule, topic, len) = (&self.rule, &message.origin.topic, message.payload.len());
            warn!(
                "rule {rule}: an event of {topic} has {len} bytes, which is too much for messages of {most}; raise max_payload"
            );
            *message = message.as_loss("too large");
        }
    }

    /// To whoever listens. It waits while no server is there, once so many wait as may.
    async fn publish(&self, messages: &[Outgoing]) -> Result<(), GivenUp> {
        for message in messages {
            let (subject, payload) = (message.subject.clone(), message.payload.clone());
            if let Err(error) = self.client.publish_with_headers(subject, message.headers(), payload).await {
                warn!("rule {}: an event of {} doesn't go out: {}", self.rule, message.origin.topic, causes(&error));
                if error.kind() == PublishErrorKind::Send {
                    // The client has ended.
                    return Err(GivenUp);
                }
            }
        }
        Ok(())
    }

    /// Into the stream.
    async fn store(&self, target: &Target, batch: &[Outgoing]) {
        let mut wait = BACKOFF.0;
        let mut told = false;
        loop {
            let stored = match batch {
                [one] => self.store_one(one).await,
                _ if target.is_atomic => match self.store_all(batch).await {
                    // What was sent before a crash, say: the batches were others then.
                    Err(Failure::Duplicates | Failure::Never(_)) => self.store_apart(batch).await,
                    stored => stored,
                },
                _ => self.store_apart(batch).await,
            };
            let why = match stored {
                Ok(()) => break,
                Err(Failure::Later(why)) => why,
                Err(Failure::Duplicates) => "an answer that makes no sense here".to_owned(),
                Err(Failure::Never(why)) => why,
            };
            if !told {
                warn!("rule {}: waiting for the stream {}: {why}", self.rule, target.name);
                told = true;
            }
            self.metrics.sent_again.with_label_values(&[self.rule.as_str()]).inc();
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(BACKOFF.1);
        }
        if told {
            info!("rule {}: the stream {} takes messages again", self.rule, target.name);
        }
    }

    /// All of them or none.
    async fn store_all(&self, batch: &[Outgoing]) -> Result<(), Failure> {
        let inbox = self.client.new_inbox();
        let id = format!("{:032x}", fastrand::u128(..));
        let mut answers = self.client.subscribe(inbox.clone()).await.map_err(later)?;
        for (number, message) in (1..).zip(batch) {
            let mut headers = message.headers();
            identify(&mut headers, &message.id());
            headers.insert(BATCH_ID, id.as_str());
            headers.insert(BATCH_SEQUENCE, number.to_string());
            let (subject, payload) = (message.subject.clone(), message.payload.clone());
            if number == batch.len() {
                headers.insert(BATCH_COMMIT, "1");
                let sent = self.client.publish_with_reply_and_headers(subject, inbox.clone(), headers, payload);
                sent.await.map_err(later)?;
            } else {
                self.client.publish_with_headers(subject, headers, payload).await.map_err(later)?;
            }
        }
        match tokio::time::timeout(PATIENCE, answers.next()).await {
            Ok(Some(answer)) => read(&answer).map(drop),
            Ok(None) => Err(Failure::Later("the connection has ended".into())),
            Err(_) => Err(no_answer()),
        }
    }

    /// Each for itself, those of a subject one after the other.
    async fn store_apart(&self, batch: &[Outgoing]) -> Result<(), Failure> {
        let mut subjects = BTreeMap::<&str, Vec<&Outgoing>>::new();
        for message in batch {
            subjects.entry(&message.subject).or_default().push(message);
        }
        let of_subject = async |messages: Vec<&Outgoing>| {
            for message in messages {
                self.store_one(message).await?;
            }
            Ok(())
        };
        join_all(subjects.into_values().map(of_subject)).await.into_iter().collect()
    }

    async fn store_one(&self, message: &Outgoing) -> Result<(), Failure> {
        match self.ask(message).await {
            Err(Failure::Never(why)) if message.origin.lost.is_none() => {
                warn!("rule {}: an event of {} is lost: {why}", self.rule, message.origin.topic);
                self.ask(&message.as_loss("refused")).await
            }
            stored => stored,
        }
    }

    async fn ask(&self, message: &Outgoing) -> Result<(), Failure> {
        let mut headers = message.headers();
        identify(&mut headers, &message.id());
        let (subject, payload) = (message.subject.clone(), message.payload.clone());
        let asked = tokio::time::timeout(PATIENCE, self.client.request_with_headers(subject, headers, payload)).await;
        let answer = asked.map_err(|_| no_answer())?.map_err(later)?;
        if read(&answer)?.duplicate {
            self.metrics.sent_before.with_label_values(&[self.rule.as_str()]).inc();
        }
        Ok(())
    }
}

fn later(error: impl std::error::Error) -> Failure {
    Failure::Later(causes(&error))
}

fn no_answer() -> Failure {
    Failure::Later(format!("no answer within {PATIENCE:?}"))
}

fn read(answer: &Message) -> Result<Answer, Failure> {
    if let Some(status) = answer.status.filter(|status| !status.is_success()) {
        return Err(Failure::Later(match status {
            StatusCode::NO_RESPONDERS => "no server has it".into(),
            status => format!("status {status}"),
        }));
    }
    let answer: Answer = serde_json::from_slice(&answer.payload)
        .map_err(|error| Failure::Later(format!("an answer that isn't JetStream's: {error}")))?;
    match &answer.error {
        None => Ok(answer),
        Some(Refusal { err_code: DUPLICATE, .. }) => Err(Failure::Duplicates),
        Some(Refusal { err_code, description }) => {
            let why = format!("{description} ({err_code})");
            Err(if NEVER.contains(err_code) { Failure::Never(why) } else { Failure::Later(why) })
        }
    }
}
