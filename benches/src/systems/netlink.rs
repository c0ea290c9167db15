//! Netlink as tutorials write it: one process multicasts into a group of `NETLINK_USERSOCK`, others are in it, and there
//! is no broker. What a receiver's buffer doesn't hold is gone; the window keeps that from happening.

use super::buffers;
use super::mmsg::Many;
use crate::system::{Cell, Go, Publisher, Sink, Subscriber, System};
use anyhow::{Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, socket,
};
use std::os::fd::{AsRawFd, OwnedFd};

/// Bytes of `struct nlmsghdr`.
pub const HEADER: usize = 16;

/// The group, as a bit mask.
const GROUP: u32 = 1 << 30;

struct Netlink {
    tuned: bool,
}

pub fn variants() -> Vec<Box<dyn System>> {
    [false, true].map(|tuned| -> Box<dyn System> { Box::new(Netlink { tuned }) }).into()
}

/// A socket of `NETLINK_USERSOCK` with a port id, 0 for any, in groups.
pub fn open(port: u32, groups: u32) -> Result<OwnedFd> {
    let protocol = SockProtocol::NetlinkUserSock;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(port, groups))?;
    Ok(socket)
}

/// The event as a netlink message.
pub fn frame(into: &mut Vec<u8>, payload: &[u8]) {
    into.clear();
    into.extend_from_slice(&((HEADER + payload.len()) as u32).to_ne_bytes());
    into.extend_from_slice(&0x10u16.to_ne_bytes()); // the first type that isn't netlink's own
    into.extend_from_slice(&[0; HEADER - 6]);
    into.extend_from_slice(payload);
}

/// Sends to a port id or into a group.
pub fn send(socket: &OwnedFd, frame: &[u8], to: NetlinkAddr) -> Result<()> {
    match sendto(socket.as_raw_fd(), frame, &to, MsgFlags::empty()) {
        // Into a group it also looks for port 0, where nobody is: the group's members have it all the same.
        Ok(_) | Err(Errno::ECONNREFUSED) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// What an enlarged receive buffer holds here, in bytes.
pub fn receive_buffer() -> usize {
    buffers::enlarged().map_or(buffers::DEFAULT, |(receive, _)| receive)
}

/// Bytes that the kernel charges a receiver for an event: the allocation, and the socket buffer's own.
pub fn charged(size: usize) -> usize {
    (size + HEADER + 320).next_power_of_two() + 256
}

impl System for Netlink {
    fn name(&self) -> &'static str {
        if self.tuned { "netlink-tuned" } else { "netlink" }
    }

    fn peer(&self) -> &'static str {
        "plain netlink"
    }

    fn about(&self) -> &'static str {
        if self.tuned {
            "multicast without a broker, sendmmsg and recvmmsg of up to 64, receive buffers of 8 MiB (or as the host allows)"
        } else {
            "multicast without a broker, sendto and recv, the default receive buffer"
        }
    }

    /// Three quarters of what the receive buffer holds.
    fn window(&self, cell: &Cell) -> u64 {
        let buffer = if self.tuned { receive_buffer() } else { buffers::DEFAULT };
        (buffer * 3 / 4 / charged(cell.size)).clamp(2, 16_384) as u64
    }

    fn publisher(&self, run: &Cell) -> Result<Box<dyn Publisher>> {
        let many = self.tuned.then(|| Many::new(run.size + HEADER, Some(GROUP)));
        Ok(Box::new(Sender { socket: open(0, 0)?, frame: Vec::new(), many }))
    }

    fn subscriber(&self, run: &Cell) -> Result<Box<dyn Subscriber>> {
        let socket = open(0, GROUP)?;
        if self.tuned {
            buffers::enlarge_receive(&socket)?;
        }
        Ok(Box::new(Receiver { socket, size: run.size, tuned: self.tuned }))
    }
}

struct Sender {
    socket: OwnedFd,
    frame: Vec<u8>,
    /// Where it is tuned: events that are to go out together.
    many: Option<Many>,
}

impl Publisher for Sender {
    fn send(&mut self, payload: &[u8]) -> Result<()> {
        frame(&mut self.frame, payload);
        let Some(many) = &mut self.many else {
            return send(&self.socket, &self.frame, NetlinkAddr::new(0, GROUP));
        };
        if many.push(&self.frame) { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(many) = &mut self.many {
            many.send(&self.socket)?;
            many.clear();
        }
        Ok(())
    }
}

pub struct Receiver {
    pub socket: OwnedFd,
    pub size: usize,
    pub tuned: bool,
}

impl Subscriber for Receiver {
    fn receive(&mut self, mut sink: Sink) -> Result<()> {
        if self.tuned {
            return Many::new(self.size + HEADER, None).receive(&self.socket, HEADER, sink);
        }
        let mut event = |datagram: &[u8]| datagram.get(HEADER..).map_or(Go::On, &mut sink);
        let mut buffer = vec![0; self.size + HEADER];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) if event(&buffer[..length]) == Go::End => return Ok(()),
                Ok(_) => {}
                Err(Errno::ENOBUFS) => bail!("lost events: ENOBUFS"),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
