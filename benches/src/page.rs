//! The counters that a run's processes share: a file in memory that all of them map.

use anyhow::{Context, Result};
use memmap2::MmapRaw;
use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// The publisher's counters, then those of each subscriber: each in cache lines of its own, two of them, since
/// processors fetch them in pairs.
const STRIDE: usize = 16;

/// Counters of the publisher.
#[derive(Debug, Clone, Copy)]
pub enum Of {
    /// When it sent the first event, `CLOCK_MONOTONIC` nanoseconds.
    Started = 0,
    /// How many events it sent.
    Events = 1,
}

/// Counters of a subscriber.
#[derive(Debug, Clone, Copy)]
pub enum At {
    /// How many events came, in order.
    Progress = 0,
    /// 1 + the number of the newest probe that it has seen; 0 before the first.
    Primed = 1,
    /// When the last event came.
    Ended = 2,
    /// 1 + the number that came in the place of the one that was due; 0 for none.
    Wrong = 3,
    /// 1 + how many events there should have been, once it was told.
    Told = 4,
}

#[derive(Debug)]
pub struct Page {
    map: MmapRaw,
    subs: usize,
}

impl Page {
    /// Makes the page of a run, or maps the one that is there.
    pub fn open(dir: &Path, subs: usize) -> Result<Page> {
        let path = dir.join("page");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(|| format!("open {}", path.display()))?;
        file.set_len(((subs + 1) * STRIDE * size_of::<AtomicU64>()) as u64)?;
        Ok(Page { map: MmapRaw::map_raw(&file).context("map the page of counters")?, subs })
    }

    pub fn subs(&self) -> usize {
        self.subs
    }

    fn counter(&self, place: usize, index: usize) -> &AtomicU64 {
        let at = place * STRIDE + index;
        assert!(place <= self.subs && index < STRIDE);
        // SAFETY: the map lives as long as self and holds (subs + 1) * STRIDE words; it begins at a page's boundary, so
        // each is aligned; nothing but atomics refers to it, here and in the other processes.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().cast::<u64>().add(at)) }
    }

    pub fn publisher(&self, of: Of) -> &AtomicU64 {
        self.counter(0, of as usize)
    }

    pub fn subscriber(&self, index: usize, at: At) -> &AtomicU64 {
        self.counter(index + 1, at as usize)
    }

    /// The least of the subscribers' counters.
    pub fn least(&self, at: At) -> u64 {
        let counter = |index| self.subscriber(index, at).load(Ordering::Acquire);
        (0..self.subs).map(counter).min().unwrap_or(0)
    }
}
