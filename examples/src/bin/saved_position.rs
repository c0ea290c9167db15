//! Going on after a restart: the position is kept in a file, and the next run begins behind what this one has dealt with.
//! Run it twice, and publish to `resume/jobs` in between: `saved_position [FILE [COUNT]]`.

use nlbus::{Bus, Delivery, Positions};
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> anyhow::Result<()> {
    let file = env::args_os().nth(1).map_or_else(|| env::temp_dir().join("nlbus-resume.json"), PathBuf::from);
    let count: usize = env::args().nth(2).map_or(Ok(3), |count| count.parse())?;
    let bus = Bus::connect()?;
    let subscriber = bus.subscriber("resume/#");
    let mut jobs = match load(&file)? {
        Some(positions) => subscriber.resume(positions).open()?,
        None => subscriber.open()?,
    };
    let mut positions = jobs.positions().clone();
    save(&file, &positions)?;
    println!("ready");
    let mut done = 0;
    while done < count {
        let delivery = jobs.recv()?;
        match &delivery {
            Delivery::Event(event) => {
                println!("{} #{}", event.topic(), event.seq());
                done += 1;
            }
            Delivery::Lost(lost) => println!("{} {} to {} came and went meanwhile", lost.topic, lost.from, lost.to),
            Delivery::Restarted(_) => println!("another broker: beginning with what it keeps"),
            _ => {}
        }
        // Only now: whatever ends this process, nothing is skipped. (What is dealt with and not saved comes again.)
        positions.advance(&delivery);
        save(&file, &positions)?;
    }
    Ok(())
}

fn load(file: &Path) -> anyhow::Result<Option<Positions>> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// In one step: after a crash there is the old position or the new one.
fn save(file: &Path, positions: &Positions) -> anyhow::Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, serde_json::to_vec(positions)?)?;
    Ok(fs::rename(new, file)?)
}
