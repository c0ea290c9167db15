//! What an event costs with ZeroMQ, a peer of nlbus, counted as nlbus's are (`tests/instructions`): PUB binds, each SUB
//! connects, over ipc. Each socket has a context of its own with a thread for its I/O, as it is between processes. An event
//! is a message; which of them share a system call is libzmq's to decide.

#[path = "../../instructions/count.rs"]
mod count;
mod socket;

use count::{PAYLOAD, Publish, Receive};
use socket::{Kind, Socket};
use std::process::ExitCode;

const ADDRESS: &str = "ipc:///tmp/counted-zeromq";

fn zeromq(subscribers: usize) -> (Publish, Vec<Receive>) {
    let mut publisher = Socket::new(Kind::Publisher);
    publisher.bind(ADDRESS);
    let receive = |_| -> Receive {
        let mut socket = Socket::new(Kind::Subscriber);
        socket.connect(ADDRESS);
        Box::new(move || {
            socket.receive(&mut [0; 256]);
            1
        })
    };
    let receivers = (0..subscribers).map(receive).collect();
    // Whose subscription it hasn't read yet would miss events.
    for _ in 0..subscribers {
        publisher.receive(&mut [0; 256]);
    }
    let publish = move |events: usize| {
        for _ in 0..events {
            publisher.send(&PAYLOAD);
        }
    };
    (Box::new(publish), receivers)
}

fn main() -> ExitCode {
    count::print(&[("zeromq", zeromq)])
}
