//! ZeroMQ, libzmq by the crate zmq: PUB binds, each SUB connects, over ipc.

use crate::system::{Cell, Go, Publisher, Sink, Subscriber, System};
use anyhow::Result;

/// After how many events PUB at its defaults looks for word of what was taken. By itself it does so about once a
/// millisecond, in which it would have dropped events that there was room for.
const LOOK: u64 = 200;

struct ZeroMq {
    tuned: bool,
}

pub fn variants() -> Vec<Box<dyn System>> {
    [false, true].map(|tuned| -> Box<dyn System> { Box::new(ZeroMq { tuned }) }).into()
}

impl ZeroMq {
    fn socket(&self, kind: zmq::SocketType) -> Result<zmq::Socket> {
        let socket = zmq::Context::new().socket(kind)?;
        if self.tuned {
            socket.set_sndhwm(0)?;
            socket.set_rcvhwm(0)?;
            socket.set_sndbuf(4 << 20)?;
            socket.set_rcvbuf(4 << 20)?;
        }
        Ok(socket)
    }
}

impl System for ZeroMq {
    fn name(&self) -> &'static str {
        if self.tuned { "zeromq-tuned" } else { "zeromq" }
    }

    fn peer(&self) -> &'static str {
        "ZeroMQ"
    }

    fn about(&self) -> &'static str {
        if self.tuned {
            "libzmq, PUB and SUB over ipc, no high-water mark, socket buffers of 4 MiB (or as the host allows)"
        } else {
            "libzmq, PUB and SUB over ipc, high-water mark of 1000 at each end; PUB asks for its events every 200, else it drops"
        }
    }

    /// PUB drops what is beyond its high-water mark. It is told of what was taken 500 events at a time, and looks for that
    /// every [`LOOK`]: with this window, there are never 1000 that it doesn't know of.
    fn window(&self, cell: &Cell) -> u64 {
        if self.tuned { cell.events_in(8 << 20).min(16_384) } else { 1000 - 500 - LOOK }
    }

    fn publisher(&self, run: &Cell) -> Result<Box<dyn Publisher>> {
        let socket = self.socket(zmq::PUB)?;
        socket.bind(&run.address("ipc://", "socket"))?;
        Ok(Box::new(Sender { socket, look: if self.tuned { u64::MAX } else { LOOK }, sent: 0 }))
    }

    fn subscriber(&self, run: &Cell) -> Result<Box<dyn Subscriber>> {
        let socket = self.socket(zmq::SUB)?;
        socket.set_subscribe(b"")?;
        socket.connect(&run.address("ipc://", "socket"))?;
        Ok(Box::new(Receiver { socket }))
    }
}

struct Sender {
    socket: zmq::Socket,
    look: u64,
    sent: u64,
}

impl Publisher for Sender {
    fn send(&mut self, payload: &[u8]) -> Result<()> {
        self.sent += 1;
        if self.sent.is_multiple_of(self.look) {
            self.socket.get_events()?;
        }
        Ok(self.socket.send(payload, 0)?)
    }
}

struct Receiver {
    socket: zmq::Socket,
}

impl Subscriber for Receiver {
    fn receive(&mut self, mut sink: Sink) -> Result<()> {
        let mut message = zmq::Message::new();
        loop {
            self.socket.recv(&mut message, 0)?;
            if sink(&message) == Go::End {
                return Ok(());
            }
        }
    }
}
