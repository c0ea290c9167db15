//! Subscriptions whose payloads are values.

use crate::codec::DecodeError;
use crate::counts::SubscriptionCounters;
use crate::delivery::{Delivery, Ended, Lost, Restarted};
use crate::event::Event;
use crate::positions::Positions;
use crate::subscription::Subscription;
use crate::topic::Filter;
use crossbeam_channel::{RecvError, RecvTimeoutError, TryRecvError};
#[cfg(feature = "stream")]
use futures_core::Stream;
use serde::de::DeserializeOwned;
use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
#[cfg(feature = "stream")]
use std::pin::Pin;
#[cfg(feature = "stream")]
use std::task::{Context, Poll};
use std::time::Duration;

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
    /// A topic was deleted, or may not be read any more.
    Ended(Ended),
}

impl<T> TypedSubscription<T> {
    pub(crate) fn new(inner: Subscription) -> TypedSubscription<T> {
        TypedSubscription { inner, value: PhantomData }
    }

    /// The filter.
    ///
    /// ```no_run
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Reading { celsius: f32 }
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut readings = bus.subscribe_as::<Reading>("sensors/#")?;
    /// assert_eq!(readings.filter().as_str(), "sensors/#");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn filter(&self) -> &Filter {
        self.inner.filter()
    }

    /// As [`Subscription::positions`].
    ///
    /// ```no_run
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Reading { celsius: f32 }
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut readings = bus.subscribe_as::<Reading>("sensors/#")?;
    /// let positions = readings.positions().clone();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn positions(&self) -> &Positions {
        self.inner.positions()
    }

    /// As [`Subscription::counters`].
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let readings = bus.subscribe_as::<u64>("sensors/#")?;
    /// println!("{} are lost", readings.counters().lost);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn counters(&self) -> SubscriptionCounters {
        self.inner.counters()
    }

    /// As [`Subscription::fd`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Example
    /// ```no_run
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Reading { celsius: f32 }
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut readings = bus.subscribe_as::<Reading>("sensors/#")?;
    /// use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
    ///
    /// let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    /// epoll.add(readings.fd()?, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    /// epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE)?;
    /// while let Ok(delivery) = readings.try_recv() {
    ///     drop(delivery);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        self.inner.fd()
    }

    /// The subscription without the type.
    ///
    /// ```no_run
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Reading { celsius: f32 }
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut readings = bus.subscribe_as::<Reading>("sensors/#")?;
    /// let mut events = readings.into_untyped();
    /// println!("{:?}", events.recv()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_untyped(self) -> Subscription {
        self.inner
    }
}

impl<T: DeserializeOwned> TypedSubscription<T> {
    /// Waits for the next delivery.
    ///
    /// # Errors
    /// As [`Subscription::recv`].
    ///
    /// # Example
    /// ```no_run
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Reading { celsius: f32 }
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut readings = bus.subscribe_as::<Reading>("sensors/#")?;
    /// use nlbus::TypedDelivery;
    ///
    /// match readings.recv()? {
    ///     TypedDelivery::Value(reading, event) => println!("{}: {} °C", event.topic(), reading.celsius),
    ///     TypedDelivery::Undecodable(event, error) => println!("{}: {error}", event.topic()),
    ///     TypedDelivery::Lost(lost) => println!("{} readings are lost", lost.count()),
    ///     _ => {}
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv(&mut self) -> Result<TypedDelivery<T>, RecvError> {
        self.inner.recv().map(decode)
    }

    /// Takes the next delivery if there is one.
    ///
    /// # Errors
    /// As [`Subscription::try_recv`].
    ///
    /// # Example
    /// ```no_run
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Reading { celsius: f32 }
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut readings = bus.subscribe_as::<Reading>("sensors/#")?;
    /// use nlbus::TypedDelivery;
    ///
    /// while let Ok(TypedDelivery::Value(reading, _)) = readings.try_recv() {
    ///     println!("{} °C", reading.celsius);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_recv(&mut self) -> Result<TypedDelivery<T>, TryRecvError> {
        self.inner.try_recv().map(decode)
    }

    /// Waits for the next delivery, at most this long.
    ///
    /// # Errors
    /// As [`Subscription::recv_timeout`].
    ///
    /// # Example
    /// ```no_run
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Reading { celsius: f32 }
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut readings = bus.subscribe_as::<Reading>("sensors/#")?;
    /// use nlbus::TypedDelivery;
    ///
    /// if let Ok(TypedDelivery::Value(reading, _)) = readings.recv_timeout(std::time::Duration::from_secs(1)) {
    ///     println!("{} °C", reading.celsius);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<TypedDelivery<T>, RecvTimeoutError> {
        self.inner.recv_timeout(timeout).map(decode)
    }

    /// Deliveries until the bus is closed.
    ///
    /// ```no_run
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Reading { celsius: f32 }
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut readings = bus.subscribe_as::<Reading>("sensors/#")?;
    /// use nlbus::TypedDelivery;
    ///
    /// for delivery in readings.iter() {
    ///     if let TypedDelivery::Value(reading, _) = delivery {
    ///         println!("{} °C", reading.celsius);
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(&mut self) -> impl Iterator<Item = TypedDelivery<T>> {
        std::iter::from_fn(|| self.recv().ok())
    }
}

#[cfg(feature = "stream")]
impl<T: DeserializeOwned> Stream for TypedSubscription<T> {
    type Item = TypedDelivery<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<TypedDelivery<T>>> {
        self.get_mut().inner.poll(context).map(|delivery| delivery.map(decode))
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
        Delivery::Ended(ended) => TypedDelivery::Ended(ended),
    }
}
