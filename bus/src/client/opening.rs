//! How a subscription comes about: find what it matches, join the groups, and only then read the heads.
//! The heads are the baseline: what is newer reaches the socket or leaves a gap. (docs/PROTOCOL.md,
//! "Subscribing without a hole".)

use super::Client;
use super::answers::{Phase, Purpose};
use super::subscriber::{Opened, Refused, Start, SubId, Subscriber};
use crate::delivery::{Delivery, Restarted};
use crate::topic::Filter;
use crate::type_name::TypeMismatch;
use crate::wire::uapi::NLBUS_GROUP_SYS;
use crate::wire::{TopicPageEnd, TopicRecord};
use nix::errno::Errno;
use std::time::Instant;

impl Client {
    /// Begins, or begins again, to find what a subscription matches.
    pub(super) fn resolve(&mut self, id: SubId, now: Instant) {
        let Some(subscriber) = self.registry.subscribers.get(&id) else { return };
        self.request(find(id, &subscriber.filter, Phase::Find), 0, now);
    }

    /// The answer to a look-up for an exact subscription: the topic, or that there is none.
    pub(super) fn looked_up(&mut self, id: SubId, phase: Phase, record: Option<&TopicRecord>, now: Instant) {
        self.check_resume(id);
        if self.look_again(id, now) {
            return;
        }
        let Some(subscriber) = self.registry.subscribers.get_mut(&id) else { return };
        let Some(record) = record else {
            if subscriber.opener.is_some() && matches!(subscriber.start, Start::From(2..)) {
                let topic = subscriber.filter.as_str().to_owned();
                return self.refuse_opening(id, Refused::Beyond { topic, head: 0 });
            }
            // Whatever bears this name later is newer than the subscription.
            subscriber.watermark = Some(0);
            return self.finish_opening(id);
        };
        let baseline = find(id, &subscriber.filter, Phase::Baseline);
        if phase == Phase::Find {
            subscriber.watermark = Some(record.id);
        }
        if let Some(refused) = self.mistyped_opening(id, record) {
            return self.refuse_opening(id, refused);
        }
        if self.is_mistyped(id, record) {
            return self.finish_opening(id);
        }
        let moved = self.registry.is_elsewhere(record);
        self.track(record, now);
        match phase {
            Phase::Find => self.request(baseline, 0, now),
            // Its group is joined only now.
            Phase::Baseline if moved => self.request(baseline, 0, now),
            Phase::Baseline => {
                if let Err(refused) = self.follow_from_start(id, record, now) {
                    return self.refuse_opening(id, refused);
                }
                self.finish_opening(id);
            }
        }
    }

    /// Why a subscription can't be opened that would follow this topic. One that is open already is told of such a topic instead.
    fn mistyped_opening(&self, id: SubId, record: &TopicRecord) -> Option<Refused> {
        let subscriber = self.registry.subscribers.get(&id).filter(|subscriber| subscriber.opener.is_some())?;
        let (wanted, has) = (subscriber.wants_another(record.type_name)?, record.type_name?);
        Some(Refused::OtherType(TypeMismatch::new(&record.name, has, wanted)))
    }

    /// Whether the answer to a look is older than what the client was told of topics since it asked, and concerns the
    /// subscription: answers overtake each other when one of them is late. Then it looks again.
    fn look_again(&mut self, id: SubId, now: Instant) -> bool {
        let again = self.registry.subscribers.get_mut(&id).is_some_and(|sub| std::mem::take(&mut sub.overtaken));
        if again {
            self.resolve(id, now);
        }
        again
    }

    /// A page of the list for a wildcard subscription.
    pub(super) fn listed(
        &mut self,
        id: SubId,
        phase: Phase,
        cursor: u32,
        records: &[TopicRecord],
        end: TopicPageEnd,
        now: Instant,
    ) {
        self.check_resume(id);
        if phase == Phase::Find && cursor == 0 && self.look_again(id, now) {
            return;
        }
        let sole = self.registry.subscribers.len() == 1;
        let Some(subscriber) = self.registry.subscribers.get_mut(&id) else { return };
        if phase == Phase::Find && cursor == 0 {
            subscriber.watermark = Some(if subscriber.from_the_beginning { 0 } else { end.last_id });
            if sole {
                self.watermark = self.watermark.max(end.last_id);
            }
        }
        let filter = subscriber.filter.clone();
        for record in records.iter().filter(|record| filter.matches(&record.name)) {
            if let Some(refused) = self.mistyped_opening(id, record) {
                return self.refuse_opening(id, refused);
            }
            if self.is_mistyped(id, record) {
                continue;
            }
            self.track(record, now);
            if phase == Phase::Baseline
                && let Err(refused) = self.follow_from_start(id, record, now)
            {
                return self.refuse_opening(id, refused);
            }
        }
        match (end.cursor, phase) {
            (Some(cursor), phase) => self.request(Purpose::List { sub: id, cursor, phase }, 0, now),
            (None, Phase::Find) => self.request(Purpose::List { sub: id, cursor: 0, phase: Phase::Baseline }, 0, now),
            (None, Phase::Baseline) if self.look_again(id, now) => {}
            (None, Phase::Baseline) => self.finish_opening(id),
        }
    }

    /// A page of topics newer than the client's watermark: each goes to the subscriptions that it is new for.
    pub(super) fn listed_new(&mut self, announced: u32, records: &[TopicRecord], end: TopicPageEnd, now: Instant) {
        let mut followed = false;
        for record in records {
            for subscriber in self.registry.subscribers.values_mut() {
                subscriber.overtaken |= subscriber.watermark.is_none() && subscriber.filter.matches(&record.name);
            }
            let new_for = |subscriber: &Subscriber| {
                subscriber.watermark.is_some_and(|watermark| record.id > watermark)
                    && subscriber.filter.matches(&record.name)
            };
            let subs: Vec<SubId> =
                self.registry.subscribers.iter().filter(|(_, sub)| new_for(sub)).map(|(id, _)| *id).collect();
            for sub in subs {
                if self.is_mistyped(sub, record) {
                    continue;
                }
                self.track(record, now);
                self.follow(sub, record.id, 0, now);
                followed = true;
            }
        }
        if followed {
            // What was broadcast after the broker wrote the list and before the groups are joined shows nowhere else.
            self.check_heads(now);
        }
        match end.cursor {
            Some(cursor) => {
                self.watermark = self.watermark.max(cursor);
                self.request(Purpose::ListNew { cursor, announced }, 0, now);
            }
            None => {
                self.watermark = self.watermark.max(end.last_id);
                // What was announced beyond what the broker has was not its word, or a restart's leftover; but what was
                // announced after the asking, this answer may be older than: events overtake answers.
                if self.announced <= announced {
                    self.announced = self.announced.min(self.watermark);
                }
                self.listing = false;
            }
        }
    }

    /// A subscription that is to go on where it was with another broker begins anew with this one, and says so.
    fn check_resume(&mut self, id: SubId) {
        let Some(subscriber) = self.registry.subscribers.get_mut(&id) else { return };
        if subscriber.resume.as_ref().is_some_and(|resume| resume.epoch() != self.epoch) {
            subscriber.resume = None;
            subscriber.from_the_beginning = true;
            if subscriber.inlet.is_flushed() {
                self.registry.touched.push(id);
            }
            subscriber.inlet.push(Delivery::Restarted(Restarted::new(self.epoch)));
        }
    }

    fn follow_from_start(&mut self, id: SubId, record: &TopicRecord, now: Instant) -> Result<(), Refused> {
        let Some(subscriber) = self.registry.subscribers.get_mut(&id) else { return Ok(()) };
        let newer = subscriber.from_the_beginning || subscriber.watermark.is_some_and(|mark| record.id > mark);
        let kept = record.first.saturating_sub(1);
        let resumed = subscriber.resume.as_ref().and_then(|positions| positions.after(record.id));
        let after = match (subscriber.start, resumed) {
            _ if newer => 0,
            (_, Some(seq)) => seq,
            (Start::Live, None) => record.head,
            (Start::All, None) => kept,
            (Start::Last(n), None) => record.head.saturating_sub(n).max(kept),
            (Start::From(seq), None) => seq.saturating_sub(1),
        };
        if after > record.head {
            return Err(Refused::Beyond { topic: record.name.clone(), head: record.head });
        }
        if subscriber.opener.is_some() {
            subscriber.positions.begin(record.id, after);
        }
        self.follow(id, record.id, after, now);
        Ok(())
    }

    fn finish_opening(&mut self, id: SubId) {
        let Some(subscriber) = self.registry.subscribers.get_mut(&id) else { return };
        subscriber.resolved = true;
        if let Some(opener) = subscriber.opener.take() {
            let mut positions = std::mem::take(&mut subscriber.positions);
            positions.set_last_id(subscriber.watermark.unwrap_or_default());
            if opener.send(Ok(Opened { id, positions })).is_err() {
                // The handle no longer waits: nobody would ever close it.
                self.close(id);
            }
        }
        self.registry.sweep(&mut self.outputs);
    }

    /// Tells a handle that its subscription can't be. One that was told otherwise before lives on.
    pub(super) fn refuse_opening(&mut self, id: SubId, refused: Refused) {
        let Some(subscriber) = self.registry.subscribers.get_mut(&id) else { return };
        subscriber.resolved = true;
        if let Some(opener) = subscriber.opener.take() {
            let _ = opener.send(Err(refused));
            self.close(id);
        }
        self.registry.sweep(&mut self.outputs);
    }

    /// The driver could not join a group. Who waits for his subscription is told, and a wildcard covers what it may
    /// read; but whoever has followed the group's topics before gets their events out of history until it can be joined.
    pub(crate) fn join_failed(&mut self, group: u32, errno: Errno, now: Instant) {
        if group != NLBUS_GROUP_SYS && matches!(errno, Errno::ENOENT | Errno::EACCES) {
            return self.shut_out(group, errno, now);
        }
        let waiting = self.registry.subscribers.iter().filter(|(_, subscriber)| {
            let needs_it = group == NLBUS_GROUP_SYS || !subscriber.filter.is_wildcard();
            subscriber.opener.is_some() && needs_it
        });
        let waiting: Vec<SubId> = waiting.map(|(id, _)| *id).collect();
        for id in waiting {
            self.refuse_opening(id, Refused::Join(errno));
        }
        if self.registry.needs_group(group) && !matches!(errno, Errno::EPERM | Errno::EACCES) {
            return self.request_later(Purpose::Join(group), now);
        }
        for id in self.registry.topics_of_group(group) {
            self.registry.forget_topic(id, &mut self.outputs);
        }
        self.outputs.retain(|output| *output != super::Output::Leave(group));
    }

    /// Once more, what could not be joined; and meanwhile nothing tells of its events but the topics' heads.
    pub(super) fn join_again(&mut self, group: u32, now: Instant) {
        if self.registry.needs_group(group) {
            self.outputs.push_back(super::Output::Join(group));
            self.check_heads(now);
        }
    }
}

fn find(sub: SubId, filter: &Filter, phase: Phase) -> Purpose {
    if filter.is_wildcard() {
        Purpose::List { sub, cursor: 0, phase }
    } else {
        Purpose::Look { sub, name: filter.clone(), phase }
    }
}
