//! Who is too slow: sockets of the bus that datagrams didn't fit into.

use super::Finding;
use nlbus_subscribers::clients::{Client, clients};

const CHECK: &str = "sockets";

/// Of the bus with this protocol, if there is one.
pub fn findings(protocol: Option<u32>) -> Vec<Finding> {
    let Some(protocol) = protocol else { return Vec::new() };
    match clients(protocol) {
        Ok(clients) => of(&clients),
        Err(error) => vec![Finding::skipped(CHECK, format!("/proc/net/netlink can't be read: {error}"))],
    }
}

fn of(clients: &[Client]) -> Vec<Finding> {
    let slow: Vec<_> = clients.iter().filter(|client| client.socket.drops > 0).collect();
    if slow.is_empty() {
        return vec![Finding::ok(CHECK, format!("{} are open, and none was ever full", clients.len()))];
    }
    let finding = |client: &&Client| {
        let who = client.process.as_ref();
        let who = who
            .map_or("a process that this user can't see".into(), |(pid, command)| format!("process {pid} ({command})"));
        let (port, drops) = (client.socket.portid, client.socket.drops);
        Finding::warning(
            CHECK,
            format!("{who} missed {drops} datagrams at port {port}, which history repaired as far as it reaches back"),
            "a larger Builder::receive_buffer in that program, or more history: nlbus topic set TOPIC --history",
        )
    };
    slow.iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::doctor::Status;
    use nlbus_subscribers::sockets::NetlinkSocket;

    #[test]
    fn who_misses_much_is_named() {
        let client = |portid, drops| Client {
            socket: NetlinkSocket { protocol: 2, portid, groups: 0, queued: 0, drops, inode: 1 },
            process: (portid == 5).then(|| (77, "slow".to_owned())),
        };
        assert_eq!(of(&[client(4, 0), client(5, 0)])[0].status, Status::Ok);
        let seen = of(&[client(4, 0), client(5, 3), client(6, 1)]);
        assert!(
            matches!(&seen[..], [one, other] if one.what.contains("process 77 (slow)") && other.what.contains("can't see")),
            "{seen:?}"
        );
    }
}
