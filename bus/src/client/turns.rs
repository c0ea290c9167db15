//! Whose turn it is to be given more out of history. Subscriptions take turns, and the topics that one of them is behind in
//! take theirs among themselves: so whoever is behind waits for one round of the others, however many topics fall behind
//! again and again. What one is behind in lies with it; one that has no room is not among those that take turns, and costs
//! nothing until its consumer makes room.

use super::registry::{Follow, Registry};
use super::subscriber::{SubId, Subscriber};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Replays under way at a time: each may be a datagram of 64 KiB in the request socket's buffer.
const PARALLEL: usize = 16;

/// How many of them may be one subscription's, besides those that there is room for: an answer may be lost, and then it is
/// waited for for two seconds.
const SPARE: usize = PARALLEL / 2;

/// How long one that has little room waits for more, and reads what it has. It may have read it all meanwhile and keep it, so
/// that there won't be more; nothing tells of that.
const SOON: Duration = Duration::from_millis(100);

/// What one subscription is behind in.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Topics to ask for, the next one first. One that was forgotten, or that it has caught up with, may still be here.
    topics: VecDeque<u32>,
    /// Those that come before: they had their turn, but there was no room any more when the answer came.
    again: VecDeque<u32>,
    /// Replays under way that were asked for in its turn.
    asked: usize,
    place: Place,
}

/// Where a subscription waits.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nowhere: it is behind in nothing, or what it asked for is on its way.
    #[default]
    Nowhere,
    /// For its turn.
    Queue,
    /// For its consumer.
    Full,
}

/// All of a client's subscriptions that are behind.
#[derive(Debug, Default)]
pub(super) struct Turns {
    queue: VecDeque<SubId>,
    full: Vec<SubId>,
    under_way: usize,
    /// When to refill those of the full ones that have any room.
    refill: Option<Instant>,
}

impl Turns {
    /// A subscription is behind in a topic.
    pub(super) fn add(&mut self, topic_id: u32, follow: &mut Follow, subscriber: &mut Subscriber) {
        if !std::mem::replace(&mut follow.queued, true) {
            subscriber.backlog.topics.push_back(topic_id);
            self.enqueue(follow.sub, subscriber);
        }
    }

    /// A subscription had no room any more when its topic's page came: that topic is the first to be asked for again.
    pub(super) fn add_again(&mut self, topic_id: u32, follow: &mut Follow, subscriber: &mut Subscriber) {
        if !std::mem::replace(&mut follow.queued, true) {
            subscriber.backlog.again.push_back(topic_id);
            self.enqueue(follow.sub, subscriber);
        }
    }

    /// Puts a subscription that waits nowhere, and has something to ask for, at the end of the queue.
    fn enqueue(&mut self, id: SubId, subscriber: &mut Subscriber) {
        let Backlog { topics, again, place, .. } = &mut subscriber.backlog;
        if *place == Place::Nowhere && !(topics.is_empty() && again.is_empty()) {
            *place = Place::Queue;
            self.queue.push_back(id);
        }
    }

    /// The next topic to ask for and the subscription whose turn it is, while another replay may be under way.
    pub(super) fn next(&mut self, subscribers: &mut BTreeMap<SubId, Subscriber>) -> Option<(SubId, u32)> {
        while self.under_way < PARALLEL {
            let id = self.queue.pop_front()?;
            let Some(subscriber) = subscribers.get_mut(&id) else { continue };
            subscriber.backlog.place = Place::Nowhere;
            if subscriber.inlet.room() == 0 && !subscriber.inlet.starve() {
                subscriber.backlog.place = Place::Full;
                self.full.push(id);
            } else if subscriber.inlet.admits(subscriber.backlog.asked.saturating_sub(SPARE)) {
                let Backlog { topics, again, .. } = &mut subscriber.backlog;
                let topic_id = again.pop_front().or_else(|| topics.pop_front());
                self.enqueue(id, subscriber);
                if let Some(topic_id) = topic_id {
                    return Some((id, topic_id));
                }
            }
        }
        None
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.refill
    }

    /// A replay was asked for in the turn of a subscription.
    pub(super) fn begin(&mut self, subscriber: &mut Subscriber) {
        self.under_way += 1;
        subscriber.backlog.asked += 1;
    }

    /// A replay is over that was asked for in this one's turn, if it is still there.
    fn end(&mut self, id: SubId, subscriber: Option<&mut Subscriber>) {
        self.under_way -= 1;
        if let Some(subscriber) = subscriber {
            subscriber.backlog.asked -= 1;
            self.enqueue(id, subscriber);
        }
    }
}

impl Registry {
    /// The replay of a topic is over: whoever is still behind in it waits for another turn.
    pub(super) fn replay_is_over(&mut self, topic_id: u32) {
        let Some(topic) = self.topics.get_mut(&topic_id) else { return };
        let Some(asker) = topic.replaying.take() else { return };
        for follow in topic.follows.iter_mut().filter(|follow| follow.behind.is_some()) {
            if let Some(subscriber) = self.subscribers.get_mut(&follow.sub) {
                self.turns.add(topic_id, follow, subscriber);
            }
        }
        self.turns.end(asker, self.subscribers.get_mut(&asker));
    }

    /// The replays under way will not be answered.
    pub(super) fn forget_replays(&mut self) {
        let replaying: Vec<u32> =
            self.topics.iter().filter(|(_, topic)| topic.replaying.is_some()).map(|(id, _)| *id).collect();
        for id in replaying {
            self.replay_is_over(id);
        }
    }

    /// Nobody is behind in anything.
    pub(super) fn forget_turns(&mut self) {
        self.turns = Turns::default();
        for subscriber in self.subscribers.values_mut() {
            subscriber.backlog = Backlog::default();
        }
    }

    /// A consumer made room, or time passed: whoever has enough takes part again, and in the end whoever has any.
    pub(super) fn look_for_room(&mut self, now: Instant) {
        let (mut full, mut little) = (std::mem::take(&mut self.turns.full), false);
        let late = self.turns.refill.is_some_and(|at| at <= now);
        full.retain(|id| {
            let Some(subscriber) = self.subscribers.get_mut(id) else { return false };
            // What woke the client may be gone again, to live events: then it is to be woken once more.
            let any = subscriber.inlet.room() > 0 || subscriber.inlet.starve();
            let enough = any && (late || subscriber.inlet.is_worth_refilling());
            if enough {
                subscriber.backlog.place = Place::Nowhere;
                self.turns.enqueue(*id, subscriber);
            }
            little |= any && !enough;
            !enough
        });
        self.turns.full = full;
        self.turns.refill = if little { self.turns.refill.or(Some(now + SOON)) } else { None };
    }
}
