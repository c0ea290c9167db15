//! Where a subscription is, in a form that outlives the process: what to read next after a restart.

use crate::delivery::{Delivery, Ended, Lost, Restarted};
use crate::event::Event;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far a subscriber has come in each topic, to go on from there later: after a restart, or in another process.
///
/// It begins as [`Subscription::positions`](crate::Subscription::positions), is moved on by what is delivered, once
/// that is dealt with, and saved with serde however the application likes. [`Subscriber::resume`](crate::Subscriber::resume)
/// begins a subscription after it. Sequence numbers count within one life of a broker, its epoch; the positions know
/// theirs, so numbers of one broker are never taken for another's.
///
/// ```no_run
/// # use nlbus::{Bus, Positions};
/// # fn save(_: &Positions) {}
/// # let bus = Bus::connect()?;
/// let mut subscription = bus.subscribe("jobs/#")?;
/// let mut positions = subscription.positions().clone();
/// while let Ok(delivery) = subscription.recv() {
///     // … deal with it, and then:
///     positions.advance(&delivery);
///     save(&positions);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Positions {
    epoch: u64,
    /// Topics with a higher id are newer than these positions.
    last_id: u32,
    /// The last sequence number dealt with, by topic id.
    topics: BTreeMap<u32, u64>,
}

impl Positions {
    /// Moves on past what was delivered.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let mut positions = subscription.positions().clone();
    /// let delivery = subscription.recv()?;
    /// println!("{delivery:?}"); // deal with it first
    /// positions.advance(&delivery);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn advance(&mut self, delivery: &Delivery) {
        match delivery {
            Delivery::Event(event) => self.event(event),
            Delivery::Lost(lost) => self.lost(lost),
            Delivery::Restarted(restarted) => self.restarted(restarted),
            Delivery::Ended(ended) => self.ended(ended),
        }
    }

    /// Moves on past an event. One of another epoch is passed over: its numbers say nothing here.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let mut positions = subscription.positions().clone();
    /// use nlbus::Delivery;
    ///
    /// if let Delivery::Event(event) = subscription.recv()? {
    ///     positions.event(&event);
    ///     assert_eq!(positions.seq(event.topic_id()), Some(event.seq()));
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn event(&mut self, event: &Event) {
        if event.epoch() == self.epoch {
            self.topics.insert(event.topic_id(), event.seq());
        }
    }

    /// Moves on past events that were lost, as [`event`](Self::event) does.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let mut positions = subscription.positions().clone();
    /// use nlbus::Delivery;
    ///
    /// if let Delivery::Lost(lost) = subscription.recv()? {
    ///     positions.lost(&lost);
    ///     assert_eq!(positions.seq(lost.topic_id), Some(lost.to));
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lost(&mut self, lost: &Lost) {
        if lost.epoch == self.epoch {
            self.topics.insert(lost.topic_id, lost.to);
        }
    }

    /// Begins with another broker's numbers.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let mut positions = subscription.positions().clone();
    /// use nlbus::Delivery;
    ///
    /// if let Delivery::Restarted(restarted) = subscription.recv()? {
    ///     positions.restarted(&restarted);
    ///     assert_eq!(positions.epoch(), restarted.epoch);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn restarted(&mut self, restarted: &Restarted) {
        *self = Positions { epoch: restarted.epoch, ..Positions::default() };
    }

    /// Forgets a topic that is over: if it is there again later, it isn't gone on with but begun.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let mut positions = subscription.positions().clone();
    /// use nlbus::Delivery;
    ///
    /// if let Delivery::Ended(ended) = subscription.recv()? {
    ///     positions.ended(&ended);
    ///     assert_eq!(positions.seq(ended.topic_id), None);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ended(&mut self, ended: &Ended) {
        if ended.epoch == self.epoch {
            self.topics.remove(&ended.topic_id);
        }
    }

    /// The epoch of the broker whose numbers these are.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let mut positions = subscription.positions().clone();
    /// assert_eq!(positions.epoch(), bus.info()?.epoch);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last sequence number dealt with in a topic, by its id: 0 before its first event, `None` for a topic that these
    /// positions don't know.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// # let mut positions = subscription.positions().clone();
    /// if let Some(topic) = bus.topic("sensors/1")? {
    ///     println!("{:?} of {}", positions.seq(topic.id), topic.head);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn seq(&self, topic_id: u32) -> Option<u64> {
        self.topics.get(&topic_id).copied()
    }

    /// None yet, in this epoch.
    pub(crate) fn new(epoch: u64) -> Positions {
        Positions { epoch, ..Positions::default() }
    }

    /// Where a subscription begins in a topic, unless it has begun there.
    pub(crate) fn begin(&mut self, topic_id: u32, seq: u64) {
        self.topics.entry(topic_id).or_insert(seq);
    }

    /// Topics with a higher id are newer.
    pub(crate) fn set_last_id(&mut self, last_id: u32) {
        self.last_id = last_id;
    }

    /// After which number to read a topic: `None` for one that was there and not followed.
    pub(crate) fn after(&self, topic_id: u32) -> Option<u64> {
        self.seq(topic_id).or((topic_id > self.last_id).then_some(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Cause, EndReason};
    use crate::run::{Part, Parts};
    use crate::wire::uapi::NLBUS_MSG_EVENT;
    use crate::wire::{EventHeader, Header, push_event};
    use bytes::Bytes;

    fn event(epoch: u64, topic_id: u32, seq: u64) -> Delivery {
        let mut datagram = Vec::new();
        let header = EventHeader { seq, topic_id, ..EventHeader::default() };
        let message = Header { kind: NLBUS_MSG_EVENT, ..Header::default() };
        push_event(&mut datagram, message, &header, "a", b"");
        let datagram = Bytes::from(datagram);
        let Some(Part::Run(run)) = Parts::new(&datagram).next() else { panic!("no event") };
        Delivery::Event(Event::first_of(&run, epoch, &datagram))
    }

    fn lost(epoch: u64, topic_id: u32, to: u64) -> Delivery {
        Delivery::Lost(Lost { epoch, topic: "a".into(), topic_id, from: 1, to, cause: Cause::Late })
    }

    #[test]
    fn another_brokers_numbers_are_passed_over() {
        let mut positions = Positions::new(1);
        positions.advance(&event(1, 4, 7));
        positions.advance(&Delivery::Restarted(Restarted::new(2)));
        // Handled late, by another thread say.
        positions.advance(&event(1, 4, 8));
        positions.advance(&lost(1, 4, 9));
        assert_eq!((positions.epoch(), positions.seq(4)), (2, None));
        positions.advance(&event(2, 4, 1));
        positions.advance(&lost(2, 5, 3));
        assert_eq!((positions.seq(4), positions.seq(5)), (Some(1), Some(3)));
        let ended = |epoch, topic_id| {
            let reason = EndReason::Deleted;
            Delivery::Ended(Ended { epoch, topic: "a".into(), topic_id, last: 9, reason })
        };
        positions.advance(&ended(1, 4));
        positions.advance(&ended(2, 5));
        assert_eq!((positions.seq(4), positions.seq(5)), (Some(1), None));
    }
}
