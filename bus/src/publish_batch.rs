//! Publishing many events at once: one datagram, one system call.

use crate::connection::Shared;
use crate::publisher::{Pack, PublishError, PublishReason, Wait, with_encoded};
use crate::wire::Content;
use serde::Serialize;
use std::time::Instant;

/// Events that go to the broker in one datagram: it accepts all of them or none.
///
/// A datagram has at most 65 216 bytes, of which an event takes 56, its topic's length rounded up to 8, and its
/// payload's rounded up to 4. One datagram costs one system call, so small events are published many times as fast.
#[derive(Debug)]
pub struct PublishBatch<'a> {
    shared: &'a Shared,
    pack: Pack,
}

impl<'a> PublishBatch<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        PublishBatch { shared, pack: Pack::new() }
    }

    /// Where the broker's queue is full, sending fails with `EAGAIN` instead of sleeping until there is room. The
    /// user broker's queue is a socket's buffer and so refuses at once; the module's refusal comes as others do.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let mut batch = bus.batch().no_wait();
    /// batch.push("log", "cheap to lose")?;
    /// if let Err(error) = batch.send() {
    ///     println!("{error}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn no_wait(mut self) -> Self {
        self.pack.set_no_wait(true);
        self
    }

    /// How many events it holds.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut batch = bus.batch();
    /// batch.push("log", "one")?;
    /// assert_eq!(batch.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn len(&self) -> usize {
        self.pack.len()
    }

    /// Whether it holds none.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut batch = bus.batch();
    /// batch.push("log", "one")?;
    /// batch.send()?;
    /// assert!(batch.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.pack.is_empty()
    }

    /// Adds an event.
    ///
    /// # Errors
    /// When topic or payload can't be published, or the datagram has no room for it
    /// ([`PublishReason::BatchFull`]). The batch is as it was.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut batch = bus.batch();
    /// use nlbus::PublishReason;
    ///
    /// for n in 0..100_000 {
    ///     let n = format!("{n}");
    ///     match batch.push("counter", &n) {
    ///         Err(error) if matches!(error.reason(), PublishReason::BatchFull) => {
    ///             batch.send()?;
    ///             batch.push("counter", &n)?;
    ///         }
    ///         pushed => pushed?,
    ///     }
    /// }
    /// batch.send()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn push(&mut self, topic: &str, payload: &(impl AsRef<[u8]> + ?Sized)) -> Result<(), PublishError> {
        self.push_content(topic, Content::Opaque, payload)
    }

    /// Adds an event and says what its payload is.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut batch = bus.batch();
    /// use nlbus::Content;
    ///
    /// batch.push_content("notes", Content::Text, "backup finished")?;
    /// batch.send()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn push_content(
        &mut self,
        topic: &str,
        content: Content,
        payload: &(impl AsRef<[u8]> + ?Sized),
    ) -> Result<(), PublishError> {
        match self.pack.push(topic, content, payload.as_ref())? {
            true => Ok(()),
            false => Err(PublishError::new(topic, PublishReason::BatchFull)),
        }
    }

    /// Adds a value as an event.
    ///
    /// # Errors
    /// As [`push`](Self::push), and when the value can't be encoded.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut batch = bus.batch();
    /// batch.push_value("sensors/1", &(1u16, 21.5f32))?;
    /// batch.send()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn push_value<T: Serialize + ?Sized>(&mut self, topic: &str, value: &T) -> Result<(), PublishError> {
        with_encoded(topic, value, |bytes| self.push_content(topic, Content::Bincode, bytes))
    }

    /// Adds word that `count` events of a topic, 1 to 4 294 967 295, were lost before they came here, between the one that was
    /// added before and the next one: [`Bus::publish_lost`](crate::Bus::publish_lost). It counts as one of the batch's events.
    ///
    /// # Errors
    /// As [`push`](Self::push), and [`PublishReason::LostCount`].
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let mut batch = bus.batch();
    /// batch.push("far/sensors/1", "21.5")?;
    /// batch.push_lost("far/sensors/1", 2)?;
    /// batch.push("far/sensors/1", "21.8")?;
    /// assert_eq!(batch.send_acked()?, Some(4));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn push_lost(&mut self, topic: &str, count: u64) -> Result<(), PublishError> {
        match self.pack.push_lost(topic, count)? {
            true => Ok(()),
            false => Err(PublishError::new(topic, PublishReason::BatchFull)),
        }
    }

    /// Publishes the events. Ok means that they are queued; a refusal, which is of all of them, shows at the next
    /// publish or flush. The batch is empty afterwards, and after an error as it was.
    ///
    /// # Errors
    /// As [`crate::Bus::publish`].
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut batch = bus.batch();
    /// batch.push("jobs", "start")?;
    /// batch.push("jobs/17", "17")?;
    /// batch.send()?; // both or none
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send(&mut self) -> Result<(), PublishError> {
        if self.is_empty() {
            return Ok(());
        }
        let topic = self.pack.topic();
        self.shared.publisher(&topic)?.tell_of_earlier(&topic)?;
        let (wait, datagram) = (self.wait_until(None), self.pack.unasked());
        let sent = self.shared.publishing("", |publisher| publisher.send_unasked("", datagram, wait));
        sent.map_err(|error| error.about(&self.pack.topic()))?;
        self.pack.clear();
        Ok(())
    }

    /// Publishes the events and waits for the broker's word. Returns the last event's sequence number, or `None`
    /// for an empty batch. The batch is empty afterwards, and after an error as it was.
    ///
    /// # Errors
    /// As [`crate::Bus::publish_acked`]; a refusal is of all of the batch, and not of what was published before it.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut batch = bus.batch();
    /// batch.push("jobs", "17")?;
    /// batch.push("jobs", "18")?;
    /// if let Some(seq) = batch.send_acked()? {
    ///     println!("job 18 is event {seq}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_acked(&mut self) -> Result<Option<u64>, PublishError> {
        if self.is_empty() {
            return Ok(None);
        }
        let (shared, topic) = (self.shared, self.pack.topic().into_owned());
        let seq = shared.publishing(&topic, |publisher| {
            let (number, deadline) = (publisher.number(), shared.deadline());
            let wait = self.wait_until(deadline);
            let asked = publisher.send_asking(number, &topic, self.pack.asking(number, true), wait)?;
            shared.verdict(&topic, &asked, deadline)
        })?;
        self.pack.clear();
        Ok(seq)
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Wait {
        if self.pack.no_wait() { Wait::Never } else { Wait::Until(deadline) }
    }
}
