//! The latencies of a paced run, and of several together.

use serde::{Deserialize, Serialize};

/// Latencies of a paced run in nanoseconds, from before the publisher's call to the subscriber's hands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// How many events they are of.
    pub events: u64,
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
    /// The largest hundredth, largest first: what [`pooled_p999`] takes.
    pub tail: Vec<u64>,
}

impl Latency {
    /// Of what was measured, in any order.
    pub fn of(mut latencies: Vec<u64>) -> Latency {
        latencies.sort_unstable_by(|a, b| b.cmp(a));
        let above = |part: usize| latencies.get(latencies.len() / part).copied().unwrap_or_default();
        Latency {
            events: latencies.len() as u64,
            p50: above(2),
            p99: above(100),
            p999: above(1000),
            max: latencies.first().copied().unwrap_or_default(),
            tail: latencies[..latencies.len().div_ceil(100)].to_vec(),
        }
    }
}

/// p99.9 of the events of several runs together: exact, as long as one run has no more than ten times its share of the
/// slowest.
pub fn pooled_p999<'a>(runs: impl Iterator<Item = &'a Latency>) -> Option<u64> {
    let (mut events, mut tail) = (0, Vec::new());
    for run in runs {
        events += run.events;
        tail.extend_from_slice(&run.tail);
    }
    tail.sort_unstable_by(|a, b| b.cmp(a));
    tail.get(events as usize / 1000).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_has_its_part_above_it() {
        let latency = Latency::of((1..=4000).collect());
        assert_eq!((latency.p50, latency.p99, latency.p999, latency.max), (2000, 3960, 3996, 4000));
        assert_eq!((latency.events, latency.tail.len()), (4000, 40));
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }

    #[test]
    fn runs_that_are_pooled_have_the_quantile_of_all_their_events() {
        let (even, odd) = ((1..=2000).map(|n| 2 * n).collect(), (1..=2000).map(|n| 2 * n - 1).collect());
        let pooled = pooled_p999([Latency::of(even), Latency::of(odd)].iter());
        assert_eq!(pooled, Some(Latency::of((1..=4000).collect()).p999));
        assert_eq!(pooled_p999([].iter()), None);
    }
}
