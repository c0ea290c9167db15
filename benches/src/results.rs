//! What was measured, as it is kept in results.json.

use crate::growth::Growth;
use crate::host::Host;
use crate::latency::Latency;
use serde::{Deserialize, Serialize};

/// Beyond this part of the machine's CPU time in the hands of others, a run is marked as contaminated.
pub const FOREIGN: f64 = 0.05;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    pub host: Host,
    pub rounds: usize,
    /// How long a publisher published in each run, in seconds.
    pub seconds: f64,
    pub systems: Vec<About>,
    pub cells: Vec<CellResults>,
    /// How nlbus's cost grows.
    pub growth: Growth,
}

/// A system that was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    pub name: String,
    pub peer: String,
    pub about: String,
    /// Whether its subscribers sleep while nothing comes.
    pub sleeps: bool,
    /// Why it wasn't measured.
    pub absent: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// As fast as it goes without loss.
    Throughput,
    /// 2000 events a second, one subscriber.
    Latency,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CellResults {
    pub system: String,
    pub kind: Kind,
    pub size: usize,
    pub subs: usize,
    /// How many events the publisher might be ahead.
    pub window: u64,
    pub runs: Vec<Run>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Run {
    pub events: u64,
    /// From before the first event was sent until the last subscriber had all.
    pub seconds: f64,
    /// Events a second.
    pub rate: f64,
    /// How often each was delivered.
    pub fanout: u64,
    /// CPU seconds of server, publisher and subscribers for a million deliveries.
    pub cpu_per_million: f64,
    /// The same of each side.
    pub cpu: Cpu,
    pub latency: Option<Latency>,
    /// The part of the machine's CPU time that others used.
    pub foreign: f64,
    pub contaminated: bool,
    /// Why it doesn't count.
    pub lost: Option<String>,
}

/// CPU seconds for a million deliveries.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Cpu {
    pub server: f64,
    pub publisher: f64,
    pub subscribers: f64,
}

impl Run {
    /// A second, over all subscribers.
    pub fn deliveries(&self) -> f64 {
        self.rate * self.fanout as f64
    }

    pub fn lost(reason: String) -> Run {
        Run { lost: Some(reason), ..Run::default() }
    }
}

impl Results {
    pub fn cell(&self, system: &str, kind: Kind, size: usize, subs: usize) -> Option<&CellResults> {
        let is =
            |cell: &&CellResults| cell.system == system && cell.kind == kind && (cell.size, cell.subs) == (size, subs);
        self.cells.iter().find(is)
    }

    /// Sizes that were measured.
    pub fn sizes(&self) -> Vec<usize> {
        sorted(self.throughput().map(|cell| cell.size).collect())
    }

    /// Numbers of subscribers that were measured.
    pub fn subs(&self) -> Vec<usize> {
        sorted(self.throughput().map(|cell| cell.subs).collect())
    }

    fn throughput(&self) -> impl Iterator<Item = &CellResults> {
        self.cells.iter().filter(|cell| cell.kind == Kind::Throughput)
    }
}

fn sorted(mut numbers: Vec<usize>) -> Vec<usize> {
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}
