//! This host's load, memory and pressure, from /proc, five times a second.

use crate::publishers::pace;
use anyhow::Context;
use nlbus::{Bus, Content};
use serde_json::{Map, Value, json};
use std::fs;
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(200);

/// Where a figure is found, where it goes, and how it is read.
type Figure = (&'static str, &'static str, fn(&str) -> Option<Value>);

const FIGURES: [Figure; 5] = [
    ("/proc/loadavg", "demo/host/load", load),
    ("/proc/meminfo", "demo/host/memory", memory),
    ("/proc/pressure/cpu", "demo/host/pressure/cpu", pressure),
    ("/proc/pressure/io", "demo/host/pressure/io", pressure),
    ("/proc/pressure/memory", "demo/host/pressure/memory", pressure),
];

pub fn publish(bus: &Bus, end: Instant) -> anyhow::Result<u64> {
    // A kernel without CONFIG_PSI, or with psi=0, has no pressure.
    let figures: Vec<_> = FIGURES.iter().filter(|(file, ..)| fs::read(file).is_ok()).collect();
    let (mut count, mut next) = (0, Instant::now());
    while pace(&mut next, STEP, end) {
        for (file, topic, read) in &figures {
            let text = fs::read_to_string(file).with_context(|| format!("can't read {file}"))?;
            let value = read(&text).with_context(|| format!("{file} isn't as expected: {text}"))?;
            bus.publish_content(topic, Content::Json, &value.to_string())?;
            count += 1;
        }
    }
    Ok(count)
}

/// `0.20 0.18 0.12 1/80 11206`
fn load(text: &str) -> Option<Value> {
    let mut averages = text.split_ascii_whitespace().map(|number| number.parse::<f64>().ok());
    Some(json!({ "1min": averages.next()??, "5min": averages.next()??, "15min": averages.next()?? }))
}

/// `MemTotal:       16384000 kB`, a line each
fn memory(text: &str) -> Option<Value> {
    let figure = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    Some(
        json!({ "total_kb": figure("MemTotal")?, "free_kb": figure("MemFree")?, "available_kb": figure("MemAvailable")? }),
    )
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and perhaps a line `full` like it
fn pressure(text: &str) -> Option<Value> {
    let lines = text.lines().map(|line| {
        let (kind, averages) = line.split_once(' ')?;
        let average = averages.split(' ').find_map(|average| average.strip_prefix("avg10="))?;
        Some((format!("{kind}_avg10"), average.parse::<f64>().ok()?.into()))
    });
    lines.collect::<Option<Map<_, _>>>().map(Value::Object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_the_kernel_writes_them() {
        assert_eq!(load("0.20 0.18 12.50 1/80 11206\n").unwrap(), json!({ "1min": 0.2, "5min": 0.18, "15min": 12.5 }));
        let text = "MemTotal:       16384000 kB\nMemFree:  5 kB\nMemAvailable:   6 kB\nHugePages_Total:       0\n";
        assert_eq!(memory(text).unwrap(), json!({ "total_kb": 16_384_000, "free_kb": 5, "available_kb": 6 }));
        let text = "some avg10=1.50 avg60=0.00 avg300=0.00 total=7\nfull avg10=0.25 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(pressure(text).unwrap(), json!({ "some_avg10": 1.5, "full_avg10": 0.25 }));
        for read in [load, memory, pressure] {
            assert_eq!(read("x"), None);
        }
    }
}
