//! What to measure, and for how long.

use crate::growth::Axis;
use crate::system::System;
use crate::systems;
use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Clone, Args)]
pub struct Knobs {
    /// A few minutes: 64 B and 1 KiB, 1 and 4 subscribers, one short round
    #[arg(long, env = "QUICK", num_args = 0..=1, default_missing_value = "1", default_value = "")]
    quick: String,
    /// Names, or beginnings of names, separated by commas or spaces; nlbus and the floor are always measured
    #[arg(long, env = "SYSTEMS", default_value = "")]
    systems: String,
    /// How many times everything is measured
    #[arg(long, env = "ROUNDS", default_value = "")]
    rounds: String,
    /// Payload sizes in bytes, separated by commas
    #[arg(long, env = "SIZES", default_value = "")]
    sizes: String,
    /// Numbers of subscribing processes, separated by commas
    #[arg(long, env = "SUBS", default_value = "")]
    subs: String,
    /// How long a publisher publishes in a run, in seconds; half a second unless set, and half of that where growth is measured
    #[arg(long, env = "SECONDS_A_RUN", default_value = "")]
    seconds: String,
    /// What is measured, separated by commas: peers (nlbus beside them); growth (how its cost grows, all axes and memory), or
    /// some of it: subscribers, topics, idle-topics, other-filters, matching-filters, history, payload, memory. All unless set
    #[arg(long, env = "PARTS", default_value = "")]
    parts: String,
    /// Where results.json and the plots go
    #[arg(long, default_value = "target/bench")]
    pub out: PathBuf,
}

/// The knobs, read.
#[derive(Debug)]
pub struct Plan {
    pub rounds: usize,
    pub sizes: Vec<usize>,
    pub subs: Vec<usize>,
    pub seconds: f64,
    /// Events of a paced run that count.
    pub paced: u64,
    /// Whether nlbus is measured beside its peers.
    pub peers: bool,
    /// Along which axes it is measured how its cost grows.
    pub axes: Vec<Axis>,
    /// Whether it is measured what memory it takes.
    pub memory: bool,
    /// How long a publisher publishes in a run of that, in seconds.
    pub growth_seconds: f64,
    /// Only a few points of each axis.
    pub few: bool,
    /// How many runs may be repeated because others used the machine, of all.
    pub repeats: f64,
}

impl Knobs {
    pub fn plan(&self) -> Result<Plan> {
        let quick = !matches!(self.quick.as_str(), "" | "0" | "no");
        let choose = |given: &str, full: &str, few: &str| {
            if given.is_empty() { if quick { few } else { full }.to_owned() } else { given.to_owned() }
        };
        let parts = self.parts()?;
        let has = |names: &[&str]| parts.is_empty() || parts.iter().any(|part| names.contains(part));
        Ok(Plan {
            rounds: choose(&self.rounds, "3", "1").parse()?,
            sizes: numbers(&choose(&self.sizes, "64,1024,16384", "64,1024"))?,
            subs: numbers(&choose(&self.subs, "1,4,16,64", "1,4"))?,
            seconds: choose(&self.seconds, "0.5", "0.3").parse()?,
            paced: if quick { 1_600 } else { 6_000 },
            peers: has(&["peers"]),
            axes: Axis::ALL.into_iter().filter(|axis| has(&["growth", axis.name()])).collect(),
            memory: has(&["growth", "memory"]),
            growth_seconds: choose(&self.seconds, "0.25", "0.15").parse()?,
            few: quick,
            repeats: if quick { 0.0 } else { 0.08 },
        })
    }

    fn parts(&self) -> Result<Vec<&str>> {
        let parts: Vec<&str> = self.parts.split([',', ' ']).filter(|part| !part.is_empty()).collect();
        let all: Vec<&str> = ["peers", "growth", "memory"].into_iter().chain(Axis::ALL.map(Axis::name)).collect();
        match parts.iter().find(|part| !all.contains(part)) {
            Some(part) => bail!("there is no part '{part}' to measure; there are {}", all.join(", ")),
            None => Ok(parts),
        }
    }

    /// The systems that are asked for.
    pub fn systems(&self) -> Result<Vec<Box<dyn System>>> {
        let wanted: Vec<&str> = self.systems.split([',', ' ']).filter(|name| !name.is_empty()).collect();
        for name in &wanted {
            if !systems::all().iter().any(|system| system.name().starts_with(name)) {
                bail!("no system is called {name}; `nlbus-benches list` lists them");
            }
        }
        let is_wanted = |system: &dyn System| {
            wanted.is_empty()
                || matches!(system.peer(), systems::OURS | systems::FLOOR)
                || wanted.iter().any(|name| system.name().starts_with(name))
        };
        Ok(systems::all().into_iter().filter(|system| is_wanted(&**system)).collect())
    }
}

fn numbers(list: &str) -> Result<Vec<usize>> {
    list.split([',', ' ']).filter(|number| !number.is_empty()).map(|number| Ok(number.parse()?)).collect()
}
