//! Whose word counts as the user broker's. Its port id is anybody's who comes first, so it has to be root who has it, or the
//! user whose own things are at stake. What the kernel says of a sender's credentials holds for each datagram: whoever takes the port
//! while its broker is gone is found out before anything else is. (The module's port id, 0, is the kernel's alone.)

use crate::sys::Credentials;
use crate::wire::BrokerKind;
use nix::unistd::geteuid;
use std::fs;

/// What ids look like that the user namespace doesn't know (`/proc/sys/kernel/overflowuid`).
const UNKNOWN: u32 = 65534;

/// Whom to believe, besides root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trust {
    /// This process's user, unless in its user namespace he can't be told from others.
    own: Option<u32>,
    /// Who was named.
    named: Option<u32>,
}

impl Trust {
    pub(crate) fn new(named: Option<u32>) -> Trust {
        let own = geteuid().as_raw();
        let is_told_apart = own != UNKNOWN || knows_all(&fs::read_to_string("/proc/self/uid_map").unwrap_or_default());
        Trust { own: is_told_apart.then_some(own), named }
    }

    /// Whether a datagram is the word of a broker of this kind, whose port id it is from.
    pub(crate) fn believes(&self, broker: BrokerKind, sender: Option<Credentials>) -> bool {
        broker == BrokerKind::Module
            || sender.is_some_and(|Credentials { uid, .. }| uid == 0 || [self.own, self.named].contains(&Some(uid)))
    }
}

/// Whether a user namespace of these mappings knows all ids there are.
fn knows_all(uid_map: &str) -> bool {
    let ids = uid_map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    ids.sum::<u64>() >= u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_oneself_are_believed_and_whoever_is_named() {
        let by = |uid| Some(Credentials { pid: 1, uid, gid: uid });
        let trust = Trust { own: Some(1000), named: Some(997) };
        let believed = [0, 1000, 997, 1001, UNKNOWN].map(|uid| trust.believes(BrokerKind::User, by(uid)));
        assert_eq!(believed, [true, true, true, false, false]);
        assert!(!trust.believes(BrokerKind::User, None));
        assert!(trust.believes(BrokerKind::Module, None));
        assert!(!Trust { own: None, named: None }.believes(BrokerKind::User, by(UNKNOWN)));
    }

    #[test]
    fn a_namespace_that_knows_some_ids_only_is_told_from_the_first_one() {
        assert!(knows_all("         0          0 4294967295\n"));
        assert!(knows_all("0 0 1000\n1000 100000 4294966295\n"));
        assert!(!knows_all("0 1000 1\n") && !knows_all(""));
    }
}
