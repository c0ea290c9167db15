//! Publishing through a buffer: many events a system call, and none that waits for long.

use crate::connection::Handle;
use crate::publisher::{Buffer, BufferState, Pack, PublishError, Wait, with_encoded};
use crate::wire::Content;
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an event waits for others unless told otherwise.
const DELAY: Duration = Duration::from_millis(1);

/// Collects events of any topics, and sends them as one datagram: when the next one has no room in it, when
/// [flushed](Self::flush), when dropped, and when the first of them has waited for a millisecond. Made by
/// [`Bus::buffered`](crate::Bus::buffered).
///
/// Its events are published in the order in which they were given to it, by whatever threads; between them and what is
/// published otherwise there is no order, unless it was flushed in between. The broker accepts a datagram's events all or none:
/// one that it refuses costs those that went with it, of whatever topics, and the error says how many that were
/// ([`PublishReason::EarlierRefused`](crate::PublishReason::EarlierRefused)).
///
/// What isn't sent yet is lost with the process: a program that must know calls [`Bus::flush`](crate::Bus::flush), which
/// sends first and then waits for the broker's word. Where sending fails, the events stay and are sent with the next try;
/// what a dropped publisher can't send is counted in [`BusCounters::unsent`](crate::BusCounters::unsent).
///
/// The millisecond is the connection's own thread's to watch. It never waits for room in the broker's queue but tries again
/// a little later. On a connection that the caller drives ([`Builder::direct`](crate::Builder::direct)) whoever drives it
/// sends what is due: [`Bus::fd`](crate::Bus::fd) is readable then. While nobody does, the events wait until the datagram
/// is full.
///
/// ```no_run
/// # let bus = nlbus::Bus::connect()?;
/// let buffered = bus.buffered();
/// std::thread::scope(|threads| {
///     for sensor in 0..4 {
///         let (topic, buffered) = (format!("sensors/{sensor}"), &buffered);
///         threads.spawn(move || buffered.publish_value(&topic, &21.5f32));
///     }
/// });
/// buffered.flush()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct BufferedPublisher {
    shared: Handle,
    buffer: Arc<Buffer>,
}

impl BufferedPublisher {
    pub(crate) fn new(shared: Handle) -> BufferedPublisher {
        let buffer = shared.open_buffer(DELAY);
        BufferedPublisher { shared, buffer }
    }

    /// How many bytes events may take together before they are sent, 65 216 unless set, which is as many as a datagram may
    /// have. An event takes 56, its topic's length rounded up to 8, and its payload's rounded up to 4. One that
    /// takes more than this goes alone.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let buffered = bus.buffered().size(4096);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn size(self, bytes: usize) -> Self {
        self.set(|pack| pack.set_max(bytes));
        self
    }

    /// How long an event may wait for others, a millisecond unless set. [`Duration::MAX`] is until the datagram is full or
    /// flushed. What waits already waits as long from now on.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let buffered = bus.buffered().delay(std::time::Duration::from_millis(20));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        if let Ok(publisher) = self.shared.publisher_at_rest("") {
            publisher.set_delay(&mut self.buffer.lock(), delay);
        }
        self
    }

    /// Where the broker's queue is full, a publish or a flush that would have to wait for room fails with `EAGAIN` instead
    /// ([`PublishError::would_block`]), and the events stay. The user broker's queue is a socket's buffer and so refuses at
    /// once; the module's refusal comes as others do, and is of events that were sent: they are not published.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let buffered = bus.buffered().no_wait();
    /// if let Err(error) = buffered.publish("log", "cheap to lose") {
    ///     println!("{error}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn no_wait(self) -> Self {
        self.set(|pack| pack.set_no_wait(true));
        self
    }

    fn set(&self, set: impl FnOnce(&mut Pack)) {
        // The lock of a child may have been copied while it was held.
        if !self.shared.is_forked() {
            set(&mut self.buffer.lock().pack);
        }
    }

    /// Publishes an event. Ok means that it will be sent, by itself in a millisecond or so; a refusal by the broker
    /// shows at a later publish or flush, as with [`Bus::publish`](crate::Bus::publish). When the datagram is full, this sends
    /// it first, and sleeps while the broker's queue has no room.
    ///
    /// # Errors
    /// As [`Bus::publish`](crate::Bus::publish): when topic or payload can't be published, when the datagram is full and can't be
    /// sent, or an event published before was refused. Then this event was not taken; those before it stay.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let buffered = bus.buffered();
    /// buffered.publish("sensors/1/temp", "21.5")?;
    /// buffered.publish("sensors/1/raw", &[0u8, 15, 7])?;
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
    /// bus.buffered().publish_content("sensors/1/state", Content::Json, r#"{"on":true}"#)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_content(
        &self,
        topic: &str,
        content: Content,
        payload: &(impl AsRef<[u8]> + ?Sized),
    ) -> Result<(), PublishError> {
        self.collect(topic, content, payload.as_ref())
    }

    /// Not for each type of payload anew, and so in one piece with what it calls.
    fn collect(&self, topic: &str, content: Content, payload: &[u8]) -> Result<(), PublishError> {
        let publisher = self.shared.publisher_at_rest(topic)?;
        publisher.tell_of_earlier(topic)?;
        let mut state = self.buffer.lock_often();
        if !state.pack.push(topic, content, payload)? {
            self.send(&mut state, None).map_err(|error| error.about(topic))?;
            state.pack.push(topic, content, payload)?;
        }
        if state.pack.len() == 1 {
            publisher.begun(&mut state);
        }
        Ok(())
    }

    /// Publishes a value: bincode 2.0.1, little-endian, fixed-width integers.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), and when the value can't be encoded.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let buffered = bus.buffered();
    /// buffered.publish_value("sensors/1", &(1u16, 21.5f32))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_value<T: Serialize + ?Sized>(&self, topic: &str, value: &T) -> Result<(), PublishError> {
        with_encoded(topic, value, |bytes| self.publish_content(topic, Content::Bincode, bytes))
    }

    /// Sends what there is now. Ok means that it is queued; whether the broker accepts it,
    /// [`Bus::flush`](crate::Bus::flush) tells, which does this, too.
    ///
    /// # Errors
    /// As [`publish`](Self::publish). The events stay.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let buffered = bus.buffered();
    /// buffered.publish("jobs", "start")?;
    /// buffered.flush()?; // on its way, with whatever came before it
    /// bus.flush()?; // and accepted
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn flush(&self) -> Result<(), PublishError> {
        self.shared.publisher("")?.tell_of_earlier("")?;
        let mut state = self.buffer.lock();
        self.send(&mut state, None)
    }

    /// How many events wait to be sent. In a child of the process that connected none does.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let buffered = bus.buffered();
    /// buffered.publish("log", "one")?;
    /// assert!(buffered.len() <= 1); // none, if a millisecond has passed
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn len(&self) -> usize {
        if self.shared.is_forked() { 0 } else { self.buffer.lock().pack.len() }
    }

    /// Whether none does.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let buffered = bus.buffered();
    /// buffered.publish("log", "one")?;
    /// buffered.flush()?;
    /// assert!(buffered.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends what there is, where that may wait until `deadline`, or as long as it takes.
    fn send(&self, state: &mut BufferState, deadline: Option<Instant>) -> Result<(), PublishError> {
        if state.pack.is_empty() {
            return Ok(());
        }
        let wait = if state.pack.no_wait() { Wait::Never } else { Wait::Until(deadline) };
        let datagram = state.pack.unasked();
        let sent = self.shared.publishing("", |publisher| publisher.send_unasked("", datagram, wait));
        sent.map_err(|error| error.about(&state.pack.topic()))?;
        state.sent();
        Ok(())
    }
}

/// Sends what there is, where the broker's queue gets room for it within [`Builder::patience`](crate::Builder::patience).
impl Drop for BufferedPublisher {
    fn drop(&mut self) {
        if self.shared.is_forked() {
            return;
        }
        let mut state = self.buffer.lock();
        // Nobody is left to tell; what stays is counted.
        let _ = self.send(&mut state, self.shared.deadline());
        drop(state);
        self.shared.close_buffer(&self.buffer);
    }
}
