//! A broker inside a program: for tests, and for programs that want a bus of their own on any kernel. Other processes of
//! the same network namespace take part, if they know the port.
//!
//! Joining a group takes `CAP_NET_ADMIN`: run it as root, or inside `unshare -Urn`.

use nlbus::{Broker, Bus, Choice};
use std::process;

fn main() -> anyhow::Result<()> {
    // Below 2^31 and above the process ids, so that the kernel gives it to nobody unasked.
    let port = 0x2000_0000 + 2 * process::id();
    let broker = Broker::builder().port(port).spawn()?;
    let bus = Bus::builder().broker(Choice::User).port(port).connect()?;
    let mut subscription = bus.subscribe("inside/#")?;
    bus.publish("inside/greeting", "hello from within")?;
    if let Some(event) = subscription.recv()?.into_event() {
        println!("{}: {}", event.topic(), event.payload().escape_ascii());
    }
    bus.close()?;
    broker.stop()?;
    println!("the broker has ended");
    Ok(())
}
