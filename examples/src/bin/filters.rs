//! Several filters in one process, each with a handler of its own: one connection, one background thread, and a slow
//! handler fills its own channel only.

use nlbus::{Bus, Event, Start};
use std::thread;

fn main() -> anyhow::Result<()> {
    let bus = Bus::connect()?;
    bus.publish_acked("filters/config/rate", "10")?;
    type Handler = fn(&Event) -> String;
    let handlers: [(&str, Start, Handler); 3] = [
        ("filters/alarms/#", Start::Live, |event| format!("ALARM {}", event.payload().escape_ascii())),
        ("filters/+/rate", Start::Last(1), |event| format!("rate is {}", event.payload().escape_ascii())),
        ("filters/#", Start::Live, |event| format!("seen {} #{}", event.topic(), event.seq())),
    ];
    // How many each of them is to handle here, so that this example comes to an end.
    let enough = [1, 2, 2];
    let mut threads = Vec::new();
    for ((filter, start, handle), enough) in handlers.into_iter().zip(enough) {
        let mut subscription = bus.subscriber(filter).start(start).open()?;
        threads.push(thread::spawn(move || {
            let events = subscription.iter().filter_map(nlbus::Delivery::into_event);
            events.take(enough).for_each(|event| println!("[{filter}] {}", handle(&event)));
        }));
    }
    bus.publish("filters/alarms/door", "open")?;
    bus.publish("filters/config/rate", "20")?;
    bus.flush()?;
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a handler panicked"))?;
    }
    Ok(())
}
