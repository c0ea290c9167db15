//! Figures as lines over a number, both in powers of ten.

use crate::figures::Figure;
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

/// Hues that are told apart, also by most who are colour-blind (Okabe and Ito's, and greys).
pub const COLOURS: [RGBColor; 12] = [
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

/// A line of a picture.
pub struct Line {
    pub name: String,
    /// Drawn bold.
    pub ours: bool,
    pub points: Vec<(f64, Figure)>,
}

/// A picture's words.
pub struct Chart<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    pub write_x: fn(f64) -> String,
    pub write_y: fn(f64) -> String,
}

impl Chart<'_> {
    /// Draws medians as lines, and from the least to the most upright.
    pub fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, lines: &[Line]) -> Result<()> {
        let failed = |error: DrawingAreaErrorKind<B::ErrorType>| anyhow!("draw: {error}");
        let points = || lines.iter().flat_map(|line| &line.points);
        let (least, most) = points().fold((f64::MAX, 2.0f64), |(least, most), (x, _)| (least.min(*x), most.max(*x)));
        let values = points().flat_map(|(_, figure)| [figure.min, figure.max]);
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, ("sans-serif", 20))
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(80)
            .build_cartesian_2d((least * 0.9..most * 1.1).log_scale(), decades(range(values)).log_scale())
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .x_label_formatter(&|x| (self.write_x)(*x))
            .y_label_formatter(&|y| (self.write_y)(*y))
            .light_line_style(RGBColor(240, 240, 240))
            .draw()
            .map_err(failed)?;
        for (index, line) in lines.iter().enumerate() {
            let style = COLOURS[index % COLOURS.len()].stroke_width(if line.ours { 4 } else { 2 });
            let medians: Vec<(f64, f64)> = line.points.iter().map(|(x, figure)| (*x, figure.median)).collect();
            chart.draw_series(LineSeries::new(medians.clone(), style)).map_err(failed)?;
            let dots = medians.iter().map(|point| Circle::new(*point, if line.ours { 5 } else { 3 }, style.filled()));
            chart.draw_series(dots).map_err(failed)?;
            let spreads = line
                .points
                .iter()
                .map(|(x, figure)| PathElement::new(vec![(*x, figure.min), (*x, figure.max)], style.stroke_width(1)));
            chart.draw_series(spreads).map_err(failed)?;
        }
        Ok(())
    }
}

/// The names beside a picture, in its colours.
pub fn name_all<B: DrawingBackend>(area: &DrawingArea<B, Shift>, lines: &[Line]) -> Result<()> {
    for (index, line) in lines.iter().enumerate() {
        let y = 60 + 26 * index as i32;
        let colour = COLOURS[index % COLOURS.len()];
        let stroke = PathElement::new(vec![(0, y), (24, y)], colour.stroke_width(3));
        area.draw(&stroke).map_err(|error| failed(error.to_string()))?;
        let text = Text::new(line.name.clone(), (32, y - 8), ("sans-serif", 15));
        area.draw(&text).map_err(|error| failed(error.to_string()))?;
    }
    Ok(())
}

/// From somewhat below the least to somewhat above the most.
pub fn range(values: impl Iterator<Item = f64> + Clone) -> std::ops::Range<f64> {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let most = values.fold(0.0, f64::max);
    if least > most { 1.0..10.0 } else { (least.max(1e-6) / 1.5)..(most * 1.5) }
}

/// Down and up to powers of ten, so that some of them are on the axis.
fn decades(range: std::ops::Range<f64>) -> std::ops::Range<f64> {
    10f64.powf(range.start.log10().floor())..10f64.powf(range.end.log10().ceil())
}

/// What went wrong with a picture.
pub fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("draw: {error}")
}
