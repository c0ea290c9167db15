//! Topics that move and topics that end for those who follow them. A topic whose mode or owner changed may have another group, or may not be read any
//! more; one that was deleted is gone. The broker names them ([`TopicsAnnouncement`]) and counts them, so whoever missed an
//! announcement finds that out by the count, and looks at all of his.

use super::answers::Purpose;
use super::by_id::ById;
use super::registry::{Follow, Registry};
use super::requests::PATIENCE;
use super::subscriber::{Refused, SubId, Subscriber};
use super::{Client, Output};
use crate::delivery::{Cause, Delivery, EndReason, Ended, Lost};
use crate::wire::{MovedTopic, TopicRecord, TopicsAnnouncement};
use nix::errno::Errno;
use std::collections::{HashSet, VecDeque};
use std::time::Instant;

/// Topics that are looked at one by one: where more were named at once, a list says it in fewer answers.
pub(super) const SEEKS: usize = 32;

/// A topic that is over, as long as answers may come that were written before. Those to requests that were made before it was
/// over: later than this none of them is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Over {
    reason: EndReason,
    last: u64,
    until: Instant,
}

/// All of those.
#[derive(Debug, Default)]
pub(super) struct Overs {
    pub(super) by_id: ById<Over>,
    /// In the order in which they can be forgotten.
    order: VecDeque<(Instant, u32)>,
}

impl Overs {
    fn insert(&mut self, id: u32, over: Over) {
        self.order.push_back((over.until, id));
        self.by_id.insert(id, over);
    }

    /// When there is something to forget.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.order.front().map(|(until, _)| *until)
    }

    /// Forgets what can be, once the requests that are overdue are no longer waited for.
    pub(super) fn forget(&mut self, now: Instant) {
        while let Some((_, id)) = self.order.front().copied().filter(|(until, _)| *until <= now) {
            self.order.pop_front();
            // It may have been over once more since.
            if self.by_id.get(&id).is_some_and(|over| over.until <= now) {
                self.by_id.remove(&id);
            }
        }
    }
}

impl Client {
    /// The broker says which topics moved or ended.
    pub(super) fn topics_said(&mut self, said: &TopicsAnnouncement, now: Instant) {
        self.announced = self.announced.max(said.last_id);
        let mut sought = Vec::new();
        for MovedTopic { id, end } in &said.topics {
            match end {
                0 => sought.push(*id),
                end => self.end_topic(*id, Some(*end), EndReason::Deleted, now),
            }
        }
        let missed = self.moved_is(said.moved, said.topics.len() as u64);
        if missed || sought.len() > SEEKS {
            return self.survey(now);
        }
        let unknown_too = !sought.is_empty() && self.registry.wants_unknown();
        for id in sought {
            if unknown_too || self.registry.topics.contains_key(&id) {
                self.request(Purpose::Seek(id), 0, now);
            }
        }
    }

    /// The broker has named so many topics, those that it names just now included. Whether others were missed.
    fn moved_is(&mut self, moved: u64, named: u64) -> bool {
        let known = self.moved.replace(moved.max(self.moved.unwrap_or_default()));
        match known {
            Some(known) => moved.saturating_sub(named) > known,
            // Since the broker's own events are followed any of them may have been missed; those topics that are tracked from
            // now on are looked at from now on.
            None => !self.registry.topics.is_empty(),
        }
    }

    /// The same, said with something else.
    pub(super) fn check_moved(&mut self, moved: u64, now: Instant) {
        if self.moved_is(moved, 0) {
            self.survey(now);
        }
    }

    /// Looks at all topics: where they are, and which are no longer there.
    pub(super) fn survey(&mut self, now: Instant) {
        self.survey = true;
        self.check_heads(now);
    }

    /// A page of that, of all topics that may be read with ids above `above` and up to `to`.
    pub(super) fn surveyed(&mut self, above: u32, to: u32, records: &[TopicRecord], now: Instant) {
        for record in records {
            self.pick_up(record, now);
        }
        let there: HashSet<u32> = records.iter().map(|record| record.id).collect();
        let ids = self.registry.topics.keys().copied();
        let absent: Vec<u32> = ids.filter(|id| *id > above && *id <= to && !there.contains(id)).collect();
        for id in absent {
            // Why, a look at it alone says.
            self.request(Purpose::Seek(id), 0, now);
        }
    }

    /// Makes sure that a topic's events are received, wherever it is by now.
    pub(super) fn track(&mut self, record: &TopicRecord, now: Instant) {
        if self.is_deleted(record.id) {
            return;
        }
        match self.registry.id_of(&record.name) {
            // A name is one topic's at a time: what bore it before has ended, and what doesn't bear it any more as well.
            Some(older) if older < record.id => self.end_topic(older, None, EndReason::Deleted, now),
            Some(newer) if newer > record.id => return,
            _ => {}
        }
        if self.registry.track(record, &mut self.outputs) {
            // What it had before its new group was joined shows in its head alone.
            self.request(Purpose::Seek(record.id), 0, now);
        }
        let lost = self.registry.part(self.epoch, record.id);
        self.counters.lost = self.counters.lost.saturating_add(lost);
    }

    /// Whether a topic's values are of another type than a subscription's, which is told so once.
    pub(super) fn is_mistyped(&mut self, sub: SubId, record: &TopicRecord) -> bool {
        let Some(subscriber) = self.registry.subscribers.get_mut(&sub) else { return false };
        if subscriber.wants_another(record.type_name).is_none() {
            return false;
        }
        if subscriber.over.insert(record.id, record.head).is_none() {
            if subscriber.inlet.is_flushed() {
                self.registry.touched.push(sub);
            }
            let (epoch, topic) = (self.epoch, record.name.as_str().into());
            let (topic_id, last, reason) = (record.id, record.head, EndReason::OtherType);
            subscriber.inlet.push(Delivery::Ended(Ended { epoch, topic, topic_id, last, reason }));
        }
        true
    }

    /// Lets a subscription follow a topic after `seq`, as far as it isn't over.
    pub(super) fn follow(&mut self, sub: SubId, topic_id: u32, seq: u64, now: Instant) {
        let denied =
            self.ended.by_id.get(&topic_id).filter(|over| over.reason == EndReason::Denied).map(|over| over.last);
        // To this subscription it may still look like a new one: a list that was lost was asked for again.
        let subscriber = self.registry.subscribers.get_mut(&sub);
        let before = subscriber.and_then(|subscriber| subscriber.over.remove(&topic_id));
        self.registry.follow(sub, topic_id, seq.max(denied.unwrap_or_default()).max(before.unwrap_or_default()));
        if denied.is_some() {
            // Whether it may be read again, or an answer was late that says so, is to be asked.
            self.request(Purpose::Seek(topic_id), 0, now);
        }
    }

    /// A topic was looked at that moved, or might have.
    pub(super) fn sought(&mut self, record: &TopicRecord, now: Instant) {
        if self.registry.topics.contains_key(&record.id) {
            self.track(record, now);
            self.registry.head_is(record.id, record.head);
            if self.registry.is_shut_out(record.id) {
                self.outputs.push_back(Output::Join(record.group));
            }
        }
        self.pick_up(record, now);
    }

    /// Lets those follow a topic who would, and don't: it became readable. They begin with what comes now; with its first event,
    /// if it is one that nobody was told of.
    fn pick_up(&mut self, record: &TopicRecord, now: Instant) {
        let after = if record.id > self.watermark { 0 } else { record.head };
        let mut picked = false;
        for sub in self.registry.strangers(record) {
            if self.is_mistyped(sub, record) {
                continue;
            }
            self.track(record, now);
            self.follow(sub, record.id, after, now);
            picked = true;
        }
        if picked {
            self.request(Purpose::Seek(record.id), 0, now);
        }
    }

    /// A topic is over for those who follow it. Its next number would have been `end`, if that is known.
    pub(super) fn end_topic(&mut self, id: u32, end: Option<u64>, reason: EndReason, now: Instant) {
        if reason == EndReason::Denied && !self.registry.topics.contains_key(&id) {
            return;
        }
        let last = self.registry.last(id).max(end.unwrap_or_default().saturating_sub(1));
        if reason == EndReason::Deleted {
            for subscriber in self.registry.subscribers.values_mut() {
                subscriber.over.remove(&id);
            }
        }
        let lost = self.registry.end(self.epoch, id, last, reason, &mut self.outputs);
        self.counters.lost = self.counters.lost.saturating_add(lost);
        self.ended.insert(id, Over { reason, last, until: now + PATIENCE });
    }

    /// Whether a topic is known to be gone. An answer that says otherwise is an old one.
    fn is_deleted(&self, id: u32) -> bool {
        self.ended.by_id.get(&id).is_some_and(|over| over.reason == EndReason::Deleted)
    }

    /// The broker no longer has a topic. How far it came the announcement says that is on its way, behind its last events;
    /// if that was lost, nothing does, and it has ended all the same.
    pub(super) fn vanished(&mut self, id: u32, now: Instant) {
        if self.registry.vanish(id) {
            self.request_later(Purpose::Bury(id), now);
        }
    }

    /// A group can't be joined that guards something: its topic moved or was deleted, or may not be read any more.
    pub(super) fn shut_out(&mut self, group: u32, errno: Errno, now: Instant) {
        for id in self.registry.topics_of_group(group) {
            if self.registry.shut_out(id) {
                self.request(Purpose::Seek(id), 0, now);
                continue;
            }
            // It was looked at, and that is its group.
            for sub in self.registry.waiting_for(id) {
                self.refuse_opening(sub, Refused::Join(errno));
            }
            self.end_topic(id, None, EndReason::Denied, now);
            self.outputs.retain(|output| *output != Output::Leave(group));
        }
        self.finish(now);
    }
}

impl Registry {
    /// Whether there are subscriptions that might match topics which aren't tracked.
    fn wants_unknown(&self) -> bool {
        let is_there = |name: &str| self.id_of(name).is_some();
        self.subscribers.values().any(|sub| sub.filter.is_wildcard() || !is_there(sub.filter.as_str()))
    }

    /// The subscriptions that match a topic and don't follow it. One that is just being opened looks again instead.
    fn strangers(&mut self, record: &TopicRecord) -> Vec<SubId> {
        let follows = self.topics.get(&record.id).map_or(&[][..], |topic| &topic.follows);
        let mut strangers = Vec::new();
        for (id, subscriber) in &mut self.subscribers {
            if !subscriber.filter.matches(&record.name) || follows.iter().any(|follow| follow.sub == *id) {
                continue;
            }
            if subscriber.resolved {
                strangers.push(*id);
            } else {
                subscriber.overtaken = true;
            }
        }
        strangers
    }

    /// The last number that a topic is known to have.
    fn last(&self, id: u32) -> u64 {
        self.topics.get(&id).map_or(0, |topic| topic.head)
    }

    /// Tells those who follow a topic that it is over, and forgets it. Returns how many events they will not see.
    fn end(&mut self, epoch: u64, topic_id: u32, last: u64, reason: EndReason, outputs: &mut VecDeque<Output>) -> u64 {
        let Some(topic) = self.topics.get_mut(&topic_id) else { return 0 };
        let ended = Ended { epoch, topic: topic.name.clone(), topic_id, last, reason };
        let follows = std::mem::take(&mut topic.follows);
        let lost = self.tell(follows, &ended);
        self.forget_topic(topic_id, outputs);
        lost
    }

    /// Has those leave a topic whose values are of another type than theirs, as it turns out. Returns as [`end`](Self::end).
    fn part(&mut self, epoch: u64, topic_id: u32) -> u64 {
        let Some(topic) = self.topics.get_mut(&topic_id) else { return 0 };
        let (subscribers, has, head) = (&mut self.subscribers, topic.type_name, topic.head);
        let is_mistyped = |follow: &mut Follow| {
            let subscriber = subscribers.get_mut(&follow.sub);
            let is_parted = |sub: &&mut Subscriber| sub.wants_another(has).is_some();
            subscriber.filter(is_parted).map(|sub| sub.over.insert(topic_id, head)).is_some()
        };
        let parted: Vec<Follow> = topic.follows.extract_if(.., is_mistyped).collect();
        if parted.is_empty() {
            return 0;
        }
        let (topic, last) = (topic.name.clone(), topic.head);
        self.unswept = true;
        self.tell(parted, &Ended { epoch, topic, topic_id, last, reason: EndReason::OtherType })
    }

    /// Tells those who followed a topic that it is over for them. Returns how many events they will not see.
    fn tell(&mut self, follows: Vec<Follow>, ended: &Ended) -> u64 {
        let Ended { epoch, topic_id, last, .. } = *ended;
        let mut lost = 0u64;
        for mut follow in follows {
            let Some(subscriber) = self.subscribers.get_mut(&follow.sub) else { continue };
            let inlet = &mut subscriber.inlet;
            if inlet.is_flushed() {
                self.touched.push(follow.sub);
            }
            if let Some((from, to)) = follow.cursor.skip_to(last.saturating_add(1)) {
                let (topic, cause) = (ended.topic.clone(), follow.behind.unwrap_or(Cause::Overrun));
                inlet.push(Delivery::Lost(Lost { epoch, topic, topic_id, from, to, cause }));
                lost = lost.saturating_add(to - from + 1);
            }
            inlet.push(Delivery::Ended(ended.clone()));
            if ended.reason == EndReason::Denied {
                subscriber.over.insert(topic_id, last);
            }
        }
        lost
    }
}
