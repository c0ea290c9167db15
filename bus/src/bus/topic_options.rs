//! Who may use a topic, how much of it is kept, what its values are.

use super::{Bus, TypedPublisher};
use crate::request::RequestError;
use crate::type_name::TypeName;
use crate::wire::{TopicKey, TopicRecord, TopicRequest, TopicSettings};
use serde::Serialize;

/// What a topic is to be like: for one that is created, or to change one that exists. Made by [`Bus::topic_options`]; what
/// isn't set is the broker's default, or stays as it is.
///
/// A topic has an owner, a group and a mode, as a file has: reading is subscribing and replay, writing is publishing, and of
/// owner, group and others the first that somebody is counts for him. Whoever has `CAP_NET_ADMIN` in the user namespace
/// that owns the network namespace may all; to the user broker, that is root.
///
/// ```no_run
/// # let bus = nlbus::Bus::connect()?;
/// // Everybody may read it, and only who creates it may publish to it.
/// let topic = bus.topic_options("weather").mode(0o644).create()?;
/// assert_eq!(topic.mode, 0o644);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing until create(), create_new() or set()"]
pub struct TopicOptions<'a> {
    bus: &'a Bus,
    name: Box<str>,
    settings: TopicSettings,
}

impl<'a> TopicOptions<'a> {
    pub(super) fn new(bus: &'a Bus, name: &str, settings: TopicSettings) -> TopicOptions<'a> {
        TopicOptions { bus, name: name.into(), settings }
    }

    /// Who may read and write: bits of `0o666`, as chmod(2) has them. Others are refused.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// bus.topic_options("alarms").mode(0o640).create()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn mode(mut self, mode: u32) -> Self {
        self.settings.mode = Some(mode);
        self
    }

    /// The user that it belongs to. Another one than oneself takes `CAP_NET_ADMIN`.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// bus.topic_options("alarms").owner(1000).group(100).set()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn owner(mut self, uid: u32) -> Self {
        self.settings.uid = Some(uid);
        self
    }

    /// The group that it belongs to. One that its owner isn't in takes `CAP_NET_ADMIN`. (The user broker is told of the
    /// primary group alone.)
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// bus.topic_options("alarms").mode(0o660).group(4).create()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn group(mut self, gid: u32) -> Self {
        self.settings.gid = Some(gid);
        self
    }

    /// How many bytes its history may keep: at most [`Limits::history`](crate::Limits::history). Its newest event is kept in
    /// any case.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// bus.topic_options("trace").history(0).create()?; // the last event alone
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn history(mut self, bytes: u64) -> Self {
        self.settings.history = Some(bytes);
        self
    }

    /// What its values are called, or `None` for not known any more: who [subscribes to another
    /// type](crate::Subscriber::type_name) is told.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// bus.topic_options("sensors/1").type_name("sensor_msgs/Temperature".parse::<nlbus::TypeName>()?).set()?;
    /// bus.topic_options("sensors/1").type_name(None).set()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn type_name(mut self, name: impl Into<Option<TypeName>>) -> Self {
        self.settings.type_name = Some(name.into());
        self
    }

    /// Creates the topic like this, at once; one that exists stays as it is, but gets the type if it has none and this process
    /// may publish to it.
    ///
    /// # Errors
    /// Any [`RequestError`]; refused is `EACCES` for an owner or a group that can't be given, and for a topic that exists and
    /// may not be read, `EINVAL` for a mode, owner or group that can't be, `ERANGE` for too much history, `ENOSPC` for one
    /// topic too many, or no private group left for one that not everybody may read.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let topic = bus.topic_options("weather").mode(0o644).create()?;
    /// if topic.mode != 0o644 {
    ///     println!("it was there before");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(self) -> Result<TopicRecord, RequestError> {
        self.create_with(false)
    }

    /// Creates the topic like this, at once, and not one that exists.
    ///
    /// # Errors
    /// As [`create`](Self::create), and `EEXIST`. After [`TimedOut`](RequestError::TimedOut) it may have been created.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let mine = bus.topic_options("jobs/17").mode(0o600).create_new()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_new(self) -> Result<TopicRecord, RequestError> {
        self.create_with(true)
    }

    /// As [`Bus::publisher_as`], of a topic that is created like this. Its type has the name that was set, or that of `T`.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let counts = bus.topic_options("counts/a").mode(0o644).publisher_as::<u64>()?;
    /// counts.publish(&17)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publisher_as<T: Serialize + ?Sized>(self) -> Result<TypedPublisher<T>, RequestError> {
        TypedPublisher::new(self.bus, &self.name, self.settings)
    }

    fn create_with(self, exclusive: bool) -> Result<TopicRecord, RequestError> {
        let TopicOptions { bus, name, settings } = self;
        bus.topic_request(&name, move |name| TopicRequest::Create { name, exclusive, settings }, TopicRecord::read)
    }

    /// Changes a topic that exists, all of it or nothing. Its owner may do that, and whoever has `CAP_NET_ADMIN` (with the
    /// user broker: root). Who may no longer read it is told that it [ended](crate::Ended) for him.
    ///
    /// # Errors
    /// Any [`RequestError`]; refused is `ENOENT` for no such topic, `EACCES`, `EINVAL` when nothing is to be set, or what
    /// can't be, `ERANGE` for too much history, `ENOSPC` when there is no private group left for it.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// bus.topic_options("weather").mode(0o640).group(100).set()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set(self) -> Result<TopicRecord, RequestError> {
        let TopicOptions { bus, name, settings } = self;
        bus.topic_request(
            &name,
            move |name| TopicRequest::Change { key: TopicKey::Name(name), settings },
            TopicRecord::read,
        )
    }
}
