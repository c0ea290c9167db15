//! What this process may do, and in which namespaces: whose brokers it sees, whom it can tell apart, which groups it may
//! join.

use super::finding::Finding;
use super::look::{self, Fact};

/// `CAP_NET_ADMIN`'s bit.
const NET_ADMIN: u64 = 1 << 12;

/// The initial user namespace, whose number no other has (`PROC_USER_INIT_INO`).
const FIRST_USER_NAMESPACE: &str = "user:[4026531837]";

pub struct Facts {
    /// Whether the module is this process's broker: it lets anybody join groups.
    pub by_module: bool,
    /// Effective capabilities.
    pub capabilities: Fact<u64>,
    pub user_namespace: Fact<String>,
    /// Which ids it has, a line a range.
    pub uid_map: Fact<String>,
    pub network_namespace: Fact<String>,
    /// Process 1's.
    pub first_network_namespace: Fact<String>,
}

impl Facts {
    pub fn read(by_module: bool) -> Facts {
        Facts {
            by_module,
            capabilities: look::file("/proc/self/status").and_then(|status| effective(&status)),
            user_namespace: look::link("/proc/self/ns/user"),
            uid_map: look::file("/proc/self/uid_map"),
            network_namespace: look::link("/proc/self/ns/net"),
            first_network_namespace: look::link("/proc/1/ns/net"),
        }
    }

    pub fn findings(&self) -> Vec<Finding> {
        vec![self.capability(), self.users(), self.network()]
    }

    fn is_first(&self) -> bool {
        self.user_namespace.as_deref() == Ok(FIRST_USER_NAMESPACE)
    }

    fn capability(&self) -> Finding {
        let check = "CAP_NET_ADMIN";
        match self.capabilities {
            Err(ref why) => Finding::skipped(check, why),
            Ok(bits) if bits & NET_ADMIN != 0 && self.is_first() => Finding::ok(check, "this process has it"),
            Ok(bits) if bits & NET_ADMIN != 0 => {
                Finding::ok(check, "this process has it, in this user namespace and not on the host")
            }
            Ok(_) if self.by_module => Finding::ok(check, "this process lacks it, and the module doesn't ask for it"),
            Ok(_) => Finding::warning(
                check,
                "this process lacks it, and can't subscribe with a user broker; it can as root, inside 'unshare -Urn' together \
                 with all that it is to meet, or with the module",
                "sudo -E nlbus doctor",
            ),
        }
    }

    fn users(&self) -> Finding {
        let check = "user namespace";
        match &self.uid_map {
            Err(why) => Finding::skipped(check, why),
            Ok(map) if ids(map) >= u64::from(u32::MAX) => Finding::ok(check, "it knows all users there are"),
            Ok(map) => Finding::ok(
                check,
                format!(
                    "it knows {} users: all others look like 65534, and a user broker of theirs isn't believed; run it in here",
                    ids(map)
                ),
            ),
        }
    }

    fn network(&self) -> Finding {
        let check = "network namespace";
        match (&self.network_namespace, &self.first_network_namespace) {
            (Err(why), _) => Finding::skipped(check, why),
            (Ok(own), Ok(first)) if own == first => Finding::ok(check, "that of process 1"),
            (Ok(_), Ok(_)) => Finding::ok(check, "another one than that of process 1, with a bus of its own"),
            (Ok(_), Err(why)) => Finding::skipped(check, format!("whether it is that of process 1: {why}")),
        }
    }
}

fn effective(status: &str) -> Fact<u64> {
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.ok_or_else(|| "/proc/self/status has no CapEff".into())
}

/// How many ids a map has.
fn ids(map: &str) -> u64 {
    map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    fn host() -> Facts {
        Facts {
            by_module: false,
            capabilities: Ok(NET_ADMIN),
            user_namespace: Ok(FIRST_USER_NAMESPACE.into()),
            uid_map: Ok("         0          0 4294967295".into()),
            network_namespace: Ok("net:[1]".into()),
            first_network_namespace: Ok("net:[1]".into()),
        }
    }

    #[test]
    fn without_the_capability_only_the_module_will_do() {
        let of = |facts: Facts| facts.findings().remove(0);
        assert_eq!(of(host()).what, "this process has it");
        let inside = of(Facts { user_namespace: Ok("user:[7]".into()), ..host() });
        assert!(inside.status == Status::Ok && inside.what.contains("not on the host"), "{inside:?}");
        assert_eq!(of(Facts { capabilities: Ok(!NET_ADMIN), ..host() }).status, Status::Warning);
        assert_eq!(of(Facts { capabilities: Ok(0), by_module: true, ..host() }).status, Status::Ok);
        assert_eq!(of(Facts { capabilities: effective("Name: x"), ..host() }).status, Status::Skipped);
        assert_eq!(effective("Name: x\nCapEff:\t0000000000001000\n"), Ok(NET_ADMIN));
    }

    #[test]
    fn users_that_the_namespace_does_not_know_are_told() {
        let of = |map: Fact<&str>| Facts { uid_map: map.map(str::to_owned), ..host() }.findings().remove(1);
        assert_eq!(of(Ok("0 0 4294967295")).what, "it knows all users there are");
        assert!(of(Ok("0 1000 1\n1 100000 65536")).what.starts_with("it knows 65537 users"));
        assert_eq!(of(Err("no".into())).status, Status::Skipped);
    }

    #[test]
    fn a_network_namespace_has_a_bus_of_its_own() {
        let of = |own: Fact<&str>, first: Fact<&str>| {
            let owned = |fact: Fact<&str>| fact.map(str::to_owned);
            let facts = Facts { network_namespace: owned(own), first_network_namespace: owned(first), ..host() };
            facts.findings().remove(2)
        };
        assert_eq!(of(Ok("net:[1]"), Ok("net:[1]")).what, "that of process 1");
        assert!(of(Ok("net:[2]"), Ok("net:[1]")).what.contains("a bus of its own"));
        assert_eq!(of(Ok("net:[2]"), Err("denied".into())).status, Status::Skipped);
        assert_eq!(of(Err("denied".into()), Ok("net:[1]")).status, Status::Skipped);
    }
}
