//! Unix sockets that keep datagrams apart, a connection for each subscriber: the publisher sends each event to all of them.

use crate::system::{Cell, Go, Publisher, Subscriber, System};
use anyhow::Result;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, MultiHeaders, SockFlag, SockType, SockaddrLike, UnixAddr, accept4, bind, connect,
    listen, recv, recvmmsg, send, sendmmsg, setsockopt, socket, sockopt,
};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Datagrams in a system call where it is tuned.
const MANY: usize = 64;

struct Seqpacket {
    tuned: bool,
}

pub fn variants() -> Vec<Box<dyn System>> {
    [false, true].map(|tuned| -> Box<dyn System> { Box::new(Seqpacket { tuned }) }).into()
}

impl System for Seqpacket {
    fn name(&self) -> &'static str {
        if self.tuned { "seqpacket-tuned" } else { "seqpacket" }
    }

    fn peer(&self) -> &'static str {
        "unix seqpacket"
    }

    fn about(&self) -> &'static str {
        if self.tuned {
            "a connection for each subscriber, sendmmsg and recvmmsg of up to 64, send buffers of 8 MiB"
        } else {
            "a connection for each subscriber, send and recv"
        }
    }

    fn publisher(&self, run: &Cell) -> Result<Box<dyn Publisher>> {
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        bind(listener.as_raw_fd(), &UnixAddr::new(&run.path("socket"))?)?;
        listen(&listener, Backlog::new(128)?)?;
        Ok(Box::new(Sender { listener, subs: run.subs, peers: Vec::new(), tuned: self.tuned, waiting: Vec::new() }))
    }

    fn subscriber(&self, run: &Cell) -> Result<Box<dyn Subscriber>> {
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(&run.path("socket"))?)?;
        Ok(Box::new(Receiver { socket, size: run.size, tuned: self.tuned }))
    }
}

struct Sender {
    listener: OwnedFd,
    subs: usize,
    peers: Vec<OwnedFd>,
    tuned: bool,
    /// Events that are to go out together.
    waiting: Vec<Vec<u8>>,
}

impl Sender {
    /// By the first event, all subscribers have connected.
    fn accept(&mut self) -> Result<()> {
        while self.peers.len() < self.subs {
            let fd = accept4(self.listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
            // SAFETY: accept4 has just made it, and nobody else has it.
            let peer = unsafe { OwnedFd::from_raw_fd(fd) };
            if self.tuned {
                big(&peer)?;
            }
            self.peers.push(peer);
        }
        Ok(())
    }
}

/// A send buffer of 8 MiB, or what the host allows.
fn big(socket: &OwnedFd) -> Result<()> {
    if setsockopt(socket, sockopt::SndBuf, &(4 << 20)).is_err() {
        setsockopt(socket, sockopt::SndBuf, &(208 << 10))?;
    }
    force(socket);
    Ok(())
}

/// `SO_SNDBUFFORCE`, which nix doesn't have; without `CAP_NET_ADMIN` it stays as it was.
fn force(socket: &OwnedFd) {
    let bytes: libc::c_int = 4 << 20; // the kernel doubles it
    // SAFETY: the option takes an int, and is told where one is and how long.
    unsafe {
        let (value, length) = ((&raw const bytes).cast(), size_of_val(&bytes) as libc::socklen_t);
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, value, length);
    }
}

impl Publisher for Sender {
    fn send(&mut self, payload: &[u8]) -> Result<()> {
        self.accept()?;
        if self.tuned {
            self.waiting.push(payload.to_vec());
            return if self.waiting.len() == MANY { self.flush() } else { Ok(()) };
        }
        for peer in &self.peers {
            send(peer.as_raw_fd(), payload, MsgFlags::MSG_NOSIGNAL)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let slices: Vec<[IoSlice<'_>; 1]> = self.waiting.iter().map(|event| [IoSlice::new(event)]).collect();
        for peer in &self.peers {
            let mut rest = &slices[..];
            while !rest.is_empty() {
                let mut headers = MultiHeaders::<UnixAddr>::preallocate(rest.len(), None);
                let nobody = vec![None; rest.len()];
                let sent = sendmmsg(peer.as_raw_fd(), &mut headers, rest, &nobody, [], MsgFlags::MSG_NOSIGNAL);
                match sent {
                    Ok(sent) => rest = &rest[sent.count()..],
                    Err(Errno::EINTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        self.waiting.clear();
        Ok(())
    }
}

struct Receiver {
    socket: OwnedFd,
    size: usize,
    tuned: bool,
}

impl Subscriber for Receiver {
    fn receive(&mut self, sink: &mut dyn FnMut(&[u8]) -> Go) -> Result<()> {
        if self.tuned {
            return receive_many::<UnixAddr>(&self.socket, self.size, sink);
        }
        let mut buffer = vec![0; self.size];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            if length == 0 || sink(&buffer[..length]) == Go::End {
                return Ok(());
            }
        }
    }
}

/// Receives up to 64 datagrams in a system call, and waits only for the first.
pub fn receive_many<A: SockaddrLike + Copy>(
    socket: &OwnedFd,
    size: usize,
    sink: &mut dyn FnMut(&[u8]) -> Go,
) -> Result<()> {
    let mut buffers = vec![vec![0u8; size]; MANY];
    let mut lengths = Vec::with_capacity(MANY);
    let mut headers = MultiHeaders::<A>::preallocate(MANY, None);
    loop {
        {
            let mut slices: Vec<[IoSliceMut<'_>; 1]> =
                buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
            let came = recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None)?;
            lengths.extend(came.map(|datagram| datagram.bytes));
        }
        for (at, length) in lengths.drain(..).enumerate() {
            if length == 0 || sink(&buffers[at][..length]) == Go::End {
                return Ok(());
            }
        }
    }
}
