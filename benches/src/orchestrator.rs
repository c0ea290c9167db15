//! All runs, round by round: in a round each system has its turn in each cell, so that what changes on the machine
//! meanwhile meets all of them alike.

use crate::growth::Growth;
use crate::host::Host;
use crate::knobs::{Knobs, Plan};
use crate::repeats::Repeats;
use crate::results::{About, CellResults, Kind, Results, Run};
use crate::roles::Pace;
use crate::shape::Shape;
use crate::system::{Cell, System};
use crate::taker::WARM_UP;
use crate::{docs, growth, plots, table};
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
    growth::draw(&results.growth, &knobs.out)?;
    for part in docs::parts(results) {
        println!("{part}");
    }
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
    repeats: Repeats,
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
        let results = Results {
            host: Host::read(),
            rounds: plan.rounds,
            seconds: plan.seconds,
            systems,
            cells: Vec::new(),
            growth: Growth::default(),
        };
        let repeats = Repeats::new(plan.repeats);
        Campaign { plan, results, repeats }
    }

    fn round(&mut self, round: usize, systems: &[Box<dyn System>]) -> Result<()> {
        if self.plan.peers {
            self.beside_peers(round, systems);
        }
        let Campaign { plan, results, repeats } = self;
        results.growth.round(plan, repeats)?;
        if plan.memory && results.growth.memory.is_empty() {
            results.growth.memory = growth::memory::measure(plan.few)?;
        }
        Ok(())
    }

    fn beside_peers(&mut self, round: usize, systems: &[Box<dyn System>]) {
        let mut cells = vec![(Kind::Latency, PACED_SIZE, 1)];
        for &size in &self.plan.sizes {
            cells.extend(self.plan.subs.iter().map(|&subs| (Kind::Throughput, size, subs)));
        }
        for (kind, size, subs) in cells {
            // Nobody always comes after the same one.
            let first = round * systems.len() / self.plan.rounds;
            for system in systems.iter().cycle().skip(first).take(systems.len()) {
                if system.absent().is_none() {
                    self.turn(round, &**system, kind, size, subs);
                }
            }
        }
    }

    fn turn(&mut self, round: usize, system: &dyn System, kind: Kind, size: usize, subs: usize) {
        let known = self.results.cell(system.name(), kind, size, subs);
        if known.is_some_and(|cell| cell.runs.len() >= 2 && cell.runs.iter().all(|run| run.lost.is_some())) {
            return; // It doesn't work: twice is enough to know.
        }
        let pace = match kind {
            Kind::Throughput => Pace::Fast { time: (self.plan.seconds * 1e9) as u64, warm: false },
            Kind::Latency => Pace::Even { interval: INTERVAL, events: WARM_UP + self.plan.paced },
        };
        let cell = Cell::new(size, subs, Shape::PLAIN);
        let done = self.repeats.run(system, &cell, pace);
        report(round, system, kind, &cell, &done);
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
                window: system.window(&cell),
                runs: vec![done],
            }),
        }
    }
}

fn report(round: usize, system: &dyn System, kind: Kind, cell: &Cell, run: &Run) {
    let what = match (&run.lost, &run.latency, kind) {
        (Some(reason), _, _) => format!("doesn't count: {reason}"),
        (None, Some(latency), Kind::Latency) => {
            let micros = |nanos: u64| nanos as f64 / 1e3;
            format!("{:.1} / {:.1} / {:.1} µs", micros(latency.p50), micros(latency.p99), micros(latency.p999))
        }
        _ => format!(
            "{} deliveries/s, {:.3} CPU s/M ({:.3} server, {:.3} publisher, {:.3} subscribers)",
            table::count(run.deliveries()),
            run.cpu_per_million,
            run.cpu.server,
            run.cpu.publisher,
            run.cpu.subscribers
        ),
    };
    let mark = if run.contaminated { format!(" (others used {:.0} %)", run.foreign * 100.0) } else { String::new() };
    let Cell { size, subs, .. } = cell;
    eprintln!("{} {:22} {size:5} B {subs:2} subs  {what}{mark}", round + 1, system.name());
}
