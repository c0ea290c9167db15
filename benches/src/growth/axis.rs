//! What is varied, from where to where, and what is wanted of the cost then.

use crate::shape::Shape;
use crate::system::Cell;
use crate::systems::{BUFFERED, UNBUFFERED};
use serde::{Deserialize, Serialize};

/// Bytes of a payload where that isn't what is varied.
const SIZE: usize = 64;

/// The largest payload that nlbus takes: `NLBUS_PAYLOAD_MAX`.
const PAYLOAD_MAX: u64 = nlbus::wire::uapi::NLBUS_PAYLOAD_MAX as u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// Subscribing processes.
    Subscribers,
    /// Topics that are published to in turn.
    Topics,
    /// Topics that exist, of which one is published to.
    Idle,
    /// Filters of a subscriber, of which one matches.
    Others,
    /// Filters of a subscriber that all match.
    Matching,
    /// Bytes of a topic's history.
    History,
    /// Bytes of a payload.
    Payload,
}

/// What is wanted of the CPU time of a delivery.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Claim {
    /// That it grows with at most this power of x: 0 is not at all, 1 is as x does.
    Exponent(f64),
    /// That the last point costs at most so many times what the first one does.
    Ratio(f64),
}

impl Axis {
    pub const ALL: [Axis; 7] =
        [Axis::Subscribers, Axis::Topics, Axis::Idle, Axis::Others, Axis::Matching, Axis::History, Axis::Payload];

    /// Where its picture is.
    pub fn name(self) -> &'static str {
        match self {
            Axis::Subscribers => "subscribers",
            Axis::Topics => "topics",
            Axis::Idle => "idle-topics",
            Axis::Others => "other-filters",
            Axis::Matching => "matching-filters",
            Axis::History => "history",
            Axis::Payload => "payload",
        }
    }

    /// What x is.
    pub fn title(self) -> &'static str {
        match self {
            Axis::Subscribers => "subscribing processes",
            Axis::Topics => "topics, published to in turn",
            Axis::Idle => "topics that exist, one published to",
            Axis::Others => "filters of the subscriber, one matching",
            Axis::Matching => "filters of the subscriber, all matching",
            Axis::History => "history of the topic, bytes",
            Axis::Payload => "payload, bytes",
        }
    }

    pub fn points(self) -> Vec<u64> {
        match self {
            Axis::Subscribers => (0..=8).map(|power| 1 << power).collect(),
            Axis::Topics | Axis::Idle => vec![1, 10, 100, 1_000, 10_000],
            Axis::Others | Axis::Matching => vec![1, 10, 100, 1_000],
            Axis::History => (0..=6).map(|power| (16 << 10) << (2 * power)).collect(),
            Axis::Payload => (2..=7).map(|power| 1 << (2 * power)).chain([PAYLOAD_MAX]).collect(),
        }
    }

    /// Who is measured: nlbus's two ways to publish, and multicast without a broker where that has the same axis.
    pub fn systems(self) -> &'static [&'static str] {
        match self {
            Axis::Subscribers => &[UNBUFFERED, BUFFERED, "netlink", "netlink-tuned"],
            _ => &[UNBUFFERED, BUFFERED],
        }
    }

    pub fn cell(self, at: u64) -> Cell {
        let (n, furnished) = (at as usize, Shape::FURNISHED);
        match self {
            Axis::Subscribers => Cell::new(SIZE, n, Shape::PLAIN),
            Axis::Topics => Cell::new(SIZE, 1, Shape { topics: n, ..furnished }),
            Axis::Idle => Cell::new(SIZE, 1, Shape { idle: n - 1, ..furnished }),
            Axis::Others => Cell::new(SIZE, 1, Shape { others: n - 1, ..furnished }),
            Axis::Matching => Cell::new(SIZE, 1, Shape { matching: n, ..furnished }),
            Axis::History => Cell::new(SIZE, 1, Shape { history: at, ..furnished }),
            Axis::Payload => Cell::new(n, 1, Shape::PLAIN),
        }
    }

    /// Whether it is also measured in a short run.
    pub fn is_few(self, at: u64) -> bool {
        match self {
            Axis::Subscribers => [1, 4, 16].contains(&at),
            Axis::Topics | Axis::Idle => [1, 100, 1_000].contains(&at),
            Axis::Others | Axis::Matching => [1, 10, 100].contains(&at),
            Axis::History => at <= 4 << 20,
            Axis::Payload => at <= 16_384,
        }
    }

    /// Of nlbus alone.
    pub fn claim(self) -> Claim {
        match self {
            Axis::Subscribers => Claim::Exponent(0.05),
            // Bytes are copied, so that a large event costs more: but none of its bytes more than a small one's.
            Axis::Payload => Claim::Exponent(1.0),
            // What is done once a run is done once an event, and 10 000 topics don't fit into a cache.
            Axis::Topics => Claim::Ratio(3.0),
            // The rest stays the same, to within what two runs differ by.
            Axis::Idle | Axis::Others | Axis::Matching | Axis::History => Claim::Ratio(1.25),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn along_an_axis_one_thing_changes() {
        for axis in Axis::ALL {
            let points = axis.points();
            assert!(points.is_sorted() && points.iter().any(|at| axis.is_few(*at)), "{axis:?}");
            for pair in points.windows(2) {
                let [from, to] = [pair[0], pair[1]].map(|at| axis.cell(at));
                let (a, b) = (from.shape, to.shape);
                let changes = [
                    from.size != to.size,
                    from.subs != to.subs,
                    a.furnished != b.furnished,
                    a.topics != b.topics,
                    a.idle != b.idle,
                    a.matching != b.matching,
                    a.others != b.others,
                    a.history != b.history,
                ];
                assert_eq!(changes.iter().filter(|changes| **changes).count(), 1, "{axis:?} {from:?} {to:?}");
            }
        }
    }
}
