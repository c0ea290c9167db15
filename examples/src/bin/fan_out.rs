//! One publisher, many processes: each gets every event, and a table shows who got what. The program starts itself as
//! the subscribers.

use nlbus::{Bus, Delivery};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{env, process};

const SUBSCRIBERS: usize = 4;
const EVENTS: u64 = 20_000;

fn main() -> anyhow::Result<()> {
    if env::args().nth(1).as_deref() == Some("subscriber") {
        return subscribe();
    }
    let bus = Bus::connect()?;
    let mut children = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let mut child = Command::new(env::current_exe()?).arg("subscriber").stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or_else(|| anyhow::anyhow!("no output"))?;
        children.push((child, BufReader::new(output).lines()));
    }
    for (_, lines) in &mut children {
        anyhow::ensure!(lines.next().transpose()?.as_deref() == Some("subscribed"), "a subscriber failed");
    }
    // A hundred small events are one datagram and one system call.
    let mut batch = bus.batch();
    for number in 1..=EVENTS {
        batch.push("fan_out/numbers", &number.to_le_bytes())?;
        if number % 100 == 0 {
            batch.send()?;
        }
    }
    bus.flush()?;
    println!("{:>8} {:>9} {:>6} {:>12}", "process", "received", "lost", "events/s");
    for (mut child, mut lines) in children {
        println!("{}", lines.next().transpose()?.unwrap_or_default());
        anyhow::ensure!(child.wait()?.success(), "a subscriber failed");
    }
    Ok(())
}

fn subscribe() -> anyhow::Result<()> {
    let bus = Bus::connect()?;
    let mut numbers = bus.subscribe("fan_out/numbers")?;
    println!("subscribed");
    let (mut received, mut lost, mut start) = (0, 0, None);
    while received + lost < EVENTS {
        match numbers.recv()? {
            Delivery::Event(_) => received += 1,
            Delivery::Lost(range) => lost += range.count(),
            other => anyhow::bail!("{other:?}"),
        }
        start.get_or_insert_with(Instant::now);
    }
    let seconds = start.map_or(0.0, |start| start.elapsed().as_secs_f64());
    println!("{:>8} {received:>9} {lost:>6} {:>12.0}", process::id(), received as f64 / seconds);
    Ok(())
}
