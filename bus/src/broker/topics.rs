//! The topics of a bus: names, ids, groups, change counts and, by way of the history, sequence numbers.

use crate::history::{History, Place};
use crate::wire::TopicRecord;
use crate::wire::uapi::{
    NLBUS_GROUP_FIRST, NLBUS_GROUP_SYS, NLBUS_SYS_CLOSING, NLBUS_SYS_HEARTBEAT, NLBUS_SYS_TOPICS, NLBUS_USER_GROUPS,
};
use hashbrown::HashTable;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

/// Ids of the broker's own topics, which exist from the start.
pub(super) const SYS_HEARTBEAT: TopicId = TopicId(1);
pub(super) const SYS_TOPICS: TopicId = TopicId(2);
pub(super) const SYS_CLOSING: TopicId = TopicId(3);

/// How many those are.
const SYS_COUNT: u32 = 3;

/// Who misses heartbeats wants the newest: bytes that each of them keeps.
const SYS_HISTORY: u64 = 4096;
/// Everyone may read; the broker alone publishes.
const SYS_MODE: u32 = 0o444;
/// Everyone may read and write, which is what this broker can enforce.
const DEFAULT_MODE: u32 = 0o666;

/// The id of a topic that exists: ids count from 1 and nothing is ever removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TopicId(u32);

impl TopicId {
    pub(super) fn get(self) -> u32 {
        self.0
    }

    fn index(self) -> usize {
        self.0 as usize - 1
    }
}

/// Who owns a topic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

#[derive(Debug)]
pub(super) struct Topic {
    /// Where its name begins among all, and its length.
    name: (usize, usize),
    pub(super) group: u32,
    /// The bus's change count when it last changed.
    change: u64,
    mode: u32,
    pub(super) owner: Owner,
    counts: Counts,
}

/// What is counted for a topic besides its events.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    dropped: u64,
    replayed: u64,
}

#[derive(Debug)]
pub(super) struct Topics {
    /// By name, without the names: those stand close together, since where topics alternate each event has one looked at.
    ids: HashTable<TopicId>,
    hasher: RandomState,
    names: String,
    topics: Vec<Topic>,
    history: History,
    topic_history: u64,
    change: u64,
    /// What was found last.
    found: Option<TopicId>,
}

impl Topics {
    /// The topics of a new bus: the broker's own.
    pub(super) fn new(history: u64, topic_history: u64, owner: Owner) -> Topics {
        let mut topics = Topics {
            ids: HashTable::new(),
            hasher: RandomState::new(),
            names: String::new(),
            topics: Vec::new(),
            history: History::new(history),
            topic_history,
            change: 0,
            found: None,
        };
        for (name, id) in
            [(NLBUS_SYS_HEARTBEAT, SYS_HEARTBEAT), (NLBUS_SYS_TOPICS, SYS_TOPICS), (NLBUS_SYS_CLOSING, SYS_CLOSING)]
        {
            let got = topics.add(name, NLBUS_GROUP_SYS, SYS_MODE, owner, SYS_HISTORY.min(topic_history));
            debug_assert_eq!(got, id);
        }
        topics
    }

    pub(super) fn len(&self) -> u32 {
        self.topics.len() as u32
    }

    /// The bus's change count: it rises with every event and every topic.
    pub(super) fn change(&self) -> u64 {
        self.change
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    pub(super) fn find(&self, name: &str) -> Option<TopicId> {
        self.ids.find(self.hasher.hash_one(name), |id| self.name(*id) == name).copied()
    }

    pub(super) fn name(&self, id: TopicId) -> &str {
        name_of(&self.names, &self.topics, id)
    }

    /// [`find`](Self::find), behind a look for another name: publishers mostly stay with a topic for a while.
    pub(super) fn find_again(&mut self, name: &str) -> Option<TopicId> {
        if let Some(id) = self.found
            && self.name(id) == name
        {
            return Some(id);
        }
        self.found = self.find(name);
        self.found
    }

    /// The topic of an id that came from outside.
    pub(super) fn by_id(&self, id: u32) -> Option<TopicId> {
        (1..=self.len()).contains(&id).then_some(TopicId(id))
    }

    pub(super) fn get(&self, id: TopicId) -> &Topic {
        &self.topics[id.index()]
    }

    /// Creates a topic that doesn't exist yet. Groups are dealt out in turn, so topics share them once there are more
    /// topics than groups.
    pub(super) fn create(&mut self, name: &str, owner: Owner) -> TopicId {
        let turn = (self.len() - SYS_COUNT) % (NLBUS_USER_GROUPS - NLBUS_GROUP_FIRST + 1);
        self.add(name, NLBUS_GROUP_FIRST + turn, DEFAULT_MODE, owner, self.topic_history)
    }

    fn add(&mut self, name: &str, group: u32, mode: u32, owner: Owner, history: u64) -> TopicId {
        let start = self.names.len();
        self.names.push_str(name);
        self.change += 1;
        self.topics.push(Topic {
            name: (start, name.len()),
            group,
            change: self.change,
            mode,
            owner,
            counts: Counts::default(),
        });
        self.history.add_topic(history);
        let id = TopicId(self.len());
        let Topics { ids, hasher, names, topics, .. } = self;
        let hash = |id: &TopicId| hasher.hash_one(name_of(names, topics, *id));
        ids.insert_unique(hash(&id), id, hash);
        id
    }

    /// Keeps an event's message as the topic's newest, to be completed there. Returns where it is until the next
    /// [`settle`](Self::settle).
    #[inline]
    pub(super) fn append(&mut self, id: TopicId, message: &[u8]) -> (Place, &mut [u8]) {
        self.change += 1;
        self.topics[id.index()].change = self.change;
        self.history.append(id.index(), message)
    }

    /// Whether a topic takes messages that fill a segment of history as that.
    pub(super) fn adopts(&self, id: TopicId) -> bool {
        self.history.adopts(id.index())
    }

    /// Keeps so many messages as the topic's newest where they are; as [`History::adopt`].
    pub(super) fn adopt(&mut self, id: TopicId, messages: &mut Vec<u8>, count: u64) -> Place {
        self.change += count;
        self.topics[id.index()].change = self.change;
        self.history.adopt(id.index(), messages, count)
    }

    /// For those who send what was appended.
    pub(super) fn history_mut(&mut self) -> &mut History {
        &mut self.history
    }

    /// Has history keep within its limits.
    pub(super) fn settle(&mut self) {
        self.history.settle();
    }

    pub(super) fn head(&self, id: TopicId) -> u64 {
        self.history.head(id.index())
    }

    pub(super) fn kept(&self, id: TopicId) -> Range<u64> {
        self.history.kept(id.index())
    }

    /// Encoded bodies of a topic's events from a sequence number on, oldest first.
    pub(super) fn events(&self, id: TopicId, from: u64) -> impl Iterator<Item = (u64, &[u8])> {
        self.history.from(id.index(), from)
    }

    /// Topics above an id that changed after a change count, in the order of their ids.
    pub(super) fn list(&self, above: u32, since: Option<u64>) -> impl Iterator<Item = TopicId> {
        let since = since.unwrap_or_default();
        // Change counts begin at 1, so 0 leaves nothing out.
        (above.saturating_add(1)..=self.len()).map(TopicId).filter(move |id| self.get(*id).change > since)
    }

    /// What the broker says of a topic.
    pub(super) fn record(&self, id: TopicId) -> TopicRecord {
        let topic = self.get(id);
        let kept = self.kept(id);
        let (bytes, limit) = self.history.bytes_of(id.index());
        TopicRecord {
            id: id.get(),
            name: self.name(id).into(),
            group: topic.group,
            head: kept.end - 1,
            first: kept.start,
            bytes,
            change: topic.change,
            mode: topic.mode,
            uid: topic.owner.uid,
            gid: topic.owner.gid,
            history: limit,
            // Each, before whoever waits for the answer reads it.
            broadcast: kept.end - 1,
            dropped: topic.counts.dropped,
            replayed: topic.counts.replayed,
        }
    }

    /// Says how much the history of a topic may keep.
    pub(super) fn set_history(&mut self, id: TopicId, limit: u64) {
        self.change += 1;
        self.topics[id.index()].change = self.change;
        self.history.set_limit(id.index(), limit);
    }

    /// Whether it is one of the broker's own.
    pub(super) fn is_own(&self, id: TopicId) -> bool {
        id.get() <= SYS_COUNT
    }

    pub(super) fn count_replayed(&mut self, id: TopicId, events: u64) {
        self.topics[id.index()].counts.replayed += events;
    }

    /// Events of the topic that history knows by this number.
    pub(super) fn count_dropped(&mut self, number: usize, events: u64) {
        self.topics[number].counts.dropped += events;
    }
}

fn name_of<'a>(names: &'a str, topics: &[Topic], id: TopicId) -> &'a str {
    let (start, len) = topics[id.index()].name;
    &names[start..start + len]
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner { uid: 5, gid: 6 };

    #[test]
    fn the_brokers_topics_are_there_from_the_start() {
        let topics = Topics::new(0, 0, OWNER);
        let seen: Vec<_> = topics.list(0, None).map(|id| topics.record(id)).collect();
        let seen: Vec<_> = seen.iter().map(|topic| (topic.id, &*topic.name, topic.group, topic.mode)).collect();
        assert_eq!(
            seen,
            [(1, "$SYS/heartbeat", 1, 0o444), (2, "$SYS/topics", 1, 0o444), (3, "$SYS/closing", 1, 0o444)]
        );
    }

    #[test]
    fn groups_go_round_from_the_first_to_the_last() {
        let mut topics = Topics::new(0, 0, OWNER);
        let ids: Vec<_> = (0..62).map(|n| topics.create(&n.to_string(), OWNER)).collect();
        let groups: Vec<_> = ids.into_iter().map(|id| topics.get(id).group).collect();
        let want: Vec<_> = (NLBUS_GROUP_FIRST..=32).cycle().take(62).collect();
        assert_eq!(groups, want);
    }

    #[test]
    fn a_list_has_what_changed_and_nothing_else() {
        let mut topics = Topics::new(0, 0, OWNER);
        let one = topics.create("one", OWNER);
        let two = topics.create("two", OWNER);
        let before = topics.change();
        assert_eq!(topics.list(0, Some(before)).count(), 0);
        topics.append(two, &[0; 16]);
        assert_eq!(topics.change(), before + 1);
        assert_eq!(topics.list(0, Some(before)).collect::<Vec<_>>(), [two]);
        assert_eq!(topics.list(one.get(), None).collect::<Vec<_>>(), [two]);
        assert_eq!(topics.list(u32::MAX, None).count(), 0);
        assert_eq!((topics.by_id(0), topics.by_id(6), topics.by_id(5)), (None, None, Some(two)));
    }
}
