//! Who has sockets of a bus's protocol open in this network namespace: seen in `/proc`, without their help.

use crate::sockets::{NetlinkSocket, netlink_sockets};
use procfs::process::{FDTarget, all_processes};
use std::collections::HashMap;
use std::io;

/// A socket of the bus's protocol, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The socket.
    pub socket: NetlinkSocket,
    /// Process id and command of one that has it open, as far as the caller may see that.
    pub process: Option<(i32, String)>,
}

/// The sockets of a netlink protocol but the kernel's own, in the order of their port ids.
///
/// # Errors
/// When the list of sockets can't be read. Processes that can't be looked into are left out.
pub fn clients(protocol: u32) -> io::Result<Vec<Client>> {
    let mut sockets = netlink_sockets()?;
    sockets.retain(|socket| socket.protocol == protocol && socket.portid != 0);
    sockets.sort_unstable_by_key(|socket| socket.portid);
    let mut owners = owners();
    let client = |socket: NetlinkSocket| Client { process: owners.remove(&socket.inode), socket };
    Ok(sockets.into_iter().map(client).collect())
}

/// Processes by the inodes of their sockets.
fn owners() -> HashMap<u64, (i32, String)> {
    let mut owners = HashMap::new();
    for process in all_processes().into_iter().flatten().flatten() {
        let Ok(files) = process.fd() else { continue };
        let Ok(stat) = process.stat() else { continue };
        for file in files.flatten() {
            if let FDTarget::Socket(inode) = file.target {
                owners.entry(inode).or_insert_with(|| (stat.pid, stat.comm.clone()));
            }
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_sys::{Socket, protocols::NETLINK_USERSOCK};

    #[test]
    fn a_socket_is_found_with_its_process() {
        let mut socket = Socket::new(NETLINK_USERSOCK).unwrap();
        let portid = socket.bind_auto().unwrap().port_number();
        let found = clients(NETLINK_USERSOCK as u32).unwrap();
        let own = found.iter().find(|client| client.socket.portid == portid).expect("this very socket");
        let (pid, command) = own.process.as_ref().expect("this very process");
        assert_eq!(*pid, std::process::id() as i32);
        assert!(!command.is_empty());
    }
}
