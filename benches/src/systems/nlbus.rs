//! nlbus: the user broker in a process of its own, and the module where it is loaded.

use super::OURS;
use super::two_hop::window;
use crate::system::{Cell, Go, Publisher, Server, Subscriber, System};
use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;
use nlbus::{Broker, Bus, Choice, Delivery, PublishBatch, PublishReason, Subscription};
use std::fs;

const TOPIC: &str = "bench/events";

struct Nlbus {
    name: &'static str,
    about: &'static str,
    broker: Choice,
    buffered: bool,
    /// Whether the subscriber drives its connection itself.
    direct: bool,
}

pub fn variants() -> Vec<Box<dyn System>> {
    let variant = |name, about, broker, buffered, direct| -> Box<dyn System> {
        Box::new(Nlbus { name, about, broker, buffered, direct })
    };
    let mut all = vec![
        variant("nlbus", "user broker, `publish`, all at defaults", Choice::User, false, false),
        variant("nlbus-direct", "user broker, `publish`, subscriber on `Builder::direct`", Choice::User, false, true),
        variant(
            "nlbus-buffered-thread",
            "user broker, events collected until a datagram is full, all else at defaults",
            Choice::User,
            true,
            false,
        ),
        variant(
            "nlbus-buffered",
            "user broker, events collected until a datagram is full, subscriber on `Builder::direct`",
            Choice::User,
            true,
            true,
        ),
    ];
    if module() {
        all.extend([
            variant("nlbus-module", "module, `publish`, all at defaults", Choice::Module, false, false),
            variant(
                "nlbus-module-direct",
                "module, `publish`, subscriber on `Builder::direct`",
                Choice::Module,
                false,
                true,
            ),
            variant(
                "nlbus-module-buffered",
                "module, events collected until a datagram is full, subscriber on `Builder::direct`",
                Choice::Module,
                true,
                true,
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
        if self.buffered {
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
        if !self.buffered {
            return Ok(Box::new(Unbuffered { bus }));
        }
        // A batch borrows its bus, and this one serves until the process ends.
        Ok(Box::new(Buffered { batch: Box::leak(Box::new(bus)).batch() }))
    }

    fn subscriber(&self, run: &Cell) -> Result<Box<dyn Subscriber>> {
        let bus = self.connect(run, self.direct)?;
        Ok(Box::new(Subscribed { events: bus.subscribe(TOPIC)? }))
    }
}

struct Unbuffered {
    bus: Bus,
}

impl Publisher for Unbuffered {
    fn send(&mut self, payload: &[u8]) -> Result<()> {
        Ok(self.bus.publish(TOPIC, payload)?)
    }
}

/// The buffered publisher: all there is of it in this suite.
struct Buffered {
    batch: PublishBatch<'static>,
}

impl Publisher for Buffered {
    fn send(&mut self, payload: &[u8]) -> Result<()> {
        match self.batch.push(TOPIC, payload) {
            Err(error) if matches!(error.reason(), PublishReason::BatchFull) => {
                self.batch.send()?;
                Ok(self.batch.push(TOPIC, payload)?)
            }
            pushed => Ok(pushed?),
        }
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.batch.send()?)
    }
}

struct Subscribed {
    events: Subscription,
}

impl Subscriber for Subscribed {
    fn receive(&mut self, sink: &mut dyn FnMut(&[u8]) -> Go) -> Result<()> {
        loop {
            match self.events.recv().context("receive")? {
                Delivery::Event(event) => {
                    if sink(event.payload()) == Go::End {
                        return Ok(());
                    }
                }
                other => bail!("{other:?}"),
            }
        }
    }
}
