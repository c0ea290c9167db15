//! The broker goes, and comes back: as itself, after a pause that has to be made up for, or as another one, whose
//! numbers begin anew. Only an epoch says which, never how long it was silent.

use super::answers::Purpose;
use super::moves::Overs;
use super::subscriber::SubId;
use super::{Client, Output, Unanswered};
use crate::delivery::{Delivery, Restarted};
use crate::positions::Positions;
use crate::wire::uapi::NLBUS_GROUP_SYS;
use std::time::Instant;

impl Client {
    /// The driver could not send: the broker's port is closed.
    pub(crate) fn disconnect(&mut self) {
        if self.disconnected {
            return;
        }
        self.disconnected = true;
        self.forget_requests();
        // Verdicts that came are still verdicts, and groups counted as joined must be if the broker turns out to be the same.
        self.outputs.retain(|output| !matches!(output, Output::Send(_)));
        self.outputs.push_back(Output::Reconnect);
    }

    /// The driver found the broker that was there before: what went by meanwhile is caught up with.
    pub(crate) fn resumed(&mut self, now: Instant) {
        self.disconnected = false;
        for id in self.registry.unresolved() {
            self.resolve(id, now);
        }
        // What was asked before has no answer any more.
        self.survey(now);
        self.announced = self.announced.max(self.watermark.saturating_add(1));
        self.list_new(now);
        self.finish(now);
    }

    /// The driver found another broker and has a fresh event socket. Every subscription is told, and then
    /// reads the new broker's topics from their beginning: all of it is newer than the subscription.
    pub(crate) fn restarted(&mut self, epoch: u64, now: Instant) {
        self.forget_requests();
        self.outputs.retain(|output| matches!(output, Output::Answer(..)));
        self.epoch = epoch;
        (self.disconnected, self.drops, self.change) = (false, 0, 0);
        (self.watermark, self.announced) = (0, 0);
        (self.moved, self.survey) = (None, false);
        self.ended = Overs::default();
        self.registry.forget_topics();
        let ids: Vec<SubId> = self.registry.subscribers.keys().copied().collect();
        if !ids.is_empty() {
            self.heard = Some(now);
            self.registry.hold_group(NLBUS_GROUP_SYS, &mut self.outputs);
            self.probe(now);
        }
        self.leave_will_again(now);
        for id in ids {
            if let Some(subscriber) = self.registry.subscribers.get_mut(&id) {
                // One that is just being opened, and was given nothing yet, is the new broker's alone.
                if subscriber.opener.is_none() || subscriber.inlet.has_begun() {
                    subscriber.inlet.push(Delivery::Restarted(Restarted::new(epoch)));
                    subscriber.from_the_beginning = true;
                    self.registry.touched.push(id);
                }
                subscriber.positions = Positions::new(epoch);
                subscriber.resolved = false;
            }
            self.resolve(id, now);
        }
        self.finish(now);
    }

    fn forget_requests(&mut self) {
        for purpose in self.requests.drain() {
            match purpose {
                Purpose::Ask(reply) | Purpose::AskWill(reply, _) => drop(reply.send(Err(Unanswered::Gone))),
                // Of use if the broker turns out to be the same one.
                Purpose::Join(group) => self.outputs.push_back(Output::Join(group)),
                Purpose::Bury(id) => {
                    self.registry.topics.get_mut(&id).into_iter().for_each(|it| it.has_vanished = false)
                }
                _ => {}
            }
        }
        (self.listing, self.probing, self.check, self.checking) = (false, false, None, None);
        self.registry.forget_replays();
    }

    /// Asks whether the broker is there, and which it is.
    pub(super) fn probe(&mut self, now: Instant) {
        if !self.probing && !self.disconnected {
            self.probing = true;
            self.request(Purpose::Probe, 0, now);
        }
    }
}
