//! nng by the crate nng: pub0 listens, each sub0 dials, over ipc.

use crate::system::{Cell, Go, Publisher, Sink, Subscriber, System};
use anyhow::{Result, anyhow};
use nng::options::protocol::pubsub::Subscribe;
use nng::options::{Options, RecvBufferSize, SendBufferSize};
use nng::{Protocol, Socket};

struct Nng {
    tuned: bool,
}

pub fn variants() -> Vec<Box<dyn System>> {
    [false, true].map(|tuned| -> Box<dyn System> { Box::new(Nng { tuned }) }).into()
}

/// Events that a tuned socket holds; nng allows no more.
const BUFFER: i32 = 8192;

impl System for Nng {
    fn name(&self) -> &'static str {
        if self.tuned { "nng-tuned" } else { "nng" }
    }

    fn peer(&self) -> &'static str {
        "nng"
    }

    fn about(&self) -> &'static str {
        if self.tuned {
            "pub0 and sub0 over ipc, buffers of 8192 events at both ends"
        } else {
            "pub0 and sub0 over ipc, the default buffers: 16 events at the publisher, 128 at a subscriber"
        }
    }

    /// Somewhat less than the publisher's buffer alone: what is beyond it is dropped, and how much the subscribers' hold depends on the
    /// moment.
    fn window(&self, cell: &Cell) -> u64 {
        if self.tuned { cell.events_in(16 << 20).min(BUFFER as u64 - 64) } else { 12 }
    }

    fn publisher(&self, run: &Cell) -> Result<Box<dyn Publisher>> {
        let socket = Socket::new(Protocol::Pub0)?;
        if self.tuned {
            socket.set_opt::<SendBufferSize>(BUFFER)?;
        }
        socket.listen(&run.address("ipc://", "socket"))?;
        Ok(Box::new(Sender { socket }))
    }

    fn subscriber(&self, run: &Cell) -> Result<Box<dyn Subscriber>> {
        let socket = Socket::new(Protocol::Sub0)?;
        if self.tuned {
            socket.set_opt::<RecvBufferSize>(BUFFER)?;
        }
        socket.set_opt::<Subscribe>(vec![])?;
        socket.dial(&run.address("ipc://", "socket"))?;
        Ok(Box::new(Receiver { socket }))
    }
}

struct Sender {
    socket: Socket,
}

impl Publisher for Sender {
    fn send(&mut self, payload: &[u8]) -> Result<()> {
        self.socket.send(payload).map_err(|(_, error)| anyhow!(error))
    }
}

struct Receiver {
    socket: Socket,
}

impl Subscriber for Receiver {
    fn receive(&mut self, mut sink: Sink) -> Result<()> {
        while sink(&self.socket.recv()?) == Go::On {}
        Ok(())
    }
}
