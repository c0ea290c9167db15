//! The figures of each axis, and whether the cost grows as it is wanted to.

use super::axis::{Axis, Claim};
use super::{Curve, Read, fit};
use crate::figures::{ENOUGH, Figure};
use crate::results::Results;
use crate::systems::OURS;
use crate::table::{count, with_spread};
use std::fmt::Write;

/// The verdicts, then the figures of each axis.
pub fn markdown(results: &Results) -> String {
    let mut text = String::new();
    let growth = &results.growth;
    if growth.curves.is_empty() {
        return text;
    }
    let _ = writeln!(
        text,
        "CPU ns of a delivery, all processes together. The exponent is that of the power that fits best: 0 where the cost \
         stays the same, 1 where it grows as x does.\n\n\
         | x | system | from | to | at the first | at the last | last to first | last to least | exponent | wanted | |\n\
         |---|---|---|---|---|---|---|---|---|---|---|"
    );
    for curve in Axis::ALL.iter().flat_map(|axis| growth.along(*axis)) {
        verdict(curve, &mut text);
    }
    for axis in Axis::ALL {
        let curves: Vec<&Curve> = growth.along(axis).collect();
        if !curves.is_empty() {
            figures(axis, &curves, &mut text);
        }
    }
    text
}

fn verdict(curve: &Curve, text: &mut String) {
    let figures = curve.figures(Read::Cost);
    let (Some((from, first)), Some((to, last))) = (figures.first(), figures.last()) else { return };
    let medians: Vec<(f64, f64)> = figures.iter().map(|(at, figure)| (*at as f64, figure.median)).collect();
    let (exponent, ratio) = (fit::exponent(&medians), fit::ratio(&medians));
    let write = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.2}"));
    let claim = curve.system.starts_with(OURS).then(|| curve.axis.claim());
    let wanted = match claim {
        Some(Claim::Exponent(most)) => format!("exponent ≤ {most}"),
        Some(Claim::Ratio(most)) => format!("last to first ≤ {most}"),
        None => "for comparison".into(),
    };
    let complete = figures.len() == curve.points.len();
    let fewest = figures.iter().map(|(_, figure)| figure.clean()).min().unwrap_or_default();
    let word = match claim.map(|claim| claim.holds(exponent, ratio)) {
        None => String::new(),
        Some(None) => "not measured".into(),
        Some(Some(false)) => "**falls short**".into(),
        Some(Some(true)) if !complete => "open: would pass, but points are missing".into(),
        Some(Some(true)) if fewest < ENOUGH => {
            "open: would pass, but rests on fewer than two clean runs at some point".into()
        }
        Some(Some(true)) => "pass".into(),
    };
    let cost = |figure: &Figure| with_spread(figure, |ns| format!("{ns:.0}"));
    let _ = writeln!(
        text,
        "| {} | {} | {from} | {to} | {} | {} | {}× | {}× | {} | {wanted} | {word} |",
        curve.axis.title(),
        curve.system,
        cost(first),
        cost(last),
        write(ratio),
        write(fit::rise(&medians)),
        write(exponent),
    );
}

impl Claim {
    /// `None` where there is nothing to judge by.
    fn holds(self, exponent: Option<f64>, ratio: Option<f64>) -> Option<bool> {
        match self {
            Claim::Exponent(most) => exponent.map(|exponent| exponent <= most),
            Claim::Ratio(most) => ratio.map(|ratio| ratio <= most),
        }
    }
}

/// All points of an axis.
fn figures(axis: Axis, curves: &[&Curve], text: &mut String) {
    let _ = write!(text, "\n| {} |", axis.title());
    for curve in curves {
        let _ = write!(text, " {}, CPU ns | deliveries/s |", curve.system);
    }
    let _ = writeln!(text, "\n|---|{}", "---|---|".repeat(curves.len()));
    let mut points: Vec<u64> = curves.iter().flat_map(|curve| &curve.points).map(|point| point.at).collect();
    points.sort_unstable();
    points.dedup();
    for at in points {
        let _ = write!(text, "| {at} |");
        for curve in curves {
            let show = |read, write: &dyn Fn(f64) -> String| {
                let point = curve.points.iter().find(|point| point.at == at);
                let figure = point.and_then(|point| point.figure(read));
                figure.map_or("–".into(), |figure| with_spread(&figure, write))
            };
            let _ = write!(text, " {} |", show(Read::Cost, &|ns| format!("{ns:.0}")));
            let _ = write!(text, " {} |", show(Read::Deliveries, &count));
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_holds_up_to_what_it_says() {
        assert_eq!(Claim::Exponent(0.05).holds(Some(0.05), Some(9.0)), Some(true));
        assert_eq!(Claim::Exponent(0.05).holds(Some(0.06), Some(0.5)), Some(false));
        assert_eq!(Claim::Ratio(2.0).holds(Some(9.0), Some(2.0)), Some(true));
        assert_eq!(Claim::Ratio(2.0).holds(Some(0.0), Some(2.1)), Some(false));
        assert_eq!(Claim::Ratio(2.0).holds(Some(0.0), None), None);
    }
}
