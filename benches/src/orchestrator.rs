//! All runs, round by round: in a round each system has its turn in each cell, so that what changes on the machine
//! meanwhile meets all of them alike.

use crate::host::Host;
use crate::knobs::{Knobs, Plan};
use crate::results::{About, CellResults, FOREIGN, Kind, Results, Run};
use crate::roles::Pace;
use crate::run::run;
use crate::system::{Cell, System};
use crate::{plots, ratios, table};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Nanoseconds between the events of a paced run: 2 kHz.
const INTERVAL: u64 = 500_000;

/// Bytes of their payload.
const PACED_SIZE: usize = 64;

pub fn measure(knobs: &Knobs) -> Result<()> {
    let (plan, systems) = (knobs.plan()?, knobs.systems()?);
    fs::create_dir_all(&knobs.out).with_context(|| format!("make {}", knobs.out.display()))?;
    let mut campaign = Campaign::new(plan, &systems);
    for round in 0..campaign.plan.rounds {
        campaign.round(round, &systems)?;
        save(&campaign.results, &knobs.out)?;
    }
    let results = &campaign.results;
    plots::draw(results, &knobs.out)?;
    println!("{}", table::markdown(results));
    println!("{}", ratios::markdown(results));
    println!("Written: {0}/results.json, {0}/*.svg", knobs.out.display());
    Ok(())
}

fn save(results: &Results, out: &Path) -> Result<()> {
    let path = out.join("results.json");
    fs::write(&path, serde_json::to_string_pretty(results)? + "\n").with_context(|| format!("write {}", path.display()))
}

struct Campaign {
    plan: Plan,
    results: Results,
    /// Runs so far, and how many of them were repeats.
    runs: (usize, usize),
}

impl Campaign {
    fn new(plan: Plan, systems: &[Box<dyn System>]) -> Campaign {
        let about = |system: &dyn System| About {
            name: system.name().into(),
            peer: system.peer().into(),
            about: system.about().into(),
            sleeps: system.sleeps(),
            absent: system.absent(),
        };
        let left_out = crate::systems::not_built().into_iter().map(|(name, reason)| About {
            name: name.into(),
            peer: name.into(),
            about: String::new(),
            sleeps: true,
            absent: Some(reason),
        });
        let systems: Vec<About> = systems.iter().map(|system| about(&**system)).chain(left_out).collect();
        for absent in &systems {
            if let Some(reason) = &absent.absent {
                eprintln!("absent: {}: {reason}", absent.name);
            }
        }
        let results =
            Results { host: Host::read(), rounds: plan.rounds, seconds: plan.seconds, systems, cells: Vec::new() };
        Campaign { plan, results, runs: (0, 0) }
    }

    fn round(&mut self, round: usize, systems: &[Box<dyn System>]) -> Result<()> {
        let mut cells = vec![(Kind::Latency, PACED_SIZE, 1)];
        for &size in &self.plan.sizes {
            cells.extend(self.plan.subs.iter().map(|&subs| (Kind::Throughput, size, subs)));
        }
        for (kind, size, subs) in cells {
            // Nobody always comes after the same one.
            let first = round * systems.len() / self.plan.rounds;
            for system in systems.iter().cycle().skip(first).take(systems.len()) {
                if system.absent().is_none() {
                    self.turn(round, &**system, kind, size, subs)?;
                }
            }
        }
        Ok(())
    }

    fn turn(&mut self, round: usize, system: &dyn System, kind: Kind, size: usize, subs: usize) -> Result<()> {
        let known = self.results.cell(system.name(), kind, size, subs);
        if known.is_some_and(|cell| cell.runs.len() >= 2 && cell.runs.iter().all(|run| run.lost.is_some())) {
            return Ok(()); // It doesn't work: twice is enough to know.
        }
        let pace = match kind {
            Kind::Throughput => Pace::Fast { time: (self.plan.seconds * 1e9) as u64 },
            Kind::Latency => Pace::Even { interval: INTERVAL, events: self.plan.paced },
        };
        let mut done = self.once(system, size, subs, pace);
        let may_repeat = (self.runs.1 + 1) as f64 <= self.plan.repeats * (self.runs.0 as f64).max(40.0);
        if done.contaminated && done.lost.is_none() && may_repeat {
            self.runs.1 += 1;
            let again = self.once(system, size, subs, pace);
            if again.lost.is_some() || again.foreign < done.foreign {
                done = again;
            }
        }
        report(round, system, kind, size, subs, &done);
        let run = Cell { dir: Default::default(), size, subs, index: 0 };
        let same = |cell: &&mut CellResults| {
            cell.system == system.name() && cell.kind == kind && (cell.size, cell.subs) == (size, subs)
        };
        match self.results.cells.iter_mut().find(same) {
            Some(cell) => cell.runs.push(done),
            None => self.results.cells.push(CellResults {
                system: system.name().into(),
                kind,
                size,
                subs,
                window: system.window(&run),
                runs: vec![done],
            }),
        }
        Ok(())
    }

    fn once(&mut self, system: &dyn System, size: usize, subs: usize, pace: Pace) -> Run {
        self.runs.0 += 1;
        let mut done = run(system, size, subs, pace).unwrap_or_else(|error| Run::lost(format!("{error:#}")));
        done.contaminated = done.foreign > FOREIGN;
        done
    }
}

fn report(round: usize, system: &dyn System, kind: Kind, size: usize, subs: usize, run: &Run) {
    let what = match (&run.lost, &run.latency, kind) {
        (Some(reason), _, _) => format!("doesn't count: {reason}"),
        (None, Some(latency), Kind::Latency) => {
            let micros = |nanos: u64| nanos as f64 / 1e3;
            format!("{:.1} / {:.1} / {:.1} µs", micros(latency.p50), micros(latency.p99), micros(latency.p999))
        }
        _ => format!(
            "{} deliveries/s, {:.3} CPU s/M ({:.3} server, {:.3} publisher, {:.3} subscribers)",
            table::count(run.rate * subs as f64),
            run.cpu_per_million,
            run.cpu.server,
            run.cpu.publisher,
            run.cpu.subscribers
        ),
    };
    let mark = if run.contaminated { format!(" (others used {:.0} %)", run.foreign * 100.0) } else { String::new() };
    eprintln!("{} {:22} {size:5} B {subs:2} subs  {what}{mark}", round + 1, system.name());
}
