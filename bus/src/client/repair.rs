//! Catching up: a subscription that is behind in a topic is given what history keeps, in order, and told
//! what history no longer keeps. Pulling is the flow control: nothing is asked for without room.

use super::Client;
use super::answers::ReplayPage;
use super::registry::Registry;
use crate::delivery::{Delivery, Event, Lost};
use crate::sequence::Place;
use crate::wire::{EventView, Message, ReplayEnd};
use bytes::Bytes;

/// Replays under way at a time: each may be a datagram of 64 KiB in the request socket's buffer.
const PARALLEL: usize = 16;

impl Registry {
    /// The replays to ask for: of each topic that somebody with room is behind in.
    pub(super) fn plan_replays(&mut self) -> Vec<ReplayPage> {
        let mut pages = Vec::new();
        let mut under_way = self.behind.iter().filter(|id| self.topics.get(id).is_some_and(|t| t.replaying)).count();
        for id in &self.behind {
            let Some(topic) = self.topics.get_mut(id).filter(|topic| !topic.replaying) else { continue };
            // A page begins at the place of the hindmost, and serves all whom it reaches; but each second one begins at
            // that of the next in turn, or one that takes an event at a time would hold up those who are far ahead.
            let (mut from, mut limit, mut ready) = (u64::MAX, 0, Vec::new());
            for follow in topic.follows.iter().filter(|follow| follow.behind.is_some()) {
                let Some(subscriber) = self.subscribers.get(&follow.sub) else { continue };
                let mut room = subscriber.inlet.room();
                if room == 0 && subscriber.inlet.starve() {
                    room = 1;
                }
                if room > 0 {
                    // One event stands for all before it: the newest is enough.
                    let newest = if subscriber.inlet.conflates() { topic.head } else { 0 };
                    let next = follow.cursor.next().max(newest);
                    from = from.min(next);
                    ready.push(next);
                    limit = limit.max(room);
                }
            }
            if limit > 0 && under_way < PARALLEL {
                under_way += 1;
                topic.replaying = true;
                topic.turn = topic.turn.wrapping_add(1);
                if topic.turn % 2 == 0 {
                    from = ready[topic.turn / 2 % ready.len()];
                }
                pages.push(ReplayPage { topic_id: *id, from, limit: limit.min(u32::MAX as usize) as u32 });
            }
        }
        pages
    }

    /// Gives a page of history to those who are behind, as far as they have room.
    fn replayed(
        &mut self,
        epoch: u64,
        page: ReplayPage,
        events: &[Message<'_>],
        end: ReplayEnd,
        datagram: &Bytes,
    ) -> Progress {
        let mut progress = Progress::default();
        let Some(topic) = self.topics.get_mut(&page.topic_id) else { return progress };
        topic.replaying = false;
        // A new topic's group was joined after its head was told: what came in between shows here alone.
        topic.head = topic.head.max(end.head);
        // A broker that says it keeps events and sends none: without this the asking would never end.
        let first = if events.is_empty() { end.first.max(end.head.saturating_add(1)) } else { end.first };
        for follow in &mut topic.follows {
            let (Some(cause), Some(subscriber)) = (follow.behind, self.subscribers.get_mut(&follow.sub)) else {
                continue;
            };
            let inlet = &mut subscriber.inlet;
            let conflates = inlet.conflates();
            // Without room, or behind from before this page: the next page is its.
            if inlet.room() == 0 || (follow.cursor.next() < page.from && !conflates) {
                continue;
            }
            if inlet.is_flushed() {
                self.touched.push(follow.sub);
            }
            let skipped = if conflates && !events.is_empty() { None } else { follow.cursor.skip_to(first) };
            if let Some((from, to)) = skipped {
                let (topic, topic_id) = (topic.name.clone(), page.topic_id);
                inlet.push(Delivery::Lost(Lost { epoch, topic, topic_id, from, to, cause }));
                progress.lost = progress.lost.saturating_add(to - from + 1);
            }
            for message in events {
                let Ok(view) = EventView::parse(message.body) else { continue };
                let seq = view.header.seq;
                let due = match follow.cursor.place(seq) {
                    Place::Old => false,
                    Place::Next => inlet.room() > 0,
                    Place::Gap => conflates,
                };
                if due {
                    let before = follow.cursor.move_to(seq);
                    let event = Event::new(epoch, datagram, &view);
                    inlet.push_event(event.standing_for_more(before), datagram);
                    progress.repaired += 1;
                }
            }
            if follow.cursor.reached(topic.head) {
                follow.behind = None;
            }
        }
        if topic.follows.iter().all(|follow| follow.behind.is_none()) {
            self.behind.remove(&page.topic_id);
        }
        progress
    }
}

/// What a page of history did.
#[derive(Debug, Default)]
struct Progress {
    repaired: u64,
    lost: u64,
}

impl Client {
    /// The answer to a replay.
    pub(super) fn replayed(&mut self, page: ReplayPage, events: &[Message<'_>], end: ReplayEnd, datagram: &Bytes) {
        let progress = self.registry.replayed(self.epoch, page, events, end, datagram);
        self.counters.repaired += progress.repaired;
        self.counters.lost = self.counters.lost.saturating_add(progress.lost);
    }

    /// The broker no longer has the topic: those who follow it have seen its end.
    pub(super) fn topic_gone(&mut self, topic_id: u32) {
        self.registry.forget_topic(topic_id, &mut self.outputs);
    }
}
