//! The figures as pictures: throughput and CPU time over the number of subscribers, a picture a size, and latency.

use crate::figures::{Figure, Measure};
use crate::results::{Kind, Results};
use crate::systems::{BUFFERED, FLOOR, OURS, UNBUFFERED};
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, Ranged};
use plotters::prelude::*;
use std::path::Path;

/// Hues that are told apart, also by most who are colour-blind (Okabe and Ito's, and greys).
const COLOURS: [RGBColor; 12] = [
    RGBColor(213, 94, 0),
    RGBColor(230, 159, 0),
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(160, 140, 0),
    RGBColor(110, 110, 110),
    RGBColor(120, 60, 20),
    RGBColor(90, 60, 160),
    RGBColor(60, 120, 60),
    RGBColor(170, 170, 170),
];

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

/// A line of a picture.
struct Series {
    name: String,
    ours: bool,
    /// Number of subscribers, figure.
    points: Vec<(usize, Figure)>,
}

/// nlbus' two ways to publish, and the best variant of each peer in each cell.
fn series(results: &Results, measure: Measure, size: usize) -> Vec<Series> {
    let mut all = Vec::new();
    for name in [BUFFERED, UNBUFFERED] {
        all.push(Series {
            name: name.into(),
            ours: true,
            points: best(results, measure, size, |system| system == name),
        });
    }
    let mut peers: Vec<&str> = Vec::new();
    for system in &results.systems {
        if ![OURS, FLOOR].contains(&system.peer.as_str()) && !peers.contains(&system.peer.as_str()) {
            peers.push(&system.peer);
        }
    }
    for peer in peers {
        let of_peer = |name: &str| results.systems.iter().any(|system| system.name == name && system.peer == peer);
        all.push(Series { name: peer.into(), ours: false, points: best(results, measure, size, of_peer) });
    }
    all.retain(|series| !series.points.is_empty());
    all
}

fn best(results: &Results, measure: Measure, size: usize, is: impl Fn(&str) -> bool) -> Vec<(usize, Figure)> {
    let sign = if measure.more_is_better() { 1.0 } else { -1.0 };
    let best = |subs| {
        let systems = results.systems.iter().filter(|system| is(&system.name));
        let figures = systems.filter_map(|system| results.figure(&system.name, measure, size, subs));
        figures.max_by(|a, b| (a.median * sign).total_cmp(&(b.median * sign)))
    };
    results.subs().into_iter().filter_map(|subs| Some((subs, best(subs)?))).collect()
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("draw: {error}")
}

/// From somewhat below the least to somewhat above the most.
fn range(values: impl Iterator<Item = f64> + Clone) -> std::ops::Range<f64> {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let most = values.fold(0.0, f64::max);
    if least > most { 1.0..10.0 } else { (least.max(1e-6) / 1.5)..(most * 1.5) }
}

fn lines(results: &Results, measure: Measure, size: usize, path: &Path) -> Result<()> {
    let series = series(results, measure, size);
    let (title, axis) = match measure {
        Measure::Cpu => ("CPU time", "CPU seconds for a million deliveries"),
        _ => ("Throughput without loss", "deliveries/s over all subscribers"),
    };
    let area = SVGBackend::new(path, (900, 560)).into_drawing_area();
    area.fill(&WHITE).map_err(failed)?;
    let (plot, legend) = area.split_horizontally(700);
    let most = results.subs().last().copied().unwrap_or(1).max(2) as f64;
    let values = series.iter().flat_map(|series| &series.points).flat_map(|(_, figure)| [figure.min, figure.max]);
    let mut chart = ChartBuilder::on(&plot)
        .caption(format!("{title}, {size} B"), ("sans-serif", 20))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(80)
        .build_cartesian_2d((0.9..most * 1.1).log_scale(), range(values).log_scale())
        .map_err(failed)?;
    let write = |value: &f64| if measure == Measure::Cpu { format!("{value}") } else { crate::table::count(*value) };
    chart
        .configure_mesh()
        .x_desc("subscribing processes")
        .y_desc(axis)
        .y_label_formatter(&write)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .light_line_style(RGBColor(240, 240, 240))
        .draw()
        .map_err(failed)?;
    for (index, series) in series.iter().enumerate() {
        let style = COLOURS[index % COLOURS.len()].stroke_width(if series.ours { 4 } else { 2 });
        let points: Vec<(f64, f64)> =
            series.points.iter().map(|(subs, figure)| (*subs as f64, figure.median)).collect();
        chart.draw_series(LineSeries::new(points.clone(), style)).map_err(failed)?;
        let dots = points.iter().map(|point| Circle::new(*point, if series.ours { 5 } else { 3 }, style.filled()));
        chart.draw_series(dots).map_err(failed)?;
        let spreads = series.points.iter().map(|(subs, figure)| {
            PathElement::new(vec![(*subs as f64, figure.min), (*subs as f64, figure.max)], style.stroke_width(1))
        });
        chart.draw_series(spreads).map_err(failed)?;
    }
    name_all(&legend, series.iter().map(|series| series.name.as_str()))?;
    area.present().map_err(failed)
}

/// The names beside a picture, in its colours.
fn name_all<'a, B: DrawingBackend>(area: &DrawingArea<B, Shift>, names: impl Iterator<Item = &'a str>) -> Result<()> {
    for (index, name) in names.enumerate() {
        let y = 60 + 26 * index as i32;
        let colour = COLOURS[index % COLOURS.len()];
        let line = PathElement::new(vec![(0, y), (24, y)], colour.stroke_width(3));
        area.draw(&line).map_err(|error| failed(error.to_string()))?;
        let text = Text::new(name.to_owned(), (32, y - 8), ("sans-serif", 15));
        area.draw(&text).map_err(|error| failed(error.to_string()))?;
    }
    Ok(())
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
