//! Subscribe, publish, and see the event come back. Needs a broker: the module, or `nlbus broker` in another terminal.

use nlbus::{Bus, Delivery};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = Bus::connect()?; // the module where it is loaded, else the user broker
    let mut temperatures = bus.subscribe("sensors/+/temp")?; // from here on nothing is missed
    let seq = bus.publish_acked("sensors/1/temp", "21.5")?;
    println!("published as number {seq}");
    for delivery in temperatures.iter() {
        match delivery {
            Delivery::Event(event) => {
                println!("{} #{}: {}", event.topic(), event.seq(), event.payload().escape_ascii());
                break;
            }
            Delivery::Lost(lost) => println!("{} lost {} to {}", lost.topic, lost.from, lost.to),
            Delivery::Restarted(_) => println!("the broker restarted"),
            _ => {}
        }
    }
    Ok(())
}
