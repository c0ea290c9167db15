//! `nlbus play`: what was recorded once more, at its pace or another one.

mod about;
mod span;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nlbus::wire::EventView;
use nlbus::{BufferedPublisher, Content, Filter, is_reserved};
use nlbus_subscribers::connect::connect;
use nlbus_subscribers::end::{End, say};
use nlbus_subscribers::recording::{Note, ReadError, Reader, Record};
use nlbus_subscribers::signals::Interrupts;
use nlbus_subscribers::text::Escaped;
use nlbus_subscribers::values;
use span::{Moment, Span};
use std::borrow::Cow;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Publish what was recorded, at its pace; or show what a recording has.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What `nlbus record` wrote; '-' is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// So many times as fast: 2 takes half the time, 0.5 twice.
    #[arg(long, value_name = "X", default_value = "1", value_parser = speed, conflicts_with = "max")]
    speed: f64,
    /// As fast as the broker takes it.
    #[arg(long)]
    max: bool,
    /// Leave out what was published before: a date and time (2026-01-31T12:00:00Z), or a time from the recording's first
    /// event on (10s).
    #[arg(long, value_name = "TIME")]
    from: Option<Moment>,
    /// Leave out what was published at this time or later.
    #[arg(long, value_name = "TIME")]
    to: Option<Moment>,
    /// Only topics that match; can be given several times.
    #[arg(long, value_name = "FILTER")]
    topic: Vec<Filter>,
    /// Leave out topics that match; can be given several times.
    #[arg(long, value_name = "FILTER")]
    exclude: Vec<Filter>,
    /// Publish to topics below this one, the broker's own and the kernel's as well, which are left out otherwise.
    #[arg(long, value_name = "TOPIC", value_parser = values::topic)]
    prefix: Option<String>,
    /// Publish nothing: show what the recording has.
    #[arg(long)]
    info: bool,
}

/// At full speed, how often the line of progress is drawn anew and the end is looked for, in events.
const DRAW: u64 = 1024;

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed >= 1e-6 => Ok(speed),
        _ => Err("takes a number from 0.000001 up".into()),
    }
}

pub fn run(args: &Args) -> Result<(), End> {
    let stop = Interrupts::exit().and_then(Interrupts::close).map_err(End::signals)?;
    let (input, len): (Box<dyn Read>, _) = match args.file == Path::new("-") {
        true => (Box::new(io::stdin()), None),
        false => {
            let file = File::open(&args.file).map_err(|error| wrong(args, &error))?;
            let len = file.metadata().ok().map(|metadata| metadata.len());
            (Box::new(file), len)
        }
    };
    let reader = Reader::open(input).map_err(|error| wrong(args, &error))?;
    let span = Span::new(args.from, args.to);
    if args.info {
        return about::show(reader, args, span);
    }
    let bus = connect()?;
    let buffered = bus.buffered();
    let bar = ProgressBar::with_draw_target(len, ProgressDrawTarget::stderr_with_hz(10));
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {percent}% {msg}") {
        bar.set_style(style);
    }
    let mut player = Player { args, buffered, span, stop, pace: None, played: 0, left_out: 0 };
    let end = player.play(reader, &bar);
    bar.finish_and_clear();
    let Player { played, left_out, .. } = player;
    // The broker's word comes last, so that a refusal is this command's failure.
    let flushed = bus.flush();
    match end {
        Err(end @ End::Failed(_)) => return Err(end),
        _ => flushed?,
    }
    let reserved = match left_out {
        0 => String::new(),
        count => format!("; {count} of reserved topics were left out, which only --prefix publishes"),
    };
    say(&format!("played {played} event{}{reserved}", if played == 1 { "" } else { "s" }));
    end
}

fn wrong(args: &Args, error: &impl std::fmt::Display) -> End {
    End::Failed(format!("can't play '{}': {error}", args.file.display()))
}

impl Args {
    fn is_wanted(&self, topic: &str) -> bool {
        let matched = |filters: &[Filter]| filters.iter().any(|filter| filter.matches(topic));
        (self.topic.is_empty() || matched(&self.topic)) && !matched(&self.exclude)
    }
}

struct Player<'a> {
    args: &'a Args,
    buffered: BufferedPublisher,
    span: Span,
    stop: Receiver<Infallible>,
    /// When the first event was played, and the date that it had, in nanoseconds.
    pace: Option<(Instant, u64)>,
    played: u64,
    /// Events that can't be published where they came from.
    left_out: u64,
}

impl Player<'_> {
    fn play(&mut self, mut reader: Reader<impl Read>, bar: &ProgressBar) -> Result<(), End> {
        loop {
            let at = reader.at();
            match reader.read() {
                Ok(Some(Record::Event(event))) => self.event(&event, at, bar)?,
                Ok(Some(Record::Note(note))) => self.note(&note),
                Ok(Some(Record::Unknown)) => {}
                Ok(None) => return Ok(()),
                Err(ReadError::Flaw(flaw)) => {
                    say(&format!("'{}': {flaw}; all before was played", self.args.file.display()));
                    return Ok(());
                }
                Err(ReadError::Io(error)) => return Err(wrong(self.args, &error)),
            }
        }
    }

    fn note(&mut self, note: &Note) {
        match note {
            Note::Bus { clock_offset_ns, .. } => self.span.set_offset(*clock_offset_ns),
            Note::Lost { .. } => say(&format!("'{}': {note}", self.args.file.display())),
            Note::Ended { .. } | Note::End { .. } => {}
        }
    }

    fn event(&mut self, event: &EventView<'_>, at: u64, bar: &ProgressBar) -> Result<(), End> {
        let date = self.span.date(event.header.time_ns);
        if !self.span.has(date) || !self.args.is_wanted(event.topic) {
            return Ok(());
        }
        let topic: Cow<'_, str> = match &self.args.prefix {
            Some(prefix) => format!("{prefix}/{}", event.topic).into(),
            None if is_reserved(event.topic) => {
                self.left_out += 1;
                return Ok(());
            }
            None => event.topic.into(),
        };
        self.wait_for(date)?;
        self.buffered.publish_content(&topic, Content::from_wire(event.header.content), event.payload)?;
        self.played += 1;
        if self.played.is_multiple_of(DRAW) || !self.args.max {
            bar.set_position(at);
            bar.set_message(format!("{} events, {}", self.played, Escaped::field(&topic)));
        }
        Ok(())
    }

    /// Sleeps until it is an event's turn, by the first one's: so no delay adds up.
    fn wait_for(&mut self, date: u64) -> Result<(), End> {
        let mut wait = Duration::ZERO;
        if self.args.max {
            if !self.played.is_multiple_of(DRAW) {
                return Ok(());
            }
        } else {
            let (start, first) = *self.pace.get_or_insert_with(|| (Instant::now(), date));
            // A clock that was set back, or topics that were recorded in turns: then at once.
            let behind = Duration::from_nanos(date.saturating_sub(first)).as_secs_f64() / self.args.speed;
            let due = Duration::try_from_secs_f64(behind).ok().and_then(|behind| start.checked_add(behind));
            wait = due.map_or(Duration::MAX, |due| due.saturating_duration_since(Instant::now()));
        }
        match self.stop.recv_timeout(wait) {
            Err(RecvTimeoutError::Disconnected) => Err(End::Interrupted),
            _ => Ok(()),
        }
    }
}
