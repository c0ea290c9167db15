//! How nlbus's cost of a delivery grows with what is on the bus, an axis at a time, and what memory that takes.

mod axis;
mod fit;
pub mod memory;
mod plots;
mod table;

pub use axis::Axis;
pub use plots::draw;
pub use table::markdown;

use crate::figures::{Figure, counting};
use crate::knobs::Plan;
use crate::repeats::Repeats;
use crate::results::Run;
use crate::roles::Pace;
use crate::systems;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What was measured, as it is kept in results.json.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Growth {
    pub curves: Vec<Curve>,
    pub memory: Vec<memory::Held>,
}

/// A system along an axis.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Curve {
    pub axis: Axis,
    pub system: String,
    pub points: Vec<Point>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Point {
    pub at: u64,
    pub runs: Vec<Run>,
}

/// What is read off a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Nanoseconds of CPU time of a delivery, of all processes together.
    Cost,
    /// Deliveries a second.
    Deliveries,
}

impl Growth {
    /// Measures each point of each axis once. Systems that can't run here are left out.
    pub fn round(&mut self, plan: &Plan, repeats: &mut Repeats) -> Result<()> {
        let pace = Pace::Fast { time: (plan.growth_seconds * 1e9) as u64, warm: true };
        for &axis in &plan.axes {
            for at in axis.points().into_iter().filter(|at| !plan.few || axis.is_few(*at)) {
                for name in axis.systems() {
                    let system = systems::named(name).with_context(|| format!("no system '{name}'"))?;
                    if system.absent().is_some() {
                        continue;
                    }
                    let run = repeats.run(&*system, &axis.cell(at), pace);
                    report(axis, at, name, &run);
                    self.curve(axis, name).point(at).runs.push(run);
                }
            }
        }
        Ok(())
    }

    fn curve(&mut self, axis: Axis, system: &str) -> &mut Curve {
        let is = |curve: &Curve| curve.axis == axis && curve.system == system;
        let at = self.curves.iter().position(is).unwrap_or_else(|| {
            self.curves.push(Curve { axis, system: system.into(), points: Vec::new() });
            self.curves.len() - 1
        });
        &mut self.curves[at]
    }

    fn along(&self, axis: Axis) -> impl Iterator<Item = &Curve> {
        self.curves.iter().filter(move |curve| curve.axis == axis)
    }
}

impl Curve {
    fn point(&mut self, at: u64) -> &mut Point {
        let index = self.points.iter().position(|point| point.at == at).unwrap_or_else(|| {
            self.points.push(Point { at, runs: Vec::new() });
            self.points.len() - 1
        });
        &mut self.points[index]
    }

    /// Where any run counts.
    fn figures(&self, read: Read) -> Vec<(u64, Figure)> {
        self.points.iter().filter_map(|point| Some((point.at, point.figure(read)?))).collect()
    }
}

impl Point {
    fn figure(&self, read: Read) -> Option<Figure> {
        let (runs, contaminated) = counting(&self.runs);
        let value = |run: &&Run| match read {
            // Seconds for a million are thousands of nanoseconds for one.
            Read::Cost => run.cpu_per_million * 1e3,
            Read::Deliveries => run.deliveries(),
        };
        let figure = Figure::of(runs.iter().map(value).collect())?;
        Some(Figure { contaminated, lost: self.runs.iter().filter(|run| run.lost.is_some()).count(), ..figure })
    }
}

fn report(axis: Axis, at: u64, system: &str, run: &Run) {
    let what = match &run.lost {
        Some(reason) => format!("doesn't count: {reason}"),
        None => format!(
            "{:.0} CPU ns a delivery ({:.0} server, {:.0} publisher, {:.0} subscribers), {} deliveries/s",
            run.cpu_per_million * 1e3,
            run.cpu.server * 1e3,
            run.cpu.publisher * 1e3,
            run.cpu.subscribers * 1e3,
            crate::table::count(run.deliveries())
        ),
    };
    eprintln!("{:16} {at:8} {system:16} {what}", axis.name());
}
