//! Whether this kernel is one that nlbus runs on, and lets this process open netlink sockets.

use super::finding::Finding;
use super::look::{self, Fact};
use netlink_sys::{Socket, protocols::NETLINK_USERSOCK};

/// The oldest kernel that the module is built for.
const OLDEST: (u32, u32) = (6, 1);

pub struct Facts {
    pub release: Fact<String>,
    /// Whether a socket of the user broker's protocol opens.
    pub usersock: Fact<()>,
}

impl Facts {
    pub fn read() -> Facts {
        let usersock = Socket::new(NETLINK_USERSOCK).map(drop).map_err(|error| error.to_string());
        Facts { release: look::release(), usersock }
    }

    pub fn findings(&self) -> Vec<Finding> {
        let kernel = match &self.release {
            Err(why) => Finding::skipped("kernel", why),
            Ok(release) if version(release).is_some_and(|version| version < OLDEST) => Finding::warning(
                "kernel",
                format!(
                    "{release} is older than 6.1, and the module is for 6.1 and newer; the user broker runs on any"
                ),
                "nlbus broker &",
            ),
            Ok(release) => Finding::ok("kernel", release),
        };
        // The protocol comes with netlink itself: whoever can't open it is kept from it.
        let netlink = match &self.usersock {
            Ok(()) => Finding::ok("netlink", "this process may open netlink sockets"),
            Err(why) => Finding::problem(
                "netlink",
                format!(
                    "this process may not open a netlink socket ({why}): a seccomp filter keeps it from that; of a systemd \
                         unit, RestrictAddressFamilies= has to name AF_NETLINK"
                ),
                look::as_root("systemctl edit UNIT    # [Service] RestrictAddressFamilies=AF_NETLINK"),
            ),
        };
        vec![kernel, netlink]
    }
}

/// The first two numbers of a release like 6.1.0-47-cloud-amd64.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[test]
    fn kernels_before_6_1_have_no_module_and_no_netlink_is_a_problem() {
        for (release, status) in [
            (Ok("6.1.0-47-cloud-amd64"), Status::Ok),
            (Ok("10.0-rc1"), Status::Ok),
            (Ok("6.0.19"), Status::Warning),
            (Ok("5.15.0"), Status::Warning),
            (Ok("of my own"), Status::Ok),
            (Err("no"), Status::Skipped),
        ] {
            let release = release.map(str::to_owned).map_err(str::to_owned);
            let findings = Facts { release: release.clone(), usersock: Ok(()) }.findings();
            assert_eq!((findings[0].status, findings[1].status), (status, Status::Ok), "{release:?}");
        }
        let none = Facts { release: Ok("6.1".into()), usersock: Err("EAFNOSUPPORT".into()) }.findings();
        assert_eq!(none[1].status, Status::Problem);
    }
}
