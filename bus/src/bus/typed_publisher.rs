//! Publishing values of one type to a topic that says so.

use super::{Bus, TopicOptions};
use crate::publisher::{PublishError, PublishReason};
use crate::request::RequestError;
use crate::topic::is_reserved;
use crate::type_name::{TypeMismatch, TypeName};
use crate::wire::{TopicRecord, TopicSettings};
use nix::errno::Errno;
use serde::Serialize;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

/// Publishes values of one type to one topic, of which it says so: who subscribes to values of another one is told. Made by
/// [`Bus::publisher_as`], or by [`TopicOptions::publisher_as`](crate::TopicOptions::publisher_as) where the topic is to have
/// other properties as well.
///
/// The next broker is told, too, once this connection knows of it: by a publish that found none, or by a subscription.
///
/// ```no_run
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize)]
/// struct Reading {
///     celsius: f32,
/// }
/// # let bus = nlbus::Bus::connect()?;
/// let readings = bus.publisher_as::<Reading>("sensors/1")?;
/// readings.publish(&Reading { celsius: 21.5 })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TypedPublisher<T: ?Sized> {
    topic: Declared,
    value: PhantomData<fn(&T)>,
}

impl<T: ?Sized> fmt::Debug for TypedPublisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedPublisher").field("topic", &self.topic).finish()
    }
}

/// A topic whose values are called what this publisher calls them.
#[derive(Debug)]
struct Declared {
    bus: Bus,
    name: Box<str>,
    /// What it is created with.
    settings: TopicSettings,
    type_name: TypeName,
    /// Of the broker that was told, 0 for none. The next one has to be told again.
    epoch: AtomicU64,
}

impl Declared {
    /// Creates the topic, or finds that the one that exists has the type, or none and gets it.
    fn declare(&self) -> Result<(), RequestError> {
        let epoch = self.epoch_now();
        let settings = TopicSettings { type_name: Some(Some(self.type_name)), ..self.settings };
        match TopicOptions::new(&self.bus, &self.name, settings).create() {
            Ok(TopicRecord { name, type_name: Some(has), .. }) if has != self.type_name => {
                return Err(RequestError::OtherType(TypeMismatch::new(&name, has, self.type_name)));
            }
            Err(RequestError::Refused(refusal)) if refusal.errno == Errno::EACCES && self.may_be_write_only() => {}
            answer => drop(answer?),
        }
        self.epoch.store(epoch.unwrap_or_default(), Ordering::Relaxed);
        Ok(())
    }

    /// Whether the reason why the broker doesn't tell of the topic may be that this process may publish to it and no more.
    fn may_be_write_only(&self) -> bool {
        self.settings.uid.is_none() && self.settings.gid.is_none() && !is_reserved(&self.name)
    }

    fn epoch_now(&self) -> Option<u64> {
        self.bus.shared.publisher_at_rest(&self.name).ok().and_then(|publisher| publisher.epoch())
    }

    /// Tells a broker that wasn't told. Where it can't be now, the next publish does.
    fn check(&self) -> Result<(), PublishError> {
        if self.epoch_now().is_none_or(|epoch| epoch == self.epoch.load(Ordering::Relaxed)) {
            return Ok(());
        }
        match self.declare() {
            Err(RequestError::OtherType(mismatch)) => {
                Err(PublishError::new(&self.name, PublishReason::OtherType(mismatch)))
            }
            _ => Ok(()),
        }
    }
}

impl<T: Serialize + ?Sized> TypedPublisher<T> {
    pub(super) fn new(bus: &Bus, name: &str, settings: TopicSettings) -> Result<TypedPublisher<T>, RequestError> {
        let type_name = settings.type_name.flatten().unwrap_or_else(TypeName::of::<T>);
        let epoch = AtomicU64::new(0);
        let topic = Declared { bus: bus.clone(), name: name.into(), settings, type_name, epoch };
        topic.declare()?;
        Ok(TypedPublisher { topic, value: PhantomData })
    }

    /// The topic.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// assert_eq!(bus.publisher_as::<u64>("counts/a")?.topic(), "counts/a");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn topic(&self) -> &str {
        &self.topic.name
    }

    /// What its values are called.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// assert_eq!(bus.publisher_as::<u64>("counts/a")?.type_name().as_str(), "u64");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn type_name(&self) -> TypeName {
        self.topic.type_name
    }

    /// As [`Bus::publish_value`].
    ///
    /// # Errors
    /// As there, and [`PublishReason::OtherType`] where another broker has the topic with another type.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let counts = bus.publisher_as::<u64>("counts/a")?;
    /// counts.publish(&17)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish(&self, value: &T) -> Result<(), PublishError> {
        self.topic.check()?;
        self.topic.bus.publish_value(&self.topic.name, value)
    }

    /// As [`Bus::publish_value_acked`].
    ///
    /// # Errors
    /// As there, and [`PublishReason::OtherType`] where another broker has the topic with another type.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let counts = bus.publisher_as::<u64>("counts/a")?;
    /// println!("number {}", counts.publish_acked(&17)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_acked(&self, value: &T) -> Result<u64, PublishError> {
        self.topic.check()?;
        self.topic.bus.publish_value_acked(&self.topic.name, value)
    }
}
