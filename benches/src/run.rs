//! One run: a server, a publisher and the subscribers of one system, from their start to their end.

use crate::clock::cpu_time;
use crate::host::Load;
use crate::latency::Latency;
use crate::page::{At, Of, Page};
use crate::results::{Cpu, Run};
use crate::roles::Pace;
use crate::system::{Cell, System, log_end};
use crate::worker::Worker;
use anyhow::{Context, Result, bail};
use nix::unistd::Pid;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long processes may take to start and to find each other. 64 of them on two cores take seconds.
const START: Duration = Duration::from_secs(30);

/// How long a run may stand still before it is given up as lost.
const STALL: Duration = Duration::from_secs(3);

/// Runs it. An error is that of a system that doesn't work here; what a system loses is told in the run.
pub fn run(system: &dyn System, cell: &Cell, pace: Pace) -> Result<Run> {
    let dir = tempfile::Builder::new().prefix("nlbus-bench-").tempdir()?;
    let cell = Cell { dir: dir.path().to_owned(), ..cell.clone() };
    let result = run_in(system, &cell, pace);
    system.clear(&cell);
    result
}

fn run_in(system: &dyn System, cell: &Cell, pace: Pace) -> Result<Run> {
    let subs = cell.subs;
    let page = Page::open(&cell.dir, subs)?;
    let servers = system.serve(cell)?;
    let deadline = Instant::now() + START;
    let in_time = || Instant::now() < deadline;

    let mut publisher = Worker::start("publisher", system, cell)?;
    publisher.expect("ready", in_time)?;
    let mut subscribers = Vec::new();
    for index in 0..subs {
        let mut subscriber = Worker::start("subscriber", system, &Cell { index, ..cell.clone() })?;
        subscriber.tell(if matches!(pace, Pace::Even { .. }) { "paced" } else { "fast" })?;
        subscribers.push(subscriber);
    }
    for subscriber in &mut subscribers {
        subscriber.expect("up", in_time)?;
        subscriber.expect("ready", in_time)?;
    }
    publisher.tell(if matches!(pace, Pace::Fast { warm: true, .. }) { "warm" } else { "prime" })?;
    publisher.expect("primed", in_time)?;

    let serving: Vec<Pid> = servers.iter().map(|server| server.pid()).chain(system.others()).collect();
    let sides = [serving, vec![publisher.pid()], subscribers.iter().map(Worker::pid).collect()];
    let cpu = || sides.iter().map(|side| side.iter().map(|pid| cpu_time(*pid)).sum()).collect::<Result<Vec<u64>>>();
    let (cpu_before, load) = (cpu()?, Load::begin()?);
    publisher.tell(&serde_json::to_string(&pace)?)?;

    // It goes on while anything moves.
    let (mut seen, mut moved) = (0, Instant::now());
    let mut moves = || {
        let all: u64 = (0..subs).map(|index| page.subscriber(index, At::Progress).load(Ordering::Acquire)).sum();
        if all != seen {
            (seen, moved) = (all, Instant::now());
        }
        moved.elapsed() < STALL
    };
    let ends = publisher.expect("done", &mut moves).and_then(|_| {
        let mut latency = None;
        for subscriber in &mut subscribers {
            latency = Some(subscriber.expect("done", &mut moves)?);
        }
        latency.context("no subscribers")
    });
    let cpu_after = cpu();
    let result = match ends {
        Ok(latency) => finish(&page, &latency, pace).map(|run| (Run { fanout: cell.fanout(), ..run }, cpu_after)),
        // Subscribers know better than the publisher what went wrong.
        Err(error) => Err(wrong(&page, &subscribers).unwrap_or(error)),
    };
    let (mut run, cpu_after) = match result {
        Ok(ended) => ended,
        Err(error) => return Ok(Run::lost(format!("{error:#}{}", log_end(cell)))),
    };
    let used: Vec<u64> = cpu_after?.iter().zip(&cpu_before).map(|(after, before)| after - before).collect();
    let per_million = |nanos: u64| nanos as f64 / 1e9 / (run.events * cell.fanout()).max(1) as f64 * 1e6;
    let all = used.iter().sum();
    let [server, publisher, subscribers] = [0, 1, 2].map(|side| per_million(used[side]));
    (run.cpu_per_million, run.cpu) = (per_million(all), Cpu { server, publisher, subscribers });
    run.foreign = load.foreign(all)?;
    Ok(run)
}

/// What the page tells of a run that came to its end.
fn finish(page: &Page, latency: &str, pace: Pace) -> Result<Run> {
    let events = page.publisher(Of::Events).load(Ordering::Acquire);
    let started = page.publisher(Of::Started).load(Ordering::Acquire);
    let mut ended = started;
    for index in 0..page.subs() {
        let of = |at| page.subscriber(index, at).load(Ordering::Acquire);
        if of(At::Progress) != events || of(At::Told) != events + 1 {
            bail!("subscriber {index} got {} of {events} events", of(At::Progress));
        }
        ended = ended.max(of(At::Ended));
    }
    let seconds = (ended - started) as f64 / 1e9;
    let rate = events as f64 / seconds.max(1e-9);
    let latency = match pace {
        Pace::Fast { .. } => None,
        Pace::Even { .. } => Some(serde_json::from_str::<Latency>(latency).context("a subscriber's latencies")?),
    };
    Ok(Run { events, seconds, rate, latency, ..Run::default() })
}

fn wrong(page: &Page, subscribers: &[Worker]) -> Option<anyhow::Error> {
    subscribers.iter().enumerate().find_map(|(index, worker)| {
        let wrong = page.subscriber(index, At::Wrong).load(Ordering::Acquire);
        (wrong != 0).then(|| worker.failed("lost"))
    })
}
