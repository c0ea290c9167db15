//! Catching up: a subscription that is behind in a topic is given what history keeps, in order, and told
//! what history no longer keeps. Pulling is the flow control: nothing is asked for without room.

use super::Client;
use super::answers::ReplayPage;
use super::registry::Registry;
use super::subscriber::SubId;
use crate::delivery::{Cause, Delivery, Lost};
use crate::run::{Part, Parts, Run};
use crate::wire::ReplayEnd;
use bytes::Bytes;
use std::ops::Range;

impl Registry {
    /// The replays to ask for now.
    pub(super) fn plan_replays(&mut self) -> Vec<ReplayPage> {
        let mut pages = Vec::new();
        while let Some((sub, topic_id)) = self.turns.next(&mut self.subscribers) {
            pages.extend(self.plan_replay(sub, topic_id));
        }
        pages
    }

    /// The page of a topic to ask for in a subscription's turn, if it is still behind there.
    fn plan_replay(&mut self, sub: SubId, topic_id: u32) -> Option<ReplayPage> {
        let topic = self.topics.get_mut(&topic_id)?;
        let mine = topic.follows.iter_mut().find(|follow| follow.sub == sub)?;
        let waits = std::mem::take(&mut mine.queued) && mine.behind.is_some();
        // At the end of one that is under way it is put in the queue again.
        if !waits || topic.replaying.is_some() || topic.has_vanished {
            return None;
        }
        // Where each of those begins who are behind and have room, and how much.
        let places = || {
            topic.follows.iter().filter(|follow| follow.behind.is_some()).filter_map(|follow| {
                let inlet = &self.subscribers.get(&follow.sub)?.inlet;
                // One event stands for all before it: the newest is enough.
                let newest = if inlet.conflates() { topic.head } else { 0 };
                let room = inlet.room().max(usize::from(follow.sub == sub));
                (room > 0).then(|| (follow.cursor.next().max(newest), room))
            })
        };
        // A page begins at the place of the hindmost, and serves all whom it reaches; but each second one begins at
        // that of the next in turn, or one that takes an event at a time would hold up those who are far ahead.
        let turn = topic.turn.wrapping_add(1);
        let from = match turn % 2 {
            0 => places().nth(turn / 2 % places().count())?.0,
            _ => places().map(|(from, _)| from).min()?,
        };
        let limit = places().map(|(_, room)| room).max()?;
        topic.turn = turn;
        topic.replaying = Some(sub);
        self.turns.begin(self.subscribers.get_mut(&sub)?);
        Some(ReplayPage { topic_id, from, limit: limit.min(u32::MAX as usize) as u32 })
    }

    /// Gives a page of history to those who are behind, as far as they have room.
    fn replayed(
        &mut self,
        epoch: u64,
        page: ReplayPage,
        events: &Range<usize>,
        end: ReplayEnd,
        datagram: &Bytes,
    ) -> Progress {
        let mut progress = Progress::default();
        let Some(topic) = self.topics.get_mut(&page.topic_id) else { return progress };
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
            if inlet.room() == 0 {
                follow.behind = Some(Cause::Overflow);
                self.turns.add_again(page.topic_id, follow, subscriber);
                continue;
            }
            // Behind from before this page: the next one is its.
            if follow.cursor.next() < page.from && !conflates {
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
            for run in runs(page.topic_id, events, datagram) {
                progress.repaired += follow.give(&run, inlet, epoch, datagram, &topic.name).events;
            }
            if follow.cursor.reached(topic.head) {
                follow.behind = None;
            } else if inlet.room() == 0 {
                // From here on it is its consumer that it waits for, whatever made it fall behind.
                follow.behind = Some(Cause::Overflow);
            }
        }
        self.replay_is_over(page.topic_id);
        progress
    }
}

/// The runs of a page of history, whose messages are in this part of the datagram.
fn runs<'a>(topic_id: u32, events: &Range<usize>, datagram: &'a Bytes) -> impl Iterator<Item = Run<'a>> {
    let run = |part| match part {
        Part::Run(run) => Some(run),
        Part::Foreign => None,
    };
    Parts::of(datagram, events.clone()).filter_map(run).filter(move |run| run.topic_id == topic_id)
}

/// What a page of history did.
#[derive(Debug, Default)]
struct Progress {
    repaired: u64,
    lost: u64,
}

impl Client {
    /// The answer to a replay.
    pub(super) fn replayed(&mut self, page: ReplayPage, events: Range<usize>, end: ReplayEnd, datagram: &Bytes) {
        let progress = self.registry.replayed(self.epoch, page, &events, end, datagram);
        self.counters.repaired += progress.repaired;
        self.counters.lost = self.counters.lost.saturating_add(progress.lost);
    }
}
