//! What the processes that publish have in common.

use crate::Stage;
use crate::report::{self, Report};
use nlbus::Bus;
use std::io::{self, Read};
use std::process;
use std::thread;
use std::time::Instant;

/// Publishes until the time is over; when the broker has judged everything, reports how many events that were.
pub fn run(stage: &Stage, publish: impl FnOnce(&Bus, Instant) -> anyhow::Result<u64>) -> anyhow::Result<()> {
    // A director that is gone is the end.
    thread::Builder::new().name("director".into()).spawn(|| {
        let _ = io::stdin().lock().read(&mut [0]);
        process::exit(1);
    })?;
    let bus = stage.connect()?;
    let events = publish(&bus, Instant::now() + stage.duration())?;
    bus.flush()?;
    Ok(report::say(io::stdout(), &Report::Published(events))?)
}

/// Sleeps until the next one of times that lie `step` apart; those that went by are left out. False when the time is
/// over.
pub fn pace(next: &mut Instant, step: std::time::Duration, end: Instant) -> bool {
    *next = (*next + step).max(Instant::now());
    if *next >= end {
        return false;
    }
    thread::sleep(next.saturating_duration_since(Instant::now()));
    true
}
