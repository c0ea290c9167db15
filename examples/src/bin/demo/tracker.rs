//! Sequence numbers as they come: what is out of order, what is missing without a word.

use crate::report::Heads;
use std::collections::HashMap;

/// The topics that a subscriber has heard of.
#[derive(Debug, Default)]
pub struct Tracker {
    topics: HashMap<Box<str>, Topic>,
    pub events: u64,
    pub lost: u64,
    pub out_of_order: u64,
    skipped: u64,
}

#[derive(Debug, Clone, Copy)]
struct Topic {
    first: u64,
    next: u64,
}

impl Tracker {
    pub fn event(&mut self, topic: &str, seq: u64) {
        self.events += 1;
        self.account(topic, seq, seq);
    }

    pub fn lost(&mut self, topic: &str, from: u64, to: u64) {
        self.lost += to - from + 1;
        self.account(topic, from, to);
    }

    fn account(&mut self, topic: &str, from: u64, to: u64) {
        let Some(known) = self.topics.get_mut(topic) else {
            self.topics.insert(topic.into(), Topic { first: from, next: to + 1 });
            return;
        };
        if from < known.next {
            self.out_of_order += 1;
        } else {
            self.skipped += from - known.next;
            known.next = to + 1;
        }
    }

    /// Whether everything up to these numbers has come or was reported as lost.
    pub fn has_reached(&self, heads: &Heads) -> bool {
        heads.iter().all(|(topic, (before, head))| before == head || self.next(topic) > *head)
    }

    /// How many events neither came nor were reported: between others, before the first, after the last.
    pub fn missing(&self, heads: &Heads) -> u64 {
        let ends = |(topic, (before, head)): (&String, &(u64, u64))| match self.topics.get(topic.as_str()) {
            Some(known) => known.first.saturating_sub(before + 1) + (head + 1).saturating_sub(known.next),
            None => head - before,
        };
        self.skipped + heads.iter().map(ends).sum::<u64>()
    }

    fn next(&self, topic: &str) -> u64 {
        self.topics.get(topic).map_or(0, |topic| topic.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_without_a_word_is_seen_wherever_it_is() {
        let heads = |after| Heads::from([("a".into(), (2, after))]);
        let mut tracker = Tracker::default();
        assert_eq!((tracker.missing(&heads(9)), tracker.missing(&heads(2))), (7, 0));
        assert!(tracker.has_reached(&heads(2)) && !tracker.has_reached(&heads(3)));
        tracker.event("a", 4);
        tracker.lost("a", 5, 6);
        tracker.event("a", 8);
        // 3, 7 and 9.
        assert_eq!(tracker.missing(&heads(9)), 3);
        assert!(tracker.has_reached(&heads(8)) && !tracker.has_reached(&heads(9)));
        assert_eq!((tracker.events, tracker.lost, tracker.out_of_order), (2, 2, 0));
        tracker.event("a", 8);
        tracker.event("a", 7);
        assert_eq!(tracker.out_of_order, 2);
    }
}
