//! The synthetic publisher: small values of a type, many of them, in batches of one system call each.

use crate::publishers::pace;
use nlbus::{Bus, PublishReason};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Where they go.
pub const FILTER: &str = "demo/sensor/+/temp";

const SENSORS: u32 = 4;

/// Time between batches, and readings in each: 25 600 a second.
const STEP: Duration = Duration::from_millis(5);
const BATCH: u64 = 128;

/// A value of fixed width: kernel code could publish it as a packed struct.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    sensor: u32,
    count: u64,
    celsius: f32,
}

impl Reading {
    fn number(count: u64) -> Reading {
        let sensor = (count % u64::from(SENSORS)) as u32;
        Reading { sensor, count, celsius: 20.0 + (count % 1000) as f32 / 100.0 }
    }

    /// The topic it belongs to.
    pub fn topic(&self) -> String {
        format!("demo/sensor/{}/temp", self.sensor)
    }
}

pub fn publish(bus: &Bus, end: Instant) -> anyhow::Result<u64> {
    let mut batch = bus.batch();
    let (mut count, mut next) = (0, Instant::now());
    while pace(&mut next, STEP, end) {
        for reading in (count..count + BATCH).map(Reading::number) {
            let topic = reading.topic();
            match batch.push_value(&topic, &reading) {
                Err(error) if matches!(error.reason(), PublishReason::BatchFull) => {
                    batch.send()?;
                    batch.push_value(&topic, &reading)?;
                }
                pushed => pushed?,
            }
        }
        batch.send()?;
        count += BATCH;
    }
    Ok(count)
}
