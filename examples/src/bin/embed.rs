//! A subscriber inside a program that does something else: a worker thread handles what is delivered, while the program
//! goes on.

use nlbus::{Bus, Delivery, Subscription};
use std::thread;

/// Handles deliveries until there is no more work, and returns how many jobs it did.
fn work(mut jobs: Subscription) -> usize {
    let mut done = 0;
    for delivery in jobs.iter() {
        match delivery {
            Delivery::Event(event) if event.payload() == b"enough" => break,
            Delivery::Event(event) => {
                println!("worker: {}", event.payload().escape_ascii());
                done += 1;
            }
            // Not to be passed over: these jobs won't come again.
            Delivery::Lost(lost) => eprintln!("worker: {} jobs are lost", lost.count()),
            Delivery::Restarted(_) => eprintln!("worker: another broker; jobs may be lost"),
            _ => {}
        }
    }
    done
}

fn main() -> anyhow::Result<()> {
    let bus = Bus::connect()?;
    // Before anything is published: from here on nothing is missed.
    let jobs = bus.subscribe("embed/jobs")?;
    let worker = thread::spawn(move || work(jobs));
    for number in 1..=3 {
        bus.publish("embed/jobs", &format!("job {number}"))?;
    }
    bus.publish("embed/jobs", "enough")?;
    let done = worker.join().map_err(|_| anyhow::anyhow!("the worker panicked"))?;
    println!("main: the worker did {done} jobs");
    // Tells of refusals, if there were any.
    bus.close()?;
    Ok(())
}
