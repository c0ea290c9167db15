//! `select!` over a subscription and other channels: a batch channel is a crossbeam channel like any other.

use crossbeam_channel::{bounded, select, tick};
use nlbus::{Bus, Delivery};
use std::time::Duration;

fn main() -> anyhow::Result<()> {
    let bus = Bus::connect()?;
    let sensors = bus.subscribe("select/sensors/+")?;
    let clock = tick(Duration::from_millis(20));
    let (commands, command) = bounded(1);
    let (mut ticks, mut events) = (0, 0);
    loop {
        select! {
            // What came in one datagram, for this subscription. Its room goes back when it is dropped.
            recv(sensors.batches()) -> batch => for delivery in batch? {
                if let Delivery::Event(event) = delivery {
                    println!("{} #{}", event.topic(), event.seq());
                    events += 1;
                    if events == 3 {
                        commands.send("stop")?;
                    }
                }
            },
            recv(clock) -> _ => {
                ticks += 1;
                bus.publish(&format!("select/sensors/{ticks}"), "21.5")?;
            }
            recv(command) -> word => {
                println!("told to {}", word?);
                return Ok(());
            }
        }
    }
}
