//! Last wills: an event that the broker publishes when this connection's process is gone.

use super::Bus;
use crate::client::Will;
use crate::request::{self, RequestError};
use crate::topic::check_name;
use crate::wire::Content;
use crate::wire::uapi::NLBUS_PAYLOAD_MAX;
use serde::Serialize;

impl Bus {
    /// Leaves an event for the broker to publish when this connection ends without having taken it back: when the process is
    /// killed or crashes, or drops the last handle without [`close`](Self::close). It comes behind all that this connection
    /// published before, once ([`Event::is_will`](crate::Event::is_will)). Another one takes its place; a connection has one.
    ///
    /// When it returns, the broker has it. A broker that takes the place of this one gets it, too, from this connection, as soon as
    /// that has found it: within three seconds, mostly at once; on a connection that the [caller drives](crate::Builder::direct), as
    /// soon as he does. What a [closed](crate::Builder::outage) or killed broker had is gone
    /// with it, published or not.
    ///
    /// The topic is created now if it isn't there. Whether this process may publish to it is asked now and when the time has come.
    /// A child of fork(2) that keeps the connection's descriptors keeps the connection alive, though it can't use it; they are
    /// close-on-exec.
    ///
    /// # Errors
    /// Any [`RequestError`]: [`Topic`](RequestError::Topic), [`Payload`](RequestError::Payload); refused is `EACCES` for a topic that
    /// this process mayn't publish to, `ENOSPC` and `EDQUOT` for one will too many ([`Limits::wills`](crate::Limits::wills)), and
    /// what publishing is refused for. The will before it stays. After [`TimedOut`](RequestError::TimedOut) either may be the one.
    ///
    /// # Example
    /// ```no_run
    /// let bus = nlbus::Bus::connect()?;
    /// bus.set_will("pumps/3/state", "gone")?;
    /// bus.publish("pumps/3/state", "running")?;
    /// // ... and at the end, when all is well:
    /// bus.publish("pumps/3/state", "stopped")?;
    /// bus.close()?; // takes the will back
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_will(&self, topic: &str, payload: &(impl AsRef<[u8]> + ?Sized)) -> Result<(), RequestError> {
        self.set_will_content(topic, Content::Opaque, payload)
    }

    /// The same, saying what the payload is.
    ///
    /// # Errors
    /// As [`set_will`](Self::set_will).
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// bus.set_will_content("pumps/3/state", nlbus::Content::Json, r#"{"state":"gone"}"#)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_will_content(
        &self,
        topic: &str,
        content: Content,
        payload: &(impl AsRef<[u8]> + ?Sized),
    ) -> Result<(), RequestError> {
        check_name(topic.as_bytes()).map_err(|error| RequestError::Topic { name: topic.to_owned(), error })?;
        let payload = payload.as_ref();
        if payload.len() > NLBUS_PAYLOAD_MAX {
            return Err(RequestError::Payload { len: payload.len() });
        }
        let will = Will { topic: topic.into(), content, payload: payload.to_vec().into() };
        request::asking(&self.shared, || request::ask_for_will(&self.shared, Some(will.clone())))
    }

    /// The same of a value, as [`publish_value`](Self::publish_value) publishes it.
    ///
    /// # Errors
    /// As [`set_will`](Self::set_will), and [`Encode`](RequestError::Encode).
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// #[derive(serde::Serialize)]
    /// struct State {
    ///     running: bool,
    /// }
    ///
    /// bus.set_will_value("pumps/3/state", &State { running: false })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_will_value<T: Serialize + ?Sized>(&self, topic: &str, value: &T) -> Result<(), RequestError> {
        self.set_will_content(topic, Content::Bincode, &request::encoded(value)?)
    }

    /// Takes the will back, if there is one.
    ///
    /// # Errors
    /// Any [`RequestError`]. After [`TimedOut`](RequestError::TimedOut) it may still be there.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// bus.clear_will()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear_will(&self) -> Result<(), RequestError> {
        request::asking(&self.shared, || request::ask_for_will(&self.shared, None))
    }
}
