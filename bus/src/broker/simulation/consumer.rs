//! One who reads, and what he is promised.

use crate::batch::Batch;
use crate::client::{Opened, Refused, Start};
use crate::counts::Counts;
use crate::delivery::{Delivery, EndReason};
use crate::inlet::Overflow;
use crate::topic::Filter;
use crossbeam_channel::Receiver;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What was said of one topic, by epoch and id.
pub(super) type Seen = BTreeMap<(u64, u32), Vec<Said>>;

/// One thing that was said of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// An event, and those that it stands for, or a loss.
    Range(u64, u64),
    /// It ended after this number.
    Ended(u64, EndReason),
}

/// A topic that there is in the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Existing {
    pub(super) id: u32,
    pub(super) head: u64,
    /// Root alone may read it.
    pub(super) restricted: bool,
    /// It was so at some time.
    pub(super) was_restricted: bool,
}

pub(super) struct Consumer {
    pub(super) filter: Filter,
    /// It is root's, who may read everything.
    pub(super) privileged: bool,
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
                let (topic, id, said) = match delivery {
                    Delivery::Event(event) => {
                        self.delivered += 1;
                        let range = Said::Range(event.seq() - event.stands_for() + 1, event.seq());
                        (event.topic().to_owned(), event.topic_id(), range)
                    }
                    Delivery::Lost(lost) => {
                        self.lost += lost.count();
                        assert!(lost.from <= lost.to, "an empty loss of {}", lost.topic);
                        (lost.topic.to_string(), lost.topic_id, Said::Range(lost.from, lost.to))
                    }
                    Delivery::Ended(ended) => {
                        (ended.topic.to_string(), ended.topic_id, Said::Ended(ended.last, ended.reason))
                    }
                    Delivery::Restarted(restarted) => {
                        (self.epoch, self.restarted) = (restarted.epoch, true);
                        continue;
                    }
                };
                assert!(topic.starts_with('$') || self.filter.matches(&topic), "{}: got {topic}", self.filter);
                self.seen.entry((self.epoch, id)).or_default().push(said);
            }
        }
        any
    }

    /// Delivered and lost together are each event of the current epoch once, in order. The topics are those of the broker of
    /// this epoch.
    pub(super) fn check(&self, epoch: u64, topics: &BTreeMap<String, Existing>) -> Result<(), TestCaseError> {
        let what = format!("{} {:?} {:?}", self.filter, self.start, self.overflow);
        prop_assert!(self.opened.is_some(), "{what}: never opened");
        let counted = self.counts.read();
        prop_assert_eq!(counted.received - counted.dropped, self.delivered, "{}: {:?}", what, counted);
        if self.overflow != Overflow::Latest {
            prop_assert_eq!(counted.lost + counted.dropped, self.lost, "{}: {:?}", what, counted);
        }
        for ((at, id), said) in &self.seen {
            for pair in said.windows(2) {
                let fits = match *pair {
                    [Said::Range(_, to), Said::Range(from, _)] => to + 1 == from,
                    [Said::Range(_, to), Said::Ended(last, _)] => to == last,
                    [Said::Ended(last, EndReason::Denied), Said::Range(from, _)] => from > last,
                    [Said::Ended(..), Said::Ended(..)] => true,
                    _ => false,
                };
                prop_assert!(fits, "{what} {id}@{at}: {pair:?} in {said:?}");
            }
            let is_over = *at == epoch && topics.values().all(|topic| topic.id != *id);
            let is_said = matches!(said.last(), Some(Said::Ended(..)));
            prop_assert!(!is_over || is_said, "{what} {id}: not told of its end: {said:?}");
        }
        prop_assert!(!self.restarted || self.epoch == epoch, "{what}: not told of the last restart");
        for (name, topic) in topics.iter().filter(|(name, _)| self.filter.matches(name)) {
            self.check_topic(name, *topic, &what)?;
        }
        Ok(())
    }

    /// One that there is in the end, and whose newest event was published then.
    fn check_topic(&self, name: &str, topic: Existing, what: &str) -> Result<(), TestCaseError> {
        let said = self.seen.get(&(self.epoch, topic.id)).map_or(&[][..], Vec::as_slice);
        if topic.restricted && !self.privileged {
            let is_covered = matches!(said.last(), Some(Said::Range(..)));
            prop_assert!(!is_covered, "{what} {name}: not told that it may not be read: {said:?}");
            return Ok(());
        }
        let newest = said.last().copied();
        let is_newest = matches!(newest, Some(Said::Range(_, to)) if to == topic.head);
        prop_assert!(is_newest, "{what} {name}: the newest, {}, is missing: {said:?}", topic.head);
        if topic.was_restricted && !self.privileged {
            return Ok(());
        }
        let at = |heads: &BTreeMap<String, u64>| heads.get(name).copied().unwrap_or_default();
        let (asked, opened) =
            if self.restarted { (0, 0) } else { (at(&self.asked), self.opened.as_ref().map_or(0, at)) };
        let Some(Said::Range(first, _)) = said.first() else { return Ok(()) };
        prop_assert!(*first <= opened + 1, "{what} {name}: begins at {first}, opened at {opened}: {said:?}");
        if self.start == Start::Live && !self.restarted {
            prop_assert!(*first > asked, "{what} {name}: begins at {first}, asked for at {asked}: {said:?}");
        }
        Ok(())
    }
}
