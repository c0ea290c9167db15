//! Many datagrams in a system call: what is set up once stays for all calls, which nix's wrappers don't do.

use crate::system::{Go, Sink};
use anyhow::Result;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::null_mut;

/// How many.
pub const MANY: usize = 64;

/// Buffers for datagrams, and what the kernel is told of them. The headers point into the heap, which stays where it is.
pub struct Many {
    buffers: Vec<Box<[u8]>>,
    iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    /// Where datagrams go on a socket that isn't connected.
    _to: Option<Box<libc::sockaddr_nl>>,
    /// How many wait to be sent.
    waiting: usize,
}

impl Many {
    /// Of at most so many bytes each; `group` is a netlink multicast group as a bit mask.
    pub fn new(size: usize, group: Option<u32>) -> Many {
        let mut to = group.map(|group| {
            // SAFETY: a sockaddr_nl of zeros is one.
            let mut to: Box<libc::sockaddr_nl> = Box::new(unsafe { std::mem::zeroed() });
            to.nl_family = libc::AF_NETLINK as u16;
            to.nl_groups = group;
            to
        });
        let mut buffers: Vec<Box<[u8]>> = (0..MANY).map(|_| vec![0; size].into_boxed_slice()).collect();
        let iovec = |buffer: &mut Box<[u8]>| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: size };
        let mut iovecs: Vec<libc::iovec> = buffers.iter_mut().map(iovec).collect();
        let header = |iovec: &mut libc::iovec| {
            // SAFETY: an mmsghdr of zeros is one: no name, no buffers.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = to.as_mut().map_or(null_mut(), |to| (&raw mut **to).cast());
            header.msg_hdr.msg_namelen = to.as_ref().map_or(0, |to| size_of_val(&**to) as u32);
            header
        };
        let headers = iovecs.iter_mut().map(header).collect();
        Many { buffers, iovecs, headers, _to: to, waiting: 0 }
    }

    /// Adds a datagram to those that wait. Whether there is no room for another.
    pub fn push(&mut self, datagram: &[u8]) -> bool {
        self.buffers[self.waiting][..datagram.len()].copy_from_slice(datagram);
        self.iovecs[self.waiting].iov_len = datagram.len();
        self.waiting += 1;
        self.waiting == MANY
    }

    /// Sends those that wait; they go on waiting.
    pub fn send(&mut self, socket: &OwnedFd) -> Result<()> {
        let mut at = 0;
        while at < self.waiting {
            let rest = &mut self.headers[at..self.waiting];
            // SAFETY: so many headers are there, and all that they point to belongs to self.
            let sent =
                unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, libc::MSG_NOSIGNAL) };
            match Errno::result(sent) {
                Ok(sent) => at += sent as usize,
                // Netlink: the group has it, nobody is at port 0, and this is where sendmmsg stops.
                Err(Errno::ECONNREFUSED) => at += 1,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Nothing waits any more.
    pub fn clear(&mut self) {
        self.waiting = 0;
    }

    /// Receives what is there, waiting for the first, and hands it on without its first bytes, until the last.
    pub fn receive(&mut self, socket: &OwnedFd, skip: usize, mut sink: Sink) -> Result<()> {
        loop {
            let (flags, timeout) = (libc::MSG_WAITFORONE, null_mut());
            // SAFETY: MANY headers are there, and the buffers that they point to are as long as they say.
            let came =
                unsafe { libc::recvmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), MANY as u32, flags, timeout) };
            let came = Errno::result(came)? as usize;
            for (header, buffer) in self.headers[..came].iter().zip(&self.buffers) {
                let datagram = &buffer[..header.msg_len as usize];
                if datagram.is_empty() || datagram.get(skip..).is_some_and(|event| sink(event) == Go::End) {
                    return Ok(());
                }
            }
        }
    }
}
