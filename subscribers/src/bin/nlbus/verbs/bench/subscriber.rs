//! The subscribers of a measurement: processes that say in lines what they took.

use super::clock::{cpu, now};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use hdrhistogram::Histogram;
use nlbus::{Bus, Delivery, Subscription};
use nlbus_subscribers::connect::connect;
use nlbus_subscribers::end::End;
use nlbus_subscribers::signals::is_closed;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::env;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{self, Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long subscribers may take after the last event was published.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest latency that is told apart from longer ones: a minute.
const LONGEST_NS: u64 = 60_000_000_000;

/// Bytes at the front of a payload: when it was published, or 0.
pub const STAMP_LEN: usize = 8;

/// Says in a payload when it is published.
pub fn stamp(payload: &mut [u8], now_ns: u64) {
    payload[..8].copy_from_slice(&now_ns.to_ne_bytes());
}

/// One of the subscribers.
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub struct Args {
    topic: String,
    /// Events of the first part, and of the second.
    counts: Vec<u64>,
}

/// What one took.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Taken {
    pub lost: u64,
    /// When it had the last one (`CLOCK_MONOTONIC`).
    pub end_ns: u64,
    /// CPU seconds.
    pub cpu: f64,
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
    pub max_ns: u64,
}

pub fn run(args: &Args) -> Result<(), End> {
    let bus = connect()?;
    let mut subscription = bus.subscribe(&args.topic)?;
    end_with_the_parent();
    say("ready")?;
    for count in &args.counts {
        let taken = take(&bus, &mut subscription, *count)?;
        say(&serde_json::to_string(&taken).unwrap_or_default())?;
    }
    Ok(())
}

/// Its end of standard input is closed with it.
fn end_with_the_parent() {
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        process::exit(1);
    });
}

fn say(line: &str) -> Result<(), End> {
    use io::Write;
    writeln!(io::stdout(), "{line}").map_err(End::output)
}

fn take(bus: &Bus, subscription: &mut Subscription, count: u64) -> Result<Taken, End> {
    let before = cpu();
    let latencies = Histogram::<u64>::new_with_max(LONGEST_NS, 3);
    let mut latencies = latencies.map_err(|error| End::Failed(format!("no histogram: {error}")))?;
    let (mut seen, mut lost) = (0, 0);
    while seen + lost < count {
        let delivery = subscription.recv().map_err(|_| End::Failed("the connection to the broker ended".into()))?;
        match delivery {
            Delivery::Event(event) => {
                seen += 1;
                let sent = event.payload().first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
                // Of the flood nobody wants to know: reading the clock is what costs then.
                if sent > 0 {
                    latencies.saturating_record(now().saturating_sub(sent));
                }
            }
            Delivery::Lost(gone) => lost += gone.count(),
            Delivery::Ended(_) | Delivery::Restarted(_) => {
                let epoch = bus.info().map(|info| info.epoch).unwrap_or_default();
                return Err(End::Failed(format!("the topic or the broker went (epoch {epoch}); measure again")));
            }
            _ => {}
        }
    }
    let quantile = |quantile: f64| latencies.value_at_quantile(quantile);
    let (p50_ns, p99_ns, p999_ns) = (quantile(0.5), quantile(0.99), quantile(0.999));
    Ok(Taken { lost, end_ns: now(), cpu: cpu() - before, p50_ns, p99_ns, p999_ns, max_ns: latencies.max() })
}

/// All of them. Ended when dropped.
pub struct Subscribers {
    children: Vec<Child>,
    lines: Vec<Receiver<String>>,
}

impl Subscribers {
    /// Starts so many, and waits until none can miss anything any more.
    ///
    /// # Errors
    /// When one can't subscribe, or the verb is to end.
    pub fn start(count: u32, topic: &str, flood: u64, paced: u64, stop: &Receiver<Infallible>) -> Result<Self, End> {
        let mut subscribers = Subscribers { children: Vec::new(), lines: Vec::new() };
        for _ in 0..count {
            let program =
                env::current_exe().map_err(|error| End::Failed(format!("can't find this program: {error}")))?;
            let mut command = Command::new(program);
            command.args(["bench-subscriber", topic, &flood.to_string(), &paced.to_string()]);
            let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
            let mut child = child.map_err(|error| End::Failed(format!("can't start a subscriber: {error}")))?;
            let (sender, lines) = bounded(2);
            if let Some(output) = child.stdout.take() {
                thread::spawn(move || pass_on(output, &sender));
            }
            subscribers.children.push(child);
            subscribers.lines.push(lines);
        }
        for line in subscribers.next(stop)? {
            if line != "ready" {
                return Err(End::Failed(format!("a subscriber said '{line}'")));
            }
        }
        Ok(subscribers)
    }

    /// What each took of a part.
    ///
    /// # Errors
    /// When one ended, or has waited for too long, or the verb is to end.
    pub fn taken(&mut self, stop: &Receiver<Infallible>) -> Result<Vec<Taken>, End> {
        let read =
            |line: &String| serde_json::from_str(line).map_err(|error| End::Failed(format!("'{line}': {error}")));
        self.next(stop)?.iter().map(read).collect()
    }

    /// The next line of each.
    fn next(&self, stop: &Receiver<Infallible>) -> Result<Vec<String>, End> {
        let deadline = Instant::now() + PATIENCE;
        let next = |lines: &Receiver<String>| loop {
            // It ends for the same signal as this does.
            match lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => return Ok(line),
                Err(_) if is_closed(stop) => return Err(End::Interrupted),
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(End::TimedOut(
                        "a subscriber doesn't get on; is the machine busy? measure again".into(),
                    ));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(End::Failed("a subscriber ended; what it said stands above".into()));
                }
            }
        };
        self.lines.iter().map(next).collect()
    }
}

impl Drop for Subscribers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn pass_on(output: impl Read, lines: &Sender<String>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if lines.send(line).is_err() {
            return;
        }
    }
}
