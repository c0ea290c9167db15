//! Times that processes can compare, and what they spend.

use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};
use procfs::process::Process;
use procfs::ticks_per_second;

/// `CLOCK_MONOTONIC`, in nanoseconds: the same for all processes of a host.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC);
    time.map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// CPU seconds of this process.
pub fn cpu() -> f64 {
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// CPU seconds of another process, to a hundredth or so; `None` if it can't be seen.
pub fn cpu_of(pid: i32) -> Option<f64> {
    let stat = Process::new(pid).and_then(|process| process.stat()).ok()?;
    Some((stat.utime + stat.stime) as f64 / ticks_per_second() as f64)
}
