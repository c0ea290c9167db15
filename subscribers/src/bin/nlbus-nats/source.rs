//! Where one rule's messages come from: whoever sends them now, or a stream, from a position on.

use crate::config::{InRule, InStart, StreamPlan};
use crate::login::causes;
use crate::state::InPlace;
use crate::stop::Stop;
use crate::streams;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, HeaderMap, Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{SelectAll, select_all};
use nlbus_subscribers::end::End;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tracing::{info, warn};

/// How often a server says that it is there while a stream has nothing new. Two times without, and it is asked anew.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long a request for messages lasts.
const EXPIRES: Duration = Duration::from_secs(20);

/// How long a consumer outlives the bridge's interest in it.
const INACTIVE: Duration = Duration::from_secs(30);

/// After how long without a message it is asked whether there was none.
const QUIET: Duration = Duration::from_secs(5);

/// How long to wait before a stream is asked anew.
const ASK_AGAIN: Duration = Duration::from_millis(200);

const MISSING: &str = "messages went missing on their way";

/// A message that came.
#[derive(Debug)]
pub struct Came {
    pub subject: Subject,
    pub headers: Option<HeaderMap>,
    pub payload: Bytes,
    /// Where in a stream it is, if it comes from one.
    pub place: Option<Place>,
}

/// Where in a stream a message is.
#[derive(Debug)]
pub struct Place {
    /// When the stream was created: another one of its name has other numbers.
    pub created: Arc<str>,
    pub seq: u64,
    /// How many are still to come.
    pub pending: u64,
}

/// Where messages come from.
pub enum Source {
    Live(SelectAll<Subscriber>),
    Stream(Box<Reader>),
}

impl Source {
    /// Subscribes: from now on nothing is missed that a server has.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn live(client: &Client, subjects: &[String]) -> Result<Source, End> {
        let mut subscribers = Vec::new();
        for subject in subjects {
            let subscriber = client.subscribe(subject.clone()).await;
            subscribers.push(
                subscriber.map_err(|error| End::Failed(format!("can't subscribe to {subject}: {}", causes(&error))))?,
            );
        }
        client.flush().await.map_err(|error| End::Failed(format!("can't subscribe: {}", causes(&error))))?;
        Ok(Source::Live(select_all(subscribers)))
    }

    /// The next message.
    pub async fn next(&mut self) -> Option<Came> {
        match self {
            Source::Live(subscribers) => subscribers.next().await.map(|message| came(message, None)),
            Source::Stream(reader) => Some(reader.next().await),
        }
    }
}

fn came(message: Message, place: Option<Place>) -> Came {
    Came { subject: message.subject, headers: message.headers, payload: message.payload, place }
}

/// Reads a stream. Where it is is known here and not in a server, so nothing needs to be acknowledged there, and whatever
/// happens to a server or the connection, it goes on behind the last message.
pub struct Reader {
    context: Context,
    stream: String,
    created: Arc<str>,
    subjects: Vec<String>,
    /// The last message that was given.
    last: u64,
    reading: Option<Reading>,
    connections: watch::Receiver<u64>,
    told: bool,
}

/// A consumer, which a server has for us as long as it is there.
struct Reading {
    consumer: Consumer<pull::Config>,
    messages: pull::Stream,
    /// The number that its next message has.
    expected: u64,
}

impl Reader {
    /// Finds the stream, and begins where the place says, or without one as the rule says. Returns the place, too, and the newest
    /// message's number.
    ///
    /// # Errors
    /// As [`streams::find`].
    pub async fn open(
        context: &Context,
        rule: &InRule,
        name: &str,
        plan: Option<&StreamPlan>,
        place: Option<InPlace>,
        connections: watch::Receiver<u64>,
        stop: &Stop,
    ) -> Result<(Reader, InPlace, u64), End> {
        let info = streams::find(context, name, plan, stop).await?;
        let created: Arc<str> = info.created.to_string().into();
        let newest = info.state.last_sequence;
        let place = match place {
            // A stream in memory may have lost all, or one on disk its tail.
            Some(place) if *place.created == *created && place.seq <= newest => place,
            before => {
                if before.is_some() {
                    warn!(
                        "rule {}: the stream {name} is another one than before, and is read from its beginning",
                        rule.name
                    );
                }
                let seq = match (before, rule.start) {
                    (None, InStart::New) => newest,
                    _ => info.state.first_sequence.saturating_sub(1),
                };
                InPlace { stream: name.to_owned(), created: created.to_string(), seq }
            }
        };
        if place.seq + 1 < info.state.first_sequence {
            warn!(
                "rule {}: the stream {name} has no more what came before {}; what was to come in is lost",
                rule.name, info.state.first_sequence
            );
        }
        let reader = Reader {
            context: context.clone(),
            stream: name.to_owned(),
            created,
            subjects: rule.subjects.clone(),
            last: place.seq,
            reading: None,
            connections,
            told: false,
        };
        Ok((reader, place, newest))
    }

    /// The next message. What comes is taken whole or not at all: it may be given up while it waits.
    async fn next(&mut self) -> Came {
        loop {
            let Some(reading) = &mut self.reading else {
                match self.begin().await {
                    Ok(reading) => {
                        if std::mem::take(&mut self.told) {
                            info!("reading the stream {} again", self.stream);
                        }
                        self.reading = Some(reading);
                    }
                    Err(why) => {
                        self.tell(&why);
                        tokio::time::sleep(ASK_AGAIN).await;
                    }
                }
                continue;
            };
            let why = tokio::select! {
                biased;
                // What was on its way then is lost, and may have been the last one.
                _ = self.connections.changed() => "the connection was gone".to_owned(),
                message = reading.messages.next() => match message {
                    Some(Ok(message)) => match self.take(message) {
                        Ok(Some(came)) => return came,
                        Ok(None) => continue,
                        Err(why) => why,
                    },
                    Some(Err(error)) => causes(&error),
                    None => "the messages ended".to_owned(),
                },
                () = tokio::time::sleep(QUIET) => match reading.is_complete().await {
                    Ok(()) => continue,
                    Err(why) => why,
                },
            };
            self.tell(&why);
            self.reading = None;
        }
    }

    /// Asks for what is behind the last message.
    async fn begin(&mut self) -> Result<Reading, String> {
        let stream = self.context.get_stream(&self.stream).await.map_err(|error| causes(&error))?;
        let info = stream.cached_info();
        if *info.created.to_string() != *self.created || info.state.last_sequence < self.last {
            warn!("the stream {} is another one than before, and is read from its beginning", self.stream);
            self.created = info.created.to_string().into();
            self.last = info.state.first_sequence.saturating_sub(1);
        }
        if info.state.first_sequence > self.last + 1 && !std::mem::replace(&mut self.told, true) {
            warn!("the stream {} has no more what came before {}", self.stream, info.state.first_sequence);
        }
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.last + 1 },
            ack_policy: AckPolicy::None,
            filter_subjects: self.subjects.clone(),
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = self.context.create_consumer_on_stream(config, &self.stream).await;
        let consumer = consumer.map_err(|error| causes(&error))?;
        let messages = consumer.stream().max_messages_per_batch(1000).heartbeat(HEARTBEAT).expires(EXPIRES).messages();
        let messages = messages.await.map_err(|error| causes(&error))?;
        Ok(Reading { consumer, messages, expected: 1 })
    }

    /// The message, if it is the next one.
    fn take(&mut self, message: jetstream::Message) -> Result<Option<Came>, String> {
        let info = message.info().map_err(|error| format!("a message without its number: {error}"))?;
        let number = info.consumer_sequence;
        let place = Place { created: Arc::clone(&self.created), seq: info.stream_sequence, pending: info.pending };
        let expected = self.reading.as_mut().map(|reading| &mut reading.expected);
        match expected {
            Some(expected) if *expected == number => *expected += 1,
            _ => return Err(MISSING.into()),
        }
        if place.seq <= self.last {
            return Ok(None);
        }
        self.last = place.seq;
        Ok(Some(came(message.into(), Some(place))))
    }

    fn tell(&mut self, why: &str) {
        if !std::mem::replace(&mut self.told, true) {
            warn!("reading the stream {} anew: {why}", self.stream);
        }
    }
}

impl Reading {
    /// Whether nothing was sent that didn't come.
    async fn is_complete(&mut self) -> Result<(), String> {
        let info = self.consumer.info().await.map_err(|error| causes(&error))?;
        match info.delivered.consumer_sequence >= self.expected {
            true => Err(MISSING.into()),
            false => Ok(()),
        }
    }
}
