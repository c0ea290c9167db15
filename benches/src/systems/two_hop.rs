//! nlbus's path without nlbus: publisher, a process that forwards, subscribers, over the same kind of sockets and with
//! nothing else done on the way. No peer: what no broker over these sockets can beat.

use super::FLOOR;
use super::buffers::enlarge_receive;
use super::netlink::{HEADER, Receiver, charged, frame, open, receive_buffer, send};
use crate::system::{Cell, Publisher, Server, Subscriber, System};
use anyhow::Result;
use nix::sys::socket::{MsgFlags, NetlinkAddr, recv};
use std::os::fd::{AsRawFd, OwnedFd};

/// The forwarder's port id: one run at a time, in a network namespace of its own.
const PORT: u32 = (1 << 23) - 1;

const GROUP: u32 = 1 << 29;

/// Bytes of nlbus's header and topic, and more than what this forwards has.
const OVERHEAD: usize = 80;

struct TwoHop;

/// How many events three quarters of a receive buffer hold where each comes in a datagram of its own.
pub fn window(cell: &Cell) -> u64 {
    (receive_buffer() * 3 / 4 / charged(cell.size + OVERHEAD)).clamp(4, 16_384) as u64
}

pub fn variants() -> Vec<Box<dyn System>> {
    vec![Box::new(TwoHop)]
}

impl System for TwoHop {
    fn name(&self) -> &'static str {
        "two-hop"
    }

    fn peer(&self) -> &'static str {
        FLOOR
    }

    fn about(&self) -> &'static str {
        "nlbus's path without nlbus: unicast to a process that multicasts it, an event a datagram, blocking calls"
    }

    fn window(&self, cell: &Cell) -> u64 {
        window(cell)
    }

    fn serve(&self, run: &Cell) -> Result<Vec<Server>> {
        Ok(vec![Server::of_ours(self.name(), run)?])
    }

    fn be_server(&self, run: &Cell, ready: &mut dyn FnMut()) -> Result<()> {
        let socket = open(PORT, 0)?;
        enlarge_receive(&socket)?;
        ready();
        let mut buffer = vec![0; run.size + HEADER];
        loop {
            let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            send(&socket, &buffer[..length], NetlinkAddr::new(0, GROUP))?;
        }
    }

    fn publisher(&self, _run: &Cell) -> Result<Box<dyn Publisher>> {
        Ok(Box::new(Sender { socket: open(0, 0)?, frame: Vec::new() }))
    }

    fn subscriber(&self, run: &Cell) -> Result<Box<dyn Subscriber>> {
        let socket = open(0, GROUP)?;
        enlarge_receive(&socket)?;
        Ok(Box::new(Receiver { socket, size: run.size, tuned: false }))
    }
}

struct Sender {
    socket: OwnedFd,
    frame: Vec<u8>,
}

impl Publisher for Sender {
    fn send(&mut self, payload: &[u8]) -> Result<()> {
        frame(&mut self.frame, payload);
        send(&self.socket, &self.frame, NetlinkAddr::new(PORT, 0))
    }
}
