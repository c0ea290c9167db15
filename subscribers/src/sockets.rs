//! The netlink sockets of this network namespace, as `/proc/net/netlink` lists them: who is slow is seen without the slow
//! one's help.

use std::fs;
use std::io;

/// A netlink socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetlinkSocket {
    /// Netlink protocol number.
    pub protocol: u32,
    /// Port id; the first socket of a process often has the process's id, and no rule says so.
    pub portid: u32,
    /// The groups that it is in, of the first 32: bit 0 is group 1.
    pub groups: u32,
    /// Bytes that wait to be read, as the kernel charges them (`sk_rmem_alloc`).
    pub queued: u64,
    /// Datagrams that didn't fit, since it was opened.
    pub drops: u64,
    /// Its inode, by which `/proc/PID/fd` names it.
    pub inode: u64,
}

/// All netlink sockets of the calling thread's network namespace.
///
/// # Errors
/// When the list can't be read.
pub fn netlink_sockets() -> io::Result<Vec<NetlinkSocket>> {
    Ok(read(&fs::read_to_string("/proc/thread-self/net/netlink")?))
}

/// Reads the list (`netlink_native_seq_show`). Lines that aren't understood are left out: the first one is a heading.
fn read(text: &str) -> Vec<NetlinkSocket> {
    let socket = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        // sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
        let number = |at: usize| columns.get(at)?.parse::<u64>().ok();
        Some(NetlinkSocket {
            protocol: u32::try_from(number(1)?).ok()?,
            portid: u32::try_from(number(2)?).ok()?,
            groups: u32::from_str_radix(columns.get(3)?, 16).ok()?,
            queued: number(4)?,
            drops: number(8)?,
            inode: number(9)?,
        })
    };
    text.lines().filter_map(socket).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_is_read() {
        let text = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n\
            000000006aec5d92 2   1852596852 00000005 1280     0        0     2        7        4711    \n\
            000000003c32efa9 4   x          00000000 0        0        0     2        0        1584\n\
            cut off\n\n";
        let socket =
            NetlinkSocket { protocol: 2, portid: 1_852_596_852, groups: 5, queued: 1280, drops: 7, inode: 4711 };
        assert_eq!(read(text), [socket]);
        assert!(netlink_sockets().is_ok());
    }
}
