//! Questions to the broker, and why one was not answered.

use crate::client::{Reply, Unanswered, Will};
use crate::codec::{self, EncodeError};
use crate::connection::Shared;
use crate::driver::{Ask, Command, What};
use crate::publisher::{CLOSED, FORKED, GONE};
use crate::topic::TopicError;
use crate::type_name::TypeMismatch;
use crate::wire::uapi::NLBUS_PAYLOAD_MAX;
use crate::wire::uapi::NLM_F_MULTI;
use crate::wire::{Malformed, Message, Messages, Refusal};
use bytes::Bytes;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use serde::Serialize;
use std::fmt;
use std::time::{Duration, Instant};

/// What is said of a broker that is there and keeps silent.
pub(crate) const TIMED_OUT: &str =
    "the broker doesn't answer; is it stopped? continue it (kill -CONT), or end it and start another one";

/// Asks; and once more if the broker goes meanwhile, since it may have made place for another one: that time the answer is that
/// none was found. And again after that, as long as handles are to wait for one.
pub(crate) fn asking<T>(shared: &Shared, mut ask: impl FnMut() -> Result<T, RequestError>) -> Result<T, RequestError> {
    let start = Instant::now();
    let mut again = false;
    loop {
        match ask() {
            Err(RequestError::NoBroker) if !again || start.elapsed() < shared.outage => again = true,
            done => return done,
        }
    }
}

/// Makes a request and reads its reply, a page of messages.
pub(crate) fn ask<T>(
    shared: &Shared,
    write: impl FnOnce(u32, &mut Vec<u8>) + Send + 'static,
    read: impl FnOnce(&[Message<'_>]) -> Result<T, Malformed>,
) -> Result<T, RequestError> {
    let write = move |seq| {
        let mut frame = Vec::new();
        write(seq, &mut frame);
        frame
    };
    let datagram = answer(shared, |reply, deadline| Ask { what: What::Frame(Box::new(write)), reply, deadline })?;
    let page = Messages::new(&datagram).collect::<Result<Vec<_>, _>>();
    let page = page.map_err(|_| RequestError::Malformed(Malformed("a message's length is wrong")))?;
    read(&page).map_err(RequestError::Malformed)
}

/// A value as a payload.
pub(crate) fn encoded<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, RequestError> {
    let mut payload = Vec::new();
    codec::encode(value, &mut payload).map_err(RequestError::Encode)?;
    Ok(payload)
}

/// Leaves a last will, or takes it back.
pub(crate) fn ask_for_will(shared: &Shared, will: Option<Will>) -> Result<(), RequestError> {
    let is_set = will.is_some();
    if is_set {
        shared.note_will(true);
    }
    answer(shared, |reply, deadline| Ask { what: What::Will(will), reply, deadline })?;
    shared.note_will(is_set);
    Ok(())
}

/// Has the driver ask, and waits for the datagram that is the answer.
fn answer(shared: &Shared, ask: impl FnOnce(Sender<Reply>, Instant) -> Ask) -> Result<Bytes, RequestError> {
    let (reply, answer) = bounded::<Reply>(1);
    let deadline = shared.deadline();
    shared.tell(Command::Ask(ask(reply, deadline.unwrap_or_else(never))));
    match shared.receive(&answer, deadline) {
        Ok(Ok(datagram)) => Ok(datagram),
        Ok(Err(Unanswered::Refused(refusal))) => Err(RequestError::Refused(refusal)),
        Ok(Err(Unanswered::Gone)) => Err(RequestError::NoBroker),
        Ok(Err(Unanswered::TimedOut)) | Err(RecvTimeoutError::Timeout) => Err(RequestError::TimedOut),
        Err(RecvTimeoutError::Disconnected) => Err(closed(shared)),
    }
}

/// The deadline of whoever waits beyond all bounds: in a century.
fn never() -> Instant {
    Instant::now() + Duration::from_secs(100 * 365 * 86_400)
}

/// Why the driver doesn't answer.
pub(crate) fn closed(shared: &Shared) -> RequestError {
    if shared.is_forked() { RequestError::Forked } else { RequestError::Closed }
}

/// The reply's one message.
pub(crate) fn only<'a>(page: &'a [Message<'a>]) -> Result<&'a Message<'a>, Malformed> {
    match page {
        [message] if message.header.flags & NLM_F_MULTI == 0 => Ok(message),
        _ => Err(Malformed("a reply of several messages where one was expected")),
    }
}

/// A request was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The name isn't a topic's.
    Topic {
        /// The name.
        name: String,
        /// What is wrong with it.
        error: TopicError,
    },
    /// A payload is longer than any may be.
    Payload {
        /// Its bytes.
        len: usize,
    },
    /// A value can't be encoded.
    Encode(EncodeError),
    /// The topic's values are of another type.
    OtherType(Box<TypeMismatch>),
    /// The broker refused it.
    Refused(Refusal),
    /// No answer came in time; the broker may have carried it out.
    TimedOut,
    /// The broker is gone, and no other one was found in the time that [`Builder::outage`](crate::Builder::outage) gives.
    NoBroker,
    /// The answer can't be read.
    Malformed(Malformed),
    /// The bus was closed.
    Closed,
    /// This process is a child of the one that connected (fork(2)), and the connection is the parent's.
    Forked,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Topic { name, error } => {
                write!(f, "'{}' can't be a topic: {error}", name.escape_debug())
            }
            RequestError::Payload { len } => {
                write!(f, "a payload of {len} bytes is too long: at most {NLBUS_PAYLOAD_MAX} fit, publish it in parts")
            }
            RequestError::Encode(error) => write!(f, "the value can't be encoded: {error}"),
            RequestError::OtherType(mismatch) => mismatch.fmt(f),
            RequestError::Refused(refusal) => write!(f, "the broker refused: {refusal}"),
            RequestError::TimedOut => f.write_str(TIMED_OUT),
            RequestError::NoBroker => f.write_str(GONE),
            RequestError::Malformed(error) => write!(f, "the broker's answer can't be read: {error}"),
            RequestError::Closed => f.write_str(CLOSED),
            RequestError::Forked => f.write_str(FORKED),
        }
    }
}

impl std::error::Error for RequestError {}
