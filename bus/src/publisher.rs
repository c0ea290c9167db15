//! Publishing: a frame a datagram, or a batch of them, sent by the calling thread. Verdicts come back
//! over the same socket, which the client's driver reads.

use crate::client::REQUEST_BIT;
use crate::codec::{self, EncodeError};
use crate::sys::NetlinkSocket;
use crate::topic::{TopicError, check_name};
use crate::wire::uapi::{NLBUS_DATAGRAM_MAX, NLBUS_EVENT_F_NO_WAIT, NLBUS_PAYLOAD_MAX, NLM_F_ACK, NLM_F_REQUEST};
use crate::wire::{Content, Refusal, push_info_request, push_publish};
use crossbeam_channel::{Sender, bounded};
use nix::errno::Errno;
use serde::Serialize;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// Refusals kept for the next publish or flush; older ones are only counted.
const REFUSALS_KEPT: usize = 64;

thread_local! {
    /// Where a thread writes its frames, so that publishing allocates nothing.
    static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

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
    /// The batch has no room for it; send the batch first.
    BatchFull,
    /// The value can't be encoded.
    Encode(EncodeError),
    /// The broker refused this event.
    Refused(Refusal),
    /// The broker refused an event that was published before, without waiting for its verdict. This one was not sent.
    EarlierRefused(Refusal),
    /// No broker is there.
    NoBroker,
    /// The kernel didn't take the datagram.
    Send(io::Error),
    /// No ack came in time, or the broker restarted meanwhile: the event may have been published.
    /// Publishing it again may duplicate it.
    Unknown,
    /// The bus was closed.
    Closed,
}

impl PublishError {
    fn new(topic: &str, reason: PublishReason) -> PublishError {
        PublishError { topic: topic.into(), reason }
    }

    /// The topic that was published to.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Why it failed.
    pub fn reason(&self) -> &PublishReason {
        &self.reason
    }

    /// The errno of the kernel or the broker, if it is one of theirs.
    pub fn errno(&self) -> Option<Errno> {
        match &self.reason {
            PublishReason::Refused(refusal) | PublishReason::EarlierRefused(refusal) => Some(refusal.errno),
            PublishReason::NoBroker => Some(Errno::ECONNREFUSED),
            PublishReason::Send(error) => error.raw_os_error().map(Errno::from_raw),
            _ => None,
        }
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let PublishReason::EarlierRefused(refusal) = &self.reason {
            return write!(f, "an event published before was refused: {refusal}");
        }
        write!(f, "can't publish to '{}': ", self.topic.escape_debug())?;
        match &self.reason {
            PublishReason::Topic(error) => error.fmt(f),
            PublishReason::TooLarge(len) => {
                write!(f, "the payload has {len} bytes, at most {NLBUS_PAYLOAD_MAX} are allowed")
            }
            PublishReason::BatchFull => f.write_str("the batch is full; send it and begin another"),
            PublishReason::Encode(error) => error.fmt(f),
            PublishReason::Refused(refusal) | PublishReason::EarlierRefused(refusal) => refusal.fmt(f),
            PublishReason::NoBroker => f.write_str("the broker is gone; start it again (nlbus broker, modprobe nlbus)"),
            PublishReason::Send(error) if error.kind() == io::ErrorKind::WouldBlock => {
                f.write_str("the broker's queue is full; try again, or let it wait")
            }
            PublishReason::Send(error) => error.fmt(f),
            PublishReason::Unknown => {
                f.write_str("no ack came; the event may have been published, and publishing it again may duplicate it")
            }
            PublishReason::Closed => f.write_str("the bus was closed"),
        }
    }
}

impl std::error::Error for PublishError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            PublishReason::Topic(error) => Some(error),
            PublishReason::Encode(error) => Some(error),
            PublishReason::Refused(refusal) | PublishReason::EarlierRefused(refusal) => Some(refusal),
            PublishReason::Send(error) => Some(error),
            _ => None,
        }
    }
}

type Verdict = Result<Option<u64>, Refusal>;

/// Where publishes go.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) socket: Arc<NetlinkSocket>,
    pub(crate) port: u32,
}

/// The publishing half of a bus, shared by its handles and its driver.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// `None` once the bus is closed.
    route: RwLock<Option<Route>>,
    next: AtomicU32,
    waiting: Mutex<HashMap<u32, Sender<Verdict>>>,
    refusals: Mutex<VecDeque<Refusal>>,
    any_refusal: AtomicBool,
    refused: AtomicU64,
    patience: Duration,
}

impl Publisher {
    pub(crate) fn new(route: Route, patience: Duration) -> Publisher {
        Publisher {
            route: RwLock::new(Some(route)),
            next: AtomicU32::new(1),
            waiting: Mutex::default(),
            refusals: Mutex::default(),
            any_refusal: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            patience,
        }
    }

    /// How many publishes were refused without anybody waiting for their verdict.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Acquire)
    }

    /// The broker moved.
    pub(crate) fn reroute(&self, route: Option<Route>) {
        *self.route.write().unwrap_or_else(PoisonError::into_inner) = route;
        // Whoever waits for an ack of the broker before this one waits in vain.
        lock(&self.waiting).clear();
    }

    /// The broker's verdict on what was sent with this number.
    pub(crate) fn answer(&self, seq: u32, verdict: Verdict) {
        match (lock(&self.waiting).remove(&seq), verdict) {
            (Some(waiting), verdict) => drop(waiting.send(verdict)),
            (None, Err(refusal)) => {
                let mut refusals = lock(&self.refusals);
                if refusals.len() < REFUSALS_KEPT {
                    refusals.push_back(refusal);
                }
                self.any_refusal.store(true, Ordering::Release);
                // Last: whoever sees it counted is told of it by the next publish.
                self.refused.fetch_add(1, Ordering::Release);
            }
            (None, Ok(_)) => {}
        }
    }

    /// The oldest refusal that nobody has been told of.
    fn earlier_refusal(&self) -> Option<Refusal> {
        if !self.any_refusal.load(Ordering::Acquire) {
            return None;
        }
        let mut refusals = lock(&self.refusals);
        let refusal = refusals.pop_front();
        self.any_refusal.store(!refusals.is_empty(), Ordering::Release);
        refusal
    }

    fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed) & !REQUEST_BIT
    }

    fn send(&self, topic: &str, datagram: &[u8], no_wait: bool) -> Result<(), PublishError> {
        let fail = |reason| PublishError::new(topic, reason);
        // The clone lets a publisher sleep for room without holding the lock.
        let route = self.route.read().unwrap_or_else(PoisonError::into_inner).clone();
        let route = route.ok_or_else(|| fail(PublishReason::Closed))?;
        loop {
            match route.socket.send_to(datagram, route.port, 0, no_wait) {
                Ok(()) => return Ok(()),
                // A signal while waiting for room (netlink_attachskb): nothing was sent.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(Errno::ECONNREFUSED as i32) => {
                    return Err(fail(PublishReason::NoBroker));
                }
                Err(error) => return Err(fail(PublishReason::Send(error))),
            }
        }
    }

    /// Sends a datagram whose verdict comes with this number, and waits for it.
    fn send_and_wait(
        &self,
        seq: u32,
        topic: &str,
        datagram: &[u8],
        no_wait: bool,
    ) -> Result<Option<u64>, PublishError> {
        let (sender, verdict) = bounded(1);
        lock(&self.waiting).insert(seq, sender);
        let result = self.send(topic, datagram, no_wait).and_then(|()| {
            let unknown = |_| PublishError::new(topic, PublishReason::Unknown);
            let verdict = verdict.recv_timeout(self.patience).map_err(unknown)?;
            verdict.map_err(|refusal| PublishError::new(topic, PublishReason::Refused(refusal)))
        });
        lock(&self.waiting).remove(&seq);
        result
    }

    pub(crate) fn publish(&self, topic: &str, content: Content, payload: &[u8]) -> Result<(), PublishError> {
        check(topic, payload)?;
        if let Some(refusal) = self.earlier_refusal() {
            return Err(PublishError::new(topic, PublishReason::EarlierRefused(refusal)));
        }
        with_frame(|frame| {
            push_publish(frame, self.number(), false, 0, content, topic, payload);
            self.send(topic, frame, false)
        })
    }

    pub(crate) fn publish_acked(&self, topic: &str, content: Content, payload: &[u8]) -> Result<u64, PublishError> {
        check(topic, payload)?;
        let number = self.number();
        let seq = with_frame(|frame| {
            push_publish(frame, number, true, 0, content, topic, payload);
            self.send_and_wait(number, topic, frame, false)
        })?;
        seq.ok_or_else(|| PublishError::new(topic, PublishReason::Unknown))
    }

    /// Waits until the broker has judged all that was published before. It reads a socket's datagrams in order,
    /// so an answer to a later question comes after the verdicts on earlier publishes.
    pub(crate) fn flush(&self) -> Result<(), PublishError> {
        let number = self.number();
        with_frame(|frame| {
            push_info_request(frame, number);
            self.send_and_wait(number, "", frame, false)
        })?;
        match self.earlier_refusal() {
            Some(refusal) => Err(PublishError::new("", PublishReason::EarlierRefused(refusal))),
            None => Ok(()),
        }
    }
}

/// Encodes a value for a topic.
pub(crate) fn encode<T: Serialize + ?Sized>(topic: &str, value: &T) -> Result<Vec<u8>, PublishError> {
    codec::encode(value).map_err(|error| PublishError::new(topic, PublishReason::Encode(error)))
}

/// Finds what the broker would refuse anyway, where its caller stands.
fn check(topic: &str, payload: &[u8]) -> Result<(), PublishError> {
    check_name(topic.as_bytes()).map_err(|error| PublishError::new(topic, PublishReason::Topic(error)))?;
    if payload.len() > NLBUS_PAYLOAD_MAX {
        return Err(PublishError::new(topic, PublishReason::TooLarge(payload.len())));
    }
    Ok(())
}

/// Lends the thread's buffer, empty.
fn with_frame<T>(write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    FRAME.with(|frame| match frame.try_borrow_mut() {
        Ok(mut frame) => {
            frame.clear();
            write(&mut frame)
        }
        Err(_) => write(&mut Vec::new()),
    })
}

/// The maps stay whole whatever panicked while one was held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Events that go to the broker in one datagram: it accepts all of them or none.
///
/// A datagram has at most 65 216 bytes, of which an event takes 56, its topic's length rounded up to 8, and its
/// payload's rounded up to 4. One datagram costs one system call, so small events are published many times as fast.
#[derive(Debug)]
pub struct PublishBatch<'a> {
    publisher: &'a Publisher,
    frame: Vec<u8>,
    /// Where in the frame the events begin.
    starts: Vec<usize>,
    last_topic: Box<str>,
    no_wait: bool,
}

impl<'a> PublishBatch<'a> {
    pub(crate) fn new(publisher: &'a Publisher) -> Self {
        PublishBatch { publisher, frame: Vec::new(), starts: Vec::new(), last_topic: "".into(), no_wait: false }
    }

    /// Where the broker's queue is full, sending fails with `EAGAIN` instead of sleeping until there is room. The
    /// user broker's queue is a socket's buffer and so refuses at once; the module's refusal comes as others do.
    #[must_use]
    pub fn no_wait(mut self) -> Self {
        self.no_wait = true;
        self
    }

    /// How many events it holds.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Adds an event.
    ///
    /// # Errors
    /// When topic or payload can't be published, or the datagram has no room for it
    /// ([`PublishReason::BatchFull`]). The batch is as it was.
    pub fn push(&mut self, topic: &str, payload: &(impl AsRef<[u8]> + ?Sized)) -> Result<(), PublishError> {
        self.push_content(topic, Content::Opaque, payload)
    }

    /// Adds an event and says what its payload is.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_content(
        &mut self,
        topic: &str,
        content: Content,
        payload: &(impl AsRef<[u8]> + ?Sized),
    ) -> Result<(), PublishError> {
        let payload = payload.as_ref();
        check(topic, payload)?;
        let start = self.frame.len();
        push_publish(&mut self.frame, 0, false, 0, content, topic, payload);
        if self.frame.len() > NLBUS_DATAGRAM_MAX {
            self.frame.truncate(start);
            return Err(PublishError::new(topic, PublishReason::BatchFull));
        }
        self.starts.push(start);
        self.last_topic = topic.into();
        Ok(())
    }

    /// Adds a value as an event.
    ///
    /// # Errors
    /// As [`push`](Self::push), and when the value can't be encoded.
    pub fn push_value<T: Serialize + ?Sized>(&mut self, topic: &str, value: &T) -> Result<(), PublishError> {
        self.push_content(topic, Content::Bincode, &encode(topic, value)?)
    }

    /// Publishes the events. Ok means that they are queued; a refusal, which is of all of them, shows at the next
    /// publish or flush. The batch is empty afterwards, and after an error as it was.
    ///
    /// # Errors
    /// As [`crate::Bus::publish`].
    pub fn send(&mut self) -> Result<(), PublishError> {
        if self.is_empty() {
            return Ok(());
        }
        if let Some(refusal) = self.publisher.earlier_refusal() {
            return Err(PublishError::new(&self.last_topic, PublishReason::EarlierRefused(refusal)));
        }
        self.address(self.publisher.number(), false);
        self.publisher.send(&self.last_topic, &self.frame, self.no_wait)?;
        self.clear();
        Ok(())
    }

    /// Publishes the events and waits for the broker's word. Returns the last event's sequence number, or `None`
    /// for an empty batch. The batch is empty afterwards, and after an error as it was.
    ///
    /// # Errors
    /// As [`crate::Bus::publish_acked`]; a refusal is of all of the batch.
    pub fn send_acked(&mut self) -> Result<Option<u64>, PublishError> {
        if self.is_empty() {
            return Ok(None);
        }
        let number = self.publisher.number();
        self.address(number, true);
        let seq = self.publisher.send_and_wait(number, &self.last_topic, &self.frame, self.no_wait)?;
        self.clear();
        Ok(seq)
    }

    /// Numbers the messages and lets the last one ask for an ack, or not. The headers' layouts are
    /// `struct nlmsghdr`'s, 16 bytes with flags at 6 and the number at 8, and `struct nlbus_event_hdr`'s, flags at 34.
    fn address(&mut self, number: u32, ack: bool) {
        for (at, start) in self.starts.iter().enumerate() {
            let ack = if ack && at + 1 == self.starts.len() { NLM_F_ACK } else { 0 };
            let (flags, seq) = (NLM_F_REQUEST | ack, number);
            self.frame[start + 6..start + 8].copy_from_slice(&flags.to_ne_bytes());
            self.frame[start + 8..start + 12].copy_from_slice(&seq.to_ne_bytes());
            let flags = if self.no_wait { NLBUS_EVENT_F_NO_WAIT } else { 0 };
            self.frame[start + 50..start + 52].copy_from_slice(&flags.to_ne_bytes());
        }
    }

    fn clear(&mut self) {
        self.frame.clear();
        self.starts.clear();
    }
}
