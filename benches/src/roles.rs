//! The processes of a run. Each says on standard output how far it is, and goes on when it is told so on standard input;
//! the end of that ends it.

use crate::clock::{now, sleep_until};
use crate::page::{At, Of, Page};
use crate::payload::Payload;
use crate::shape::Shape;
use crate::system::{Cell, Go, Publisher, System};
use crate::systems;
use crate::taker::Taker;
use anyhow::{Context, Result, anyhow};
use clap::Args;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long a publisher warms up at most.
const WARM_UP_NS: u64 = 250_000_000;

/// Which part of which run this process has.
#[derive(Debug, Clone, Args)]
pub struct Part {
    system: String,
    dir: PathBuf,
    size: usize,
    subs: usize,
    index: usize,
    shape: Shape,
}

impl Part {
    fn begin(&self) -> Result<(Box<dyn System>, Cell)> {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // Waits end when they are to, and not up to 50 µs later.
        prctl::set_timerslack(1)?;
        let system = systems::named(&self.system).with_context(|| format!("no system '{}'", self.system))?;
        Ok((system, Cell { dir: self.dir.clone(), index: self.index, ..Cell::new(self.size, self.subs, self.shape) }))
    }
}

/// How a publisher goes about it, as a line of JSON.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// As fast as the window lets it.
    Fast {
        /// For how long, in nanoseconds.
        time: u64,
        /// Whether a window's worth goes before.
        warm: bool,
    },
    /// At an interval, in nanoseconds.
    Even { interval: u64, events: u64 },
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// The next line that we are told. At its end this process is over: what a system's threads do at exit is no part of a run.
fn told() -> Result<String> {
    let mut line = String::new();
    if std::io::stdin().lock().read_line(&mut line)? == 0 {
        std::process::exit(0);
    }
    Ok(line)
}

pub fn serve(part: &Part) -> Result<()> {
    let (system, run) = part.begin()?;
    let served = run.path("served");
    system.be_server(&run, &mut || {
        // Whoever started us looks for it.
        let _ = std::fs::write(&served, "");
    })
}

pub fn publish(part: &Part) -> Result<()> {
    let (system, run) = part.begin()?;
    let page = Page::open(&run.dir, run.subs)?;
    let mut publisher = system.publisher(&run)?;
    let mut payload = Payload::new(run.size);
    say("ready")?;
    let warm = told()?.trim() == "warm";
    while page.least(At::Primed) == 0 {
        publisher.send(payload.probe(0))?;
        publisher.flush()?;
        thread::sleep(Duration::from_millis(5));
    }
    if warm {
        warm_up(&mut *publisher, &page, &mut payload, system.window(&run))?;
    }
    say("primed")?;
    let pace = serde_json::from_str(&told()?)?;
    let events = match pace {
        Pace::Fast { time, .. } => fast(&mut *publisher, &page, &mut payload, system.window(&run), time)?,
        Pace::Even { interval, events } => even(&mut *publisher, &page, &mut payload, interval, events)?,
    };
    page.publisher(Of::Events).store(events, Ordering::Release);
    publisher.send(payload.end(events))?;
    publisher.flush()?;
    say("done")?;
    loop {
        told()?;
    }
}

/// Publishes a window's worth, but not for long, and waits until it has arrived: memory that all touch for the first time then is
/// no part of what is measured.
fn warm_up(publisher: &mut dyn Publisher, page: &Page, payload: &mut Payload, window: u64) -> Result<()> {
    let (end, mut last) = (now() + WARM_UP_NS, 0);
    while last < window && now() < end {
        last += 1;
        publisher.send(payload.probe(last))?;
    }
    publisher.flush()?;
    // Whoever started us knows how long that may take.
    while page.least(At::Primed) <= last {
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Publishes for so long, and returns how many events that were.
fn fast(publisher: &mut dyn Publisher, page: &Page, payload: &mut Payload, window: u64, time: u64) -> Result<u64> {
    let start = now();
    page.publisher(Of::Started).store(start, Ordering::Release);
    let (mut number, mut limit, mut sent) = (0, window, start);
    loop {
        // A look at the clock costs a fifth of the fastest system's event; for a system that takes long each does.
        if number % 16 == 0 {
            sent = now();
            if sent - start >= time {
                return Ok(number);
            }
        }
        if number == limit {
            limit = make_way(publisher, page, number, window)?;
        }
        publisher.send(payload.event(number, sent))?;
        number += 1;
    }
}

/// Waits until the slowest subscriber has taken a quarter of the window. Returns how far the publisher may go.
fn make_way(publisher: &mut dyn Publisher, page: &Page, number: u64, window: u64) -> Result<u64> {
    let enough = (window / 4).max(1);
    let mut limit = page.least(At::Progress) + window;
    if limit >= number + enough {
        return Ok(limit);
    }
    publisher.flush()?;
    let mut wait = 20;
    while limit < number + enough {
        thread::sleep(Duration::from_micros(wait));
        wait = (wait * 2).min(200);
        limit = page.least(At::Progress) + window;
    }
    Ok(limit)
}

fn even(publisher: &mut dyn Publisher, page: &Page, payload: &mut Payload, interval: u64, events: u64) -> Result<u64> {
    let start = now() + interval;
    page.publisher(Of::Started).store(start, Ordering::Release);
    for number in 0..events {
        sleep_until(start + number * interval);
        publisher.send(payload.event(number, now()))?;
        publisher.flush()?;
    }
    sleep_until(start + (events + 20) * interval);
    Ok(events)
}

pub fn subscribe(part: &Part) -> Result<()> {
    let (system, run) = part.begin()?;
    // For as long as this process lives, as whoever takes events may need it.
    let page: &'static Page = Box::leak(Box::new(Page::open(&run.dir, run.subs)?));
    say("up")?;
    let paced = told()?.trim() == "paced";
    let mut subscriber = system.subscriber(&run)?;
    let (end, ended) = mpsc::channel();
    let mut taker = Some(Taker::new(page, &run, paced));
    say("ready")?;
    subscriber.receive(Box::new(move |event| {
        let go = taker.as_mut().map_or(Go::End, |taker| taker.take(event));
        if go == Go::End
            && let Some(taker) = taker.take()
        {
            // Nobody hears it where the subscriber has failed already.
            let _ = end.send(taker);
        }
        go
    }))?;
    let latency = ended.recv().context("nothing more comes")?.end().map_err(|wrong| anyhow!(wrong))?;
    say(&format!("done {}", serde_json::to_string(&latency)?))?;
    loop {
        told()?;
    }
}
