//! The kernel, this process's rights and its namespaces.

use super::Finding;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_USERSOCK;
use nix::errno::Errno;
use nix::sys::utsname::uname;
use nlbus::{BrokerKind, RECEIVE_BUFFER};
use procfs::process::Process;
use std::fs;
use std::io;

/// Bit of `CAP_NET_ADMIN` (linux/capability.h).
const CAP_NET_ADMIN: u64 = 1 << 12;

/// The oldest kernel that the module is built for, and nlbus tested on.
const OLDEST: (u32, u32) = (6, 1);

/// What is so here.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its release, like 6.1.0-44-amd64.
    kernel: String,
    /// What became of a socket of `NETLINK_USERSOCK`, and of joining one of its groups.
    socket: Result<(), Errno>,
    join: Result<(), Errno>,
    /// Whether `CAP_NET_ADMIN` is effective, and that in the first user namespace.
    is_admin: bool,
    is_first_user_ns: bool,
    /// Whether this network namespace is that of process 1, if that can be seen.
    is_first_net_ns: Option<bool>,
    /// `net.core.rmem_max`, where this namespace shows it.
    rmem_max: Result<u64, String>,
}

impl Facts {
    pub fn gather() -> Facts {
        let errno = |error: io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        let socket = Socket::new(NETLINK_USERSOCK);
        let join = socket.as_ref().map(|_| ()).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)));
        let join = join.and_then(|()| {
            let mut socket = Socket::new(NETLINK_USERSOCK).map_err(errno)?;
            socket.bind_auto().map_err(errno)?;
            socket.add_membership(1).map_err(errno)
        });
        let status = Process::myself().and_then(|process| process.status());
        let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
        let rmem_max = fs::read_to_string("/proc/sys/net/core/rmem_max").map_err(|error| error.to_string());
        Facts {
            kernel: uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default(),
            socket: socket.map(|_| ()).map_err(errno),
            join,
            is_admin: status.is_ok_and(|status| status.capeff & CAP_NET_ADMIN != 0),
            is_first_user_ns: fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| knows_all(&map)),
            is_first_net_ns: namespace("1").zip(namespace("self")).map(|(first, own)| first == own),
            rmem_max: rmem_max
                .and_then(|text| text.trim().parse().map_err(|_| format!("'{}' isn't a number", text.trim()))),
        }
    }

    /// What that means for clients of this broker, if there is one.
    pub fn findings(&self, broker: Option<BrokerKind>) -> Vec<Finding> {
        vec![self.kernel(), self.netlink(), self.groups(broker), self.namespace(), self.receive_buffer()]
    }

    fn kernel(&self) -> Finding {
        let mut numbers = self.kernel.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= OLDEST => {
                Finding::ok("kernel", format!("Linux {}", self.kernel))
            }
            (Some(Ok(_)), Some(Ok(_))) => Finding::warning(
                "kernel",
                format!(
                    "Linux {} is older than {}.{}, the oldest that nlbus is tested on",
                    self.kernel, OLDEST.0, OLDEST.1
                ),
                "the user broker may work; the module takes a newer kernel",
            ),
            _ => Finding::skipped("kernel", format!("its release, '{}', isn't understood", self.kernel)),
        }
    }

    fn netlink(&self) -> Finding {
        match self.socket {
            Ok(()) => Finding::ok("netlink", "sockets of NETLINK_USERSOCK can be opened"),
            Err(errno) => Finding::problem(
                "netlink",
                format!("no socket of NETLINK_USERSOCK can be opened ({})", errno.desc()),
                "let the container or the seccomp filter that this runs under allow AF_NETLINK (systemd: \
                 RestrictAddressFamilies=AF_NETLINK)",
            ),
        }
    }

    /// Whether this process can subscribe.
    fn groups(&self, broker: Option<BrokerKind>) -> Finding {
        const CHECK: &str = "subscribe";
        match (self.join, broker) {
            (_, Some(BrokerKind::Module)) => Finding::ok(CHECK, "anybody may join the module's groups, as modes allow"),
            (Ok(()), _) => Finding::ok(CHECK, "this process may join groups of NETLINK_USERSOCK"),
            (Err(Errno::EPERM), _) => Finding::problem(
                CHECK,
                "this process may not join groups of NETLINK_USERSOCK: it lacks CAP_NET_ADMIN in its network namespace",
                "run it as root; or broker and clients together: unshare -Urn sh -c 'nlbus broker & …'; or load the module",
            ),
            (Err(errno), _) => Finding::skipped(CHECK, format!("joining a group failed ({})", errno.desc())),
        }
    }

    fn namespace(&self) -> Finding {
        match self.is_first_net_ns {
            Some(true) => Finding::ok("namespace", "this is the host's network namespace"),
            Some(false) => Finding::ok(
                "namespace",
                "this is another network namespace than the host's: it has a bus of its own, which the host's programs don't see",
            ),
            None => Finding::skipped("namespace", "this user can't see which one is the host's (/proc/1/ns/net)"),
        }
    }

    fn receive_buffer(&self) -> Finding {
        const CHECK: &str = "rmem_max";
        let wanted = RECEIVE_BUFFER as u64;
        let rmem_max = match &self.rmem_max {
            Ok(rmem_max) => *rmem_max,
            Err(why) => return Finding::skipped(CHECK, format!("net.core.rmem_max can't be read here: {why}")),
        };
        if rmem_max >= wanted {
            return Finding::ok(CHECK, format!("receive buffers can have the {wanted} bytes that nlbus asks for"));
        }
        if self.is_admin && self.is_first_user_ns {
            let what =
                format!("net.core.rmem_max is {rmem_max}, which doesn't bind this process: it has CAP_NET_ADMIN");
            return Finding::ok(CHECK, what);
        }
        Finding::warning(
            CHECK,
            format!(
                "receive buffers get {rmem_max} bytes of the {wanted} that nlbus asks for: bursts cost more repairs"
            ),
            format!(
                "as root: sysctl -w net.core.rmem_max={wanted}; for good: echo net.core.rmem_max={wanted} > \
                 /etc/sysctl.d/90-nlbus.conf"
            ),
        )
    }
}

/// Whether a user namespace of these mappings knows all ids there are, as the first one does.
fn knows_all(uid_map: &str) -> bool {
    let mut words = uid_map.split_whitespace();
    words.next() == Some("0") && words.next() == Some("0") && words.next() == Some("4294967295")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::doctor::Status;

    fn facts() -> Facts {
        Facts {
            kernel: "6.18.5+deb13-amd64".into(),
            socket: Ok(()),
            join: Ok(()),
            is_admin: true,
            is_first_user_ns: true,
            is_first_net_ns: Some(true),
            rmem_max: Ok(212_992),
        }
    }

    fn status(facts: &Facts, broker: Option<BrokerKind>, check: &str) -> Status {
        facts.findings(broker).into_iter().find(|finding| finding.check == check).expect(check).status
    }

    #[test]
    fn a_machine_that_has_all_is_well() {
        let user = Some(BrokerKind::User);
        assert!(
            facts().findings(user).iter().all(|finding| finding.status == Status::Ok),
            "{:?}",
            facts().findings(user)
        );
    }

    #[test]
    fn each_lack_is_named() {
        let user = Some(BrokerKind::User);
        for (release, expected) in
            [("5.10.0", Status::Warning), ("6.0", Status::Warning), ("6.1.0", Status::Ok), ("x", Status::Skipped)]
        {
            assert_eq!(status(&Facts { kernel: release.into(), ..facts() }, user, "kernel"), expected, "{release}");
        }
        let shut = Facts { socket: Err(Errno::EAFNOSUPPORT), ..facts() };
        assert_eq!(status(&shut, None, "netlink"), Status::Problem);
        let ordinary = Facts { join: Err(Errno::EPERM), is_admin: false, ..facts() };
        assert_eq!(status(&ordinary, user, "subscribe"), Status::Problem);
        assert_eq!(status(&ordinary, Some(BrokerKind::Module), "subscribe"), Status::Ok);
        assert_eq!(status(&ordinary, user, "rmem_max"), Status::Warning);
        let contained = Facts { is_first_user_ns: false, ..facts() };
        assert_eq!(status(&contained, user, "rmem_max"), Status::Warning, "the capability doesn't count there");
        assert_eq!(status(&Facts { rmem_max: Ok(8 << 20), ..ordinary }, user, "rmem_max"), Status::Ok);
        assert_eq!(status(&Facts { rmem_max: Err("absent".into()), ..facts() }, user, "rmem_max"), Status::Skipped);
        assert_eq!(status(&Facts { is_first_net_ns: None, ..facts() }, user, "namespace"), Status::Skipped);
    }
}
