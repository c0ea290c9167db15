//! `nlbus pub`: a message, a number of them, or standard input as events. Whatever was published, the broker's word
//! comes last, so that a refusal is this command's failure.

use nlbus::{BufferedPublisher, Bus, Content};
use nlbus_subscribers::connect::connect;
use nlbus_subscribers::end::{self, End};
use nlbus_subscribers::signals::Interrupts;
use nlbus_subscribers::values;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::{Duration, Instant};
use std::{process, thread};

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
    let interrupts = Interrupts::exit().map_err(End::signals)?;
    let bus = connect()?;
    flush_first(interrupts, &bus, args.quiet).map_err(End::signals)?;
    let mut outlet = Outlet::new(args, &bus);
    match &args.message {
        Some(message) => repeat(&mut outlet, message.as_bytes(), args.count)?,
        None if args.lines => lines(&mut outlet, io::stdin().lock())?,
        None => repeat(&mut outlet, &whole(io::stdin().lock())?, args.count)?,
    }
    outlet.finish()
}

/// From now on an interruption ends the command when the broker has judged what was published until then.
fn flush_first(interrupts: Interrupts, bus: &Bus, quiet: bool) -> io::Result<()> {
    let (sender, interrupted) = crossbeam_channel::bounded(1);
    let bus = bus.clone();
    thread::Builder::new().name("flush".into()).spawn(move || {
        if interrupted.recv().is_ok() {
            if let Err(error) = bus.flush()
                && !quiet
            {
                end::say(&error.to_string());
            }
            process::exit(end::INTERRUPTED.into());
        }
    })?;
    interrupts.tell(sender, ())
}

fn repeat(outlet: &mut Outlet<'_>, payload: &[u8], count: u64) -> Result<(), End> {
    (0..count).try_for_each(|_| outlet.publish(payload))
}

/// All of the input as one payload.
fn whole(input: impl Read) -> Result<Vec<u8>, End> {
    let mut payload = Vec::new();
    input.take(INPUT_MAX).read_to_end(&mut payload).map_err(bad_input)?;
    match payload.len() as u64 {
        INPUT_MAX => Err(too_long("standard input")),
        _ => Ok(payload),
    }
}

/// Each line as an event.
fn lines(outlet: &mut Outlet<'_>, input: impl Read) -> Result<(), End> {
    let mut input = BufReader::with_capacity(INPUT_BUFFER, input);
    let mut line = Vec::new();
    for number in 1.. {
        match read_line(&mut input, &mut line, number) {
            Ok(true) => outlet.publish(&line)?,
            Ok(false) => break,
            // What came before it is published all the same, and refused before this.
            Err(end) => return outlet.finish().and(Err(end)),
        }
    }
    Ok(())
}

/// Reads a line, without what ends it. Whether there was one.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>, number: u64) -> Result<bool, End> {
    line.clear();
    let read = input.by_ref().take(INPUT_MAX + 1).read_until(b'\n', line).map_err(bad_input)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    match line.len() as u64 {
        INPUT_MAX.. => Err(too_long(&format!("line {number} of standard input"))),
        _ => Ok(read > 0),
    }
}

fn bad_input(error: io::Error) -> End {
    End::Failed(format!("can't read standard input: {error}; give it a file or a pipe"))
}

fn too_long(what: &str) -> End {
    End::Failed(format!("{what} has more than {} bytes, which no event can carry; split it", INPUT_MAX - 1))
}

/// Where events go out.
struct Outlet<'a> {
    args: &'a Args,
    bus: &'a Bus,
    /// None of its events waits for others for long: somebody may type them.
    buffered: BufferedPublisher,
    /// Each event is waited for: because that is asked for, or because there is only one.
    acked: bool,
    /// When the last event went out, where there is to be time between two.
    last: Option<Instant>,
}

impl<'a> Outlet<'a> {
    fn new(args: &'a Args, bus: &'a Bus) -> Self {
        let buffered = if args.no_wait { bus.buffered().no_wait() } else { bus.buffered() };
        let acked = args.ack || !args.lines && args.count == 1;
        Outlet { args, bus, buffered, acked, last: None }
    }

    fn publish(&mut self, payload: &[u8]) -> Result<(), End> {
        if let Some(interval) = self.args.interval {
            self.pause(interval);
        }
        let content = match self.args.content {
            Some(ContentArg::Text) => Content::Text,
            Some(ContentArg::Json) => Content::Json,
            Some(ContentArg::Bincode) => Content::Bincode,
            Some(ContentArg::Opaque) => Content::Opaque,
            None if str::from_utf8(payload).is_ok() => Content::Text,
            None => Content::Opaque,
        };
        match self.acked {
            true => self.publish_acked(content, payload),
            false => Ok(self.buffered.publish_content(&self.args.topic, content, payload)?),
        }
    }

    fn publish_acked(&self, content: Content, payload: &[u8]) -> Result<(), End> {
        let mut event = if self.args.no_wait { self.bus.batch().no_wait() } else { self.bus.batch() };
        event.push_content(&self.args.topic, content, payload)?;
        let seq = event.send_acked()?;
        if let (Some(seq), true, false) = (seq, self.args.ack, self.args.quiet) {
            // Standard output is line buffered: the number is out before the next event is.
            writeln!(io::stdout(), "{seq}").map_err(End::output)?;
        }
        Ok(())
    }

    /// Sleeps until the interval since the last event is over. No drift: the next one counts from then.
    fn pause(&mut self, interval: Duration) {
        let now = Instant::now();
        let due = self.last.and_then(|last| last.checked_add(interval)).unwrap_or(now);
        thread::sleep(due.saturating_duration_since(now));
        self.last = Some(due.max(now));
    }

    /// Returns when the broker has judged everything.
    fn finish(&self) -> Result<(), End> {
        if self.acked { Ok(()) } else { Ok(self.bus.flush()?) }
    }
}
