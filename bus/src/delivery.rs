//! What a subscription delivers: events, and in line with them what was lost, which topics ended, and when the broker was
//! another one. Loss is a value, and the subscription lives on.

use crate::event::Event;
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
    /// A topic was deleted, or may not be read any more.
    Ended(Ended),
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

/// Events of one topic that a subscription will not see: they went by, and history no longer holds them; or they never came to
/// this bus, and their publisher knew ([`Bus::publish_lost`](crate::Bus::publish_lost)).
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
    /// The socket's receive buffer was full, or a datagram arrived cut; or nobody got them: kernel code published what there was
    /// no room for, or a publisher said that they were lost before they came here
    /// ([`Bus::publish_lost`](crate::Bus::publish_lost)).
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

/// A topic is over for this subscription: it was deleted, may not be read any more, or turned out to have values of another
/// type ([`Subscriber::type_name`](crate::Subscriber::type_name)). What it had not
/// delivered of it is reported as [`Lost`] before. The subscription lives on: a new topic of that name is read from its first
/// event, and one that may be read again, or has the right type by now, from the next one on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// The epoch of the broker that had it.
    pub epoch: u64,
    /// The topic.
    pub topic: Arc<str>,
    /// The broker's id of the topic, which a new one of that name doesn't have.
    pub topic_id: u32,
    /// The last sequence number that it is known to have had, 0 for none.
    pub last: u64,
    /// Why.
    pub reason: EndReason,
}

/// Why a topic is over for a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// It was deleted.
    Deleted,
    /// Its mode or owner changed, and doesn't let this process read it any more.
    Denied,
    /// Its values are of another type than the subscription's.
    OtherType,
}

impl EndReason {
    /// The word for it in output.
    ///
    /// ```
    /// assert_eq!(nlbus::EndReason::Deleted.as_str(), "deleted");
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            EndReason::Deleted => "deleted",
            EndReason::Denied => "denied",
            EndReason::OtherType => "other type",
        }
    }
}
