//! What `$SYS/topics` says, and when: that there are new topics, and which were changed or deleted. At once the first time,
//! and then together, so that it costs little whatever clients do.

use crate::wire::{MovedTopic, TopicsAnnouncement};
use std::collections::BTreeMap;

/// Announcements are at least this far apart.
const INTERVAL_NS: u64 = 20_000_000;

/// Topics that one of them names at most: others of that time follow.
const NAMED_MAX: usize = 256;

/// What no announcement has said yet.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    /// There are new topics.
    created: bool,
    /// Ids of topics that moved, and where those ended that were deleted: each once, whatever became of it meanwhile.
    moved: BTreeMap<u32, u64>,
    /// How many topics were named.
    announced: u64,
    /// Not before.
    next_ns: u64,
}

impl Announcer {
    /// There is a new topic.
    pub(super) fn created(&mut self) {
        self.created = true;
    }

    /// A topic's mode or owner changed, with 0, or it was deleted, and this would have been its next number.
    pub(super) fn moved(&mut self, id: u32, end: u64) {
        self.moved.insert(id, end);
    }

    /// How many topics the announcements so far named.
    pub(super) fn announced(&self) -> u64 {
        self.announced
    }

    /// When there is something to say.
    pub(super) fn due(&self) -> Option<u64> {
        (self.created || !self.moved.is_empty()).then_some(self.next_ns)
    }

    /// The announcements whose time has come.
    pub(super) fn announce(&mut self, last_id: u32, now_ns: u64) -> Vec<TopicsAnnouncement> {
        let mut announcements = Vec::new();
        if self.due().is_none_or(|due| due > now_ns) {
            return announcements;
        }
        (self.created, self.next_ns) = (false, now_ns + INTERVAL_NS);
        let moved = std::mem::take(&mut self.moved).into_iter().map(|(id, end)| MovedTopic { id, end });
        let mut topics: Vec<_> = moved.collect();
        loop {
            let rest = topics.split_off(topics.len().min(NAMED_MAX));
            self.announced += topics.len() as u64;
            announcements.push(TopicsAnnouncement { last_id, moved: self.announced, topics });
            if rest.is_empty() {
                return announcements;
            }
            topics = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_is_named_once_and_what_became_of_it_last_counts() {
        let mut announcer = Announcer::default();
        assert_eq!((announcer.due(), announcer.announce(3, 5)), (None, vec![]));
        announcer.moved(7, 0);
        announcer.moved(5, 0);
        announcer.moved(7, 9);
        assert_eq!(announcer.due(), Some(0));
        let topics = vec![MovedTopic { id: 5, end: 0 }, MovedTopic { id: 7, end: 9 }];
        assert_eq!(announcer.announce(8, 5), [TopicsAnnouncement { last_id: 8, moved: 2, topics }]);
        announcer.created();
        assert_eq!((announcer.due(), announcer.announce(9, INTERVAL_NS)), (Some(5 + INTERVAL_NS), vec![]));
        let topics = vec![];
        assert_eq!(announcer.announce(9, 5 + INTERVAL_NS), [TopicsAnnouncement { last_id: 9, moved: 2, topics }]);
        assert_eq!(announcer.due(), None);
    }

    #[test]
    fn many_make_several_events_that_add_up() {
        let mut announcer = Announcer::default();
        (1..=600).for_each(|id| announcer.moved(id, 0));
        let said = announcer.announce(600, 0);
        let counts: Vec<_> = said.iter().map(|said| (said.topics.len(), said.moved)).collect();
        assert_eq!(counts, [(256, 256), (256, 512), (88, 600)]);
        assert_eq!(said[2].topics[0].id, 513);
        assert_eq!(announcer.announced(), 600);
    }
}
