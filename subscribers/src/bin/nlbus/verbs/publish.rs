//! `nlbus pub`: a message, a number of them, or standard input as events. Whatever was published, an ack
//! comes last, so that a refusal is this command's failure.

use nlbus::{Bus, Content, PublishBatch, PublishError, PublishReason};
use nlbus_subscribers::connect::connect;
use nlbus_subscribers::end::End;
use nlbus_subscribers::signals::Interrupts;
use nlbus_subscribers::values;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

/// More than the longest payload (`NLBUS_PAYLOAD_MAX`), so that what is longer is seen to be.
const INPUT_MAX: u64 = nlbus::wire::uapi::NLBUS_PAYLOAD_MAX as u64 + 1;

/// How much of standard input is looked at for lines at once.
const INPUT_BUFFER: usize = 1 << 17;

/// Publish events: MESSAGE, or standard input.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topic to publish to.
    #[arg(value_parser = values::topic)]
    topic: String,
    /// The event's payload; standard input unless given.
    message: Option<String>,
    /// Publish each line of standard input as an event.
    #[arg(long, conflicts_with_all = ["message", "count"])]
    lines: bool,
    /// Publish the event this many times.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Time between two events, like 500ms, 10s or 2m.
    #[arg(long, value_name = "DUR", value_parser = values::duration)]
    interval: Option<Duration>,
    /// Wait for each event's ack and print its sequence number.
    #[arg(long)]
    ack: bool,
    /// Fail instead of waiting when the broker's queue is full.
    #[arg(long)]
    no_wait: bool,
    /// What the payload is; unless given, text where it is UTF-8, else opaque.
    #[arg(long)]
    content: Option<ContentArg>,
    /// Print nothing, not even what failed.
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ContentArg {
    Text,
    Json,
    Bincode,
    Opaque,
}

pub fn run(args: &Args) -> Result<(), End> {
    Interrupts::exit().map_err(|error| End::Failed(format!("can't handle signals: {error}")))?;
    let bus = connect()?;
    let mut outlet = Outlet::new(args, &bus);
    match &args.message {
        Some(message) => repeat(&mut outlet, message.as_bytes(), args.count)?,
        None if args.lines => lines(&mut outlet, io::stdin().lock())?,
        None => repeat(&mut outlet, &whole(io::stdin().lock())?, args.count)?,
    }
    outlet.finish()
}

fn repeat(outlet: &mut Outlet<'_>, payload: &[u8], count: u64) -> Result<(), End> {
    (0..count).try_for_each(|_| outlet.publish(payload))
}

/// All of the input as one payload.
fn whole(input: impl Read) -> Result<Vec<u8>, End> {
    let mut payload = Vec::new();
    input.take(INPUT_MAX).read_to_end(&mut payload).map_err(bad_input)?;
    match payload.len() as u64 {
        INPUT_MAX => Err(too_long("standard input has")),
        _ => Ok(payload),
    }
}

/// Each line as an event. What can be read without waiting goes together.
fn lines(outlet: &mut Outlet<'_>, input: impl Read) -> Result<(), End> {
    let mut input = BufReader::with_capacity(INPUT_BUFFER, input);
    let mut line = Vec::new();
    loop {
        if !input.buffer().contains(&b'\n') {
            outlet.send()?;
        }
        line.clear();
        let read = input.by_ref().take(INPUT_MAX + 1).read_until(b'\n', &mut line).map_err(bad_input)?;
        if read == 0 {
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.len() as u64 >= INPUT_MAX {
            return Err(too_long("a line of standard input has"));
        }
        outlet.publish(&line)?;
    }
}

fn bad_input(error: io::Error) -> End {
    End::Failed(format!("can't read standard input: {error}"))
}

fn too_long(what: &str) -> End {
    End::Failed(format!("{what} more than {} bytes, which no event can carry; split it", INPUT_MAX - 1))
}

/// Where events go out.
struct Outlet<'a> {
    args: &'a Args,
    bus: &'a Bus,
    batch: PublishBatch<'a>,
    /// Datagrams were sent whose verdict nobody has asked for.
    unjudged: bool,
    /// When the last event went out, where there is to be time between two.
    last: Option<Instant>,
}

impl<'a> Outlet<'a> {
    fn new(args: &'a Args, bus: &'a Bus) -> Self {
        let batch = if args.no_wait { bus.batch().no_wait() } else { bus.batch() };
        Outlet { args, bus, batch, unjudged: false, last: None }
    }

    fn publish(&mut self, payload: &[u8]) -> Result<(), End> {
        if let Some(interval) = self.args.interval {
            // The event before goes out before the pause.
            self.send()?;
            self.pause(interval);
        }
        match self.push(payload) {
            Err(error) if matches!(error.reason(), PublishReason::BatchFull) => {
                self.batch.send()?;
                self.unjudged = true;
                self.push(payload)?;
            }
            pushed => pushed?,
        }
        match self.args.ack {
            true => self.send_acked(),
            false => Ok(()),
        }
    }

    fn push(&mut self, payload: &[u8]) -> Result<(), PublishError> {
        let content = match self.args.content {
            Some(ContentArg::Text) => Content::Text,
            Some(ContentArg::Json) => Content::Json,
            Some(ContentArg::Bincode) => Content::Bincode,
            Some(ContentArg::Opaque) => Content::Opaque,
            None if str::from_utf8(payload).is_ok() => Content::Text,
            None => Content::Opaque,
        };
        self.batch.push_content(&self.args.topic, content, payload)
    }

    /// Sleeps until the interval since the last event is over. No drift: the next one counts from then.
    fn pause(&mut self, interval: Duration) {
        let now = Instant::now();
        let due = self.last.and_then(|last| last.checked_add(interval)).unwrap_or(now);
        thread::sleep(due.saturating_duration_since(now));
        self.last = Some(due.max(now));
    }

    /// Sends what has been collected.
    fn send(&mut self) -> Result<(), End> {
        if !self.batch.is_empty() {
            self.batch.send()?;
            self.unjudged = true;
        }
        Ok(())
    }

    fn send_acked(&mut self) -> Result<(), End> {
        let seq = self.batch.send_acked()?;
        if let (Some(seq), true, false) = (seq, self.args.ack, self.args.quiet) {
            // Standard output is line buffered: the number is out before the next event is.
            writeln!(io::stdout(), "{seq}").map_err(End::output)?;
        }
        Ok(())
    }

    /// Returns when the broker has judged everything.
    fn finish(mut self) -> Result<(), End> {
        self.send_acked()?;
        if self.unjudged { Ok(self.bus.flush()?) } else { Ok(()) }
    }
}
