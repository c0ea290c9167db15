//! Values instead of bytes: what serde can serialise is published, and decoded by the subscriber. What isn't such a value
//! is a delivery of its own, and the subscription goes on.

use nlbus::{Bus, TypedDelivery};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Reading {
    sensor: u16,
    celsius: f32,
    note: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let bus = Bus::connect()?;
    let mut readings = bus.subscribe_as::<Reading>("typed/readings")?;
    bus.publish_value("typed/readings", &Reading { sensor: 7, celsius: 21.5, note: None })?;
    bus.publish("typed/readings", "what is this?")?;
    bus.publish_value("typed/readings", &Reading { sensor: 8, celsius: -3.0, note: Some("outside".into()) })?;
    let mut left = 3;
    while left > 0 {
        match readings.recv()? {
            TypedDelivery::Value(reading, event) => {
                println!("#{} sensor {}: {} °C {:?}", event.seq(), reading.sensor, reading.celsius, reading.note);
                left -= 1;
            }
            TypedDelivery::Undecodable(event, error) => {
                println!("#{} of process {}: {error}", event.seq(), event.sender().pid);
                left -= 1;
            }
            other => println!("{other:?}"),
        }
    }
    Ok(())
}
