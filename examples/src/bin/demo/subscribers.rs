//! The processes that subscribe: they count, measure, and end when they have what the director says there is.

use crate::Stage;
use crate::report::{self, Heads, Received, Report};
use crate::sensors::Reading;
use crate::tracker::Tracker;
use anyhow::{Context, bail};
use crossbeam_channel::{Receiver, bounded};
use hdrhistogram::Histogram;
use nix::time::{ClockId, clock_gettime};
use nlbus::{Delivery, Event, Lost, RecvTimeoutError, TypedDelivery};
use std::io;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

/// How long a quiet subscription waits before it looks whether the director has said something.
const LOOK: Duration = Duration::from_millis(20);

/// Latencies above a minute count as one.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// How long what was published may take to come once nothing more is.
const PATIENCE: Duration = Duration::from_secs(30);

/// Subscribes to payloads as they are.
pub fn run(stage: &Stage, filter: &str) -> anyhow::Result<()> {
    let mut subscription = stage.connect()?.subscribe(filter)?;
    count(|| {
        Ok(match subscription.recv_timeout(LOOK)? {
            Delivery::Event(event) => Taken::Event(event, true),
            Delivery::Lost(lost) => Taken::Lost(lost),
            _ => Taken::Restarted,
        })
    })
}

/// Subscribes to values of a type.
pub fn run_typed(stage: &Stage, filter: &str) -> anyhow::Result<()> {
    let mut subscription = stage.connect()?.subscribe_as::<Reading>(filter)?;
    count(|| {
        Ok(match subscription.recv_timeout(LOOK)? {
            TypedDelivery::Value(reading, event) => {
                let right = reading.topic() == event.topic();
                Taken::Event(event, right)
            }
            TypedDelivery::Undecodable(event, _) => Taken::Event(event, false),
            TypedDelivery::Lost(lost) => Taken::Lost(lost),
            _ => Taken::Restarted,
        })
    })
}

/// What came out of a subscription.
enum Taken {
    /// An event, and whether its payload is what it should be.
    Event(Event, bool),
    Lost(Lost),
    Restarted,
}

/// Counts until everything has come, and reports.
fn count(mut take: impl FnMut() -> Result<Taken, RecvTimeoutError>) -> anyhow::Result<()> {
    let heads = hear_heads()?;
    report::say(io::stdout(), &Report::Subscribed)?;
    let mut tracker = Tracker::default();
    let (mut undecodable, mut restarts) = (0, 0);
    let mut latencies = Histogram::<u64>::new_with_bounds(1, LATENCY_MAX_NS, 3)?;
    let mut known: Option<(Heads, Instant)> = None;
    loop {
        match take() {
            Ok(Taken::Event(event, good)) => {
                let latency = now_ns()?.saturating_sub(event.time_ns());
                latencies.saturating_record(latency);
                tracker.event(event.topic(), event.seq());
                undecodable += u64::from(!good);
            }
            Ok(Taken::Lost(lost)) => tracker.lost(&lost.topic, lost.from, lost.to),
            Ok(Taken::Restarted) => restarts += 1,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the connection to the broker ended"),
        }
        if known.is_none() {
            known = heads.try_recv().ok().map(|heads| (heads, Instant::now() + PATIENCE));
        }
        if let Some((heads, deadline)) = &known
            && (tracker.has_reached(heads) || Instant::now() >= *deadline)
        {
            let received = Received {
                events: tracker.events,
                lost: tracker.lost,
                missing: tracker.missing(heads),
                out_of_order: tracker.out_of_order,
                undecodable,
                restarts,
                p50_ns: latencies.value_at_quantile(0.5),
                p99_ns: latencies.value_at_quantile(0.99),
            };
            return Ok(report::say(io::stdout(), &Report::Received(received))?);
        }
    }
}

/// The clock that brokers stamp events with.
fn now_ns() -> anyhow::Result<u64> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).context("can't read the clock")?);
    Ok(u64::try_from(now.as_nanos())?)
}

/// Waits for the director's word in a thread. A director that is gone is the end.
fn hear_heads() -> anyhow::Result<Receiver<Heads>> {
    let (sender, receiver) = bounded(1);
    thread::Builder::new().name("director".into()).spawn(move || {
        let mut stdin = io::stdin().lock();
        while let Ok(Some(heads)) = report::hear(&mut stdin) {
            let _ = sender.send(heads);
        }
        process::exit(1);
    })?;
    Ok(receiver)
}
