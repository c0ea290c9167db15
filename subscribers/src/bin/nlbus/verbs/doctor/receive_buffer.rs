//! Whether the sockets get the receive buffer that the library asks for: what doesn't fit while this process is busy is
//! dropped by the kernel, and has to be repaired.

use super::finding::Finding;
use super::look::{self, Fact, as_root};
use netlink_sys::{Socket, protocols::NETLINK_USERSOCK};
use nix::sys::socket::{setsockopt, sockopt};
use nlbus::RECEIVE_BUFFER;

pub struct Facts {
    /// What a socket that asks for it got, in the kernel's measure: twice what was asked for (socket(7)).
    pub granted: Fact<usize>,
    /// `net.core.rmem_max`. Other network namespaces than the first show it on newer kernels
    /// only, and never let it be written.
    pub limit: Fact<String>,
    pub default: Fact<String>,
}

impl Facts {
    pub fn read() -> Facts {
        Facts {
            granted: ask().map_err(|error| format!("can't try it: {error}")),
            limit: look::file("/proc/sys/net/core/rmem_max"),
            default: look::file("/proc/sys/net/core/rmem_default"),
        }
    }

    pub fn findings(&self) -> Vec<Finding> {
        vec![self.finding()]
    }

    fn finding(&self) -> Finding {
        let check = "receive buffer";
        let limit = self.limit.as_deref().unwrap_or("unknown here");
        let default = self.default.as_deref().unwrap_or("unknown here");
        let facts = format!("net.core.rmem_max is {limit}, rmem_default {default}");
        match self.granted {
            Err(ref why) => Finding::skipped(check, why),
            Ok(granted) if granted >= 2 * RECEIVE_BUFFER => {
                Finding::ok(check, format!("sockets get the {RECEIVE_BUFFER} bytes that they ask for; {facts}"))
            }
            Ok(granted) => Finding::warning(
                check,
                format!(
                    "sockets ask for {RECEIVE_BUFFER} bytes and get {}, for this process may not go beyond the limit: bursts are \
                     dropped sooner, and have to be repaired from history; {facts}; the remedy is for the host's first network \
                     namespace, and /etc/sysctl.d keeps it",
                    granted / 2
                ),
                as_root(&format!(
                    "sysctl -w net.core.rmem_max={RECEIVE_BUFFER} && \
                     echo net.core.rmem_max={RECEIVE_BUFFER} > /etc/sysctl.d/60-nlbus.conf"
                )),
            ),
        }
    }
}

/// Asks as the library does (`NetlinkSocket::set_recv_buffer`).
fn ask() -> std::io::Result<usize> {
    let socket = Socket::new(NETLINK_USERSOCK)?;
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
    }
    socket.get_rx_buf_sz()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[test]
    fn less_than_was_asked_for_is_a_warning_with_the_size_to_set() {
        let of = |granted: Fact<usize>| {
            let finding =
                Facts { granted, limit: Ok("212992".into()), default: Err("hidden".into()) }.findings().remove(0);
            (finding.status, finding.what, finding.remedy.unwrap_or_default())
        };
        assert_eq!(of(Ok(2 * RECEIVE_BUFFER)).0, Status::Ok);
        assert_eq!(of(Err("EPERM".into())).0, Status::Skipped);
        let (status, what, remedy) = of(Ok(2 * 212_992));
        assert!(status == Status::Warning && what.contains("get 212992") && what.contains("unknown here"), "{what}");
        assert!(remedy.contains("net.core.rmem_max=8388608") && remedy.contains("/etc/sysctl.d/"), "{remedy}");
    }
}
