//! One who reads, and what he is promised.

use crate::batch::Batch;
use crate::client::{Opened, Refused, Start};
use crate::counts::Counts;
use crate::delivery::Delivery;
use crate::inlet::Overflow;
use crate::topic::Filter;
use crossbeam_channel::Receiver;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Ranges of one topic, as they were delivered: whether each event was, and the epoch.
pub(super) type Seen = BTreeMap<(u64, String), Vec<(u64, u64, bool)>>;

pub(super) struct Consumer {
    pub(super) filter: Filter,
    pub(super) start: Start,
    pub(super) overflow: Overflow,
    /// Heads when the subscription was asked for, and when it was said to be there.
    pub(super) asked: BTreeMap<String, u64>,
    pub(super) opened: Option<BTreeMap<String, u64>>,
    pub(super) opener: Receiver<Result<Opened, Refused>>,
    pub(super) batches: Receiver<Batch>,
    pub(super) counts: Arc<Counts>,
    pub(super) delivered: u64,
    pub(super) lost: u64,
    pub(super) seen: Seen,
    pub(super) epoch: u64,
    pub(super) restarted: bool,
}

impl Consumer {
    pub(super) fn consume(&mut self, batches: usize) -> bool {
        let mut any = false;
        for batch in self.batches.try_iter().take(batches) {
            any = true;
            for delivery in batch {
                let (topic, from, to, event) = match delivery {
                    Delivery::Event(event) => {
                        self.delivered += 1;
                        (event.topic().to_owned(), event.seq() - event.stands_for() + 1, event.seq(), true)
                    }
                    Delivery::Lost(lost) => {
                        self.lost += lost.count();
                        (lost.topic.to_string(), lost.from, lost.to, false)
                    }
                    Delivery::Restarted(restarted) => {
                        (self.epoch, self.restarted) = (restarted.epoch, true);
                        continue;
                    }
                };
                assert!(from <= to, "an empty loss of {topic}");
                self.seen.entry((self.epoch, topic)).or_default().push((from, to, event));
            }
        }
        any
    }

    /// Delivered and lost together are each event of the current epoch once, in order. The topics' heads are those of the
    /// broker of this epoch.
    pub(super) fn check(&self, epoch: u64, heads: &BTreeMap<String, u64>) -> Result<(), TestCaseError> {
        let what = format!("{} {:?} {:?}", self.filter, self.start, self.overflow);
        prop_assert!(self.opened.is_some(), "{what}: never opened");
        let counted = self.counts.read();
        prop_assert_eq!(counted.received - counted.dropped, self.delivered, "{}: {:?}", what, counted);
        if self.overflow != Overflow::Latest {
            prop_assert_eq!(counted.lost + counted.dropped, self.lost, "{}: {:?}", what, counted);
        }
        for ((epoch, topic), ranges) in &self.seen {
            prop_assert!(topic.starts_with('$') || self.filter.matches(topic), "{what}: got {topic}");
            for pair in ranges.windows(2) {
                prop_assert_eq!(pair[0].1 + 1, pair[1].0, "{} {}@{}: {:?}", what, topic, epoch, ranges);
            }
        }
        for (topic, head) in heads.iter().filter(|(topic, _)| self.filter.matches(topic)) {
            let ranges = self.seen.get(&(self.epoch, topic.clone())).map_or(&[][..], Vec::as_slice);
            let restarted = self.restarted;
            prop_assert!(!restarted || self.epoch == epoch, "{what}: not told of the last restart");
            let (asked, opened) = if restarted {
                (0, 0)
            } else {
                let at = |heads: &BTreeMap<String, u64>| heads.get(topic).copied().unwrap_or_default();
                (at(&self.asked), self.opened.as_ref().map_or(0, at))
            };
            let first = ranges.first().map_or(head + 1, |range| range.0);
            let last = ranges.last().map_or(*head, |range| range.1);
            prop_assert_eq!(last, *head, "{} {}: the newest is missing: {:?}", what, topic, ranges);
            prop_assert!(first <= opened + 1, "{what} {topic}: begins at {first}, opened at {opened}: {ranges:?}");
            if self.start == Start::Live && !restarted {
                prop_assert!(first > asked, "{what} {topic}: begins at {first}, asked for at {asked}: {ranges:?}");
            }
        }
        Ok(())
    }
}
