//! The handle to a bus.

mod lost;
mod requests;
mod topic_options;
mod typed_publisher;
mod will;

pub use topic_options::TopicOptions;
pub use typed_publisher::TypedPublisher;

use crate::buffered::BufferedPublisher;
use crate::builder::Builder;
use crate::client::ClientCounters;
use crate::connection::Handle;
use crate::driver::Command;
use crate::link::ConnectError;
use crate::publish_batch::PublishBatch;
use crate::publisher::{self, PublishError, PublishReason, Wait};
use crate::request::RequestError;
use crate::subscriber::{SubscribeError, Subscriber};
use crate::subscription::Subscription;
use crate::typed::TypedSubscription;
use crate::wire::Content;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::os::fd::BorrowedFd;

/// A connection to a bus. Clones are the same connection; it ends with the last of them and of its subscriptions.
#[derive(Debug, Clone)]
pub struct Bus {
    shared: Handle,
}

/// What a connection has counted since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BusCounters {
    /// Events that the broker refused without anybody waiting for its verdict.
    pub refused: u64,
    /// Events that buffered publishers still held when they were dropped, and couldn't send.
    pub unsent: u64,
    /// What came in.
    pub client: ClientCounters,
}

impl Builder {
    /// Connects.
    ///
    /// # Errors
    /// Any [`ConnectError`].
    ///
    /// # Example
    /// ```no_run
    /// match nlbus::Bus::builder().connect() {
    ///     Ok(bus) => println!("epoch {:#x}", bus.info()?.epoch),
    ///     Err(error @ nlbus::ConnectError::NoBroker { .. }) => println!("{error}"), // says how to get one
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connect(self) -> Result<Bus, ConnectError> {
        Ok(Bus { shared: self.open()?.into_handle() })
    }
}

impl Bus {
    /// Connects to the module where it is loaded, else to the user broker.
    ///
    /// # Errors
    /// Any [`ConnectError`].
    ///
    /// # Example
    /// ```no_run
    /// let bus = nlbus::Bus::connect()?;
    /// bus.publish("sensors/1/temp", "21.5")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connect() -> Result<Bus, ConnectError> {
        Bus::builder().connect()
    }

    /// Connects otherwise.
    ///
    /// ```no_run
    /// let bus = nlbus::Bus::builder().wait(std::time::Duration::from_secs(5)).connect()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Publishes an event. Ok means queued: a refusal shows at the next publish or [`flush`](Self::flush), and in
    /// [`counters`](Self::counters). When the broker's queue is full, this sleeps until there is room.
    ///
    /// # Errors
    /// When topic or payload can't be published, no broker is there, or an event published before was refused
    /// ([`PublishReason::EarlierRefused`](crate::PublishReason::EarlierRefused)): then this one was not sent. The
    /// payload stays with the caller.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// bus.publish("sensors/1/temp", "21.5")?;
    /// bus.publish("sensors/1/raw", &[0u8, 15, 7])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish(&self, topic: &str, payload: &(impl AsRef<[u8]> + ?Sized)) -> Result<(), PublishError> {
        self.publish_content(topic, Content::Opaque, payload)
    }

    /// Publishes an event and says what its payload is.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// use nlbus::Content;
    ///
    /// bus.publish_content("sensors/1/state", Content::Json, r#"{"on":true}"#)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_content(
        &self,
        topic: &str,
        content: Content,
        payload: &(impl AsRef<[u8]> + ?Sized),
    ) -> Result<(), PublishError> {
        self.shared.publishing(topic, |publisher| publisher.publish(topic, content, payload.as_ref()))
    }

    /// Publishes a value: bincode 2.0.1, little-endian, fixed-width integers.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), and when the value can't be encoded.
    ///
    /// # Example
    /// ```no_run
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Reading { celsius: f32 }
    /// # let bus = nlbus::Bus::connect()?;
    /// bus.publish_value("sensors/1", &Reading { celsius: 21.5 })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_value<T: Serialize + ?Sized>(&self, topic: &str, value: &T) -> Result<(), PublishError> {
        publisher::with_encoded(topic, value, |bytes| self.publish_content(topic, Content::Bincode, bytes))
    }

    /// Publishes an event and waits until the broker has broadcast it: every subscriber's socket has taken it or
    /// counted a drop. Returns its sequence number.
    ///
    /// # Errors
    /// When topic or payload can't be published, no broker is there, or the broker refuses this event. It doesn't fail for
    /// one before it: that is left to the next [`publish`](Self::publish) or [`flush`](Self::flush). After
    /// [`PublishReason::Unknown`](crate::PublishReason::Unknown) it may have been published. After `EAGAIN`
    /// ([`PublishError::would_block`](crate::PublishError::would_block)) it was not: the broker's queue had no room for it in
    /// the time that [`patience`](Builder::patience) gives.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let seq = bus.publish_acked("jobs/done", "17")?;
    /// println!("it is number {seq} of its topic");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_acked(&self, topic: &str, payload: &(impl AsRef<[u8]> + ?Sized)) -> Result<u64, PublishError> {
        self.publish_content_acked(topic, Content::Opaque, payload)
    }

    /// [`publish_acked`](Self::publish_acked) that says what the payload is.
    ///
    /// # Errors
    /// As [`publish_acked`](Self::publish_acked).
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// use nlbus::Content;
    ///
    /// let seq = bus.publish_content_acked("notes", Content::Text, "backup finished")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_content_acked(
        &self,
        topic: &str,
        content: Content,
        payload: &(impl AsRef<[u8]> + ?Sized),
    ) -> Result<u64, PublishError> {
        let seq = self.shared.publishing(topic, |publisher| {
            let deadline = self.shared.deadline();
            let asked = publisher.publish_asking(topic, content, payload.as_ref(), Wait::Until(deadline))?;
            self.shared.verdict(topic, &asked, deadline)
        })?;
        seq.ok_or_else(|| PublishError::new(topic, PublishReason::Unknown))
    }

    /// [`publish_acked`](Self::publish_acked) for a value.
    ///
    /// # Errors
    /// As [`publish_acked`](Self::publish_acked), and when the value can't be encoded.
    ///
    /// # Example
    /// ```no_run
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Reading { celsius: f32 }
    /// # let bus = nlbus::Bus::connect()?;
    /// let seq = bus.publish_value_acked("sensors/1", &Reading { celsius: 21.5 })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_value_acked<T: Serialize + ?Sized>(&self, topic: &str, value: &T) -> Result<u64, PublishError> {
        publisher::with_encoded(topic, value, |bytes| self.publish_content_acked(topic, Content::Bincode, bytes))
    }

    /// Publishes values of one type to a topic, and has the topic say so: its [type](crate::TopicRecord::type_name) is the name
    /// of `T` ([`TypeName::of`](crate::TypeName::of)) from now on, unless it has one. The topic is created if need be.
    ///
    /// # Errors
    /// Any [`RequestError`]: [`OtherType`](RequestError::OtherType) where it has another type; refused is, too, whom the
    /// broker doesn't let create it.
    ///
    /// # Example
    /// ```no_run
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Reading { celsius: f32 }
    /// # let bus = nlbus::Bus::connect()?;
    /// let readings = bus.publisher_as::<Reading>("sensors/1")?;
    /// readings.publish(&Reading { celsius: 21.5 })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publisher_as<T: Serialize + ?Sized>(&self, topic: &str) -> Result<TypedPublisher<T>, RequestError> {
        self.topic_options(topic).publisher_as()
    }

    /// A batch of events that go to the broker in one datagram, which accepts all of them or none.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let mut batch = bus.batch();
    /// for reading in ["21.5", "21.6", "21.4"] {
    ///     batch.push("sensors/1/temp", reading)?;
    /// }
    /// batch.send()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn batch(&self) -> PublishBatch<'_> {
        PublishBatch::new(&self.shared)
    }

    /// A publisher that collects events and sends them together: when a datagram is full, when an event has waited for a
    /// millisecond, and when it is [flushed](BufferedPublisher::flush). For many small events it is the fastest way.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let buffered = bus.buffered();
    /// for n in 0..1_000_000u32 {
    ///     buffered.publish("counter", &n.to_le_bytes())?;
    /// }
    /// bus.flush()?; // all of it is sent, and the broker has accepted it
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn buffered(&self) -> BufferedPublisher {
        BufferedPublisher::new(self.shared.clone())
    }

    /// Waits until the broker has accepted or refused everything that this connection published before. What its
    /// [buffered](Self::buffered) publishers hold is sent first.
    ///
    /// # Errors
    /// The oldest refusal that nobody was told of; [`PublishReason::Unknown`](crate::PublishReason::Unknown) when no answer
    /// came, or it came from another broker than the events before went to: what waited there went with it. `EAGAIN`
    /// ([`PublishError::would_block`](crate::PublishError::would_block)) when the broker's queue had no room for the
    /// question in the time that [`patience`](Builder::patience) gives it.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// for n in 0..1000 {
    ///     bus.publish("counter", &n.to_string())?;
    /// }
    /// bus.flush()?; // the broker has accepted all of them
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn flush(&self) -> Result<(), PublishError> {
        let deadline = self.shared.deadline();
        let publisher = self.shared.publisher("")?;
        publisher.send_buffers(deadline)?;
        let barrier = publisher.barrier(Wait::Until(deadline))?;
        barrier.answered(self.shared.verdict("", &barrier.asked, deadline)?)?;
        publisher.tell_of_earlier("")
    }

    /// Subscribes to a topic, or to all topics that match a filter, also those that appear later. When this
    /// returns, nothing that is published can be missed any more.
    ///
    /// # Errors
    /// As [`Subscriber::open`].
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let mut temperatures = bus.subscribe("sensors/+/temp")?;
    /// for delivery in temperatures.iter() {
    ///     println!("{delivery:?}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribe(&self, filter: &str) -> Result<Subscription, SubscribeError> {
        self.subscriber(filter).open()
    }

    /// Subscribes, and decodes each payload into a `T`.
    ///
    /// # Errors
    /// As [`Subscriber::open`].
    ///
    /// # Example
    /// ```no_run
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Reading { celsius: f32 }
    /// # let bus = nlbus::Bus::connect()?;
    /// use nlbus::TypedDelivery;
    ///
    /// let mut readings = bus.subscribe_as::<Reading>("sensors/#")?;
    /// for delivery in readings.iter() {
    ///     if let TypedDelivery::Value(reading, event) = delivery {
    ///         println!("{}: {} °C", event.topic(), reading.celsius);
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribe_as<T: DeserializeOwned>(&self, filter: &str) -> Result<TypedSubscription<T>, SubscribeError> {
        self.subscriber(filter).open_as()
    }

    /// A subscription with options.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// use nlbus::Start;
    ///
    /// let mut log = bus.subscriber("log/#").start(Start::Last(10)).capacity(4096).open()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscriber(&self, filter: &str) -> Subscriber {
        Subscriber::new(self.shared.clone(), filter)
    }

    /// On a connection that the caller drives ([`Builder::direct`]), what an event loop waits at: readable while
    /// [`turn`](Self::turn) has something to do. `None` where a thread drives, and in
    /// a child of the process that connected. Nothing but waiting is to be done with it.
    ///
    /// It tells of work and not of what subscriptions have: publishing and requests do the work that there is as well, and
    /// what came in by that waits in a channel. Who takes deliveries in the loop waits at [`Subscription::fd`].
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::builder().direct().connect()?;
    /// use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
    ///
    /// let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    /// if let Some(fd) = bus.fd() {
    ///     epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    /// }
    /// epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE)?;
    /// bus.turn();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.shared.fd()
    }

    /// On a connection that the caller drives ([`Builder::direct`]), does what there is to do now, without waiting: at
    /// most 2048 datagrams of it, half of them events. Whether there may be more: who is told of changes alone (`EPOLLET`, mio) calls again
    /// until there isn't. Does nothing where a thread drives, or another thread is in a call that does the same.
    ///
    /// It fills subscriptions' channels; [`Subscription::try_recv`] does as much where its channel is empty, and is all
    /// that a program with one subscription needs.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::builder().direct().connect()?;
    /// while bus.turn() {} // all that has come in is in the subscriptions' channels
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn turn(&self) -> bool {
        self.shared.turn()
    }

    /// Flushes, takes the [last will](Self::set_will) back and ends the connection, for all handles: subscriptions deliver what
    /// they hold and then end. What a buffered publisher is given afterwards is never sent.
    ///
    /// # Errors
    /// As [`flush`](Self::flush). The connection is ended all the same; a broker that doesn't answer may publish the will.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// bus.publish("jobs/done", "17")?;
    /// bus.close()?; // the broker has it
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(self) -> Result<(), PublishError> {
        let flushed = self.flush();
        if self.shared.has_will() {
            // Where there is no broker, there is no will, and one that is silent is told of in flushing.
            let _ = self.clear_will();
        }
        self.shared.tell(Command::Stop);
        flushed
    }
}
