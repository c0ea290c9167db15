//! Subscribing: the builder, and the handles that deliveries come out of.

use crate::batch::Batch;
use crate::client::{Opening, Refused, Start, SubId};
use crate::codec::DecodeError;
use crate::connection::Shared;
use crate::delivery::{Delivery, Event, Lost, Restarted};
use crate::flow::Flow;
use crate::reactor::Command;
use crate::topic::{Filter, TopicError};
use crate::wire::Refusal;
use crossbeam_channel::{Receiver, RecvError, RecvTimeoutError, TryRecvError, bounded, unbounded};
use nix::errno::Errno;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Events that a subscription's channel holds unless it is asked for another number.
pub const CAPACITY: usize = 16_384;

/// Bytes of datagrams that a subscription's channel holds.
const CAPACITY_BYTES: usize = 16 << 20;

/// What happens when a subscription's channel is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// It keeps only its place in each topic, and is refilled from the broker's history when it has room.
    #[default]
    CatchUp,
}

/// A subscription can't be.
#[derive(Debug)]
pub struct SubscribeError {
    filter: Box<str>,
    reason: SubscribeReason,
}

/// Why a subscription can't be.
#[derive(Debug)]
#[non_exhaustive]
pub enum SubscribeReason {
    /// The filter isn't one.
    Filter(TopicError),
    /// [`Start::From`] is for one exact topic: the numbers of different topics have nothing to do with each other.
    FromWildcard,
    /// [`Start::From`] lies beyond the topic's newest event + 1.
    Beyond {
        /// The topic's newest sequence number, 0 for none yet.
        head: u64,
    },
    /// The broker refused to look the topics up.
    Refused(Refusal),
    /// The kernel refused to let the socket join a group.
    Join(Errno),
    /// The broker didn't answer.
    TimedOut,
    /// The bus was closed.
    Closed,
}

impl SubscribeError {
    fn new(filter: &str, reason: SubscribeReason) -> SubscribeError {
        SubscribeError { filter: filter.into(), reason }
    }

    /// The filter that was subscribed to.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// Why it failed.
    pub fn reason(&self) -> &SubscribeReason {
        &self.reason
    }
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "can't subscribe to '{}': ", self.filter.escape_debug())?;
        match &self.reason {
            SubscribeReason::Filter(error) => error.fmt(f),
            SubscribeReason::FromWildcard => f.write_str("a sequence number to start from needs one exact topic"),
            SubscribeReason::Beyond { head } => {
                write!(f, "the sequence number to start from is beyond the topic's newest, {head}, + 1")
            }
            SubscribeReason::Refused(refusal) => refusal.fmt(f),
            SubscribeReason::Join(errno @ (Errno::EPERM | Errno::EACCES)) => write!(
                f,
                "the kernel doesn't let this process join netlink groups ({}); a user broker's groups need \
                 CAP_NET_ADMIN: run as root, or all of it inside 'unshare -Urn', or load the module",
                errno.desc()
            ),
            SubscribeReason::Join(errno) => write!(f, "joining a group failed: {}", errno.desc()),
            SubscribeReason::TimedOut => f.write_str("the broker doesn't answer; is it stopped?"),
            SubscribeReason::Closed => f.write_str("the bus was closed"),
        }
    }
}

impl std::error::Error for SubscribeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            SubscribeReason::Filter(error) => Some(error),
            SubscribeReason::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

/// How a subscription is to be. Made by [`crate::Bus::subscriber`].
#[derive(Debug)]
#[must_use = "a subscription begins with open()"]
pub struct Subscriber {
    bus: Arc<Shared>,
    filter: Box<str>,
    capacity: usize,
    start: Start,
    overflow: Overflow,
}

impl Subscriber {
    pub(crate) fn new(bus: Arc<Shared>, filter: &str) -> Subscriber {
        Subscriber {
            bus,
            filter: filter.into(),
            capacity: CAPACITY,
            start: Start::default(),
            overflow: Overflow::default(),
        }
    }

    /// How many events the channel holds, at least 1; 16 384 unless set. It also holds at most about 16 MiB of the
    /// datagrams that they came in, which an event keeps whole.
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = events;
        self
    }

    /// Where to begin: [`Start::Live`] unless set.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// What happens when the channel is full: [`Overflow::CatchUp`] unless set.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Subscribes. When this returns, nothing that is published can be missed any more.
    ///
    /// # Errors
    /// Any [`SubscribeReason`].
    pub fn open(self) -> Result<Subscription, SubscribeError> {
        let fail = |reason| SubscribeError::new(&self.filter, reason);
        let filter = Filter::new(&self.filter).map_err(|error| fail(SubscribeReason::Filter(error)))?;
        if filter.is_wildcard() && matches!(self.start, Start::From(_)) {
            return Err(fail(SubscribeReason::FromWildcard));
        }
        let remote = self.bus.remote.clone();
        let flow = Flow::new(self.capacity, CAPACITY_BYTES, Arc::new(move || remote.wake()));
        let (channel, batches) = unbounded();
        let (opener, opened) = bounded(1);
        let opening = Opening { filter: filter.clone(), start: self.start, flow, channel, opener };
        self.bus.remote.tell(Command::Open(opening));
        match opened.recv_timeout(self.bus.patience) {
            Ok(Ok(opened)) => {
                let (bus, id) = (Arc::clone(&self.bus), opened.id);
                Ok(Subscription { batches, current: None, filter, _guard: Guard { bus, id } })
            }
            Ok(Err(Refused::Broker(refusal))) => Err(fail(SubscribeReason::Refused(refusal))),
            Ok(Err(Refused::Join(errno))) => Err(fail(SubscribeReason::Join(errno))),
            Ok(Err(Refused::Beyond { head })) => Err(fail(SubscribeReason::Beyond { head })),
            Ok(Err(Refused::TimedOut)) | Err(RecvTimeoutError::Timeout) => Err(fail(SubscribeReason::TimedOut)),
            Err(RecvTimeoutError::Disconnected) => Err(fail(SubscribeReason::Closed)),
        }
    }

    /// Subscribes, and decodes each payload into a `T`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_as<T: DeserializeOwned>(self) -> Result<TypedSubscription<T>, SubscribeError> {
        Ok(TypedSubscription { inner: self.open()?, value: PhantomData })
    }
}

/// Ends the subscription with its handle. Holds the bus, so that a subscription outlives the other handles.
#[derive(Debug)]
struct Guard {
    bus: Arc<Shared>,
    id: SubId,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.bus.remote.tell(Command::Close(self.id));
    }
}

/// A subscription: deliveries come out of it in the order of their topics. Dropping it unsubscribes.
///
/// It keeps its bus connected. A consumer that is slow fills its own channel only: nobody else waits for it.
#[derive(Debug)]
pub struct Subscription {
    batches: Receiver<Batch>,
    current: Option<Batch>,
    filter: Filter,
    _guard: Guard,
}

impl Subscription {
    /// The filter.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Waits for the next delivery.
    ///
    /// # Errors
    /// When the bus was closed and everything delivered has been taken.
    pub fn recv(&mut self) -> Result<Delivery, RecvError> {
        loop {
            if let Some(delivery) = self.take_current() {
                return Ok(delivery);
            }
            self.current = Some(self.batches.recv()?);
        }
    }

    /// Takes the next delivery if there is one.
    ///
    /// # Errors
    /// `Empty` when there is none now; `Disconnected` when the bus was closed and nothing is left.
    pub fn try_recv(&mut self) -> Result<Delivery, TryRecvError> {
        loop {
            if let Some(delivery) = self.take_current() {
                return Ok(delivery);
            }
            self.current = Some(self.batches.try_recv()?);
        }
    }

    /// Waits for the next delivery, at most this long.
    ///
    /// # Errors
    /// `Timeout` when none came; `Disconnected` when the bus was closed and nothing is left.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Delivery, RecvTimeoutError> {
        // No deadline: one that lies beyond all time (Duration::MAX).
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if let Some(delivery) = self.take_current() {
                return Ok(delivery);
            }
            self.current = Some(match deadline {
                Some(deadline) => self.batches.recv_deadline(deadline)?,
                None => self.batches.recv().map_err(|RecvError| RecvTimeoutError::Disconnected)?,
            });
        }
    }

    /// Deliveries until the bus is closed.
    pub fn iter(&mut self) -> impl Iterator<Item = Delivery> {
        std::iter::from_fn(|| self.recv().ok())
    }

    /// The channel itself, for `crossbeam_channel::select!`: a batch holds what came in one datagram. What
    /// [`recv`](Self::recv) and its like have begun to take is not in it any more.
    pub fn batches(&self) -> &Receiver<Batch> {
        &self.batches
    }

    fn take_current(&mut self) -> Option<Delivery> {
        let delivery = self.current.as_mut()?.next();
        if self.current.as_ref().is_some_and(Batch::is_empty) {
            // Its room goes back before the consumer works on the last one of it.
            self.current = None;
        }
        delivery
    }
}

/// A subscription whose payloads are values of one type.
#[derive(Debug)]
pub struct TypedSubscription<T> {
    inner: Subscription,
    value: PhantomData<fn() -> T>,
}

/// One thing that a typed subscription delivers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TypedDelivery<T> {
    /// An event and its value.
    Value(T, Event),
    /// An event whose payload isn't a `T`.
    Undecodable(Event, DecodeError),
    /// Events that this subscription will not see.
    Lost(Lost),
    /// The broker is another one than before.
    Restarted(Restarted),
}

impl<T: DeserializeOwned> TypedSubscription<T> {
    /// Waits for the next delivery.
    ///
    /// # Errors
    /// As [`Subscription::recv`].
    pub fn recv(&mut self) -> Result<TypedDelivery<T>, RecvError> {
        self.inner.recv().map(decode)
    }

    /// Takes the next delivery if there is one.
    ///
    /// # Errors
    /// As [`Subscription::try_recv`].
    pub fn try_recv(&mut self) -> Result<TypedDelivery<T>, TryRecvError> {
        self.inner.try_recv().map(decode)
    }

    /// Waits for the next delivery, at most this long.
    ///
    /// # Errors
    /// As [`Subscription::recv_timeout`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<TypedDelivery<T>, RecvTimeoutError> {
        self.inner.recv_timeout(timeout).map(decode)
    }

    /// Deliveries until the bus is closed.
    pub fn iter(&mut self) -> impl Iterator<Item = TypedDelivery<T>> {
        std::iter::from_fn(|| self.recv().ok())
    }

    /// The subscription without the type.
    pub fn into_untyped(self) -> Subscription {
        self.inner
    }
}

fn decode<T: DeserializeOwned>(delivery: Delivery) -> TypedDelivery<T> {
    match delivery {
        Delivery::Event(event) => match event.decode() {
            Ok(value) => TypedDelivery::Value(value, event),
            Err(error) => TypedDelivery::Undecodable(event, error),
        },
        Delivery::Lost(lost) => TypedDelivery::Lost(lost),
        Delivery::Restarted(restarted) => TypedDelivery::Restarted(restarted),
    }
}
