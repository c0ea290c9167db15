//! The figures as pictures: throughput and CPU time over the number of subscribers, a picture a size, and latency.

use crate::chart::{COLOURS, Chart, Line, failed, name_all, range};
use crate::figures::{Figure, Measure};
use crate::results::{Kind, Results};
use crate::systems::{BUFFERED, FLOOR, OURS, UNBUFFERED};
use anyhow::Result;
use plotters::coord::ranged1d::{KeyPointHint, Ranged};
use plotters::prelude::*;
use std::path::Path;

/// Draws all that was measured into a folder.
pub fn draw(results: &Results, out: &Path) -> Result<()> {
    for size in results.sizes() {
        lines(results, Measure::Deliveries, size, &out.join(format!("throughput-{size}.svg")))?;
        lines(results, Measure::Cpu, size, &out.join(format!("cpu-{size}.svg")))?;
    }
    if results.cells.iter().any(|cell| cell.kind == Kind::Latency) {
        latency(results, &out.join("latency.svg"))?;
    }
    Ok(())
}

/// nlbus' two ways to publish, and the best variant of each peer in each cell.
fn series(results: &Results, measure: Measure, size: usize) -> Vec<Line> {
    let mut all = Vec::new();
    for name in [BUFFERED, UNBUFFERED] {
        all.push(Line { name: name.into(), ours: true, points: best(results, measure, size, |system| system == name) });
    }
    let mut peers: Vec<&str> = Vec::new();
    for system in &results.systems {
        if ![OURS, FLOOR].contains(&system.peer.as_str()) && !peers.contains(&system.peer.as_str()) {
            peers.push(&system.peer);
        }
    }
    for peer in peers {
        let of_peer = |name: &str| results.systems.iter().any(|system| system.name == name && system.peer == peer);
        all.push(Line { name: peer.into(), ours: false, points: best(results, measure, size, of_peer) });
    }
    all.retain(|line| !line.points.is_empty());
    all
}

fn best(results: &Results, measure: Measure, size: usize, is: impl Fn(&str) -> bool) -> Vec<(f64, Figure)> {
    let sign = if measure.more_is_better() { 1.0 } else { -1.0 };
    let best = |subs| {
        let systems = results.systems.iter().filter(|system| is(&system.name));
        let figures = systems.filter_map(|system| results.figure(&system.name, measure, size, subs));
        figures.max_by(|a, b| (a.median * sign).total_cmp(&(b.median * sign)))
    };
    results.subs().into_iter().filter_map(|subs| Some((subs as f64, best(subs)?))).collect()
}

fn lines(results: &Results, measure: Measure, size: usize, path: &Path) -> Result<()> {
    let lines = series(results, measure, size);
    let (title, y, write_y): (_, _, fn(f64) -> String) = match measure {
        Measure::Cpu => ("CPU time", "CPU seconds for a million deliveries", |value| format!("{value}")),
        _ => ("Throughput without loss", "deliveries/s over all subscribers", crate::table::count),
    };
    let area = SVGBackend::new(path, (900, 560)).into_drawing_area();
    area.fill(&WHITE).map_err(failed)?;
    let (plot, legend) = area.split_horizontally(700);
    let x = "subscribing processes";
    Chart { title: &format!("{title}, {size} B"), x, y, write_x: |value| format!("{value:.0}"), write_y }
        .draw(&plot, &lines)?;
    name_all(&legend, &lines)?;
    area.present().map_err(failed)
}

/// A row a system: p50, p99 and p99.9 on one line.
fn latency(results: &Results, path: &Path) -> Result<()> {
    let cells = results.cells.iter().filter(|cell| cell.kind == Kind::Latency);
    let measures = [Measure::P50, Measure::P99, Measure::P999];
    let mut rows: Vec<(&str, [f64; 3])> = cells
        .filter_map(|cell| {
            let of = |measure| crate::figures::figure(cell, measure).map(|figure| figure.median / 1e3);
            Some((cell.system.as_str(), [of(measures[0])?, of(measures[1])?, of(measures[2])?]))
        })
        .collect();
    rows.sort_by(|a, b| b.1[0].total_cmp(&a.1[0]));
    let area = SVGBackend::new(path, (900, 110 + 22 * rows.len() as u32)).into_drawing_area();
    area.fill(&WHITE).map_err(failed)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Latency at 2000 events/s, one subscriber: p50, p99, p99.9", ("sans-serif", 20))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(170)
        .build_cartesian_2d(range(rows.iter().flat_map(|row| row.1)).log_scale(), Rows(rows.len()))
        .map_err(failed)?;
    let name = |row: &f64| rows.get(*row as usize).map_or(String::new(), |row| row.0.to_owned());
    chart
        .configure_mesh()
        .x_desc("µs")
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&name)
        .y_labels(rows.len())
        .light_line_style(RGBColor(240, 240, 240))
        .draw()
        .map_err(failed)?;
    for (row, (system, values)) in rows.iter().enumerate() {
        let ours = results.systems.iter().any(|about| about.name == *system && about.peer == OURS);
        let colour = if ours { COLOURS[0] } else { COLOURS[2] };
        let y = row as f64;
        let line = PathElement::new(vec![(values[0], y), (values[2], y)], colour.stroke_width(1));
        chart.draw_series([line]).map_err(failed)?;
        let dots = values.iter().zip([6, 4, 2]).map(|(value, size)| Circle::new((*value, y), size, colour.filled()));
        chart.draw_series(dots).map_err(failed)?;
    }
    area.present().map_err(failed)
}

/// An axis with a place for each row.
struct Rows(usize);

impl Ranged for Rows {
    type FormatOption = plotters::coord::ranged1d::NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        limit.0 + ((value + 0.5) / self.0.max(1) as f64 * f64::from(limit.1 - limit.0)) as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        (0..self.0).map(|row| row as f64).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        -0.5..self.0 as f64 - 0.5
    }
}

impl plotters::coord::ranged1d::ValueFormatter<f64> for Rows {
    fn format(value: &f64) -> String {
        format!("{value:.0}")
    }
}
