//! What a subscription delivers: events, and in line with them what was lost and when the broker was
//! another one. Loss is a value, and the subscription lives on.

use crate::codec::{self, DecodeError};
use crate::wire::uapi::{NLBUS_EVENT_F_KERNEL, NLBUS_EVENT_F_REPLAYED, NLBUS_EVENT_F_WILL};
use crate::wire::{Content, EventHeader, EventView};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;

/// One thing that a subscription delivers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Delivery {
    /// An event.
    Event(Event),
    /// Events that this subscription will not see.
    Lost(Lost),
    /// The broker is another one than before.
    Restarted(Restarted),
}

impl Delivery {
    /// The event, if it is one.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// if let Some(event) = subscription.recv()?.event() {
    ///     println!("{} {}", event.topic(), event.seq());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn event(&self) -> Option<&Event> {
        match self {
            Delivery::Event(event) => Some(event),
            _ => None,
        }
    }

    /// The event, if it is one.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// let events: Vec<_> = subscription.iter().filter_map(|delivery| delivery.into_event()).take(3).collect();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_event(self) -> Option<Event> {
        match self {
            Delivery::Event(event) => Some(event),
            _ => None,
        }
    }
}

/// An event. It shares the buffer of the datagram it came in with the other events of that datagram;
/// [`Event::to_owned`] makes one that pins its own bytes only.
#[derive(Clone)]
pub struct Event {
    epoch: u64,
    header: EventHeader,
    topic: Bytes,
    payload: Bytes,
    stands_for: u64,
}

impl Event {
    /// The event that `view` sees in `datagram` of the broker of this epoch, without copying its bytes.
    pub(crate) fn new(epoch: u64, datagram: &Bytes, view: &EventView<'_>) -> Event {
        Event {
            epoch,
            header: view.header,
            topic: datagram.slice_ref(view.topic.as_bytes()),
            payload: datagram.slice_ref(view.payload),
            stands_for: 1,
        }
    }

    /// The same event, that also stands for so many before it.
    pub(crate) fn standing_for_more(mut self, events: u64) -> Event {
        self.stands_for = self.stands_for.saturating_add(events);
        self
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
        std::str::from_utf8(&self.topic).unwrap_or_default()
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
        self.header.seq
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
        self.header.time_ns
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
        self.header.topic_id
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
        Sender {
            kernel: self.header.flags & NLBUS_EVENT_F_KERNEL != 0,
            portid: self.header.portid,
            pid: self.header.pid,
            uid: self.header.uid,
        }
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
        Content::from_wire(self.header.content)
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
        &self.payload
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
        self.header.flags & NLBUS_EVENT_F_REPLAYED != 0
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
        self.header.flags & NLBUS_EVENT_F_WILL != 0
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
        codec::decode(self.content(), &self.payload)
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
        Event {
            epoch: self.epoch,
            header: self.header,
            topic: Bytes::copy_from_slice(&self.topic),
            payload: Bytes::copy_from_slice(&self.payload),
            stands_for: self.stands_for,
        }
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
            .field("payload", &self.payload.escape_ascii().to_string())
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

/// Events of one topic that a subscription will not see: they went by, and history no longer holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// The epoch of the broker that numbered them.
    pub epoch: u64,
    /// The topic.
    pub topic: Arc<str>,
    /// The broker's id of the topic, unique within an epoch.
    pub topic_id: u32,
    /// First sequence number lost.
    pub from: u64,
    /// Last sequence number lost.
    pub to: u64,
    /// Why they weren't taken when they went by. While more than a thousand losses wait unread, a range that continues
    /// another one becomes part of it whatever its own cause; before that, only if it has the same.
    pub cause: Cause,
}

impl Lost {
    /// How many events: at least 1.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let nlbus::Delivery::Lost(lost) = subscription.recv()? else { return Ok(()) };
    /// println!("{} events of {} are lost", lost.count(), lost.topic);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn count(&self) -> u64 {
        self.to - self.from + 1
    }
}

/// Why a subscription missed events at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The socket's receive buffer was full, or a datagram arrived cut.
    Overrun,
    /// The subscription's channel was full.
    Overflow,
    /// They were published before the subscription could read them: a topic's first events, or the start asked for.
    Late,
}

impl Cause {
    /// The word for it in output.
    ///
    /// ```
    /// assert_eq!(nlbus::Cause::Overrun.as_str(), "overrun");
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Overrun => "overrun",
            Cause::Overflow => "overflow",
            Cause::Late => "late",
        }
    }
}

/// The broker restarted: sequence numbers begin anew, and an unknown tail of the old ones may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restarted {
    /// The new broker's epoch.
    pub epoch: u64,
}

impl Restarted {
    pub(crate) fn new(epoch: u64) -> Restarted {
        Restarted { epoch }
    }
}
