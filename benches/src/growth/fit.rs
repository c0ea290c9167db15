//! How a cost grows.

/// The exponent of x in the power of x that fits best: the slope of the least squares in logarithms. `None` for fewer than
/// two different x.
pub fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len() as f64;
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / n;
    let (x_mean, y_mean) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = logs.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let variance: f64 = logs.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    (variance > 0.0).then(|| covariance / variance)
}

/// The last one to the first.
pub fn ratio(points: &[(f64, f64)]) -> Option<f64> {
    let ((_, first), (_, last)) = (points.first()?, points.last()?);
    (points.len() > 1).then(|| last / first)
}

/// The last one to the least: what an early fall would hide.
pub fn rise(points: &[(f64, f64)]) -> Option<f64> {
    let least = points.iter().map(|(_, y)| *y).min_by(f64::total_cmp)?;
    points.last().map(|(_, last)| last / least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_has_its_exponent() {
        for power in [-1.0, 0.0, 0.5, 1.0, 2.0] {
            let points: Vec<(f64, f64)> = (0..5).map(|n| f64::from(1 << n)).map(|x| (x, 7.0 * x.powf(power))).collect();
            assert!((exponent(&points).unwrap() - power).abs() < 1e-9, "{power}");
            assert!((ratio(&points).unwrap() - 16f64.powf(power)).abs() < 1e-9, "{power}");
        }
    }

    #[test]
    fn a_rise_begins_at_the_least() {
        assert_eq!(rise(&[(1.0, 8.0), (2.0, 2.0), (4.0, 3.0)]), Some(1.5));
        assert_eq!((rise(&[(1.0, 8.0)]), rise(&[])), (Some(1.0), None));
    }

    #[test]
    fn a_point_has_none() {
        assert_eq!((exponent(&[]), ratio(&[])), (None, None));
        assert_eq!((exponent(&[(1.0, 2.0)]), ratio(&[(1.0, 2.0)])), (None, None));
        assert_eq!(exponent(&[(1.0, 2.0), (1.0, 3.0)]), None);
    }
}
