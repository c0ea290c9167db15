//! What memory topics, subscriptions and clients take: of the broker's process and of the clients', as the kernel counts it.

use crate::results::Results;
use crate::shape::Shape;
use crate::system::{Cell, Server, System};
use crate::systems::{self, OURS, shaped};
use crate::worker::Worker;
use anyhow::{Context, Result};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

/// How many topics and subscriptions there are, and how many clients. So many that what else changes doesn't matter.
const MANY: usize = 10_000;
const CLIENTS: usize = 256;

/// The same in a short run.
const FEW: usize = 1_000;
const FEW_CLIENTS: usize = 16;

/// Bytes of an event's payload.
const SIZE: usize = 64;

/// How long a process may take to subscribe to all.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a number of things took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Held {
    pub what: String,
    pub whose: String,
    pub count: u64,
    /// Bytes of each: the process's own memory with them less that without, divided.
    pub each: f64,
}

/// Measures all.
pub fn measure(few: bool) -> Result<Vec<Held>> {
    let system = systems::named(OURS).context("no nlbus")?;
    if let Some(reason) = system.absent() {
        eprintln!("memory isn't measured: {reason}");
        return Ok(Vec::new());
    }
    let (many, clients) = if few { (FEW, FEW_CLIENTS) } else { (MANY, CLIENTS) };
    let dir = tempfile::Builder::new().prefix("nlbus-bench-").tempdir()?;
    let cell = Cell { dir: dir.path().to_owned(), ..Cell::new(SIZE, clients, Shape::PLAIN) };
    let server = system.serve(&cell)?.pop().context("no broker")?;
    let mut bench = Bench { system: &*system, cell, server, held: Vec::new() };
    // Each by itself: what waits while there are few topics, since to begin a subscription is to ask for all of them.
    bench.subscriptions("a subscription that waits for its topic", many, Shape { others: many, ..Shape::FURNISHED })?;
    bench.topics(many)?;
    bench.subscriptions("a topic that a filter follows", many, Shape { topics: many, ..Shape::FURNISHED })?;
    bench.clients(clients)?;
    for Held { what, whose, count, each } in &bench.held {
        eprintln!("memory: {what}: {each:.0} B of the {whose}'s ({count})");
    }
    Ok(bench.held)
}

struct Bench<'a> {
    system: &'a dyn System,
    cell: Cell,
    server: Server,
    held: Vec<Held>,
}

impl Bench<'_> {
    fn note(&mut self, what: &str, whose: &str, count: usize, (before, after): (u64, u64)) {
        let each = (after as f64 - before as f64) / count as f64;
        self.held.push(Held { what: what.into(), whose: whose.into(), count: count as u64, each });
    }

    fn broker(&self) -> Result<u64> {
        own_memory(self.server.pid())
    }

    fn topics(&mut self, many: usize) -> Result<()> {
        let bus = systems::nlbus::connect(&self.cell)?;
        let topics = shaped::topics(Shape { topics: many, ..Shape::FURNISHED });
        bus.create_topic("bench/first")?;
        let before = self.broker()?;
        for topic in &topics {
            bus.create_topic(topic)?;
        }
        let empty = self.broker()?;
        // Each in a datagram of its own, and a few at a time: large ones would grow what the broker receives and sends with.
        for topics in topics.chunks(16) {
            for topic in topics {
                bus.publish(topic, &[0; SIZE])?;
            }
            bus.flush()?;
        }
        let kept = self.broker()?;
        self.note(&format!("a topic with a name of {} B", topics[0].len()), "broker", many, (before, empty));
        self.note(&format!("its newest event, {SIZE} B"), "broker", many, (empty, kept));
        Ok(())
    }

    fn subscriptions(&mut self, what: &str, many: usize, shape: Shape) -> Result<()> {
        let before = self.broker()?;
        let (_client, client) = self.subscriber(Cell { shape, ..self.cell.clone() })?;
        let after = self.broker()?;
        self.note(what, "subscriber", many, client);
        self.note(what, "broker", many, (before, after));
        Ok(())
    }

    fn clients(&mut self, clients: usize) -> Result<()> {
        let before = self.broker()?;
        let (mut workers, mut sum) = (Vec::new(), (0, 0));
        for index in 0..clients {
            let (worker, (before, after)) = self.subscriber(Cell { index, ..self.cell.clone() })?;
            workers.push(worker);
            sum = (sum.0 + before, sum.1 + after);
        }
        let after = self.broker()?;
        let what = "an idle client with a subscription";
        self.note(what, "client", clients, sum);
        self.note(what, "broker", clients, (before, after));
        Ok(())
    }

    /// A process that has subscribed, and what it had before and after it did.
    fn subscriber(&self, cell: Cell) -> Result<(Worker, (u64, u64))> {
        let deadline = Instant::now() + PATIENCE;
        let in_time = || Instant::now() < deadline;
        let mut worker = Worker::start("subscriber", self.system, &cell)?;
        worker.expect("up", in_time)?;
        let before = own_memory(worker.pid())?;
        worker.tell("fast")?;
        worker.expect("ready", in_time)?;
        let after = own_memory(worker.pid())?;
        Ok((worker, (before, after)))
    }
}

/// Bytes of memory that are a process's own, heap and stacks: `Pss_Anon` in `smaps_rollup`, proc_pid_smaps(5). What belongs to
/// files, programs above all, is left out: processes share it, and each new one makes the others' part less.
fn own_memory(pid: Pid) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let kib = |line: &str| line.strip_prefix("Pss_Anon:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok();
    Ok(text.lines().find_map(kib).with_context(|| format!("{path} has no Pss_Anon"))? << 10)
}

/// The table.
pub fn markdown(results: &Results) -> String {
    let mut text = String::new();
    for (index, Held { what, whose, count, each }) in results.growth.memory.iter().enumerate() {
        if index == 0 {
            text.push_str("| memory of | in the process of the | bytes each | of so many |\n|---|---|---|---|\n");
        }
        let _ = writeln!(text, "| {what} | {whose} | {each:.0} | {count} |");
    }
    text
}
