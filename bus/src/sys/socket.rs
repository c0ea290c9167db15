//! An owned netlink socket with the options that a bus needs.

use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{MsgFlags, NetlinkAddr, sendmsg, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// A netlink socket. It is closed when dropped, and never cloned: netlink-sys's `Socket` would close its
/// descriptor twice.
#[derive(Debug)]
pub struct NetlinkSocket {
    socket: Socket,
}

impl NetlinkSocket {
    /// Opens a socket of a netlink protocol, close-on-exec, blocking, not bound.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT` when nothing in the kernel has that protocol; what `socket(2)` says.
    pub fn open(protocol: u32) -> io::Result<NetlinkSocket> {
        let protocol = isize::try_from(protocol).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(NetlinkSocket { socket: Socket::new(protocol)? })
    }

    /// Takes a port id, or with 0 any that is free, and returns the one it got.
    ///
    /// # Errors
    /// `EADDRINUSE` when another socket of the protocol has the port id in this network namespace.
    pub fn bind(&mut self, port: u32) -> io::Result<u32> {
        self.socket.bind(&SocketAddr::new(port, 0))?;
        if port != 0 {
            return Ok(port);
        }
        let mut address = SocketAddr::new(0, 0);
        self.socket.get_address(&mut address)?;
        Ok(address.port_number())
    }

    /// Joins a multicast group, numbered from 1.
    ///
    /// # Errors
    /// `EPERM` where joining needs `CAP_NET_ADMIN` (`netlink_setsockopt`); `EINVAL` for a group that the protocol
    /// doesn't have; what the protocol's bind callback says.
    pub fn add_membership(&self, group: u32) -> io::Result<()> {
        self.socket.add_membership(group)
    }

    /// Leaves a multicast group.
    ///
    /// # Errors
    /// As [`add_membership`](Self::add_membership).
    pub fn drop_membership(&self, group: u32) -> io::Result<()> {
        self.socket.drop_membership(group)
    }

    /// After an overrun, goes on to queue what fits. Without it the kernel drops everything until the queue is empty
    /// (`NETLINK_S_CONGESTED`) and fails a receive with `ENOBUFS`; with it, drops show in [`drops`](Self::drops) alone.
    ///
    /// # Errors
    /// What `setsockopt(2)` says.
    pub fn set_no_enobufs(&self) -> io::Result<()> {
        self.socket.set_no_enobufs(true)
    }

    /// Lets senders of broadcasts know when this socket has no room for one (`netlink_broadcast` then says `ENOBUFS`).
    ///
    /// # Errors
    /// What `setsockopt(2)` says.
    pub fn set_broadcast_error(&self) -> io::Result<()> {
        self.socket.set_broadcast_error(true)
    }

    /// Has the kernel tell with each datagram who sent it (`SO_PASSCRED`).
    ///
    /// # Errors
    /// What `setsockopt(2)` says.
    pub fn set_pass_credentials(&self) -> io::Result<()> {
        Ok(setsockopt(self, sockopt::PassCred, &true)?)
    }

    /// Asks for room for `bytes` of waiting datagrams and returns how much was granted, in the kernel's measure
    /// (`skb->truesize`, twice what was asked). Beyond `net.core.rmem_max` needs `CAP_NET_ADMIN` in the initial user
    /// namespace (`sk_setsockopt`).
    ///
    /// # Errors
    /// What `setsockopt(2)` says, but for the lack of that capability.
    pub fn set_recv_buffer(&self, bytes: usize) -> io::Result<usize> {
        // An int to the kernel, where a negative one is the least possible buffer (sock_setsockopt).
        let bytes = bytes.min(i32::MAX as usize);
        if setsockopt(self, sockopt::RcvBufForce, &bytes).is_err() {
            setsockopt(self, sockopt::RcvBuf, &bytes)?;
        }
        self.recv_buffer()
    }

    /// How much room it has for waiting datagrams, in the kernel's measure (`sk_rcvbuf`).
    ///
    /// # Errors
    /// What `getsockopt(2)` says.
    pub fn recv_buffer(&self) -> io::Result<usize> {
        self.socket.get_rx_buf_sz()
    }

    /// Has a send that sleeps for room fail with `EAGAIN` after this long, at least a microsecond (`netlink_attachskb`
    /// begins anew with each send; a kernel side that has the port does as it likes).
    ///
    /// # Errors
    /// What `setsockopt(2)` says.
    pub fn set_send_timeout(&self, timeout: Duration) -> io::Result<()> {
        // None at all would be for ever (socket(7)).
        let micros = i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX).max(1);
        Ok(setsockopt(self, sockopt::SendTimeout, &TimeVal::microseconds(micros))?)
    }

    /// Sends a datagram to a port id and to the group of the lowest bit set in `groups` (bit 0 is group 1).
    /// With `dont_wait`, a full receiver is `EAGAIN` instead of a wait, and after one for the
    /// [send timeout](Self::set_send_timeout).
    ///
    /// A group send goes to `port`, too: 0 is the kernel, and where the protocol has no kernel side, as
    /// `NETLINK_USERSOCK`, the group got the datagram and the result is still `ECONNREFUSED`
    /// (`netlink_sendmsg`, which ignores what the broadcast returned).
    ///
    /// # Errors
    /// `ECONNREFUSED` when nobody has the port id, `EAGAIN`, `EMSGSIZE`, `ENOBUFS`; what `sendmsg(2)` says.
    pub fn send_to(&self, bytes: &[u8], port: u32, groups: u32, dont_wait: bool) -> io::Result<()> {
        let flags = if dont_wait { libc::MSG_DONTWAIT } else { 0 };
        let sent = self.socket.send_to(bytes, &SocketAddr::new(port, groups), flags)?;
        // A datagram goes whole or not at all.
        debug_assert_eq!(sent, bytes.len());
        Ok(())
    }

    /// As [`send_to`](Self::send_to), of a datagram in pieces, at most 1024 of them (`UIO_MAXIOV`).
    ///
    /// # Errors
    /// As there.
    pub fn send_joined(&self, pieces: &[IoSlice<'_>], port: u32, groups: u32, dont_wait: bool) -> io::Result<()> {
        if let [whole] = pieces {
            return self.send_to(whole, port, groups, dont_wait);
        }
        let flags = if dont_wait { MsgFlags::MSG_DONTWAIT } else { MsgFlags::empty() };
        sendmsg(self.as_raw_fd(), pieces, &[], flags, Some(&NetlinkAddr::new(port, groups)))?;
        Ok(())
    }

    /// How many datagrams this socket has lost for want of room, since it was opened; wraps at 2^32.
    ///
    /// # Errors
    /// What `getsockopt(2)` says.
    pub fn drops(&self) -> io::Result<u32> {
        Ok(self.memory()?[libc::SK_MEMINFO_DROPS as usize])
    }

    /// How many bytes wait to be received, in the kernel's measure (`skb->truesize`).
    ///
    /// # Errors
    /// What `getsockopt(2)` says.
    pub fn queued(&self) -> io::Result<u32> {
        Ok(self.memory()?[libc::SK_MEMINFO_RMEM_ALLOC as usize])
    }

    /// The number of the network namespace that it was opened in (`SO_NETNS_COOKIE`, since Linux 5.14): while that lives, no
    /// other one has it. `None` where the kernel doesn't say.
    pub fn namespace(&self) -> Option<u64> {
        let mut cookie = 0u64;
        let mut len = size_of_val(&cookie) as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes to `cookie`, which has that many and is any-bits-valid, and the
        // count of them to `len`; both live until the call returns.
        let result = unsafe {
            libc::getsockopt(
                self.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_NETNS_COOKIE,
                (&raw mut cookie).cast(),
                &raw mut len,
            )
        };
        (result == 0).then_some(cookie)
    }

    /// `SO_MEMINFO`: the numbers that `sk_get_meminfo` collects, by their `SK_MEMINFO_*` index.
    fn memory(&self) -> io::Result<[u32; SK_MEMINFO_VARS]> {
        let mut memory = [0u32; SK_MEMINFO_VARS];
        let mut len = size_of_val(&memory) as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes to `memory`, which has that many and is any-bits-valid, and
        // the count of them to `len`; both live until the call returns.
        let result = unsafe {
            libc::getsockopt(self.as_raw_fd(), libc::SOL_SOCKET, SO_MEMINFO, memory.as_mut_ptr().cast(), &raw mut len)
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(memory)
    }
}

/// `SK_MEMINFO_VARS` of linux/sock_diag.h, which has not grown since 4.6.
const SK_MEMINFO_VARS: usize = 9;
/// asm-generic/socket.h; all architectures but parisc and sparc.
const SO_MEMINFO: libc::c_int = 55;

impl AsFd for NetlinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for NetlinkSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    fn open() -> NetlinkSocket {
        NetlinkSocket::open(libc::NETLINK_USERSOCK as u32).unwrap()
    }

    #[test]
    fn a_port_id_is_taken_once() {
        let (mut one, mut two) = (open(), open());
        let port = one.bind(0).unwrap();
        assert_ne!(port, 0);
        assert_eq!(two.bind(port).unwrap_err().raw_os_error(), Some(Errno::EADDRINUSE as i32));
    }

    #[test]
    fn nobody_at_a_port_is_refused() {
        // Not one of the kernel's own choosing: those are process ids or have the top bit set.
        let port = 0x5000_0000 + std::process::id();
        let error = open().send_to(b"x", port, 0, true).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::ECONNREFUSED as i32));
    }

    #[test]
    fn a_full_receiver_is_would_block_and_loses_nothing() {
        let (mut one, mut two) = (open(), open());
        let port = one.bind(0).unwrap();
        two.bind(0).unwrap();
        assert!(one.set_recv_buffer(4096).unwrap() >= 4096);
        let error = (0..1000).find_map(|_| two.send_to(&[0; 512], port, 0, true).err()).expect("the buffer has an end");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(one.queued().unwrap() > 0);
        assert_eq!(one.drops().unwrap(), 0);
    }
}
