//! The topics of a bus: names, ids, groups, change counts and, by way of the history, sequence numbers.

use super::access::{Access, Owner};
use super::config::Config;
use super::users::{Charged, Users};
use crate::history::{History, Place};
use crate::type_name::TypeName;
use crate::wire::uapi::{
    NLBUS_GROUP_CLIENTS, NLBUS_GROUP_FIRST, NLBUS_GROUP_SYS, NLBUS_SYS_CLIENTS, NLBUS_SYS_CLOSING, NLBUS_SYS_HEARTBEAT,
    NLBUS_SYS_TOPICS, NLBUS_USER_GROUPS,
};
use crate::wire::{TopicRecord, TopicSettings};
use hashbrown::HashTable;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::{Bound, Range};

/// The broker's own topics, which exist from the start and stay.
pub(super) const SYS_HEARTBEAT: Slot = Slot(0);
pub(super) const SYS_TOPICS: Slot = Slot(1);
pub(super) const SYS_CLOSING: Slot = Slot(2);
pub(super) const SYS_CLIENTS: Slot = Slot(3);

/// How many those are.
pub(super) const SYS_COUNT: u32 = 4;

/// Who misses heartbeats wants the newest: bytes that each of them keeps.
const SYS_HISTORY: u64 = 4096;
/// Everyone may read; the broker alone publishes.
const SYS_MODE: u32 = 0o444;

/// Where a topic is that exists. Another one may have its place once it is deleted; ids are never dealt out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(u32);

impl Slot {
    fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) id: u32,
    /// Where its name begins among all, and its length.
    name: (usize, usize),
    pub(super) group: u32,
    /// The bus's change count when it last changed.
    change: u64,
    pub(super) access: Access,
    counts: Counts,
    /// What its values are called. Looked at so seldom that it stays elsewhere.
    type_name: Option<Box<TypeName>>,
}

/// What is counted for a topic besides its events.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    dropped: u64,
    replayed: u64,
    /// Numbers that no event has.
    lost: u64,
}

#[derive(Debug)]
pub(super) struct Topics {
    /// By name, without the names: those stand close together, since where topics alternate each event has one looked at.
    by_name: HashTable<Slot>,
    hasher: RandomState,
    names: String,
    /// Bytes of those that are nobody's any more.
    unnamed: usize,
    by_id: BTreeMap<u32, Slot>,
    last_id: u32,
    topics: Vec<Topic>,
    history: History,
    users: Users,
    topic_history: u64,
    change: u64,
    /// What was found last.
    found: Option<Slot>,
}

impl Topics {
    /// The topics of a new bus: the broker's own.
    pub(super) fn new(config: &Config) -> Topics {
        let Config { history, topic_history, uid, gid, .. } = *config;
        let mut topics = Topics {
            by_name: HashTable::new(),
            hasher: RandomState::new(),
            names: String::new(),
            unnamed: 0,
            by_id: BTreeMap::new(),
            last_id: 0,
            topics: Vec::new(),
            history: History::new(history),
            users: Users::new(config.user_history()),
            topic_history,
            change: 0,
            found: None,
        };
        let access = Access { owner: Owner { uid, gid }, mode: SYS_MODE };
        let own = [
            (NLBUS_SYS_HEARTBEAT, NLBUS_GROUP_SYS, SYS_HEARTBEAT),
            (NLBUS_SYS_TOPICS, NLBUS_GROUP_SYS, SYS_TOPICS),
            (NLBUS_SYS_CLOSING, NLBUS_GROUP_SYS, SYS_CLOSING),
            (NLBUS_SYS_CLIENTS, NLBUS_GROUP_CLIENTS, SYS_CLIENTS),
        ];
        for (name, group, slot) in own {
            let got = topics.add(name, group, access, None, SYS_HISTORY.min(topic_history));
            debug_assert_eq!(got, slot);
        }
        topics
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        self.by_id.len() as u32
    }

    /// The newest topic's id.
    pub(super) fn last_id(&self) -> u32 {
        self.last_id
    }

    /// The bus's change count: it rises with every event, every topic, and whenever numbers are lost.
    pub(super) fn change(&self) -> u64 {
        self.change
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    pub(super) fn find(&self, name: &str) -> Option<Slot> {
        self.by_name.find(self.hasher.hash_one(name), |slot| self.name(*slot) == name).copied()
    }

    pub(super) fn name(&self, slot: Slot) -> &str {
        name_of(&self.names, &self.topics, slot)
    }

    /// [`find`](Self::find), behind a look for another name: publishers mostly stay with a topic for a while.
    pub(super) fn find_again(&mut self, name: &str) -> Option<Slot> {
        if let Some(slot) = self.found
            && self.name(slot) == name
        {
            return Some(slot);
        }
        self.found = self.find(name);
        self.found
    }

    /// The topic of an id that came from outside.
    pub(super) fn by_id(&self, id: u32) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn get(&self, slot: Slot) -> &Topic {
        &self.topics[slot.index()]
    }

    /// Creates a topic that doesn't exist yet, and charges it to somebody as long as it exists. Groups are dealt out in turn, so topics share them once there are more
    /// topics than groups.
    pub(super) fn create(&mut self, name: &str, access: Access, charged: Charged) -> Slot {
        let turn = (self.last_id - SYS_COUNT) % (NLBUS_USER_GROUPS - NLBUS_GROUP_FIRST + 1);
        self.add(name, NLBUS_GROUP_FIRST + turn, access, charged, self.topic_history)
    }

    fn add(&mut self, name: &str, group: u32, access: Access, charged: Charged, history: u64) -> Slot {
        let start = self.names.len();
        self.names.push_str(name);
        self.change += 1;
        self.last_id += 1;
        let (name, counts) = ((start, name.len()), Counts::default());
        let topic = Topic { id: self.last_id, name, group, change: self.change, access, counts, type_name: None };
        let account = self.users.open(charged, &mut self.history);
        let slot = Slot(self.history.add_topic(history, account) as u32);
        match self.topics.get_mut(slot.index()) {
            Some(gone) => *gone = topic,
            None => self.topics.push(topic),
        }
        self.by_id.insert(self.last_id, slot);
        let Topics { by_name, hasher, names, topics, .. } = self;
        let hash = |slot: &Slot| hasher.hash_one(name_of(names, topics, *slot));
        by_name.insert_unique(hash(&slot), slot, hash);
        slot
    }

    /// Deletes a topic, whose events have all been sent.
    pub(super) fn delete(&mut self, slot: Slot) {
        let hash = self.hasher.hash_one(self.name(slot));
        if let Ok(entry) = self.by_name.find_entry(hash, |other| *other == slot) {
            entry.remove();
        }
        let Topic { id, name: (_, len), .. } = *self.get(slot);
        self.by_id.remove(&id);
        let account = self.account_of(slot);
        self.history.remove_topic(slot.index());
        self.users.close(account, &self.history);
        self.found = None;
        self.change += 1;
        self.unnamed += len;
        if self.unnamed > self.names.len() / 2 {
            self.gather_names();
        }
    }

    /// The account that a topic is charged to.
    pub(super) fn account_of(&self, slot: Slot) -> usize {
        self.history.account_of(slot.index())
    }

    /// The account that a new topic would be charged to, as far as there is one.
    pub(super) fn account(&self, charged: Charged) -> usize {
        self.users.account(charged)
    }

    /// Whose an account is.
    pub(super) fn uid_of(&self, account: usize) -> u32 {
        self.users.uid(account)
    }

    /// How many topics are charged to a user.
    pub(super) fn topics_of(&self, uid: u32) -> u32 {
        self.users.topics(uid, &self.history)
    }

    /// Leaves out the names of topics that are gone.
    fn gather_names(&mut self) {
        let mut names = String::with_capacity(self.names.len() - self.unnamed);
        for slot in self.by_id.values() {
            let start = names.len();
            names.push_str(name_of(&self.names, &self.topics, *slot));
            self.topics[slot.index()].name.0 = start;
        }
        (self.names, self.unnamed) = (names, 0);
    }

    /// Keeps an event's message as the topic's newest, to be completed there. Returns where it is until the next
    /// [`settle`](Self::settle).
    #[inline]
    pub(super) fn append(&mut self, slot: Slot, message: &[u8]) -> (Place, &mut [u8]) {
        self.change += 1;
        self.topics[slot.index()].change = self.change;
        self.history.append(slot.index(), message)
    }

    /// Whether a topic takes messages that fill a segment of history as that.
    pub(super) fn adopts(&self, slot: Slot) -> bool {
        self.history.adopts(slot.index())
    }

    /// Keeps so many messages as the topic's newest where they are; as [`History::adopt`].
    pub(super) fn adopt(&mut self, slot: Slot, messages: &mut Vec<u8>, count: u64) -> Place {
        self.change += count;
        self.topics[slot.index()].change = self.change;
        self.history.adopt(slot.index(), messages, count)
    }

    /// Uses up so many numbers of a topic. Returns the last one.
    pub(super) fn lose(&mut self, slot: Slot, count: u64) -> u64 {
        self.change += 1;
        let topic = &mut self.topics[slot.index()];
        topic.change = self.change;
        topic.counts.lost += count;
        self.history.skip(slot.index(), count);
        self.head(slot)
    }

    /// Whether a topic's newest number is no event's.
    pub(super) fn ends_in_lost(&self, slot: Slot) -> bool {
        self.history.tail(slot.index()) > 0
    }

    /// For those who send what was appended.
    pub(super) fn history_mut(&mut self) -> &mut History {
        &mut self.history
    }

    /// Has history keep within its limits.
    pub(super) fn settle(&mut self) {
        self.history.settle();
    }

    pub(super) fn head(&self, slot: Slot) -> u64 {
        self.history.head(slot.index())
    }

    pub(super) fn kept(&self, slot: Slot) -> Range<u64> {
        self.history.kept(slot.index())
    }

    /// The number of the first event that is kept from a number on, or the next one to come.
    pub(super) fn next_from(&self, slot: Slot, seq: u64) -> u64 {
        self.history.next_from(slot.index(), seq)
    }

    /// Encoded bodies of a topic's events from a sequence number on, oldest first.
    pub(super) fn events(&self, slot: Slot, from: u64) -> impl Iterator<Item = (u64, &[u8])> {
        self.history.from(slot.index(), from)
    }

    /// Topics above an id that changed after a change count, in the order of their ids.
    pub(super) fn list(&self, above: u32, since: Option<u64>) -> impl Iterator<Item = Slot> {
        let since = since.unwrap_or_default();
        let slots = self.by_id.range((Bound::Excluded(above), Bound::Unbounded)).map(|(_, slot)| *slot);
        // Change counts begin at 1, so 0 leaves nothing out.
        slots.filter(move |slot| self.get(*slot).change > since)
    }

    /// What the broker says of a topic.
    pub(super) fn record(&self, slot: Slot) -> TopicRecord {
        let topic = self.get(slot);
        let kept = self.kept(slot);
        let (bytes, limit) = self.history.bytes_of(slot.index());
        TopicRecord {
            id: topic.id,
            name: self.name(slot).into(),
            group: topic.group,
            head: kept.end - 1,
            first: kept.start,
            bytes,
            change: topic.change,
            mode: topic.access.mode,
            uid: topic.access.owner.uid,
            gid: topic.access.owner.gid,
            history: limit,
            // Each, before whoever waits for the answer reads it.
            broadcast: kept.end - 1 - topic.counts.lost,
            dropped: topic.counts.dropped,
            replayed: topic.counts.replayed,
            type_name: topic.type_name.as_deref().copied(),
        }
    }

    /// Sets who may use a topic and, as far as that is given, what its values are called and how much its history may keep.
    /// Whether anything changes that subscribers are to be told of.
    pub(super) fn set(&mut self, slot: Slot, access: Access, settings: &TopicSettings) -> bool {
        self.change += 1;
        let topic = &mut self.topics[slot.index()];
        topic.change = self.change;
        let mut is_news = std::mem::replace(&mut topic.access, access) != access;
        if let Some(type_name) = settings.type_name {
            is_news |= topic.type_name.as_deref() != type_name.as_ref();
            topic.type_name = type_name.map(Box::new);
        }
        if let Some(limit) = settings.history {
            self.history.set_limit(slot.index(), limit);
        }
        is_news
    }

    /// Whether it is said what its values are called.
    pub(super) fn is_typed(&self, slot: Slot) -> bool {
        self.get(slot).type_name.is_some()
    }

    /// Whether it is one of the broker's own.
    pub(super) fn is_own(&self, slot: Slot) -> bool {
        slot.0 < SYS_COUNT
    }

    pub(super) fn count_replayed(&mut self, slot: Slot, events: u64) {
        self.topics[slot.index()].counts.replayed += events;
    }

    /// Events of the topic that history knows by this number.
    pub(super) fn count_dropped(&mut self, number: usize, events: u64) {
        self.topics[number].counts.dropped += events;
    }
}

fn name_of<'a>(names: &'a str, topics: &[Topic], slot: Slot) -> &'a str {
    let (start, len) = topics[slot.index()].name;
    &names[start..start + len]
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner { uid: 5, gid: 6 };
    const ACCESS: Access = Access { owner: OWNER, mode: 0o666 };

    fn topics(history: u64, topic_history: u64) -> Topics {
        Topics::new(&Config { history, topic_history, ..Config::default() })
    }

    fn create(topics: &mut Topics, name: &str) -> Slot {
        topics.create(name, ACCESS, None)
    }

    #[test]
    fn the_brokers_topics_are_there_from_the_start() {
        let topics = topics(0, 0);
        let seen: Vec<_> = topics.list(0, None).map(|slot| topics.record(slot)).collect();
        let seen: Vec<_> = seen.iter().map(|topic| (topic.id, &*topic.name, topic.group, topic.mode)).collect();
        assert_eq!(
            seen,
            [
                (1, "$SYS/heartbeat", 1, 0o444),
                (2, "$SYS/topics", 1, 0o444),
                (3, "$SYS/closing", 1, 0o444),
                (4, "$SYS/clients", 2, 0o444)
            ]
        );
    }

    #[test]
    fn groups_go_round_from_the_first_to_the_last() {
        let mut topics = topics(0, 0);
        let slots: Vec<_> = (0..62).map(|n| create(&mut topics, &n.to_string())).collect();
        let groups: Vec<_> = slots.into_iter().map(|slot| topics.get(slot).group).collect();
        let want: Vec<_> = (NLBUS_GROUP_FIRST..=32).cycle().take(62).collect();
        assert_eq!(groups, want);
    }

    #[test]
    fn a_list_has_what_changed_and_nothing_else() {
        let mut topics = topics(0, 0);
        let one = create(&mut topics, "one");
        let two = create(&mut topics, "two");
        let before = topics.change();
        assert_eq!(topics.list(0, Some(before)).count(), 0);
        topics.append(two, &[0; 16]);
        assert_eq!(topics.change(), before + 1);
        assert_eq!(topics.list(0, Some(before)).collect::<Vec<_>>(), [two]);
        assert_eq!(topics.list(topics.get(one).id, None).collect::<Vec<_>>(), [two]);
        assert_eq!(topics.list(u32::MAX, None).count(), 0);
        assert_eq!((topics.by_id(0), topics.by_id(7), topics.by_id(6)), (None, None, Some(two)));
    }

    /// Whatever is created and deleted: names are found, ids are dealt out once, and what is gone leaves nothing behind.
    #[test]
    fn what_is_deleted_makes_room() {
        let mut topics = topics(1 << 20, 1 << 16);
        for round in 0..1000 {
            let name = |at: u32| format!("{at}/{}", "x".repeat(at as usize % 7));
            for at in 0..10 {
                let slot = create(&mut topics, &name(at));
                assert_eq!((topics.get(slot).id, topics.head(slot)), (5 + round * 10 + at, 0));
                topics.append(slot, &[0; 100]);
                assert_eq!((topics.head(slot), topics.kept(slot)), (1, 1..2));
            }
            for at in (0..10).rev() {
                let slot = topics.find_again(&name(at)).unwrap();
                assert_eq!(topics.name(slot), name(at));
                topics.delete(slot);
                assert_eq!((topics.find_again(&name(at)), topics.by_id(5 + round * 10 + at)), (None, None));
            }
            topics.settle();
        }
        assert_eq!((topics.len(), topics.last_id(), topics.history().bytes()), (4, 10_004, 0));
        assert!(topics.topics.len() == 14 && topics.names.len() < 300, "{} bytes of names", topics.names.len());
    }
}
