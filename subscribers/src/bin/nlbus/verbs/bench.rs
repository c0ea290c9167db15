//! `nlbus bench`: how fast the bus of this host is. One publisher, and subscribers that are processes of their own: this command,
//! started again. So many events are published as fast as the broker takes them; docs/BENCHMARKS.md is of runs of so long, with the
//! publisher held near the slowest subscriber, and has other figures.

mod clock;
mod subscriber;

use clock::{cpu, cpu_of, now};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use nlbus::{BrokerKind, Bus, Info};
use nlbus_subscribers::clients::clients;
use nlbus_subscribers::connect::connect;
use nlbus_subscribers::end::End;
use nlbus_subscribers::signals::{Interrupts, is_closed};
use nlbus_subscribers::values;
use serde::Serialize;
use std::convert::Infallible;
use std::fmt;
use std::io::{self, Write};
use std::process;
use std::time::{Duration, Instant};
use subscriber::{Subscribers, Taken};

pub use subscriber::{Args as SubscriberArgs, run as run_subscriber};

/// Measure throughput and latency of this host's bus.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many subscribers, each a process.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    subs: u32,
    /// Bytes of an event's payload, from 8 up.
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = payload_size)]
    size: usize,
    /// How many events are published as fast as the broker takes them.
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Publish each event by itself, in place of many in a datagram.
    #[arg(long)]
    unbuffered: bool,
    /// Events a second of which the latency is measured, for two seconds.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rate: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// How long the latency is measured.
const PACED: Duration = Duration::from_secs(2);

fn payload_size(text: &str) -> Result<usize, String> {
    let most = nlbus::wire::uapi::NLBUS_PAYLOAD_MAX;
    match values::size(text)? {
        size if (subscriber::STAMP_LEN as u64..=most as u64).contains(&size) => Ok(size as usize),
        _ => Err(format!("takes {} to {most} bytes", subscriber::STAMP_LEN)),
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Results {
    broker: &'static str,
    subscribers: u32,
    size: usize,
    events: u64,
    buffered: bool,
    /// Of all subscribers together.
    deliveries_per_second: f64,
    lost: u64,
    /// Of all processes; of the broker's as far as it is one, and can be seen.
    cpu_seconds_per_million_deliveries: f64,
    /// From before an event is published until a subscriber has it, microseconds.
    latency_us: Latency,
    latency_rate: u64,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
    #[serde(rename = "p99.9")]
    p999: f64,
    max: f64,
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50, p99, p999, max } = &self.latency_us;
        let how = if self.buffered { "buffered" } else { "one by one" };
        let mut line = |key: &str, value: String| writeln!(f, "{key:<12}{value}");
        line("broker", self.broker.into())?;
        line("events", format!("{} of {} bytes, {how}, to {} subscribers", self.events, self.size, self.subscribers))?;
        line("throughput", format!("{:.0} deliveries/s", self.deliveries_per_second))?;
        line("lost", self.lost.to_string())?;
        line("cpu", format!("{:.3} s per million deliveries", self.cpu_seconds_per_million_deliveries))?;
        let rate = self.latency_rate;
        line(
            "latency",
            format!("p50 {p50:.1} µs, p99 {p99:.1} µs, p99.9 {p999:.1} µs, max {max:.1} µs, at {rate} events/s"),
        )
    }
}

pub fn run(args: &Args) -> Result<(), End> {
    let stop = Interrupts::exit().and_then(Interrupts::close).map_err(End::signals)?;
    let bus = connect()?;
    let info = bus.info()?;
    // A topic of its own, with room for all of it as far as one may have that: then a slow subscriber is repaired.
    let topic = format!("bench/{}", process::id());
    let wanted = args.count.saturating_mul(args.size as u64 + 128);
    bus.topic_options(&topic).history(wanted.min(info.limits.history / 4 * 3)).create_new()?;
    let measured = Bench { args, bus: &bus, info: &info, topic: &topic, stop: &stop }.measure();
    // Whatever became of it.
    let deleted = bus.delete_topic(&topic);
    let results = measured?;
    deleted?;
    let shown =
        if args.json { serde_json::to_string(&results).unwrap_or_default() + "\n" } else { results.to_string() };
    io::stdout().write_all(shown.as_bytes()).map_err(End::output)
}

struct Bench<'a> {
    args: &'a Args,
    bus: &'a Bus,
    info: &'a Info,
    topic: &'a str,
    stop: &'a Receiver<Infallible>,
}

impl Bench<'_> {
    fn measure(&self) -> Result<Results, End> {
        let Args { subs, size, count, rate, unbuffered, .. } = *self.args;
        let paced = rate * PACED.as_secs();
        let mut subscribers = Subscribers::start(subs, self.topic, count, paced, self.stop)?;
        let broker = self.broker();
        let before = (cpu(), broker.and_then(cpu_of));
        let start = now();
        self.flood()?;
        let taken = subscribers.taken(self.stop)?;
        let after = (cpu(), broker.and_then(cpu_of));
        let end = taken.iter().map(|taken| taken.end_ns).max().unwrap_or(start).max(start + 1);
        let lost: u64 = taken.iter().map(|taken| taken.lost).sum();
        let deliveries = u64::from(subs) * count - lost;
        let spent = (after.0 - before.0)
            + after.1.zip(before.1).map_or(0.0, |(after, before)| after - before)
            + taken.iter().map(|taken| taken.cpu).sum::<f64>();
        self.pace(paced)?;
        let latency_us = latency(&subscribers.taken(self.stop)?);
        Ok(Results {
            broker: if self.info.broker == BrokerKind::Module { "module" } else { "user" },
            subscribers: subs,
            size,
            events: count,
            buffered: !unbuffered,
            deliveries_per_second: deliveries as f64 / ((end - start) as f64 / 1e9),
            lost,
            cpu_seconds_per_million_deliveries: spent / (deliveries.max(1) as f64 / 1e6),
            latency_us,
            latency_rate: rate,
        })
    }

    /// The user broker's process, as far as it can be seen.
    fn broker(&self) -> Option<i32> {
        let port = self.info.publish_port;
        let all = clients(self.info.protocol).ok()?;
        all.into_iter().find(|client| port != 0 && client.socket.portid == port)?.process.map(|(pid, _)| pid)
    }

    fn flood(&self) -> Result<(), End> {
        let buffered = self.bus.buffered();
        let payload = vec![0; self.args.size];
        for number in 0..self.args.count {
            match self.args.unbuffered {
                true => self.bus.publish(self.topic, &payload)?,
                false => buffered.publish(self.topic, &payload)?,
            }
            if number % 4096 == 0 && is_closed(self.stop) {
                return Err(End::Interrupted);
            }
        }
        buffered.flush()?;
        Ok(self.bus.flush()?)
    }

    fn pace(&self, count: u64) -> Result<(), End> {
        let start = Instant::now();
        let mut payload = vec![0; self.args.size];
        for number in 0..count {
            let due = start + Duration::from_nanos(number * 1_000_000_000 / self.args.rate);
            if self.stop.recv_deadline(due) == Err(RecvTimeoutError::Disconnected) {
                return Err(End::Interrupted);
            }
            subscriber::stamp(&mut payload, now());
            self.bus.publish(self.topic, &payload)?;
        }
        Ok(self.bus.flush()?)
    }
}

/// Of all that the subscribers took, the quantiles of the slowest one.
fn latency(taken: &[Taken]) -> Latency {
    let worst = |of: fn(&Taken) -> u64| taken.iter().map(of).max().unwrap_or_default() as f64 / 1e3;
    Latency {
        p50: worst(|taken| taken.p50_ns),
        p99: worst(|taken| taken.p99_ns),
        p999: worst(|taken| taken.p999_ns),
        max: worst(|taken| taken.max_ns),
    }
}
