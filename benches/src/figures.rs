//! From runs to figures: the median over the rounds, and the spread.

use crate::results::{CellResults, Kind, Results, Run};

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

    fn of(self, cell: &CellResults, run: &Run) -> Option<f64> {
        let latency = |of: fn(&crate::roles::Latency) -> u64| run.latency.as_ref().map(|latency| of(latency) as f64);
        match self {
            Measure::Deliveries => Some(run.rate * cell.subs as f64),
            Measure::Cpu => Some(run.cpu_per_million),
            Measure::P50 => latency(|latency| latency.p50),
            Measure::P99 => latency(|latency| latency.p99),
            Measure::P999 => latency(|latency| latency.p999),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    /// All runs were contaminated: there are no others to take it from.
    pub contaminated: bool,
}

/// The figure of a cell, of its clean runs where there are any. `None` where no run counts.
pub fn figure(cell: &CellResults, measure: Measure) -> Option<Figure> {
    let counts: Vec<&Run> = cell.runs.iter().filter(|run| run.lost.is_none()).collect();
    let clean: Vec<&Run> = counts.iter().copied().filter(|run| !run.contaminated).collect();
    let contaminated = clean.is_empty();
    let runs = if contaminated { counts } else { clean };
    let mut values: Vec<f64> = runs.iter().filter_map(|run| measure.of(cell, run)).collect();
    values.sort_by(f64::total_cmp);
    let (min, max) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
    Some(Figure { median, min, max, contaminated })
}

impl Results {
    pub fn figure(&self, system: &str, measure: Measure, size: usize, subs: usize) -> Option<Figure> {
        figure(self.cell(system, measure.kind(), size, subs)?, measure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_runs_count_before_contaminated_ones_and_lost_ones_never() {
        let run = |rate, contaminated, lost: Option<&str>| Run {
            rate,
            contaminated,
            lost: lost.map(Into::into),
            ..Run::default()
        };
        let mut cell = CellResults {
            system: "any".into(),
            kind: Kind::Throughput,
            size: 64,
            subs: 2,
            window: 1,
            runs: vec![
                run(1.0, false, None),
                run(5.0, false, None),
                run(9.0, true, None),
                run(0.0, false, Some("gone")),
            ],
        };
        let of = |cell: &_| figure(cell, Measure::Deliveries);
        assert_eq!(of(&cell), Some(Figure { median: 6.0, min: 2.0, max: 10.0, contaminated: false }));
        cell.runs.drain(..2);
        assert_eq!(of(&cell), Some(Figure { median: 18.0, min: 18.0, max: 18.0, contaminated: true }));
        cell.runs.remove(0);
        assert_eq!(of(&cell), None);
    }
}
