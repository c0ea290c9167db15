//! A picture an axis: what a delivery costs, and how many there are in a second.

use super::axis::Axis;
use super::{Growth, Read};
use crate::chart::{Chart, Line, failed, name_all};
use crate::systems::OURS;
use anyhow::Result;
use plotters::prelude::*;
use std::path::Path;

/// Draws all that was measured into a folder.
pub fn draw(growth: &Growth, out: &Path) -> Result<()> {
    for axis in Axis::ALL {
        if growth.along(axis).next().is_some() {
            picture(growth, axis, &out.join(format!("growth-{}.svg", axis.name())))?;
        }
    }
    Ok(())
}

fn picture(growth: &Growth, axis: Axis, path: &Path) -> Result<()> {
    let area = SVGBackend::new(path, (1240, 480)).into_drawing_area();
    area.fill(&WHITE).map_err(failed)?;
    let (charts, legend) = area.split_horizontally(1080);
    let (left, right) = charts.split_horizontally(540);
    let panel = |area, title, read, y, write_y| {
        let chart = Chart { title, x: axis.title(), y, write_x: |value| format!("{value:.0}"), write_y };
        chart.draw(area, &lines(growth, axis, read))
    };
    panel(&left, "CPU time of a delivery", Read::Cost, "CPU ns of a delivery", |value| format!("{value:.0}"))?;
    panel(&right, "Throughput", Read::Deliveries, "deliveries/s", crate::table::count)?;
    name_all(&legend, &lines(growth, axis, Read::Cost))?;
    area.present().map_err(failed)
}

fn lines(growth: &Growth, axis: Axis, read: Read) -> Vec<Line> {
    let line = |curve: &super::Curve| Line {
        name: curve.system.clone(),
        ours: curve.system.starts_with(OURS),
        points: curve.figures(read).into_iter().map(|(at, figure)| (at as f64, figure)).collect(),
    };
    growth.along(axis).map(line).filter(|line| !line.points.is_empty()).collect()
}
