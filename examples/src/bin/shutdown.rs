//! A graceful end: SIGINT and SIGTERM are one more channel, what was published before is still handled, and the status
//! says that all went well.

use crossbeam_channel::{bounded, select};
use nlbus::{Bus, Delivery, Positions};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::thread;

fn main() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (sender, signal) = bounded(1);
    thread::spawn(move || signals.forever().try_for_each(|signal| sender.send(signal)));

    let bus = Bus::connect()?;
    let mut work = bus.subscribe("shutdown/work")?;
    println!("process {} waits for work at shutdown/work, or for SIGTERM", std::process::id());
    let (mut done, mut place) = (0, work.positions().clone());
    let mut handle = |delivery: Delivery, place: &mut Positions| {
        if let Some(event) = delivery.event() {
            println!("working on {}", event.payload().escape_ascii());
            done += 1;
        }
        place.advance(&delivery);
    };
    loop {
        select! {
            recv(work.batches()) -> batch => batch?.for_each(|delivery| handle(delivery, &mut place)),
            recv(signal) -> signal => {
                println!("signal {}", signal?);
                break;
            }
        }
    }
    // What the broker has taken by now is still ours to handle.
    if let Some(topic) = bus.topic("shutdown/work")? {
        while place.seq(topic.id).unwrap_or_default() < topic.head {
            let delivery = work.recv()?;
            let restarted = matches!(delivery, Delivery::Restarted(_));
            handle(delivery, &mut place);
            if restarted {
                // What the old broker had taken went with it, and its number is never reached.
                println!("another broker; what the old one had left is lost");
                break;
            }
        }
    }
    bus.close()?;
    println!("handled {done} events, and none is left");
    Ok(())
}
