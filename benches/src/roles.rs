//! The processes of a run. Each says on standard output how far it is, and goes on when it is told so on standard input;
//! the end of that ends it.

use crate::clock::{now, sleep_until};
use crate::page::{At, Of, Page};
use crate::payload::{self, Payload, Seen};
use crate::system::{Cell, Go, Publisher, System};
use crate::systems;
use anyhow::{Context, Result, bail};
use clap::Args;
use hdrhistogram::Histogram;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

/// What a subscriber of a paced run leaves out: caches and connections warm up.
const WARM_UP: u64 = 200;

/// Which part of which run this process has.
#[derive(Debug, Clone, Args)]
pub struct Part {
    system: String,
    dir: PathBuf,
    size: usize,
    subs: usize,
    index: usize,
}

impl Part {
    fn begin(&self) -> Result<(Box<dyn System>, Cell)> {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // Waits end when they are to, and not up to 50 µs later.
        prctl::set_timerslack(1)?;
        let system = systems::named(&self.system).with_context(|| format!("no system '{}'", self.system))?;
        Ok((system, Cell { dir: self.dir.clone(), size: self.size, subs: self.subs, index: self.index }))
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
    },
    /// At an interval, in nanoseconds.
    Even { interval: u64, events: u64 },
}

/// Latencies of a paced run in nanoseconds, from before the publisher's call to the subscriber's hands.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Latency {
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
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
    told()?;
    while !page.primed() {
        publisher.send(payload.probe())?;
        publisher.flush()?;
        thread::sleep(Duration::from_millis(5));
    }
    say("primed")?;
    let pace = serde_json::from_str(&told()?)?;
    let events = match pace {
        Pace::Fast { time } => fast(&mut *publisher, &page, &mut payload, system.window(&run), time)?,
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
    let mut limit = page.slowest() + window;
    if limit >= number + enough {
        return Ok(limit);
    }
    publisher.flush()?;
    let mut wait = 20;
    while limit < number + enough {
        thread::sleep(Duration::from_micros(wait));
        wait = (wait * 2).min(200);
        limit = page.slowest() + window;
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
    let page = Page::open(&run.dir, run.subs)?;
    let [progress, primed, ended, wrong, told_of] =
        [At::Progress, At::Primed, At::Ended, At::Wrong, At::Told].map(|at| page.subscriber(run.index, at));
    let paced = told()?.trim() == "paced";
    let mut latencies = Histogram::<u64>::new_with_bounds(1, 10_000_000_000, 3)?;
    let mut subscriber = system.subscriber(&run)?;
    say("ready")?;
    let mut due = 0;
    let mut failed = None;
    subscriber.receive(&mut |event| match payload::read(event) {
        Seen::Event { number, sent } if number == due => {
            due += 1;
            if paced {
                let late = now().saturating_sub(sent);
                if number >= WARM_UP {
                    latencies.saturating_record(late.max(1));
                }
            }
            progress.store(due, Ordering::Release);
            Go::On
        }
        Seen::Probe => {
            primed.store(1, Ordering::Release);
            Go::On
        }
        Seen::Event { number, .. } => {
            wrong.store(number + 1, Ordering::Release);
            failed = Some(format!("event {number} came in the place of {due}"));
            Go::End
        }
        Seen::End { events } => {
            ended.store(now(), Ordering::Release);
            told_of.store(events + 1, Ordering::Release);
            Go::End
        }
        Seen::Foreign => {
            failed = Some(format!("something foreign of {} bytes came in the place of event {due}", event.len()));
            Go::End
        }
    })?;
    if let Some(failed) = failed {
        bail!("{failed}");
    }
    let quantile = |q| latencies.value_at_quantile(q);
    let latency = Latency { p50: quantile(0.5), p99: quantile(0.99), p999: quantile(0.999), max: latencies.max() };
    say(&format!("done {}", serde_json::to_string(&latency)?))?;
    loop {
        told()?;
    }
}
