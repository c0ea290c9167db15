//! Who may do what with a topic: its owner, its group and everybody else, as of a file.
//!
//! Of a sender this broker knows what the kernel says with each datagram (`SCM_CREDENTIALS`): user and primary group, and
//! neither supplementary groups nor capabilities. So root stands for whoever has `CAP_NET_ADMIN`.

use super::sender::Sender;
use crate::wire::{Refusal, TopicSettings};
use nix::errno::Errno;

/// Who owns a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The write bits of all three classes.
const ALL_WRITE: u32 = 0o222;

/// A topic's owner and mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) owner: Owner,
    pub(super) mode: u32,
}

impl Access {
    /// Whether somebody may subscribe to it and have it replayed.
    pub(super) fn may_read(self, who: Sender) -> bool {
        who.is_privileged() || self.class_of(who) & 0o4 != 0
    }

    /// Whether somebody may publish to it: one look where everybody may.
    #[inline]
    pub(super) fn may_write(self, who: Sender) -> bool {
        self.mode & ALL_WRITE == ALL_WRITE || who.is_privileged() || self.class_of(who) & 0o2 != 0
    }

    /// Whether somebody may be told of it: its owner as well, who could change the mode.
    pub(super) fn may_look(self, who: Sender) -> bool {
        self.may_read(who) || who.uid == self.owner.uid
    }

    /// Whether somebody may change or delete it.
    pub(super) fn may_change(self, who: Sender) -> bool {
        who.is_privileged() || who.uid == self.owner.uid
    }

    /// The bits that are somebody's, and no others: an owner without any isn't helped by his group's.
    fn class_of(self, who: Sender) -> u32 {
        let shift = if who.uid == self.owner.uid {
            6
        } else if who.gid == self.owner.gid {
            3
        } else {
            0
        };
        self.mode >> shift & 0o7
    }

    /// What becomes of it with these settings, if somebody who may change it may do that: giving it away is root's, and its
    /// group is to be one of his own (`chown_ok` and `chgrp_ok` in the kernel's fs/attr.c).
    pub(super) fn with(self, settings: &TopicSettings, who: Sender) -> Result<Access, (Errno, &'static str)> {
        let TopicSettings { mode, uid, gid, .. } = *settings;
        // To chown(2) that is nobody, in any user namespace.
        if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
            return Err((Errno::EINVAL, "no user and no group has the number 2^32 - 1"));
        }
        let owner = Owner { uid: uid.unwrap_or(self.owner.uid), gid: gid.unwrap_or(self.owner.gid) };
        if owner.uid != self.owner.uid && !who.is_privileged() {
            return Err((Errno::EACCES, "giving it another owner takes root"));
        }
        if owner.gid != self.owner.gid && owner.gid != who.gid && !who.is_privileged() {
            return Err((Errno::EACCES, "giving it a group that isn't one's own takes root"));
        }
        Ok(Access { owner, mode: mode.unwrap_or(self.mode) })
    }

    /// What somebody is told who may not `what` it; `topic` names it as he did.
    pub(super) fn denied(self, topic: &str, what: &str, who: Sender) -> Refusal {
        let why = format!("topic {topic}: its mode, {:04o}, doesn't let user {} {what} it", self.mode, who.uid);
        Refusal::new(Errno::EACCES, why)
    }
}

impl Sender {
    /// Who is privileged may all.
    fn is_privileged(self) -> bool {
        self.uid == 0
    }

    /// What a topic that he creates is his with.
    pub(super) fn as_owner(self) -> Owner {
        Owner { uid: self.uid, gid: self.gid }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::sender::Endpoint;

    fn who(uid: u32, gid: u32) -> Sender {
        Sender { port: 1, pid: 1, uid, gid, to: Endpoint::Publish }
    }

    const OWNER: Owner = Owner { uid: 5, gid: 6 };

    #[test]
    fn one_class_counts_and_no_other() {
        for (mode, read, write) in [
            (0o000, [false, false, false], [false, false, false]),
            (0o600, [true, false, false], [true, false, false]),
            (0o640, [true, true, false], [true, false, false]),
            (0o422, [true, false, false], [false, true, true]),
            (0o066, [false, true, true], [false, true, true]),
            (0o606, [true, false, true], [true, false, true]),
            (0o666, [true, true, true], [true, true, true]),
        ] {
            let access = Access { owner: OWNER, mode };
            let classes = [who(5, 6), who(7, 6), who(7, 8)];
            assert_eq!(classes.map(|who| access.may_read(who)), read, "{mode:o}");
            assert_eq!(classes.map(|who| access.may_write(who)), write, "{mode:o}");
            assert!(access.may_read(who(0, 0)) && access.may_write(who(0, 0)), "root may all");
            assert!(access.may_look(who(5, 9)) && access.may_change(who(5, 9)), "its owner may look and change");
            assert_eq!(access.may_look(who(7, 8)), read[2]);
            assert!(!access.may_change(who(7, 6)));
        }
    }

    #[test]
    fn a_topic_is_given_away_by_root_and_its_group_is_one_of_the_owners() {
        let access = Access { owner: OWNER, mode: 0o600 };
        let settings = |uid, gid| TopicSettings { uid, gid, ..TopicSettings::default() };
        for (settings, who, allowed) in [
            (settings(Some(5), None), who(5, 6), true),
            (settings(Some(7), None), who(5, 6), false),
            (settings(Some(7), Some(8)), who(0, 0), true),
            (settings(None, Some(9)), who(5, 9), true),
            (settings(None, Some(6)), who(5, 9), true),
            (settings(None, Some(8)), who(5, 9), false),
        ] {
            assert_eq!(access.with(&settings, who).is_ok(), allowed, "{settings:?} by {who:?}");
        }
        for settings in [settings(Some(u32::MAX), None), settings(None, Some(u32::MAX))] {
            assert_eq!(access.with(&settings, who(0, 0)).unwrap_err().0, Errno::EINVAL);
        }
        let mode = TopicSettings { mode: Some(0o640), ..TopicSettings::default() };
        assert_eq!(access.with(&mode, who(5, 6)), Ok(Access { owner: OWNER, mode: 0o640 }));
    }
}
