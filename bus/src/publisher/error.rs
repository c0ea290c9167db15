//! Why an event was not published.

use crate::codec::EncodeError;
use crate::topic::TopicError;
use crate::type_name::TypeMismatch;
use crate::wire::Refusal;
use crate::wire::uapi::{NLBUS_LOST_MAX, NLBUS_PAYLOAD_MAX};
use nix::errno::Errno;
use std::fmt;
use std::io;

/// What a child process is told that uses its parent's connection.
pub(crate) const FORKED: &str = "the connection is the parent process's; connect anew after fork";

/// What a handle is told whose connection another one has closed.
pub(crate) const CLOSED: &str = "the bus was closed; connect anew";

/// What a handle is told that needs a broker when there is none.
pub(crate) const GONE: &str = "the broker is gone; start it again (nlbus broker, modprobe nlbus)";

/// An event was not published, or it isn't known whether it was.
#[derive(Debug)]
pub struct PublishError {
    topic: Box<str>,
    reason: PublishReason,
}

/// Why an event was not published.
#[derive(Debug)]
#[non_exhaustive]
pub enum PublishReason {
    /// The topic isn't a topic name.
    Topic(TopicError),
    /// The payload has more than 64 512 bytes: how many.
    TooLarge(usize),
    /// So many numbers can't be lost at once: none, or more than 4 294 967 295.
    LostCount(u64),
    /// The batch has no room for it; send the batch first.
    BatchFull,
    /// The value can't be encoded.
    Encode(EncodeError),
    /// The topic's values are of another type: it was set by hand, or by another publisher since a broker restarted.
    OtherType(Box<TypeMismatch>),
    /// The broker refused this event.
    Refused(Refusal),
    /// The broker refused what was published before, without waiting for its verdict. This event was not sent.
    EarlierRefused {
        /// Why. It names the first event that it is about.
        refusal: Refusal,
        /// How many events it cost: all of their datagram, where they were batched or buffered.
        events: u64,
    },
    /// No broker is there.
    NoBroker,
    /// The kernel didn't take the datagram.
    Send(io::Error),
    /// No ack came in time, or the broker restarted meanwhile: the event may have been published.
    /// Publishing it again may duplicate it.
    Unknown,
    /// The bus was closed.
    Closed,
    /// This process is a child of the one that connected (fork(2)), and the connection is the parent's.
    Forked,
}

impl PublishError {
    pub(crate) fn new(topic: &str, reason: PublishReason) -> PublishError {
        PublishError { topic: topic.into(), reason }
    }

    /// The same, of another topic: for who knows better what it happened to.
    pub(crate) fn about(self, topic: &str) -> PublishError {
        PublishError { topic: topic.into(), ..self }
    }

    /// Whether it may go well with the next broker: nothing was published.
    pub(crate) fn may_pass(&self) -> bool {
        match &self.reason {
            PublishReason::NoBroker => true,
            PublishReason::Refused(refusal) => refusal.errno == Errno::ESHUTDOWN,
            _ => false,
        }
    }

    /// The topic that was published to.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// if let Err(error) = bus.publish("a/+", "") {
    ///     assert_eq!(error.topic(), "a/+");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Why it failed.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// use nlbus::PublishReason;
    ///
    /// match bus.publish_acked("jobs", "17") {
    ///     Err(error) if matches!(error.reason(), PublishReason::Unknown) => println!("perhaps: {error}"),
    ///     verdict => println!("event {}", verdict?),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reason(&self) -> &PublishReason {
        &self.reason
    }

    /// Whether the broker's queue was full and the publish was not to wait
    /// ([`PublishBatch::no_wait`](crate::PublishBatch::no_wait)), or, where it waits for an ack or is a flush, not so long
    /// ([`Builder::patience`](crate::Builder::patience)): nothing was published, and it may be tried again later.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let mut batch = bus.batch().no_wait();
    /// batch.push("log", "cheap to lose")?;
    /// match batch.send_acked() {
    ///     Err(error) if error.would_block() => println!("the queue is full"),
    ///     sent => drop(sent?),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn would_block(&self) -> bool {
        !matches!(self.reason, PublishReason::EarlierRefused { .. }) && self.errno() == Some(Errno::EAGAIN)
    }

    /// The errno of the kernel or the broker, if it is one of theirs.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// if let Err(error) = bus.publish("$SYS/heartbeat", "") {
    ///     println!("{:?}", error.errno()); // Some(EACCES), say
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn errno(&self) -> Option<Errno> {
        match &self.reason {
            PublishReason::Refused(refusal) | PublishReason::EarlierRefused { refusal, .. } => Some(refusal.errno),
            PublishReason::NoBroker => Some(Errno::ECONNREFUSED),
            PublishReason::Send(error) => error.raw_os_error().map(Errno::from_raw),
            _ => None,
        }
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let PublishReason::EarlierRefused { refusal, events } = &self.reason {
            match events {
                1 => f.write_str("an event published before was refused: ")?,
                events => write!(f, "{events} events published before in one datagram were refused: ")?,
            }
            return refusal.fmt(f);
        }
        if self.topic.is_empty() && !matches!(self.reason, PublishReason::Topic(_)) {
            f.write_str("can't flush: ")?;
        } else {
            write!(f, "can't publish to '{}': ", self.topic.escape_debug())?;
        }
        match &self.reason {
            PublishReason::Topic(error) => error.fmt(f),
            PublishReason::TooLarge(len) => {
                write!(f, "the payload has {len} bytes, at most {NLBUS_PAYLOAD_MAX} are allowed; split it, or publish where it lies")
            }
            PublishReason::LostCount(count) => {
                write!(f, "{count} numbers can't be lost at once: 1 to {NLBUS_LOST_MAX} can, and more by several publishes")
            }
            PublishReason::BatchFull => f.write_str("the batch is full; send it and begin another"),
            PublishReason::Encode(error) => error.fmt(f),
            PublishReason::OtherType(mismatch) => mismatch.fmt(f),
            PublishReason::Refused(refusal) | PublishReason::EarlierRefused { refusal, .. } => refusal.fmt(f),
            PublishReason::NoBroker => f.write_str(GONE),
            PublishReason::Send(error) if error.kind() == io::ErrorKind::WouldBlock => {
                f.write_str("the broker's queue is full; try again later, or, if it is stopped, continue it (kill -CONT)")
            }
            PublishReason::Send(error) => error.fmt(f),
            PublishReason::Unknown if self.topic.is_empty() => f.write_str(
                "no answer came, or another broker's; what was published before may be lost, and publishing it again may \
                 duplicate it",
            ),
            PublishReason::Unknown => {
                f.write_str("no ack came; the event may have been published, and publishing it again may duplicate it")
            }
            PublishReason::Closed => f.write_str(CLOSED),
            PublishReason::Forked => f.write_str(FORKED),
        }
    }
}

impl std::error::Error for PublishError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            PublishReason::Topic(error) => Some(error),
            PublishReason::Encode(error) => Some(error),
            PublishReason::Refused(refusal) | PublishReason::EarlierRefused { refusal, .. } => Some(refusal),
            PublishReason::Send(error) => Some(error),
            _ => None,
        }
    }
}
