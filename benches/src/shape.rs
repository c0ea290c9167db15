//! What else is on a bus, in the part that measures growth.

use serde::{Deserialize, Serialize};

/// The rest of a run's bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Whether it is as below. Else nothing is on it but one topic, which each subscriber has an exact filter for.
    pub furnished: bool,
    /// Topics that are published to in turn. Each subscriber follows them all by one filter with a wildcard.
    pub topics: usize,
    /// Topics that nobody publishes to or follows, each with an event.
    pub idle: usize,
    /// Filters with wildcards of each subscriber that match the topic, each for itself.
    pub matching: usize,
    /// Filters with wildcards of each subscriber that don't.
    pub others: usize,
    /// Bytes of each topic's history; 0 for the broker's default.
    pub history: u64,
}

impl Shape {
    /// What peers have, too.
    pub const PLAIN: Shape = Shape { furnished: false, topics: 1, idle: 0, matching: 1, others: 0, history: 0 };

    /// Where each axis begins: one topic, whose history is full, and one filter with a wildcard.
    pub const FURNISHED: Shape = Shape { furnished: true, ..Shape::PLAIN };
}

/// An argument of the processes of a run.
impl std::str::FromStr for Shape {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Shape, serde_json::Error> {
        serde_json::from_str(text)
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(&serde_json::to_string(self).map_err(|_| std::fmt::Error)?)
    }
}
