//! Word of events that were lost before they came to this bus.

use super::Bus;
use crate::publisher::{PublishError, PublishReason, Wait};

impl Bus {
    /// Says that `count` events of a topic, 1 to 4 294 967 295, were lost before they came here: for who brings events from
    /// elsewhere, as from another host, and knows. Each uses up a sequence number of the topic, between the events published
    /// before and after, and each subscriber is told of them in line, as [`Lost`](crate::Lost) with the cause
    /// [`Overrun`](crate::Cause::Overrun) as a rule. Where nothing follows, subscribers learn it within a moment all the same.
    ///
    /// It is published as an event is: it takes the right to publish to the topic, and creates it.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); [`PublishReason::LostCount`](crate::PublishReason::LostCount) for a count that can't be. A
    /// topic of which more than 2^50 numbers are used up loses no more of them: the broker refuses that with `ERANGE`.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// bus.publish("far/sensors/1", "21.5")?;
    /// bus.publish_lost("far/sensors/1", 2)?; // two didn't make it
    /// bus.publish("far/sensors/1", "21.8")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_lost(&self, topic: &str, count: u64) -> Result<(), PublishError> {
        self.shared.publishing(topic, |publisher| publisher.publish_lost(topic, count))
    }

    /// The same, and waits until the broker has done it. Returns the last sequence number that was used up.
    ///
    /// # Errors
    /// As [`publish_lost`](Self::publish_lost) and [`publish_acked`](Self::publish_acked).
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// let seq = bus.publish_acked("far/sensors/1", "21.5")?;
    /// assert_eq!(bus.publish_lost_acked("far/sensors/1", 2)?, seq + 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_lost_acked(&self, topic: &str, count: u64) -> Result<u64, PublishError> {
        let seq = self.shared.publishing(topic, |publisher| {
            let deadline = self.shared.deadline();
            let asked = publisher.publish_lost_asking(topic, count, Wait::Until(deadline))?;
            self.shared.verdict(topic, &asked, deadline)
        })?;
        seq.ok_or_else(|| PublishError::new(topic, PublishReason::Unknown))
    }
}
