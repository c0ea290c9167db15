//! Unix sockets that keep datagrams apart, a connection for each subscriber: the publisher sends each event to all of them.

use super::buffers::enlarge_send;
use super::mmsg::Many;
use crate::system::{Cell, Go, Publisher, Sink, Subscriber, System};
use anyhow::Result;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, connect, listen, recv, send, socket,
};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

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
            "a connection for each subscriber, sendmmsg and recvmmsg of up to 64, send buffers of 8 MiB (or as the host allows)"
        } else {
            "a connection for each subscriber, send and recv"
        }
    }

    fn publisher(&self, run: &Cell) -> Result<Box<dyn Publisher>> {
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        bind(listener.as_raw_fd(), &UnixAddr::new(&run.path("socket"))?)?;
        listen(&listener, Backlog::new(128)?)?;
        let many = self.tuned.then(|| Many::new(run.size, None));
        Ok(Box::new(Sender { listener, subs: run.subs, peers: Vec::new(), many }))
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
    /// Where it is tuned: events that are to go out together.
    many: Option<Many>,
}

impl Sender {
    /// By the first event, all subscribers have connected.
    fn accept(&mut self) -> Result<()> {
        while self.peers.len() < self.subs {
            let fd = accept4(self.listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
            // SAFETY: accept4 has just made it, and nobody else has it.
            let peer = unsafe { OwnedFd::from_raw_fd(fd) };
            if self.many.is_some() {
                enlarge_send(&peer)?;
            }
            self.peers.push(peer);
        }
        Ok(())
    }
}

impl Publisher for Sender {
    fn send(&mut self, payload: &[u8]) -> Result<()> {
        self.accept()?;
        if let Some(many) = &mut self.many {
            return if many.push(payload) { self.flush() } else { Ok(()) };
        }
        for peer in &self.peers {
            send(peer.as_raw_fd(), payload, MsgFlags::MSG_NOSIGNAL)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(many) = &mut self.many {
            for peer in &self.peers {
                many.send(peer)?;
            }
            many.clear();
        }
        Ok(())
    }
}

struct Receiver {
    socket: OwnedFd,
    size: usize,
    tuned: bool,
}

impl Subscriber for Receiver {
    fn receive(&mut self, mut sink: Sink) -> Result<()> {
        if self.tuned {
            return Many::new(self.size, None).receive(&self.socket, 0, sink);
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
