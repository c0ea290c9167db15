//! Losses that bridges have told this bus of. They are seen here as any loss is, and nothing in them says whose they are; but
//! they are another host's, and must not go out as this one's. So whoever tells the bus of one also says, on a topic that all
//! bridges of this bus follow, which numbers it has.

use crate::config::OWN_TOPICS;
use nlbus::wire::uapi::{NLBUS_BRIDGE_PORT_FIRST, NLBUS_BRIDGE_PORT_LAST};
use nlbus::{Bus, Event, Lost, PublishError, SubscribeError, Subscription};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::thread;
use std::time::Duration;

/// Bytes of history that it has, for who comes late.
pub const HISTORY: u64 = 64 << 10;

/// How long after a loss is seen the word that it is declared may come.
const LATE: Duration = Duration::from_millis(200);

/// Ranges that are remembered of a topic. Most are looked for soon after they came.
const REMEMBERED: usize = 64;

/// The word that numbers of a topic are declared lost.
#[derive(Debug, Serialize, Deserialize)]
struct Word {
    epoch: u64,
    topic_id: u32,
    from: u64,
    to: u64,
}

/// The topic of a bridge's words, or the filter of all bridges'.
pub fn topic(id: &str) -> String {
    format!("{OWN_TOPICS}/{id}/lost")
}

/// Says that a bridge declared numbers of a topic as lost.
///
/// # Errors
/// As [`Bus::publish_value`].
pub fn tell(bus: &Bus, id: &str, (epoch, topic_id): (u64, u32), from: u64, to: u64) -> Result<(), PublishError> {
    bus.publish_value(&topic(id), &Word { epoch, topic_id, from, to })
}

/// Whether an event is one that a bridge published.
pub fn is_a_bridges(event: &Event) -> bool {
    let sender = event.sender();
    !sender.kernel && (NLBUS_BRIDGE_PORT_FIRST..=NLBUS_BRIDGE_PORT_LAST).contains(&sender.portid)
}

/// What all bridges of this bus have declared.
#[derive(Debug)]
pub struct Declared {
    words: Subscription,
    epoch: u64,
    /// By topic id.
    ranges: HashMap<u32, VecDeque<(u64, u64)>>,
}

impl Declared {
    /// Follows what they say.
    ///
    /// # Errors
    /// As [`nlbus::Subscriber::open`].
    pub fn open(bus: &Bus) -> Result<Declared, SubscribeError> {
        let words = bus.subscriber(&topic("+")).start(nlbus::Start::All).open()?;
        Ok(Declared { words, epoch: 0, ranges: HashMap::new() })
    }

    /// Waits until what is declared of losses that have been seen is known here.
    pub fn catch_up(&mut self) {
        thread::sleep(LATE);
        self.take();
    }

    /// Takes what has been said by now.
    pub fn take(&mut self) {
        while let Ok(delivery) = self.words.try_recv() {
            let Some(event) = delivery.event().filter(|event| is_a_bridges(event)) else { continue };
            let Ok(word) = event.decode::<Word>() else { continue };
            if std::mem::replace(&mut self.epoch, word.epoch) != word.epoch {
                self.ranges.clear();
            }
            let ranges = self.ranges.entry(word.topic_id).or_default();
            ranges.truncate(REMEMBERED - 1);
            ranges.push_front((word.from, word.to));
        }
    }

    /// Whether any is known of a topic.
    pub fn has(&self, topic_id: u32) -> bool {
        self.ranges.contains_key(&topic_id)
    }

    /// Takes a loss apart: what is this host's own, in order. What lies between is declared.
    pub fn own(&self, lost: &Lost) -> Vec<(u64, u64)> {
        let declared = self.ranges.get(&lost.topic_id).filter(|_| lost.epoch == self.epoch);
        let declared = declared.map(|ranges| ranges.iter().copied().collect()).unwrap_or_default();
        without((lost.from, lost.to), declared)
    }
}

/// What is left of a range without others.
fn without((mut from, to): (u64, u64), mut others: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    others.sort_unstable();
    let mut left = Vec::new();
    for (first, last) in others {
        if first > to {
            break;
        }
        if first > from {
            left.push((from, first - 1));
        }
        let Some(next) = last.checked_add(1) else { return left };
        from = from.max(next);
    }
    if from <= to {
        left.push((from, to));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_declared_is_nobodys_own() {
        assert_eq!(without((5, 20), vec![]), [(5, 20)]);
        assert_eq!(without((5, 20), vec![(1, 30)]), []);
        assert_eq!(without((5, 20), vec![(12, 13), (1, 6), (12, 14), (20, 25)]), [(7, 11), (15, 19)]);
        assert_eq!(without((5, 20), vec![(1, 4), (21, u64::MAX)]), [(5, 20)]);
        assert_eq!(without((5, u64::MAX), vec![(6, u64::MAX)]), [(5, 5)]);
    }
}
