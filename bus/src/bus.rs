//! The handle to a bus, and how it is connected.

use crate::client::{ClientCounters, Reply, Unanswered};
use crate::connection::Shared;
use crate::direct::Direct;
use crate::driver::{Command, Driver, Settings};
use crate::link::{self, Choice, ConnectError};
use crate::publish_batch::PublishBatch;
use crate::publisher::{self, FORKED, PublishError, PublishReason, Publisher, Route};
use crate::reactor;
use crate::subscriber::{SubscribeError, Subscriber};
use crate::subscription::{Subscription, TypedSubscription};
use crate::topic::{TopicError, check_name};
use crate::wire::uapi::{NLBUS_USER_PORT, NLM_F_MULTI};
use crate::wire::{
    Content, Info, Malformed, Message, Messages, Refusal, TopicKey, TopicPageEnd, TopicRecord, TopicRequest,
    push_info_request,
};
use crossbeam_channel::bounded;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Receive buffer of the sockets unless set, bytes. The kernel's default holds 256 small datagrams.
const RECEIVE_BUFFER: usize = 8 << 20;

/// How long a publisher waits for its ack and a handle for its answer, unless set.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait between looks for a broker that isn't there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How to connect to a bus.
///
/// ```no_run
/// use std::time::Duration;
///
/// let bus = nlbus::Bus::builder()
///     .broker(nlbus::Choice::User)
///     .wait(Duration::from_secs(5))
///     .connect()?;
/// # Ok::<(), nlbus::ConnectError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    choice: Choice,
    port: u32,
    receive_buffer: usize,
    wait: Duration,
    patience: Duration,
    direct: bool,
}

impl Builder {
    /// Which broker: [`Choice::Auto`] unless set.
    pub fn broker(mut self, choice: Choice) -> Self {
        self.choice = choice;
        self
    }

    /// The port id of a user broker, 1852596852 (0x6e6c6274) unless set; it answers requests at the next one.
    pub fn port(mut self, port: u32) -> Self {
        self.port = port;
        self
    }

    /// Receive buffer of each of the two sockets in bytes, 8 MiB unless set. Beyond `net.core.rmem_max` it takes
    /// `CAP_NET_ADMIN` (`SO_RCVBUFFORCE`); without, it is as large as the kernel allows.
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = bytes;
        self
    }

    /// Waits at most this long for a broker to appear, not at all unless set.
    pub fn wait(mut self, timeout: Duration) -> Self {
        self.wait = timeout;
        self
    }

    /// How long acks and answers may take, 10 s unless set.
    pub fn patience(mut self, timeout: Duration) -> Self {
        self.patience = timeout;
        self
    }

    /// Starts no thread: the caller drives the connection. Whatever waits or looks for something ([`Subscription::recv`]
    /// and its like, [`Bus::flush`], requests, publishing with an ack) does the connection's work meanwhile, one wake-up
    /// sooner than a thread would have. An event loop of the application's own waits at [`Bus::fd`] and calls
    /// [`Bus::turn`] or [`Subscription::try_recv`].
    ///
    /// While nobody calls, nothing is read: events wait in the socket's receive buffer, what doesn't fit there is
    /// repaired from history or reported as lost later on, and a broker that restarts isn't noticed.
    pub fn direct(mut self) -> Self {
        self.direct = true;
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// Any [`ConnectError`].
    pub fn connect(self) -> Result<Bus, ConnectError> {
        let start = Instant::now();
        let info = loop {
            match link::find(self.choice, self.port) {
                Err(error) if error.may_pass() && start.elapsed() < self.wait => thread::sleep(LOOK_AGAIN),
                found => break found?,
            }
        };
        let events = link::open_events(&info, self.receive_buffer)?;
        let requests = Arc::new(link::open_requests(&info, self.receive_buffer)?);
        let route = Route { socket: Arc::clone(&requests), port: info.publish_port };
        let io = |what| move |error| ConnectError::Io { what, error };
        let waker = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let waker = Arc::new(waker.map_err(|errno| io("make an eventfd")(errno.into()))?);
        let publisher = Arc::new(Publisher::new(route, Arc::clone(&waker)));
        let settings = Settings { choice: self.choice, port: self.port, receive_buffer: self.receive_buffer };
        let (driver, remote) = Driver::new(settings, info, events, requests, Arc::clone(&publisher), waker)
            .map_err(io("wait at the sockets"))?;
        let direct = if self.direct {
            Some(Direct::new(driver))
        } else {
            reactor::start(driver).map_err(io("start the background thread"))?;
            None
        };
        Ok(Bus { shared: Arc::new(Shared::new(publisher, remote, self.patience, direct)) })
    }
}

/// A connection to a bus. Clones are the same connection; it ends with the last of them and of its subscriptions.
#[derive(Debug, Clone)]
pub struct Bus {
    shared: Arc<Shared>,
}

/// What a connection has counted since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BusCounters {
    /// Events that the broker refused without anybody waiting for its verdict.
    pub refused: u64,
    /// What came in.
    pub client: ClientCounters,
}

impl Bus {
    /// Connects to the module where it is loaded, else to the user broker.
    ///
    /// # Errors
    /// Any [`ConnectError`].
    pub fn connect() -> Result<Bus, ConnectError> {
        Bus::builder().connect()
    }

    /// Connects otherwise.
    pub fn builder() -> Builder {
        Builder {
            choice: Choice::default(),
            port: NLBUS_USER_PORT,
            receive_buffer: RECEIVE_BUFFER,
            wait: Duration::ZERO,
            patience: PATIENCE,
            direct: false,
        }
    }

    /// Publishes an event. Ok means queued: a refusal shows at the next publish or [`flush`](Self::flush), and in
    /// [`counters`](Self::counters). When the broker's queue is full, this sleeps until there is room.
    ///
    /// # Errors
    /// When topic or payload can't be published, no broker is there, or an event published before was refused
    /// ([`PublishReason::EarlierRefused`](crate::PublishReason::EarlierRefused)): then this one was not sent. The
    /// payload stays with the caller.
    pub fn publish(&self, topic: &str, payload: &(impl AsRef<[u8]> + ?Sized)) -> Result<(), PublishError> {
        self.publish_content(topic, Content::Opaque, payload)
    }

    /// Publishes an event and says what its payload is.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_content(
        &self,
        topic: &str,
        content: Content,
        payload: &(impl AsRef<[u8]> + ?Sized),
    ) -> Result<(), PublishError> {
        self.shared.publisher(topic)?.publish(topic, content, payload.as_ref())
    }

    /// Publishes a value: bincode 2.0.1, little-endian, fixed-width integers.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), and when the value can't be encoded.
    pub fn publish_value<T: Serialize + ?Sized>(&self, topic: &str, value: &T) -> Result<(), PublishError> {
        self.publish_content(topic, Content::Bincode, &publisher::encode(topic, value)?)
    }

    /// Publishes an event and waits until the broker has broadcast it: every subscriber's socket has taken it or
    /// counted a drop. Returns its sequence number.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), and the broker's refusal of this event. After
    /// [`PublishReason::Unknown`](crate::PublishReason::Unknown) it may have been published.
    pub fn publish_acked(&self, topic: &str, payload: &(impl AsRef<[u8]> + ?Sized)) -> Result<u64, PublishError> {
        self.publish_content_acked(topic, Content::Opaque, payload)
    }

    /// [`publish_acked`](Self::publish_acked) that says what the payload is.
    ///
    /// # Errors
    /// As [`publish_acked`](Self::publish_acked).
    pub fn publish_content_acked(
        &self,
        topic: &str,
        content: Content,
        payload: &(impl AsRef<[u8]> + ?Sized),
    ) -> Result<u64, PublishError> {
        let asked = self.shared.publisher(topic)?.publish_asking(topic, content, payload.as_ref())?;
        let seq = self.shared.verdict(topic, &asked)?;
        seq.ok_or_else(|| PublishError::new(topic, PublishReason::Unknown))
    }

    /// [`publish_acked`](Self::publish_acked) for a value.
    ///
    /// # Errors
    /// As [`publish_acked`](Self::publish_acked), and when the value can't be encoded.
    pub fn publish_value_acked<T: Serialize + ?Sized>(&self, topic: &str, value: &T) -> Result<u64, PublishError> {
        self.publish_content_acked(topic, Content::Bincode, &publisher::encode(topic, value)?)
    }

    /// A batch of events that go to the broker in one datagram, which accepts all of them or none.
    pub fn batch(&self) -> PublishBatch<'_> {
        PublishBatch::new(&self.shared)
    }

    /// Waits until the broker has accepted or refused everything that this connection published before.
    ///
    /// # Errors
    /// The oldest refusal that nobody was told of, or as [`publish_acked`](Self::publish_acked).
    pub fn flush(&self) -> Result<(), PublishError> {
        let publisher = self.shared.publisher("")?;
        self.shared.verdict("", &publisher.barrier()?)?;
        publisher.tell_of_earlier("")
    }

    /// Subscribes to a topic, or to all topics that match a filter, also those that appear later. When this
    /// returns, nothing that is published can be missed any more.
    ///
    /// # Errors
    /// As [`Subscriber::open`].
    pub fn subscribe(&self, filter: &str) -> Result<Subscription, SubscribeError> {
        self.subscriber(filter).open()
    }

    /// Subscribes, and decodes each payload into a `T`.
    ///
    /// # Errors
    /// As [`Subscriber::open`].
    pub fn subscribe_as<T: DeserializeOwned>(&self, filter: &str) -> Result<TypedSubscription<T>, SubscribeError> {
        self.subscriber(filter).open_as()
    }

    /// A subscription with options.
    pub fn subscriber(&self, filter: &str) -> Subscriber {
        Subscriber::new(Arc::clone(&self.shared), filter)
    }

    /// What the broker says of itself.
    ///
    /// # Errors
    /// Any [`RequestError`].
    pub fn info(&self) -> Result<Info, RequestError> {
        self.ask(|seq, frame| push_info_request(frame, seq), |page| Info::read(only(page)?.body))
    }

    /// All topics, in the order of their creation.
    ///
    /// # Errors
    /// Any [`RequestError`].
    pub fn topics(&self) -> Result<Vec<TopicRecord>, RequestError> {
        let (mut topics, mut cursor) = (Vec::new(), Some(0));
        while let Some(from) = cursor {
            let list = TopicRequest::List { cursor: from, since: None };
            let write = move |seq, frame: &mut Vec<u8>| list.push(frame, seq);
            let (page, end) = self.ask(write, |page| {
                let (end, records) = page.split_last().ok_or(Malformed("a list without an end"))?;
                let records = records.iter().map(|record| TopicRecord::read(record.body));
                Ok((records.collect::<Result<Vec<_>, _>>()?, TopicPageEnd::read(end.body)?))
            })?;
            topics.extend(page);
            // A cursor that doesn't move would ask for ever.
            cursor = end.cursor.filter(|cursor| *cursor > from);
        }
        Ok(topics)
    }

    /// One topic, or `None` where it doesn't exist.
    ///
    /// # Errors
    /// Any [`RequestError`].
    pub fn topic(&self, name: &str) -> Result<Option<TopicRecord>, RequestError> {
        match self.topic_request(name, |name| TopicRequest::Get(TopicKey::Name(name))) {
            Err(RequestError::Refused(refusal)) if refusal.errno == Errno::ENOENT => Ok(None),
            topic => topic.map(Some),
        }
    }

    /// Creates a topic with the broker's defaults, unless it exists. Publishing does so, too.
    ///
    /// # Errors
    /// Any [`RequestError`].
    pub fn create_topic(&self, name: &str) -> Result<TopicRecord, RequestError> {
        self.topic_request(name, |name| TopicRequest::Create { name, exclusive: false })
    }

    fn topic_request(
        &self,
        name: &str,
        request: impl for<'a> FnOnce(&'a str) -> TopicRequest<'a> + Send + 'static,
    ) -> Result<TopicRecord, RequestError> {
        check_name(name.as_bytes()).map_err(RequestError::Topic)?;
        let name = name.to_owned();
        self.ask(move |seq, frame| request(&name).push(frame, seq), |page| TopicRecord::read(only(page)?.body))
    }

    /// What this connection has counted.
    ///
    /// # Errors
    /// [`RequestError::Closed`].
    pub fn counters(&self) -> Result<BusCounters, RequestError> {
        // Where the caller drives, what came in until now counts.
        self.shared.turn();
        let (reply, counters) = bounded(1);
        self.shared.tell(Command::Counters(reply));
        let client = self.shared.receive(&counters, None).map_err(|_| self.closed())?;
        Ok(BusCounters { refused: self.shared.refused(), client })
    }

    /// On a connection that the caller drives ([`Builder::direct`]), what an event loop waits at: readable while
    /// [`turn`](Self::turn) has something to do. `None` where a thread drives. Nothing but waiting is to be done with it.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.shared.fd()
    }

    /// On a connection that the caller drives ([`Builder::direct`]), does what there is to do now, without waiting: at
    /// most 1024 datagrams of it. Whether there may be more: who is told of changes alone (`EPOLLET`, mio) calls again
    /// until there isn't. Does nothing where a thread drives, or another thread is in a call that does the same.
    ///
    /// It fills subscriptions' channels; [`Subscription::try_recv`] does as much where its channel is empty, and is all
    /// that a program with one subscription needs. Looking for a broker that is gone, it can take as long as one that
    /// is stopped keeps silent, 2 s.
    pub fn turn(&self) -> bool {
        self.shared.turn()
    }

    /// Flushes and ends the connection, for all handles: subscriptions deliver what they hold and then end.
    ///
    /// # Errors
    /// As [`flush`](Self::flush). The connection is ended all the same.
    pub fn close(self) -> Result<(), PublishError> {
        let flushed = self.flush();
        self.shared.tell(Command::Stop);
        flushed
    }

    /// Why the driver doesn't answer.
    fn closed(&self) -> RequestError {
        if self.shared.is_forked() { RequestError::Forked } else { RequestError::Closed }
    }

    /// Makes a request and reads its reply, a page of messages.
    fn ask<T>(
        &self,
        write: impl FnOnce(u32, &mut Vec<u8>) + Send + 'static,
        read: impl FnOnce(&[Message<'_>]) -> Result<T, Malformed>,
    ) -> Result<T, RequestError> {
        let (reply, answer) = bounded::<Reply>(1);
        let write = move |seq| {
            let mut frame = Vec::new();
            write(seq, &mut frame);
            frame
        };
        self.shared.tell(Command::Ask(Box::new(write), self.shared.patience, reply));
        match self.shared.receive(&answer, Instant::now().checked_add(self.shared.patience)) {
            Ok(Ok(datagram)) => {
                let page = Messages::new(&datagram).collect::<Result<Vec<_>, _>>();
                let page = page.map_err(|_| RequestError::Malformed(Malformed("a message's length is wrong")))?;
                read(&page).map_err(RequestError::Malformed)
            }
            Ok(Err(Unanswered::Refused(refusal))) => Err(RequestError::Refused(refusal)),
            Ok(Err(Unanswered::Gone)) => Err(RequestError::NoBroker),
            Ok(Err(Unanswered::TimedOut)) | Err(crossbeam_channel::RecvTimeoutError::Timeout) => {
                Err(RequestError::TimedOut)
            }
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => Err(self.closed()),
        }
    }
}

/// The reply's one message.
fn only<'a>(page: &'a [Message<'a>]) -> Result<&'a Message<'a>, Malformed> {
    match page {
        [message] if message.header.flags & NLM_F_MULTI == 0 => Ok(message),
        _ => Err(Malformed("a reply of several messages where one was expected")),
    }
}

/// A request was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The topic isn't a topic name.
    Topic(TopicError),
    /// The broker refused it.
    Refused(Refusal),
    /// No answer came in time; the broker may have carried it out.
    TimedOut,
    /// The broker is gone.
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
            RequestError::Topic(error) => write!(f, "bad topic name: {error}"),
            RequestError::Refused(refusal) => write!(f, "the broker refused: {refusal}"),
            RequestError::TimedOut => f.write_str("the broker doesn't answer; is it stopped?"),
            RequestError::NoBroker => f.write_str("the broker is gone; start it again (nlbus broker, modprobe nlbus)"),
            RequestError::Malformed(error) => write!(f, "the broker's answer can't be read: {error}"),
            RequestError::Closed => f.write_str("the bus was closed"),
            RequestError::Forked => f.write_str(FORKED),
        }
    }
}

impl std::error::Error for RequestError {}
