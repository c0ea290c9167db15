//! How often something may happen: a bucket that fills steadily. No clock of its own.

use std::str::FromStr;
use std::time::{Duration, Instant};

/// So many in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    per: Duration,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let bad = || format!("'{text}' is no rate: it takes a number and s, min, h or day, like 10/s or 5/min");
        let (count, unit) = text.split_once('/').ok_or_else(bad)?;
        let count = count.parse().ok().filter(|count| *count > 0).ok_or_else(bad)?;
        let seconds = match unit {
            "s" => 1,
            "min" => 60,
            "h" => 3600,
            "day" => 86_400,
            _ => return Err(bad()),
        };
        Ok(Rate { count, per: Duration::from_secs(seconds) })
    }
}

impl Rate {
    /// A bucket that is full.
    pub fn begin(self) -> Limiter {
        Limiter { rate: self, left: self.count.into(), at: None }
    }
}

/// The bucket.
#[derive(Debug)]
pub struct Limiter {
    rate: Rate,
    left: f64,
    at: Option<Instant>,
}

impl Limiter {
    /// Whether one more is within the rate; then it is counted.
    pub fn admits(&mut self, now: Instant) -> bool {
        let count = f64::from(self.rate.count);
        if let Some(at) = self.at.replace(now) {
            let filled = now.saturating_duration_since(at).as_secs_f64() / self.rate.per.as_secs_f64() * count;
            self.left = (self.left + filled).min(count);
        }
        let admitted = self.left >= 1.0;
        if admitted {
            self.left -= 1.0;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        assert_eq!("10/s".parse(), Ok(Rate { count: 10, per: Duration::from_secs(1) }));
        assert_eq!("1/day".parse(), Ok(Rate { count: 1, per: Duration::from_secs(86_400) }));
        for bad in ["", "10", "0/s", "-1/s", "x/s", "1/fortnight", "/s"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_burst_is_the_count_and_then_it_is_steady() {
        let (mut limiter, start) = ("2/s".parse::<Rate>().unwrap().begin(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let admitted = [0, 1, 2, 499, 510, 520, 1020, 9000, 9001, 9002].map(|millis| limiter.admits(at(millis)));
        assert_eq!(admitted, [true, true, false, false, true, false, true, true, true, false]);
    }
}
