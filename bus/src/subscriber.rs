//! Subscribing: how a subscription is to be, and why it can't be.

use crate::client::{Opening, Refused, Start};
use crate::connection::Handle;
use crate::driver::Command;
use crate::inlet::{Overflow, inlet};
use crate::positions::Positions;
use crate::publisher::{CLOSED, FORKED, GONE};
use crate::request::TIMED_OUT;
use crate::subscription::Subscription;
use crate::topic::{Filter, TopicError};
use crate::type_name::{TypeMismatch, TypeName};
use crate::typed::TypedSubscription;
use crate::wire::Refusal;
use crossbeam_channel::{RecvTimeoutError, bounded};
use nix::errno::Errno;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// Events that a subscription's channel holds unless it is asked for another number.
pub const CAPACITY: usize = 16_384;

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
    /// [`Start::From`], or a position to resume from, lies beyond a topic's newest event + 1.
    Beyond {
        /// The topic: of a wildcard, the first one where it is so.
        topic: String,
        /// Its newest sequence number, 0 for none yet.
        head: u64,
    },
    /// The values of a topic, of a wildcard the first one where it is so, are of another type than the subscription's
    /// ([`Subscriber::type_name`]).
    OtherType(Box<TypeMismatch>),
    /// The broker refused to look the topics up: `EACCES` for one exact topic that may not be read.
    Refused(Refusal),
    /// The kernel refused to let the socket join a group.
    Join(Errno),
    /// The broker didn't answer.
    TimedOut,
    /// The broker is gone, and no other one was found in the time that [`Builder::patience`](crate::Builder::patience) and
    /// [`Builder::outage`](crate::Builder::outage) give.
    NoBroker,
    /// The bus was closed.
    Closed,
    /// This process is a child of the one that connected (fork(2)), and the connection is the parent's.
    Forked,
}

impl SubscribeError {
    fn new(filter: &str, reason: SubscribeReason) -> SubscribeError {
        SubscribeError { filter: filter.into(), reason }
    }

    /// The filter that was subscribed to.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// if let Err(error) = bus.subscribe("a/#/b") {
    ///     assert_eq!(error.filter(), "a/#/b");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// Why it failed.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// use nlbus::SubscribeReason;
    ///
    /// match bus.subscribe("alarms/#") {
    ///     Err(error) if matches!(error.reason(), SubscribeReason::Join(_)) => println!("{error}"), // says what to do
    ///     other => drop(other?),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reason(&self) -> &SubscribeReason {
        &self.reason
    }
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "can't subscribe to '{}': ", self.filter.escape_debug())?;
        match &self.reason {
            SubscribeReason::Filter(error) => error.fmt(f),
            SubscribeReason::FromWildcard => f.write_str(
                "a sequence number to start from needs one exact topic; start with Last or All, or subscribe to each topic by \
                 itself",
            ),
            SubscribeReason::Beyond { topic, head } => write!(
                f,
                "the number to start from is beyond the newest of topic '{}', {head}, + 1; start with Live or All, or with \
                 positions of this bus",
                topic.escape_debug()
            ),
            SubscribeReason::OtherType(mismatch) => mismatch.fmt(f),
            SubscribeReason::Refused(refusal) if refusal.errno == Errno::EACCES => write!(
                f,
                "{refusal}; its owner or root can let you in: 'nlbus topic set {} --mode 0644', say, or another '--group'",
                self.filter.escape_debug()
            ),
            SubscribeReason::Refused(refusal) => refusal.fmt(f),
            SubscribeReason::Join(errno @ Errno::EPERM) => write!(
                f,
                "the kernel doesn't let this process join netlink groups ({}); a user broker's groups need \
                 CAP_NET_ADMIN: run as root, or all of it inside 'unshare -Urn', or load the module",
                errno.desc()
            ),
            SubscribeReason::Join(errno @ (Errno::EACCES | Errno::ENOENT)) => write!(
                f,
                "the kernel doesn't let this process join the topic's netlink group ({}), though the broker would let it read \
                 the topic; was the connection made as another user? connect anew",
                errno.desc()
            ),
            SubscribeReason::Join(errno) => write!(
                f,
                "joining the topic's netlink group failed ({}); free memory if it is short, and subscribe again",
                errno.desc()
            ),
            SubscribeReason::TimedOut => f.write_str(TIMED_OUT),
            SubscribeReason::NoBroker => f.write_str(GONE),
            SubscribeReason::Closed => f.write_str(CLOSED),
            SubscribeReason::Forked => f.write_str(FORKED),
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
    bus: Handle,
    filter: Box<str>,
    capacity: usize,
    start: Start,
    resume: Option<Positions>,
    overflow: Overflow,
    expected: Expected,
}

/// What a subscription's values are to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Expected {
    /// As the type that they are decoded into, if they are.
    #[default]
    AsDecoded,
    /// This.
    Named(TypeName),
    /// Anything.
    Any,
}

impl Subscriber {
    pub(crate) fn new(bus: Handle, filter: &str) -> Subscriber {
        Subscriber {
            bus,
            filter: filter.into(),
            capacity: CAPACITY,
            start: Start::default(),
            resume: None,
            overflow: Overflow::default(),
            expected: Expected::default(),
        }
    }

    /// How many events the channel holds, at least 1; 16 384 unless set. It also holds at most about 16 MiB of the
    /// datagrams that they came in, which an event keeps whole.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let mut alarms = bus.subscriber("alarms/#").capacity(100).open()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = events;
        self
    }

    /// Where to begin: [`Start::Live`] unless set.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// use nlbus::Start;
    ///
    /// let mut state = bus.subscriber("state/#").start(Start::Last(1)).open()?; // the newest of each topic first
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Goes on after these positions, with what history still keeps; what it no longer keeps is reported as lost. Topics
    /// that are newer than the positions are read from their first event. Where the broker is another one by now, the
    /// subscription begins with [`Restarted`](crate::Restarted) and reads everything that the new one keeps.
    ///
    /// Positions belong to the filter that they were made with. A topic that another one matches besides begins as
    /// [`start`](Self::start) says, or with its first event, which for these positions is as good as new.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// use nlbus::Positions;
    ///
    /// let saved: Positions = serde_json::from_str(&std::fs::read_to_string("positions.json")?)?;
    /// let mut jobs = bus.subscriber("jobs/#").resume(saved).open()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resume(mut self, positions: Positions) -> Self {
        self.resume = Some(positions);
        self
    }

    /// What happens when the channel is full: [`Overflow::CatchUp`] unless set.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// use nlbus::Overflow;
    ///
    /// let mut prices = bus.subscriber("prices/#").overflow(Overflow::Latest).open()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// What the values of its topics are called: opening fails where a topic that the filter matches is known to have another
    /// [type](crate::TopicRecord::type_name), and one that turns out later to have another is [over](crate::Ended) for this
    /// subscription. A topic of which nobody has said it matches. Unless set, [`open_as`](Self::open_as) takes the name of
    /// its type ([`TypeName::of`]), and [`open`](Self::open) any.
    ///
    /// ```no_run
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Temperature { celsius: f32 }
    /// # let bus = nlbus::Bus::connect()?;
    /// let sensors = bus.subscriber("sensors/#").type_name("sensor_msgs/Temperature".parse()?);
    /// let mut temperatures = sensors.open_as::<Temperature>()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn type_name(mut self, name: TypeName) -> Self {
        self.expected = Expected::Named(name);
        self
    }

    /// Takes values of any type, whatever they are decoded into.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let mut numbers = bus.subscriber("counts/#").any_type().open_as::<u64>()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn any_type(mut self) -> Self {
        self.expected = Expected::Any;
        self
    }

    /// Subscribes. When this returns, nothing that is published can be missed any more.
    ///
    /// # Errors
    /// Any [`SubscribeReason`].
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let mut jobs = bus.subscriber("jobs/#").open()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(mut self) -> Result<Subscription, SubscribeError> {
        let type_name = match self.expected {
            Expected::Named(name) => Some(name),
            Expected::AsDecoded | Expected::Any => None,
        };
        let resume = self.resume.take();
        let fail = |reason| SubscribeError::new(&self.filter, reason);
        let filter = Filter::new(&self.filter).map_err(|error| fail(SubscribeReason::Filter(error)))?;
        if filter.is_wildcard() && matches!(self.start, Start::From(_)) {
            return Err(fail(SubscribeReason::FromWildcard));
        }
        let remote = self.bus.remote.clone();
        let (inlet, outlet) = inlet(self.overflow, self.capacity, Arc::new(move || remote.wake()));
        let (opener, opened) = bounded(1);
        let opening = Opening { filter: filter.clone(), start: self.start, resume, type_name, inlet, opener };
        self.bus.tell(Command::Open(Box::new(opening)));
        let deadline = Instant::now().checked_add(self.bus.patience.max(self.bus.outage));
        match self.bus.receive(&opened, deadline) {
            Ok(Ok(opened)) => Ok(Subscription::new(self.bus.clone(), opened, filter, outlet)),
            Ok(Err(Refused::Broker(refusal))) => Err(fail(SubscribeReason::Refused(refusal))),
            Ok(Err(Refused::Join(errno))) => Err(fail(SubscribeReason::Join(errno))),
            Ok(Err(Refused::OtherType(mismatch))) => Err(fail(SubscribeReason::OtherType(mismatch))),
            Ok(Err(Refused::Beyond { topic, head })) => Err(fail(SubscribeReason::Beyond { topic, head })),
            Err(RecvTimeoutError::Timeout) if self.bus.is_gone() => Err(fail(SubscribeReason::NoBroker)),
            Ok(Err(Refused::TimedOut)) | Err(RecvTimeoutError::Timeout) => Err(fail(SubscribeReason::TimedOut)),
            Err(RecvTimeoutError::Disconnected) if self.bus.is_forked() => Err(fail(SubscribeReason::Forked)),
            Err(RecvTimeoutError::Disconnected) => Err(fail(SubscribeReason::Closed)),
        }
    }

    /// Subscribes, and decodes each payload into a `T`; by the name of `T` unless another one was [set](Self::type_name).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// # Example
    /// ```no_run
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Reading { celsius: f32 }
    /// # let bus = nlbus::Bus::connect()?;
    /// use nlbus::Start;
    ///
    /// let mut readings = bus.subscriber("sensors/#").start(Start::Last(1)).open_as::<Reading>()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_as<T: DeserializeOwned>(self) -> Result<TypedSubscription<T>, SubscribeError> {
        let expected = match self.expected {
            Expected::AsDecoded => Expected::Named(TypeName::of::<T>()),
            set => set,
        };
        Subscriber { expected, ..self }.open().map(TypedSubscription::new)
    }
}
