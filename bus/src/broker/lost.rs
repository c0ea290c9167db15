//! Numbers of a topic that no event has: who brings events from elsewhere says that some were lost on their way. They leave a
//! gap in history, so that subscribers see them as loss.

use super::core::{Core, named};
use super::topics::Slot;
use crate::wire::uapi::NLBUS_LOST_HEAD_MAX;
use crate::wire::{LostNumbers, Refusal};
use nix::errno::Errno;

impl Core {
    /// Whether a topic has numbers left to lose. Else a publisher could use them up: a thousand times 2^32 go into a datagram.
    pub(super) fn check_lost(&self, lost: &LostNumbers<'_>, slot: Slot) -> Result<(), Refusal> {
        let head = self.topics.head(slot);
        if head <= NLBUS_LOST_HEAD_MAX {
            return Ok(());
        }
        let why = format!(
            "topic {}: {head} numbers are used up, so no more can be lost: delete it, and it begins anew",
            named(lost.topic)
        );
        Err(Refusal::new(Errno::ERANGE, why))
    }

    /// Uses up the next numbers of a topic. Returns the last one.
    pub(super) fn lose(&mut self, slot: Slot, count: u64) -> u64 {
        self.counts.lost = self.counts.lost.saturating_add(count);
        let id = self.topics.get(slot).id;
        if self.lost.last() != Some(&id) {
            self.lost.push(id);
        }
        self.topics.lose(slot, count)
    }

    /// Has subscribers look for numbers that nothing follows: where an event does, that shows the gap.
    pub(super) fn tell_of_lost(&mut self) {
        for id in self.lost.drain(..) {
            if self.topics.by_id(id).is_some_and(|slot| self.topics.ends_in_lost(slot)) {
                self.announcer.moved(id, 0);
            }
        }
    }
}
