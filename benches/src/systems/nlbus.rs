//! nlbus: the user broker in a process of its own, and the module where it is loaded.

use super::OURS;
use super::shaped;
use super::two_hop::window;
use crate::system::{Cell, Go, Publisher, Server, Sink, Subscriber, System};
use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;
use nlbus::{Broker, BufferedPublisher, Bus, Choice, Delivery, Subscription};
use std::fs;

const TOPIC: &str = "bench/events";

struct Nlbus {
    name: &'static str,
    about: &'static str,
    broker: Choice,
    publish: Publish,
    receive: Receive,
}

/// How events are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Publish {
    /// Each at once.
    Single,
    /// By a buffered publisher.
    Buffered,
}

/// How they are received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receive {
    /// As it is by itself: a thread of the connection's hands them over, and each is given.
    Given,
    /// On a connection that its caller drives, and lent.
    Lent,
}

pub fn variants() -> Vec<Box<dyn System>> {
    use {Publish::*, Receive::*};
    let variant = |name, about, broker, publish, receive| -> Box<dyn System> {
        Box::new(Nlbus { name, about, broker, publish, receive })
    };
    let user = Choice::User;
    let mut all = vec![
        variant("nlbus", "user broker, `publish` and `recv`, all at defaults", user, Single, Given),
        variant(
            "nlbus-direct",
            "user broker, `publish`, subscriber on `Builder::direct`, events lent by `recv_ref`",
            user,
            Single,
            Lent,
        ),
        variant(
            "nlbus-buffered-thread",
            "user broker, `Bus::buffered` and `recv`, all else at defaults",
            user,
            Buffered,
            Given,
        ),
        variant(
            "nlbus-buffered",
            "user broker, `Bus::buffered`, subscriber on `Builder::direct`, events lent by `recv_ref`",
            user,
            Buffered,
            Lent,
        ),
    ];
    if module() {
        let module = Choice::Module;
        all.extend([
            variant("nlbus-module", "module, `publish` and `recv`, all at defaults", module, Single, Given),
            variant(
                "nlbus-module-direct",
                "module, `publish`, subscriber on `Builder::direct`, events lent by `recv_ref`",
                module,
                Single,
                Lent,
            ),
            variant(
                "nlbus-module-buffered",
                "module, `Bus::buffered`, subscriber on `Builder::direct`, events lent by `recv_ref`",
                module,
                Buffered,
                Lent,
            ),
        ]);
    }
    all
}

/// Whether the module is loaded.
fn module() -> bool {
    fs::read_to_string("/proc/modules").is_ok_and(|modules| modules.lines().any(|line| line.starts_with("nlbus ")))
}

/// A port of the run's own, so that no other broker on this machine is in the way: from the folder's name.
fn port(run: &Cell) -> u32 {
    let name = run.dir.as_os_str().as_encoded_bytes();
    let hash = name.iter().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(*byte)));
    (1 << 23) + (hash % (1 << 22)) * 2
}

/// Connects to the user broker of a run.
pub fn connect(run: &Cell) -> Result<Bus> {
    Ok(Bus::builder().broker(Choice::User).port(port(run)).connect()?)
}

impl Nlbus {
    fn connect(&self, run: &Cell, direct: bool) -> Result<Bus> {
        let builder = Bus::builder().broker(self.broker).port(port(run));
        Ok(if direct { builder.direct() } else { builder }.connect()?)
    }
}

impl System for Nlbus {
    fn name(&self) -> &'static str {
        self.name
    }

    fn peer(&self) -> &'static str {
        OURS
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn absent(&self) -> Option<String> {
        (self.broker == Choice::User && module()).then(|| "the module is loaded, and there is one broker".into())
    }

    /// Nothing would be lost without one, but repaired from history; so that the live way is what is measured, it is what
    /// three quarters of a receive buffer of 8 MiB hold: packed, or where each event comes in a datagram of its own.
    fn window(&self, cell: &Cell) -> u64 {
        if self.publish == Publish::Buffered {
            return cell.events_in(6 << 20).min(16_384);
        }
        window(cell)
    }

    fn serve(&self, run: &Cell) -> Result<Vec<Server>> {
        Ok(match self.broker {
            Choice::User => vec![Server::of_ours(self.name, run)?],
            _ => Vec::new(),
        })
    }

    /// What `nlbus broker` does.
    fn be_server(&self, run: &Cell, ready: &mut dyn FnMut()) -> Result<()> {
        let broker = Broker::builder().port(port(run)).bind()?;
        let mut end = SigSet::empty();
        end.add(Signal::SIGTERM);
        let stop = nix::sys::signalfd::SignalFd::new(&end)?;
        ready();
        Ok(broker.run(stop)?)
    }

    /// The module's thread, which works for all buses of this machine.
    fn others(&self) -> Vec<Pid> {
        if self.broker == Choice::User {
            return Vec::new();
        }
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let is_thread = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("nlbus"))
                && fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.is_empty())
        };
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(is_thread).map(Pid::from_raw).collect()
    }

    fn publisher(&self, run: &Cell) -> Result<Box<dyn Publisher>> {
        let bus = self.connect(run, false)?;
        if run.shape.furnished {
            shaped::furnish(&bus, run)?;
        }
        let way = match self.publish {
            Publish::Single => Way::Single(bus),
            Publish::Buffered => Way::Buffered(bus.buffered()),
        };
        Ok(if run.shape.furnished { shaped::publisher(way, run) } else { Box::new(way) })
    }

    fn subscriber(&self, run: &Cell) -> Result<Box<dyn Subscriber>> {
        let bus = self.connect(run, self.receive == Receive::Lent)?;
        if run.shape.furnished {
            return shaped::subscriber(&bus, run);
        }
        Ok(Box::new(Subscribed { events: bus.subscribe(TOPIC)?, receive: self.receive }))
    }
}

/// What events are published by.
pub enum Way {
    Single(Bus),
    Buffered(BufferedPublisher),
}

impl Way {
    pub fn publish(&self, topic: &str, payload: &[u8]) -> Result<()> {
        Ok(match self {
            Way::Single(bus) => bus.publish(topic, payload),
            Way::Buffered(publisher) => publisher.publish(topic, payload),
        }?)
    }

    pub fn flush(&self) -> Result<()> {
        Ok(match self {
            Way::Single(_) => Ok(()),
            Way::Buffered(publisher) => publisher.flush(),
        }?)
    }
}

impl Publisher for Way {
    fn send(&mut self, payload: &[u8]) -> Result<()> {
        self.publish(TOPIC, payload)
    }

    fn flush(&mut self) -> Result<()> {
        Way::flush(self)
    }
}

struct Subscribed {
    events: Subscription,
    receive: Receive,
}

impl Subscriber for Subscribed {
    fn receive(&mut self, mut sink: Sink) -> Result<()> {
        match self.receive {
            Receive::Given => while hand(&self.events.recv().context("receive")?, &mut sink)? == Go::On {},
            Receive::Lent => while hand(self.events.recv_ref().context("receive")?, &mut sink)? == Go::On {},
        }
        Ok(())
    }
}

/// Hands an event on. Anything else means that the window is too large: it has no place in a run.
fn hand(delivery: &Delivery, sink: &mut Sink) -> Result<Go> {
    match delivery {
        Delivery::Event(event) => Ok(sink(event.payload())),
        other => bail!("{other:?}"),
    }
}
