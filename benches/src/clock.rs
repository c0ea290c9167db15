//! Times: the clock that events carry, waiting by it, and what a process has used of the CPU.

use anyhow::{Context, Result};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_getcpuclockid, clock_gettime, clock_nanosleep};
use nix::unistd::Pid;
use std::time::Duration;

/// `CLOCK_MONOTONIC` in nanoseconds: the same for all processes.
pub fn now() -> u64 {
    // It can't fail: the clock is always there.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, nanoseconds)
}

/// Sleeps until then.
pub fn sleep_until(time: u64) {
    let until = TimeSpec::from(Duration::from_nanos(time));
    while clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &until).is_err() {}
}

/// Nanoseconds of CPU time that a process has used, with all its threads, ended ones too. Unlike wait4's figures it can be
/// read at any moment, so that a run is charged without its processes' starts.
pub fn cpu_time(pid: Pid) -> Result<u64> {
    let clock = clock_getcpuclockid(pid).with_context(|| format!("the CPU clock of process {pid}"))?;
    Ok(nanoseconds(clock_gettime(clock).with_context(|| format!("the CPU time of process {pid}"))?))
}

fn nanoseconds(time: TimeSpec) -> u64 {
    Duration::from(time).as_nanos() as u64
}
