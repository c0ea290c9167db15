//! What machine this is, and whether others use it during a run.

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::fs;
use std::time::Instant;

/// The machine a run was on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Host {
    pub kernel: String,
    pub processor: String,
    pub cores: usize,
    /// Seconds since 1970.
    pub time: u64,
    /// The commit that was measured.
    pub commit: String,
    /// How large socket buffers may be.
    pub buffers: String,
}

impl Host {
    pub fn read() -> Host {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let model = read("/proc/cpuinfo");
        let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
        let time = clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, |time| time.tv_sec() as u64);
        Host {
            kernel: read("/proc/sys/kernel/osrelease").trim().into(),
            processor: model.trim_start_matches(['\t', ' ', ':']).into(),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            time,
            commit: std::env::var("NLBUS_BENCH_COMMIT").unwrap_or_default(),
            buffers: crate::systems::buffers::described(),
        }
    }
}

/// The machine's load while a run goes on.
#[derive(Debug)]
pub struct Load {
    busy: u64,
    all: u64,
    start: Instant,
}

impl Load {
    pub fn begin() -> Result<Load> {
        let (busy, all) = ticks()?;
        Ok(Load { busy, all, start: Instant::now() })
    }

    /// Which part of the machine's CPU time others used since then, where the run used so many nanoseconds: 0 to 1. What
    /// the hypervisor took for others counts as theirs.
    pub fn foreign(&self, ours: u64) -> Result<f64> {
        let (busy, all) = ticks()?;
        let ticks = (all - self.all).max(1) as f64;
        let cores = std::thread::available_parallelism().map_or(1, Into::into) as f64;
        let ours = ours as f64 / 1e9 / (self.start.elapsed().as_secs_f64() * cores);
        Ok(((busy - self.busy) as f64 / ticks - ours).max(0.0))
    }
}

/// Busy and all ticks since boot, of all processors: proc_stat(5).
fn ticks() -> Result<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest time is in user's already.
    let of = |at: usize| fields.get(at).copied().unwrap_or(0);
    let all = (0..8).map(of).sum::<u64>();
    Ok((all - of(3) - of(4), all))
}
