//! From runs to figures: the median over the rounds, the spread, and how many runs that rests on.

use crate::latency::{Latency, pooled_p999};
use crate::results::{CellResults, Kind, Results, Run};

/// A figure that rests on fewer clean runs than this says little: nobody knows how far the next run would be off.
pub const ENOUGH: usize = 2;

/// What is read off a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Deliveries a second, over all subscribers.
    Deliveries,
    /// CPU seconds for a million deliveries.
    Cpu,
    /// Nanoseconds.
    P50,
    P99,
    P999,
}

impl Measure {
    pub fn kind(self) -> Kind {
        match self {
            Measure::Deliveries | Measure::Cpu => Kind::Throughput,
            Measure::P50 | Measure::P99 | Measure::P999 => Kind::Latency,
        }
    }

    /// Whether more is better.
    pub fn more_is_better(self) -> bool {
        self == Measure::Deliveries
    }

    fn of(self, run: &Run) -> Option<f64> {
        let latency = |of: fn(&Latency) -> u64| run.latency.as_ref().map(|latency| of(latency) as f64);
        match self {
            Measure::Deliveries => Some(run.deliveries()),
            Measure::Cpu => Some(run.cpu_per_million),
            Measure::P50 => latency(|latency| latency.p50),
            Measure::P99 => latency(|latency| latency.p99),
            Measure::P999 => latency(|latency| latency.p999),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// Of the runs; p99.9 is that of all their events together, since one run has few beyond it.
    pub median: f64,
    pub min: f64,
    pub max: f64,
    /// How many runs it rests on.
    pub runs: usize,
    /// All of them were contaminated: there are no others to take it from.
    pub contaminated: bool,
    /// How many runs more there were that don't count.
    pub lost: usize,
}

impl Figure {
    /// Of values, one a run.
    pub fn of(mut values: Vec<f64>) -> Option<Figure> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Figure { median, min, max, runs: values.len(), contaminated: false, lost: 0 })
    }

    /// How many runs it rests on during which nobody else used the machine.
    pub fn clean(&self) -> usize {
        if self.contaminated { 0 } else { self.runs }
    }
}

/// The figure of a cell, of its clean runs where there are any. `None` where no run counts.
pub fn figure(cell: &CellResults, measure: Measure) -> Option<Figure> {
    let (runs, contaminated) = counting(&cell.runs);
    let mut figure = Figure::of(runs.iter().filter_map(|run| measure.of(run)).collect())?;
    if measure == Measure::P999 {
        figure.median = pooled_p999(runs.iter().filter_map(|run| run.latency.as_ref()))? as f64;
    }
    let lost = cell.runs.iter().filter(|run| run.lost.is_some()).count();
    Some(Figure { contaminated, lost, ..figure })
}

/// The runs that a figure is taken from, and whether all of them are contaminated.
pub fn counting(runs: &[Run]) -> (Vec<&Run>, bool) {
    let counts: Vec<&Run> = runs.iter().filter(|run| run.lost.is_none()).collect();
    let clean: Vec<&Run> = counts.iter().copied().filter(|run| !run.contaminated).collect();
    if clean.is_empty() { (counts, true) } else { (clean, false) }
}

impl Results {
    pub fn figure(&self, system: &str, measure: Measure, size: usize, subs: usize) -> Option<Figure> {
        figure(self.cell(system, measure.kind(), size, subs)?, measure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(kind: Kind, runs: Vec<Run>) -> CellResults {
        CellResults { system: "any".into(), kind, size: 64, subs: 2, window: 1, runs }
    }

    #[test]
    fn clean_runs_count_before_contaminated_ones_and_lost_ones_never() {
        let run = |rate, contaminated, lost: Option<&str>| Run {
            rate,
            fanout: 2,
            contaminated,
            lost: lost.map(Into::into),
            ..Run::default()
        };
        let runs =
            vec![run(1.0, false, None), run(5.0, false, None), run(9.0, true, None), run(0.0, false, Some("gone"))];
        let mut cell = cell(Kind::Throughput, runs);
        let of = |cell: &_| figure(cell, Measure::Deliveries);
        let want = Figure { median: 6.0, min: 2.0, max: 10.0, runs: 2, contaminated: false, lost: 1 };
        assert_eq!((of(&cell), want.clean()), (Some(want), 2));
        cell.runs.drain(..2);
        let want = Figure { median: 18.0, min: 18.0, max: 18.0, runs: 1, contaminated: true, lost: 1 };
        assert_eq!((of(&cell), want.clean()), (Some(want), 0));
        cell.runs.remove(0);
        assert_eq!(of(&cell), None);
    }

    #[test]
    fn p999_is_that_of_all_events_together_and_its_spread_that_of_the_runs() {
        let run = |factor: u64| Run {
            latency: Some(Latency::of((1..=2000).map(|n| n * factor).collect())),
            ..Run::default()
        };
        let cell = cell(Kind::Latency, vec![run(1), run(3)]);
        let figure = figure(&cell, Measure::P999).unwrap();
        // Of 4000 events the four slowest are left out, all of the second run.
        assert_eq!((figure.median, figure.min, figure.max), (1996.0 * 3.0, 1998.0, 1998.0 * 3.0));
    }
}
