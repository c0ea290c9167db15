//! Who follows what: subscriptions, topics, groups. Events find their subscriptions here.

use super::Output;
use super::by_id::ById;
use super::subscriber::{SubId, Subscriber};
use super::turns::Turns;
use crate::delivery::Cause;
use crate::inlet::Inlet;
use crate::run::Run;
use crate::sequence::{Cursor, Place};
use crate::type_name::TypeName;
use crate::wire::TopicRecord;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// One topic that subscriptions follow, or are about to.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    group: u32,
    /// The bus's change count when the group and the type were told.
    change: u64,
    /// What its values are called.
    pub(super) type_name: Option<TypeName>,
    /// Its mode doesn't let its owner read it. He is told of it all the same, so whether this process may read it, a replay
    /// says, and who follows it waits for that.
    is_doubtful: bool,
    /// Its group could not be joined, and it is looked at once more.
    is_shut_out: bool,
    /// The broker doesn't have it any more: nothing can be asked of it.
    pub(super) has_vanished: bool,
    /// Newest sequence number known.
    pub(super) head: u64,
    pub(super) follows: Vec<Follow>,
    /// A replay is under way, asked for in the turn of this subscription.
    pub(super) replaying: Option<SubId>,
    /// Counts replays, so that each of those who are behind gets its turn.
    pub(super) turn: usize,
}

/// Whether that a broker tells of a topic doesn't say that it may be read.
fn is_doubtful(record: &TopicRecord) -> bool {
    record.mode & 0o400 == 0
}

/// One subscription's place in one topic.
#[derive(Debug)]
pub(super) struct Follow {
    pub(super) sub: SubId,
    pub(super) cursor: Cursor,
    /// Why it isn't live, if it isn't.
    pub(super) behind: Option<Cause>,
    /// The topic is in the subscription's backlog.
    pub(super) queued: bool,
}

/// What became of a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Given {
    /// How many of its events were given.
    pub(super) events: u64,
    /// Some are missing before it, so none was.
    pub(super) gap: bool,
    /// There was no room for some of it.
    pub(super) refused: bool,
}

impl Follow {
    /// Gives what is next of a run, as far as there is room; and what is behind a gap only where an event stands for all
    /// before it.
    pub(super) fn give(
        &mut self,
        run: &Run<'_>,
        inlet: &mut Inlet,
        epoch: u64,
        datagram: &Bytes,
        topic: &Arc<str>,
    ) -> Given {
        let old = self.cursor.next().saturating_sub(run.first);
        if old >= run.count as u64 {
            return Given::default();
        }
        // Less than the run's count, which is a usize.
        let mut due = if old > 0 { run.skip(datagram, old as usize) } else { *run };
        if self.cursor.place(due.first) == Place::Gap && !inlet.conflates() {
            return Given { gap: true, ..Given::default() };
        }
        let room = inlet.room();
        let refused = due.count > room && !inlet.drops();
        if refused {
            due.count = room;
        }
        if due.count > 0 {
            let before = self.cursor.move_to(due.first);
            self.cursor.move_to(due.last());
            inlet.push_run(&due, before, epoch, datagram, topic);
        }
        Given { events: due.count as u64, gap: false, refused }
    }
}

/// All of a client's subscriptions, topics and groups.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) subscribers: BTreeMap<SubId, Subscriber>,
    pub(super) topics: ById<Topic>,
    /// Their ids.
    names: HashMap<Arc<str>, u32>,
    /// Who is behind.
    pub(super) turns: Turns,
    /// Joined groups, each with the number of topics that need it.
    groups: HashMap<u32, usize>,
    /// Subscriptions with a batch to send.
    pub(super) touched: Vec<SubId>,
    /// A subscription is gone, and topics without a follower may be left of it.
    pub(super) unswept: bool,
    next_id: u64,
}

impl Registry {
    pub(super) fn insert(&mut self, subscriber: Subscriber) -> SubId {
        let id = SubId(self.next_id);
        self.next_id += 1;
        self.subscribers.insert(id, subscriber);
        id
    }

    /// Forgets a subscription, and the topics that nobody else follows. Whether there was one.
    pub(super) fn remove(&mut self, id: SubId, outputs: &mut VecDeque<Output>) -> bool {
        if self.subscribers.remove(&id).is_none() {
            return false;
        }
        for topic in self.topics.values_mut() {
            topic.follows.retain(|follow| follow.sub != id);
        }
        self.unswept = true;
        self.sweep(outputs);
        true
    }

    /// Forgets the topics that a subscription which is gone left without a follower. One that is still looking may be about
    /// to follow them: then they go when it has found what it follows.
    pub(super) fn sweep(&mut self, outputs: &mut VecDeque<Output>) {
        if self.unswept && self.subscribers.values().all(|subscriber| subscriber.resolved) {
            self.unswept = false;
            let idle: Vec<u32> =
                self.topics.iter().filter(|(_, topic)| topic.follows.is_empty()).map(|(id, _)| *id).collect();
            for id in idle {
                self.forget_topic(id, outputs);
            }
        }
    }

    pub(super) fn forget_topic(&mut self, id: u32, outputs: &mut VecDeque<Output>) {
        self.replay_is_over(id);
        if let Some(topic) = self.topics.remove(&id) {
            self.names.remove(&topic.name);
            self.release_group(topic.group, outputs);
        }
    }

    /// Counts a user of a group, and joins it for the first one.
    pub(super) fn hold_group(&mut self, group: u32, outputs: &mut VecDeque<Output>) {
        let users = self.groups.entry(group).or_default();
        *users += 1;
        if *users == 1 {
            outputs.push_back(Output::Join(group));
        }
    }

    /// Discounts a user of a group, and leaves it after the last one.
    pub(super) fn release_group(&mut self, group: u32, outputs: &mut VecDeque<Output>) {
        if let Some(users) = self.groups.get_mut(&group) {
            *users -= 1;
            if *users == 0 {
                self.groups.remove(&group);
                outputs.push_back(Output::Leave(group));
            }
        }
    }

    /// The tracked topic of a name.
    pub(super) fn id_of(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    /// Makes sure that a topic's events are received. Nobody follows it by this alone. Whether it was in another group before:
    /// the new one is joined first.
    pub(super) fn track(&mut self, record: &TopicRecord, outputs: &mut VecDeque<Output>) -> bool {
        let TopicRecord { id, group, head, change, .. } = *record;
        let Some(topic) = self.topics.get_mut(&id) else {
            self.hold_group(group, outputs);
            let (name, follows) = (Arc::<str>::from(record.name.as_str()), Vec::new());
            self.names.insert(Arc::clone(&name), id);
            let topic = Topic {
                name,
                group,
                change,
                type_name: record.type_name,
                is_doubtful: is_doubtful(record),
                is_shut_out: false,
                has_vanished: false,
                head,
                follows,
                replaying: None,
                turn: 0,
            };
            self.topics.insert(id, topic);
            return false;
        };
        topic.head = topic.head.max(head);
        // Answers overtake each other when one of them is late.
        if change < topic.change {
            return false;
        }
        let was_doubtful = std::mem::replace(&mut topic.is_doubtful, is_doubtful(record));
        if topic.is_doubtful && !was_doubtful {
            for follow in &mut topic.follows {
                follow.behind.get_or_insert(Cause::Late);
                if let Some(subscriber) = self.subscribers.get_mut(&follow.sub) {
                    self.turns.add(id, follow, subscriber);
                }
            }
        }
        if topic.type_name != record.type_name {
            (topic.type_name, topic.change) = (record.type_name, change);
        }
        if topic.group == group {
            return false;
        }
        let old = std::mem::replace(&mut topic.group, group);
        (topic.change, topic.is_shut_out) = (change, false);
        self.hold_group(group, outputs);
        self.release_group(old, outputs);
        true
    }

    /// Whether a tracked topic is in another group than its events come from.
    pub(super) fn is_elsewhere(&self, record: &TopicRecord) -> bool {
        self.topics.get(&record.id).is_none_or(|topic| topic.group != record.group)
    }

    /// A topic's group can't be joined. Whether that is new: it is to be looked at.
    pub(super) fn shut_out(&mut self, id: u32) -> bool {
        self.topics.get_mut(&id).is_some_and(|topic| !std::mem::replace(&mut topic.is_shut_out, true))
    }

    /// Whether a topic's group could not be joined.
    pub(super) fn is_shut_out(&self, id: u32) -> bool {
        self.topics.get(&id).is_some_and(|topic| topic.is_shut_out)
    }

    /// The broker doesn't have a topic any more. Whether that is new.
    pub(super) fn vanish(&mut self, id: u32) -> bool {
        self.replay_is_over(id);
        self.topics.get_mut(&id).is_some_and(|topic| !std::mem::replace(&mut topic.has_vanished, true))
    }

    /// The subscriptions to a topic alone that aren't open yet.
    pub(super) fn waiting_for(&self, id: u32) -> Vec<SubId> {
        let Some(topic) = self.topics.get(&id) else { return Vec::new() };
        let waits = |sub: &Subscriber| sub.opener.is_some() && sub.filter.as_str() == &*topic.name;
        self.subscribers.iter().filter(|(_, sub)| waits(sub)).map(|(id, _)| *id).collect()
    }

    /// Lets a subscription follow a tracked topic after `seq`, unless it does already.
    pub(super) fn follow(&mut self, sub: SubId, topic_id: u32, seq: u64) {
        let Some(topic) = self.topics.get_mut(&topic_id) else { return };
        if topic.follows.iter().any(|follow| follow.sub == sub) {
            return;
        }
        let cursor = Cursor::after(seq);
        // A newer topic's group is joined after its head was told. What came in between shows in the answer to a
        // replay alone, so there is one even if the head was 0.
        let behind = (seq == 0 || topic.is_doubtful || !cursor.reached(topic.head)).then_some(Cause::Late);
        let mut follow = Follow { sub, cursor, behind, queued: false };
        if behind.is_some()
            && let Some(subscriber) = self.subscribers.get_mut(&sub)
        {
            self.turns.add(topic_id, &mut follow, subscriber);
        }
        topic.follows.push(follow);
    }

    /// A run of this epoch from its topic's group, in this datagram, goes to those who are live there.
    pub(super) fn live_run(&mut self, epoch: u64, run: &Run<'_>, datagram: &Bytes) {
        let Some(topic) = self.topics.get_mut(&run.topic_id) else { return };
        topic.head = topic.head.max(run.last());
        for follow in topic.follows.iter_mut().filter(|follow| follow.behind.is_none()) {
            let Some(subscriber) = self.subscribers.get_mut(&follow.sub) else { continue };
            let inlet = &mut subscriber.inlet;
            let was_flushed = inlet.is_flushed();
            follow.behind = match follow.give(run, inlet, epoch, datagram, &topic.name) {
                Given { gap: true, .. } => Some(Cause::Overrun),
                Given { refused: true, .. } => Some(Cause::Overflow),
                _ => None,
            };
            if was_flushed && !inlet.is_flushed() {
                self.touched.push(follow.sub);
            }
            if follow.behind.is_some() {
                self.turns.add(run.topic_id, follow, subscriber);
            }
        }
    }

    /// Sends the batches that were filled. Returns the subscriptions that nobody receives any more: their handle is about
    /// to close them, or gave up waiting just when they were opened, and never will.
    pub(super) fn flush(&mut self) -> Vec<SubId> {
        let mut gone = Vec::new();
        for id in self.touched.drain(..) {
            if self.subscribers.get_mut(&id).is_some_and(|subscriber| !subscriber.inlet.flush()) {
                gone.push(id);
            }
        }
        gone
    }

    /// Whether the application has this subscription.
    pub(super) fn is_open(&self, id: SubId) -> bool {
        self.subscribers.get(&id).is_some_and(|subscriber| subscriber.opener.is_none())
    }

    /// The subscriptions that still wait for an answer of the broker.
    pub(super) fn unresolved(&self) -> Vec<SubId> {
        self.subscribers.iter().filter(|(_, subscriber)| !subscriber.resolved).map(|(id, _)| *id).collect()
    }

    /// The broker says that a topic has events up to `head`: whoever hasn't had them is behind.
    pub(super) fn head_is(&mut self, topic_id: u32, head: u64) {
        let Some(topic) = self.topics.get_mut(&topic_id) else { return };
        topic.head = topic.head.max(head);
        for follow in topic.follows.iter_mut().filter(|follow| !follow.cursor.reached(head)) {
            follow.behind.get_or_insert(Cause::Overrun);
            if let Some(subscriber) = self.subscribers.get_mut(&follow.sub) {
                self.turns.add(topic_id, follow, subscriber);
            }
        }
    }

    /// The topics were another broker's. The groups were joined by a socket that is gone.
    pub(super) fn forget_topics(&mut self) {
        self.topics.clear();
        self.names.clear();
        self.groups.clear();
        self.forget_turns();
        for subscriber in self.subscribers.values_mut() {
            subscriber.watermark = None;
            subscriber.over.clear();
        }
    }

    /// Whether anything is in a group that should be joined.
    pub(super) fn needs_group(&self, group: u32) -> bool {
        self.groups.contains_key(&group)
    }

    /// The tracked topics of a group.
    pub(super) fn topics_of_group(&self, group: u32) -> Vec<u32> {
        self.topics.iter().filter(|(_, topic)| topic.group == group).map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
mod tests;
