//! A connection without a thread, driven by an event loop that is there already: here mio's, next to a socket of another
//! kind. mio tells of changes only, so whatever is readable is read until there is nothing left.

use mio::net::UnixDatagram;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nlbus::{Bus, Delivery, TryRecvError};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

const BUS: Token = Token(0);
const SOCKET: Token = Token(1);

fn main() -> anyhow::Result<()> {
    let bus = Bus::builder().direct().connect()?;
    let mut sensors = bus.subscribe("mio/sensors/#")?;
    let (mut ours, theirs) = UnixDatagram::pair()?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&sensors.fd()?.as_raw_fd()), BUS, Interest::READABLE)?;
    poll.registry().register(&mut ours, SOCKET, Interest::READABLE)?;

    thread::spawn(move || -> anyhow::Result<()> {
        let publisher = Bus::connect()?;
        for number in 1..=3 {
            publisher.publish("mio/sensors/1", &format!("reading {number}"))?;
        }
        publisher.flush()?;
        theirs.send(b"something else")?;
        Ok(())
    });

    let (mut events, mut readings, mut others) = (Events::with_capacity(8), 0, 0);
    while readings < 3 || others < 1 {
        poll.poll(&mut events, Some(Duration::from_secs(10)))?;
        anyhow::ensure!(!events.is_empty(), "nothing came for ten seconds");
        for event in &events {
            match event.token() {
                BUS => loop {
                    match sensors.try_recv() {
                        Ok(Delivery::Event(event)) => {
                            println!("bus: {}", event.payload().escape_ascii());
                            readings += 1;
                        }
                        Ok(other) => println!("bus: {other:?}"),
                        Err(TryRecvError::Empty) => break,
                        Err(error) => return Err(error.into()),
                    }
                },
                _ => {
                    let mut buffer = [0; 64];
                    while let Ok(length) = ours.recv(&mut buffer) {
                        println!("socket: {}", buffer[..length].escape_ascii());
                        others += 1;
                    }
                }
            }
        }
    }
    Ok(())
}
