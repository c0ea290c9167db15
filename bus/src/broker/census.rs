//! Who is there: the kernel's list of netlink sockets. Nobody tells a process of sockets that were closed, so that is asked for
//! now and then. The list may lack some, so who isn't in it is asked for by name.

use crate::sys::{NetlinkSocket, RecvBatch};
use crate::wire::uapi::{NETLINK_USERSOCK, NLBUS_DATAGRAM_MAX, NLMSG_DONE, NLMSG_ERROR};
use crate::wire::{Answer, Messages, NETLINK_SOCK_DIAG, netlink_socket, netlink_sockets_request};
use nix::errno::Errno;
use std::collections::HashMap;
use std::io;

/// Asks the kernel for its list.
#[derive(Debug)]
pub(super) struct Census {
    socket: NetlinkSocket,
    batch: RecvBatch,
}

impl Census {
    /// In the calling thread's network namespace.
    pub(super) fn open() -> io::Result<Census> {
        let mut socket = NetlinkSocket::open(NETLINK_SOCK_DIAG)?;
        socket.bind(0)?;
        Ok(Census { socket, batch: RecvBatch::new(8, NLBUS_DATAGRAM_MAX) })
    }

    /// The sockets of the user broker's protocol: of each port id what tells its socket from others that had it before.
    pub(super) fn take(&mut self) -> io::Result<HashMap<u32, u64>> {
        self.socket.send_to(&netlink_sockets_request(NETLINK_USERSOCK as u8, 1), 0, 0, true)?;
        let (mut found, mut whole) = (HashMap::new(), false);
        // The first part is there when the send returns, each further one when the one before was read (`netlink_dump`).
        while self.batch.receive(&self.socket)? > 0 {
            for (datagram, bytes) in self.batch.iter_mut() {
                for message in Messages::new(bytes).map_while(Result::ok).filter(|_| datagram.port == 0) {
                    match message.header.kind {
                        NLMSG_DONE => whole = true,
                        NLMSG_ERROR => {
                            let answer = Answer::parse(&message).map_err(|error| io::Error::other(error.0))?;
                            return Err(answer
                                .result
                                .err()
                                .map_or(io::ErrorKind::InvalidData.into(), |refusal| io::Error::from(refusal.errno)));
                        }
                        _ => found.extend(netlink_socket(&message)),
                    }
                }
            }
        }
        if whole { Ok(found) } else { Err(Errno::EAGAIN.into()) }
    }

    /// Whether a port id is some socket's that the list lacks: it leaves some out when the kernel's table grows or shrinks meanwhile
    /// (`rhashtable_walk_next`). Two can't have it, so whoever gets it knows that nobody had.
    pub(super) fn has(port: u32) -> bool {
        let bound = NetlinkSocket::open(NETLINK_USERSOCK).and_then(|mut socket| socket.bind(port));
        // Where there is no memory for a socket, nobody is taken to be gone.
        bound.is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_told_apart_also_when_one_has_the_others_port() {
        const PORT: u32 = 0x7123_4567;
        let mut census = Census::open().unwrap();
        let mut cookies = Vec::new();
        for _ in 0..3 {
            let mut socket = NetlinkSocket::open(NETLINK_USERSOCK).unwrap();
            socket.bind(PORT).unwrap();
            cookies.push(census.take().unwrap()[&PORT]);
            assert_eq!(census.take().unwrap()[&PORT], cookies[cookies.len() - 1]);
        }
        assert_eq!(census.take().unwrap().get(&PORT), None);
        assert!(!Census::has(PORT) && !Census::has(PORT));
        let mut socket = NetlinkSocket::open(NETLINK_USERSOCK).unwrap();
        socket.bind(PORT).unwrap();
        assert!(Census::has(PORT));
        cookies.dedup();
        assert_eq!(cookies.len(), 3, "{cookies:?}");
    }
}
