//! `nlbus-proc`: load, memory and pressure of this host as events, at an interval.

use clap::Parser;
use crossbeam_channel::{select, tick};
use nlbus_subscribers::end::End;
use nlbus_subscribers::service::{self, Connection, Service};
use nlbus_subscribers::sources::outlet::{Outlet, Publishing};
use nlbus_subscribers::sources::proc::{Load, Memory, Pressure, Unread};
use nlbus_subscribers::values;
use serde::Serialize;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;
use tracing::warn;

/// Publish this host's load, memory and pressure at an interval.
#[derive(Debug, Parser)]
#[command(name = env!("CARGO_BIN_NAME"), version, after_help = AFTER_HELP)]
struct Args {
    /// Time between two readings, like 500ms or 10s; at least a millisecond.
    #[arg(long, value_name = "DUR", default_value = "5s", value_parser = interval)]
    interval: Duration,
    #[command(flatten)]
    publishing: Publishing,
    #[command(flatten)]
    connection: Connection,
}

const AFTER_HELP: &str = "\
Topics:
  proc/loadavg          {\"one\",\"five\",\"fifteen\",\"runnable\",\"threads\"}
  proc/memory           {\"total\",\"free\",\"available\",\"cached\",\"buffers\",\"dirty\",\"swap_total\",
                        \"swap_free\"}, bytes
  proc/pressure/cpu, proc/pressure/memory, proc/pressure/io
                        {\"some\":{\"avg10\",\"avg60\",\"avg300\",\"total_us\"},\"full\"}
What this kernel doesn't have is said once and left out. The types are nlbus_subscribers::sources::proc::{Load,
Memory, Pressure}.

Examples:
  nlbus-proc --interval 1s &
  nlbus sub 'proc/pressure/+'

Environment: NLBUS_LOG is the level of this program's own log, like debug or warn [default: info]";

fn interval(text: &str) -> Result<Duration, String> {
    let interval = values::duration(text)?;
    if interval < Duration::from_millis(1) { Err("takes at least 1ms".into()) } else { Ok(interval) }
}

fn main() -> ExitCode {
    service::main(run)
}

fn run(args: Args, service: &Service) -> Result<(), End> {
    let bus = service.connect(&args.connection)?;
    let mut readings = Readings { outlet: Outlet::new(bus, args.publishing)?, absent: BTreeSet::new() };
    readings.publish_all()?;
    service.ready();
    // It doesn't drift: a tick that comes late doesn't put the next one off.
    let clock = tick(args.interval);
    loop {
        select! {
            recv(clock) -> _ => readings.publish_all()?,
            recv(service.stop()) -> _ => return readings.outlet.settle(),
        }
    }
}

struct Readings {
    outlet: Outlet,
    /// What was said to be absent.
    absent: BTreeSet<&'static str>,
}

impl Readings {
    fn publish_all(&mut self) -> Result<(), End> {
        self.publish("proc/loadavg", Load::read())?;
        self.publish("proc/memory", Memory::read())?;
        self.publish("proc/pressure/cpu", Pressure::read_cpu())?;
        self.publish("proc/pressure/memory", Pressure::read_memory())?;
        self.publish("proc/pressure/io", Pressure::read_io())
    }

    fn publish(&mut self, topic: &'static str, reading: Result<impl Serialize, Unread>) -> Result<(), End> {
        match reading {
            // What no broker took is old by the time there is one.
            Ok(reading) => self.outlet.publish(topic, &reading).map(drop),
            Err(error) => {
                if self.absent.insert(topic) {
                    warn!("nothing for {topic} on this host: {error}");
                }
                Ok(())
            }
        }
    }
}
