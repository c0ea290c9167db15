//! What has arrived of each topic of each other host, so that nothing arrives twice, in whatever ways it comes, and what is
//! missing is noticed.

use crate::origin::Origin;
use lru::LruCache;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Topics that are known at most. One that had nothing for the longest time is forgotten, and begins anew.
const MOST: NonZeroUsize = NonZeroUsize::new(1 << 20).unwrap();

/// A topic of another host, in one life of its broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Source {
    host: Arc<str>,
    epoch: u64,
    topic_id: u32,
}

/// What to make of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Events that are lost before it; or with it, if it tells of a loss.
    pub lost: u64,
    /// Whether it is new; else it came before.
    pub new: bool,
}

/// The newest number that has arrived, by source.
#[derive(Debug)]
pub struct Ledger(LruCache<Source, u64>);

impl Default for Ledger {
    fn default() -> Self {
        Ledger(LruCache::unbounded())
    }
}

impl Ledger {
    /// Enters a message. A source's first one may have any number: who comes late misses nothing.
    pub fn enter(&mut self, origin: &Origin) -> Verdict {
        let source = Source { host: Arc::clone(&origin.host), epoch: origin.epoch, topic_id: origin.topic_id };
        let Some(last) = self.0.get_mut(&source) else {
            if self.0.len() >= MOST.get() {
                self.0.pop_lru();
            }
            self.0.put(source, origin.to);
            let lost = origin.lost.as_ref().map_or(0, |_| origin.count());
            return Verdict { lost, new: true };
        };
        if origin.to <= *last {
            return Verdict { lost: 0, new: false };
        }
        // The last one before it that should have come. What is known to be skipped isn't missed.
        let before = origin.from - 1 - origin.skipped;
        let missed = before.saturating_sub(*last);
        let told = match origin.lost {
            None => 0,
            Some(_) => origin.to - (*last).max(origin.from - 1),
        };
        *last = origin.to;
        Verdict { lost: missed + told, new: true }
    }

    /// What it has, the oldest first, to be kept.
    pub fn rows(&self) -> Rows {
        Rows(self.0.iter().rev().map(|(source, last)| Row { source: source.clone(), last: *last }).collect())
    }
}

/// A ledger as it is kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rows(Vec<Row>);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    #[serde(flatten)]
    source: Source,
    last: u64,
}

impl From<Rows> for Ledger {
    fn from(rows: Rows) -> Ledger {
        let mut ledger = Ledger::default();
        for row in rows.0 {
            ledger.0.put(row.source, row.last);
        }
        ledger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64) -> Origin {
        Origin {
            host: "a".into(),
            epoch: 1,
            topic: "t".into(),
            topic_id: 5,
            from: seq,
            to: seq,
            skipped: 0,
            lost: None,
        }
    }

    fn lost(from: u64, to: u64) -> Origin {
        Origin { from, lost: Some("late".into()), ..event(to) }
    }

    const NEW: Verdict = Verdict { lost: 0, new: true };
    const OLD: Verdict = Verdict { lost: 0, new: false };

    #[test]
    fn nothing_arrives_twice_and_what_is_missing_is_counted() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.enter(&event(10)), NEW);
        assert_eq!(ledger.enter(&event(11)), NEW);
        assert_eq!(ledger.enter(&event(11)), OLD);
        assert_eq!(ledger.enter(&event(15)), Verdict { lost: 3, new: true });
        // Late by another way: it is lost already.
        assert_eq!(ledger.enter(&event(13)), OLD);
        assert_eq!(ledger.enter(&Origin { skipped: 4, ..event(20) }), NEW);
        assert_eq!(ledger.enter(&Origin { skipped: 2, ..event(25) }), Verdict { lost: 2, new: true });
        // Another topic, and another life of the broker, count for themselves.
        assert_eq!(ledger.enter(&Origin { topic_id: 6, ..event(1) }), NEW);
        assert_eq!(ledger.enter(&Origin { epoch: 2, ..event(1) }), NEW);
        assert_eq!(ledger.enter(&Origin { host: "b".into(), ..event(1) }), NEW);
        assert_eq!(ledger.enter(&event(26)), NEW);
    }

    #[test]
    fn a_loss_counts_once() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.enter(&lost(3, 5)), Verdict { lost: 3, new: true });
        assert_eq!(ledger.enter(&lost(3, 5)), OLD);
        assert_eq!(ledger.enter(&lost(4, 8)), Verdict { lost: 3, new: true });
        assert_eq!(ledger.enter(&lost(11, 12)), Verdict { lost: 4, new: true });
        assert_eq!(ledger.enter(&event(13)), NEW);
        // How far it is: nothing new, or something went by.
        assert_eq!(ledger.enter(&lost(14, 13)), OLD);
        assert_eq!(ledger.enter(&lost(16, 15)), Verdict { lost: 2, new: true });
        assert_eq!(ledger.enter(&Origin { topic_id: 6, ..lost(16, 15) }), NEW);
    }

    #[test]
    fn what_is_kept_is_known_again() {
        let mut ledger = Ledger::default();
        ledger.enter(&event(10));
        ledger.enter(&Origin { topic_id: 6, ..event(3) });
        let kept = serde_json::to_string(&ledger.rows()).unwrap();
        let mut again = Ledger::from(serde_json::from_str::<Rows>(&kept).unwrap());
        assert_eq!(again.enter(&event(10)), OLD);
        assert_eq!(again.enter(&Origin { topic_id: 6, ..event(4) }), NEW);
    }
}
