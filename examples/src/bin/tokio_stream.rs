//! Subscriptions as streams in tokio, on a connection without a thread: one task drives the connection, and any number of
//! others take what is delivered.

use futures_util::StreamExt;
use nlbus::{Bus, Delivery, Subscription};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits at the connection's descriptor and does its work.
async fn drive(bus: &Bus) -> anyhow::Result<()> {
    let Some(fd) = bus.fd() else { return Ok(()) };
    // SAFETY: the descriptor is a copy that `AsyncFd` owns: it is closed when that is dropped, and not before.
    let fd = unsafe { AsyncFd::register_with_interest(fd.try_clone_to_owned()?, Interest::READABLE)? };
    loop {
        let mut ready = fd.readable().await?;
        // Before the work: tokio tells of changes only, and one that comes meanwhile must not be forgotten.
        ready.clear_ready();
        while bus.turn() {
            tokio::task::yield_now().await;
        }
    }
}

async fn handle(name: &str, mut events: Subscription, enough: usize) -> anyhow::Result<()> {
    let mut seen = 0;
    while seen < enough
        && let Some(delivery) = events.next().await
    {
        if let Delivery::Event(event) = delivery {
            println!("{name}: {} #{}", event.topic(), event.seq());
            seen += 1;
        }
    }
    Ok(())
}

async fn publish(bus: &Bus) -> anyhow::Result<()> {
    for topic in ["tokio/a", "tokio/b", "tokio/a"] {
        // It only queues: a publish blocks where the broker's queue is full, and there `spawn_blocking` is right.
        bus.publish(topic, "hello")?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let bus = Bus::builder().direct().connect()?;
    let (all, one) = (bus.subscribe("tokio/#")?, bus.subscribe("tokio/b")?);
    // Ends with the first that fails: the others would wait for ever for what it didn't do.
    let work = async { tokio::try_join!(publish(&bus), handle("all", all, 3), handle("one", one, 1)) };
    tokio::select! {
        done = work => drop(done?),
        driven = drive(&bus) => driven?,
    }
    Ok(())
}
