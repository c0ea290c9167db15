//! What one user may have of the bus. Quotas are for ordinary users: root and the broker's own user are exempt, and find an
//! eighth of the topics and of the histories' bytes for themselves, whatever all others have.

use super::core::{Core, Sender};
use super::topics::Slot;
use super::users::Charged;
use crate::history::{Overdraft, together_of};
use crate::wire::Refusal;
use nix::errno::Errno;

/// What bounds the number of topics that somebody may create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    Bus,
    /// What all ordinary users may have.
    Together,
    User,
}

impl Core {
    /// Who is charged for what a sender creates.
    pub(super) fn charged(&self, sender: Sender) -> Charged {
        (sender.uid != 0 && sender.uid != self.config.uid).then_some(sender.uid)
    }

    /// How many topics somebody may still create, and why no more.
    pub(super) fn room_for_topics(&self, charged: Charged) -> (usize, Bound) {
        let max = self.config.topics_max;
        let bus = max.saturating_sub(self.topics.len()).min(u32::MAX - self.topics.last_id());
        let bus = (bus as usize, Bound::Bus);
        let Some(uid) = charged else { return bus };
        let together = together_of(max.into()).saturating_sub(self.topics.history().topics_together().into());
        let own = self.config.user_topics().saturating_sub(self.topics.topics_of(uid));
        let together = (together as usize, Bound::Together);
        [bus, together, (own as usize, Bound::User)].into_iter().min_by_key(|(room, _)| *room).unwrap_or(bus)
    }

    /// What somebody is told for whom there is no room for a topic.
    pub(super) fn one_topic_too_many(&self, name: &str, charged: Charged) -> Refusal {
        let max = self.config.topics_max;
        match (self.room_for_topics(charged).1, charged) {
            (Bound::User, Some(uid)) => {
                let own = self.config.user_topics();
                let text = format!(
                    "topic '{name}': user {uid} created {own} topics, as many as one user may (option --user-topics)"
                );
                Refusal::new(Errno::EDQUOT, text)
            }
            (Bound::Together, _) => {
                let together = together_of(max.into());
                let text = format!(
                    "topic '{name}' would be one too many: the limit is {together} for all users together (option --topics)"
                );
                Refusal::new(Errno::ENOSPC, text)
            }
            _ => {
                let text = format!("topic '{name}' would be one too many: the limit is {max} (option --topics)");
                Refusal::new(Errno::ENOSPC, text)
            }
        }
    }

    /// Why a topic keeps nothing more, where there is one that is or would be overdrawn: what can give has given, and only the
    /// newest events are left, of the topics of who created it or of all ordinary users.
    #[cold]
    pub(super) fn overdrawn(&self, name: &str, slot: Option<Slot>, charged: Charged) -> Option<Refusal> {
        let account = slot.map_or_else(|| self.topics.account(charged), |slot| self.topics.account_of(slot));
        let Overdraft { bytes, limit, together } = self.topics.history().overdraft(account)?;
        let (errno, whose, option) = match together {
            true => (Errno::ENOSPC, "all users".to_owned(), "history"),
            false => (Errno::EDQUOT, format!("user {}", self.topics.uid_of(account)), "user-history"),
        };
        let text = format!(
            "topic '{name}': the newest events alone take more than twice what they may, {bytes} bytes of {limit}, in \
             the topics that {whose} created (delete some, or option --{option})"
        );
        Some(Refusal::new(errno, text))
    }
}
