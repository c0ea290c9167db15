//! Load, memory and pressure of this host, as `nlbus-proc` publishes them. Read by the crate procfs; here are the types
//! that go over the bus.

use procfs::{CpuPressure, IoPressure, MemoryPressure};
use procfs::{Current, LoadAverage, Meminfo, PressureRecord};
use serde::{Deserialize, Serialize};

/// `/proc/loadavg`, published to `proc/loadavg`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Processes that ran or waited for a CPU or a disk, averaged over one minute.
    pub one: f32,
    /// Over five.
    pub five: f32,
    /// Over fifteen.
    pub fifteen: f32,
    /// Threads that run or could, now.
    pub runnable: u32,
    /// Threads that exist.
    pub threads: u32,
}

/// `/proc/meminfo`, published to `proc/memory`. All in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// What there is.
    pub total: u64,
    /// What nobody uses.
    pub free: u64,
    /// What could be had without swapping; `None` before Linux 3.14.
    pub available: Option<u64>,
    /// Caches of files.
    pub cached: u64,
    /// Buffers of block devices.
    pub buffers: u64,
    /// What waits to be written to disk.
    pub dirty: u64,
    /// Swap that there is.
    pub swap_total: u64,
    /// Swap that nobody uses.
    pub swap_free: u64,
}

/// A line of `/proc/pressure/*`: how long tasks waited. Percentages of time, 0 to 100.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stall {
    /// Over 10 s.
    pub avg10: f32,
    /// Over 60 s.
    pub avg60: f32,
    /// Over 300 s.
    pub avg300: f32,
    /// Microseconds since boot.
    pub total_us: u64,
}

/// `/proc/pressure/cpu`, `memory` or `io`, published to `proc/pressure/cpu` and so on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// Some task waited.
    pub some: Stall,
    /// All tasks waited at once; `None` where the kernel doesn't tell.
    pub full: Option<Stall>,
}

/// What can't be read, by a host that doesn't have it or doesn't let us.
pub type Unread = procfs::ProcError;

impl Load {
    /// Reads it.
    ///
    /// # Errors
    /// When the file isn't there or isn't understood.
    pub fn read() -> Result<Load, Unread> {
        let load = LoadAverage::current()?;
        let (runnable, threads) = (load.cur, load.max);
        Ok(Load { one: load.one, five: load.five, fifteen: load.fifteen, runnable, threads })
    }
}

impl Memory {
    /// Reads it.
    ///
    /// # Errors
    /// When the file isn't there or isn't understood.
    pub fn read() -> Result<Memory, Unread> {
        let info = Meminfo::current()?;
        Ok(Memory {
            total: info.mem_total,
            free: info.mem_free,
            available: info.mem_available,
            cached: info.cached,
            buffers: info.buffers,
            dirty: info.dirty,
            swap_total: info.swap_total,
            swap_free: info.swap_free,
        })
    }
}

impl Pressure {
    /// Reads `/proc/pressure/cpu`.
    ///
    /// # Errors
    /// When the file isn't there (no `CONFIG_PSI`, or `psi=0`) or isn't understood.
    pub fn read_cpu() -> Result<Pressure, Unread> {
        Ok(Pressure { some: stall(&CpuPressure::current()?.some), full: None })
    }

    /// Reads `/proc/pressure/memory`.
    ///
    /// # Errors
    /// As [`read_cpu`](Self::read_cpu).
    pub fn read_memory() -> Result<Pressure, Unread> {
        let MemoryPressure { some, full } = MemoryPressure::current()?;
        Ok(Pressure { some: stall(&some), full: Some(stall(&full)) })
    }

    /// Reads `/proc/pressure/io`.
    ///
    /// # Errors
    /// As [`read_cpu`](Self::read_cpu).
    pub fn read_io() -> Result<Pressure, Unread> {
        let IoPressure { some, full } = IoPressure::current()?;
        Ok(Pressure { some: stall(&some), full: Some(stall(&full)) })
    }
}

fn stall(record: &PressureRecord) -> Stall {
    Stall { avg10: record.avg10, avg60: record.avg60, avg300: record.avg300, total_us: record.total }
}
