//! The broker's own events: what says that it lives.

use anyhow::bail;
use nlbus::{Bus, Delivery, Subscription};

/// A subscription to them.
#[derive(Debug)]
pub struct Heartbeats {
    subscription: Subscription,
    interval_ms: u32,
}

impl Heartbeats {
    pub fn subscribe(bus: &Bus) -> anyhow::Result<Heartbeats> {
        Ok(Heartbeats { subscription: bus.subscribe("$SYS/heartbeat")?, interval_ms: bus.info()?.heartbeat_ms })
    }

    /// What has come, in words. None at all is an error where there should have been some.
    pub fn told(&mut self) -> anyhow::Result<String> {
        if self.interval_ms == 0 {
            return Ok("heartbeats are off".into());
        }
        let (mut beats, mut last) = (0, None);
        while let Ok(delivery) = self.subscription.try_recv() {
            if let Delivery::Event(event) = delivery {
                beats += 1;
                last = Some(event);
            }
        }
        let Some(last) = last else { bail!("no heartbeat came") };
        let origin = if last.sender().kernel { "kernel" } else { "user" };
        let Self { interval_ms, .. } = self;
        Ok(format!("{beats} heartbeats on {}, one every {interval_ms} ms, origin {origin}", last.topic()))
    }
}
