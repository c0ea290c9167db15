//! An event, as an application has it: a place in a datagram that it shares. What is asked of it is read out of there, so
//! that it costs one count of a reference to give one away, and none to lend it.

use crate::codec::{self, DecodeError};
use crate::pool::{Pool, footprint};
use crate::run::Run;
use crate::wire::uapi::{
    NLBUS_EVENT_F_KERNEL, NLBUS_EVENT_F_REPLAYED, NLBUS_EVENT_F_WILL, NLMSG_ALIGNTO, NLMSG_HDRLEN,
};
use crate::wire::{Content, EventHeader, EventParts, Messages, align};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::fmt;

/// An event. It shares the buffer of the datagram it came in with the other events of that datagram;
/// [`Event::to_owned`] makes one that pins its own bytes only.
#[derive(Clone)]
pub struct Event {
    /// What it shares.
    datagram: Bytes,
    /// Where in there its message's body begins and ends.
    body: (u32, u32),
    epoch: u64,
    stands_for: u64,
}

impl Event {
    /// The first event of a run of `datagram`, of the broker of this epoch; its bytes aren't copied.
    pub(crate) fn first_of(run: &Run<'_>, epoch: u64, datagram: &Bytes) -> Event {
        let mut event = Event { datagram: datagram.clone(), body: (0, 0), epoch, stands_for: 1 };
        event.move_to(run.offset);
        event
    }

    /// Becomes the event behind it in the datagram, of the same run.
    pub(crate) fn advance(&mut self) {
        // Messages start at multiples of that, and end where their padding begins.
        self.move_to(align(self.body.1 as usize, NLMSG_ALIGNTO));
        self.stands_for = 1;
    }

    /// Becomes the last event of a run that it is the first of, and stands for all of them.
    pub(crate) fn conflate(&mut self, run: &Run<'_>) {
        let before = self.stands_for;
        (1..run.count).for_each(|_| self.advance());
        self.stands_for = before.saturating_add(run.count as u64 - 1);
    }

    fn move_to(&mut self, offset: usize) {
        // There is a message: the run was walked when it came.
        let message = Messages::starting_at(&self.datagram, offset).next();
        let len = message.and_then(Result::ok).map_or(0, |message| message.body.len());
        let start = offset + NLMSG_HDRLEN;
        self.body = (start as u32, (start + len) as u32);
    }

    /// The same event, that also stands for so many before it.
    pub(crate) fn standing_for_more(mut self, events: u64) -> Event {
        self.stands_for = self.stands_for.saturating_add(events);
        self
    }

    /// Lies by itself from now on, where that takes less memory than its datagram does.
    pub(crate) fn move_apart(&mut self, pool: &mut Pool) {
        let len = self.body().len();
        if footprint(len) < footprint(self.datagram.len()) {
            self.datagram = pool.copy(self.body());
            self.body = (0, len as u32);
        }
    }

    /// How many bytes its datagram has, and where it lies: while the event is there, no other one lies there.
    pub(crate) fn datagram(&self) -> (usize, usize) {
        (self.datagram.len(), self.datagram.as_ptr() as usize)
    }

    fn body(&self) -> &[u8] {
        self.datagram.get(self.body.0 as usize..self.body.1 as usize).unwrap_or_default()
    }

    fn header(&self) -> EventHeader {
        EventHeader::read(self.body()).unwrap_or_default().0
    }

    /// The topic's name.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let Some(event) = subscription.recv()?.into_event() else { return Ok(()) };
    /// assert!(event.topic().starts_with("sensors/"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn topic(&self) -> &str {
        // Checked when the datagram was read; an empty name can't come out of that.
        let name = EventParts::read(self.body()).map(|parts| parts.topic);
        std::str::from_utf8(name.unwrap_or_default()).unwrap_or_default()
    }

    /// Position in the topic: consecutive from 1, assigned by the broker.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let Some(event) = subscription.recv()?.into_event() else { return Ok(()) };
    /// println!("the topic's event number {}", event.seq());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn seq(&self) -> u64 {
        self.header().seq
    }

    /// The epoch of the broker that numbered it: another broker's numbers begin anew.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let Some(event) = subscription.recv()?.into_event() else { return Ok(()) };
    /// let known_for_ever_by = (event.epoch(), event.topic_id(), event.seq());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many events of its topic it stands for, itself included: more than 1 only where the subscription keeps the
    /// latest alone ([`Overflow::Latest`](crate::Overflow::Latest)).
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let Some(event) = subscription.recv()?.into_event() else { return Ok(()) };
    /// println!("{} values went by unread", event.stands_for() - 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stands_for(&self) -> u64 {
        self.stands_for
    }

    /// `CLOCK_BOOTTIME` in nanoseconds when the broker sequenced the event. Never decreases within a topic.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let Some(event) = subscription.recv()?.into_event() else { return Ok(()) };
    /// use nix::time::{ClockId, clock_gettime};
    /// use std::time::Duration;
    ///
    /// let published = Duration::from_nanos(event.time_ns());
    /// let age = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?).saturating_sub(published);
    /// println!("{age:?} ago");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn time_ns(&self) -> u64 {
        self.header().time_ns
    }

    /// The broker's id of the topic, unique within an epoch.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let Some(event) = subscription.recv()?.into_event() else { return Ok(()) };
    /// assert_eq!(bus.topic(event.topic())?.map(|topic| topic.id), Some(event.topic_id()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn topic_id(&self) -> u32 {
        self.header().topic_id
    }

    /// Who published it.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let Some(event) = subscription.recv()?.into_event() else { return Ok(()) };
    /// let sender = event.sender();
    /// if sender.uid == 0 || sender.kernel {
    ///     println!("by root's process {} or the kernel", sender.pid);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sender(&self) -> Sender {
        let EventHeader { flags, portid, pid, uid, .. } = self.header();
        Sender { kernel: flags & NLBUS_EVENT_F_KERNEL != 0, portid, pid, uid }
    }

    /// What the publisher says the payload is.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let Some(event) = subscription.recv()?.into_event() else { return Ok(()) };
    /// use nlbus::Content;
    ///
    /// if event.content() == Content::Text {
    ///     println!("{}", String::from_utf8_lossy(event.payload()));
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn content(&self) -> Content {
        Content::from_wire(self.header().content)
    }

    /// The payload, 0 to 64 512 bytes.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let Some(event) = subscription.recv()?.into_event() else { return Ok(()) };
    /// println!("{}", event.payload().escape_ascii());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn payload(&self) -> &[u8] {
        EventParts::read(self.body()).map(|parts| parts.payload).unwrap_or_default()
    }

    /// Whether it came out of the broker's history and not live.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let Some(event) = subscription.recv()?.into_event() else { return Ok(()) };
    /// let live = !event.is_replayed();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_replayed(&self) -> bool {
        self.header().flags & NLBUS_EVENT_F_REPLAYED != 0
    }

    /// Whether it is the last will of a client that went away.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let Some(event) = subscription.recv()?.into_event() else { return Ok(()) };
    /// if event.is_will() {
    ///     println!("process {} went away without taking its leave", event.sender().pid);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_will(&self) -> bool {
        self.header().flags & NLBUS_EVENT_F_WILL != 0
    }

    /// The value whose bytes the payload is: as JSON where [`content`](Self::content) says so (with the crate's feature
    /// `json`), else as [`crate::Bus::publish_value`] writes it.
    ///
    /// # Errors
    /// When the payload isn't such a value, or has bytes left over.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let Some(event) = subscription.recv()?.into_event() else { return Ok(()) };
    /// let (sensor, celsius): (u16, f32) = event.decode()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        codec::decode(self.content(), self.payload())
    }

    /// A copy that doesn't pin the datagram's buffer: for an event kept longer than its neighbours.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let Some(event) = subscription.recv()?.into_event() else { return Ok(()) };
    /// let kept = vec![event.to_owned()]; // its bytes, and not those of the whole datagram
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_owned(&self) -> Event {
        let datagram = Bytes::copy_from_slice(self.body());
        let body = (0, datagram.len() as u32);
        Event { datagram, body, epoch: self.epoch, stands_for: self.stands_for }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("topic", &self.topic())
            .field("seq", &self.seq())
            .field("time_ns", &self.time_ns())
            .field("sender", &self.sender())
            .field("content", &self.content())
            .field("payload", &self.payload().escape_ascii().to_string())
            .finish()
    }
}

/// Who published an event, as the kernel saw it: no publisher can claim to be another one. What the user
/// broker can't keep of this is listed in docs/PROTOCOL.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Sender {
    /// Whether kernel code published it, or the broker itself.
    pub kernel: bool,
    /// Netlink port id of the publishing socket, 0 for kernel code and the broker.
    pub portid: u32,
    /// Process id.
    pub pid: u32,
    /// User id.
    pub uid: u32,
}
