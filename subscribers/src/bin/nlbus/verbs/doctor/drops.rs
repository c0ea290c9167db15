//! Sockets of the bus that something didn't fit into since they were opened: who is slow.

use super::finding::Finding;
use nlbus_subscribers::clients::{Client, clients};
use std::io;

/// Of the clients of a netlink protocol, if a broker has said which it is.
pub fn findings(protocol: Option<u32>) -> Vec<Finding> {
    match protocol {
        None => vec![Finding::skipped("drops", "without a broker there are no clients")],
        Some(protocol) => judge(clients(protocol)),
    }
}

fn judge(listed: io::Result<Vec<Client>>) -> Vec<Finding> {
    let listed = match listed {
        Err(error) => return vec![Finding::skipped("drops", format!("can't read /proc/net/netlink: {error}"))],
        Ok(listed) => listed,
    };
    let slow: Vec<Finding> = listed.iter().filter(|client| client.socket.drops > 0).map(dropped).collect();
    if slow.is_empty() {
        return vec![Finding::ok("drops", format!("none at any of the {} sockets of this bus", listed.len()))];
    }
    slow
}

fn dropped(Client { socket, process }: &Client) -> Finding {
    let who = match process {
        Some((pid, command)) => format!("process {pid} ({command})"),
        None => "a process that this user can't see".into(),
    };
    let what = format!(
        "{who} was too slow: {} datagrams didn't fit into its socket at port {} since that was opened; it repairs them from history, as \
         far as that reaches back; against bursts a larger receive buffer of its own helps (Builder::receive_buffer)",
        socket.drops, socket.portid
    );
    Finding::warning("drops", what, "nlbus topic set TOPIC --history BYTES")
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;
    use nlbus_subscribers::sockets::NetlinkSocket;

    #[test]
    fn who_dropped_something_is_named() {
        let client = |portid, drops, process: Option<(i32, &str)>| Client {
            socket: NetlinkSocket { protocol: 2, portid, groups: 0, queued: 0, drops, inode: 1 },
            process: process.map(|(pid, command)| (pid, command.to_owned())),
        };
        let some = judge(Ok(vec![client(1, 0, None), client(2, 7, Some((42, "slow"))), client(3, 1, None)]));
        assert_eq!(some.len(), 2, "{some:?}");
        assert!(some[0].status == Status::Warning && some[0].what.contains("process 42 (slow)"), "{some:?}");
        assert!(some.iter().all(|finding| finding.remedy.as_deref().is_some_and(|line| line.contains("--history"))));
        assert_eq!(judge(Ok(vec![client(1, 0, None)]))[0].status, Status::Ok);
        assert_eq!(judge(Err(io::ErrorKind::PermissionDenied.into()))[0].status, Status::Skipped);
    }
}
