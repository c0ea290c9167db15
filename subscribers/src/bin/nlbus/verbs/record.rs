//! `nlbus record`: events into a file, as they come, until it is told to end.

mod output;
mod pcapng;

use crossbeam_channel::Receiver;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use nlbus::{Bus, Delivery, Filter, Start};
use nlbus_subscribers::connect::{connect, connect_patiently};
use nlbus_subscribers::end::{End, say};
use nlbus_subscribers::feed::{Feed, Item, Next};
use nlbus_subscribers::recording::{Because, Note};
use nlbus_subscribers::signals::{Interrupts, is_closed};
use nlbus_subscribers::topics::{Topics, check_start};
use nlbus_subscribers::values;
use output::Output;
use std::collections::HashSet;
use std::convert::Infallible;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Record events with their times, for `nlbus play`. Ended by SIGINT or SIGTERM, or when there are enough.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topics, or filters with '+' for one level and '#' for all that follow.
    #[arg(required = true, value_name = "FILTER")]
    filters: Vec<Filter>,
    /// The file to write; '-' is standard output. One that exists is refused.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Go on with a recording that exists, behind its last whole event; or begin it.
    #[arg(long, conflicts_with = "pcapng")]
    append: bool,
    /// Write a packet capture (pcapng) for Wireshark and tshark instead, which play doesn't read.
    #[arg(long)]
    pcapng: bool,
    /// Where to begin: live, last, last=N, seq=N or all.
    #[arg(long, value_name = "START", default_value = "live", value_parser = values::start)]
    start: Start,
    /// Leave out topics that match; can be given several times.
    #[arg(long, value_name = "FILTER")]
    exclude: Vec<Filter>,
    /// End after this many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time, like 500ms, 10s or 2m.
    #[arg(long, value_name = "DUR", value_parser = values::duration)]
    duration: Option<Duration>,
    /// Wait for a broker where there is none yet.
    #[arg(long)]
    wait: bool,
}

/// How often the line of progress is drawn anew, at most.
const PROGRESS: Duration = Duration::from_millis(100);

pub fn run(args: &Args) -> Result<(), End> {
    check_start(args.start, &args.filters)?;
    let stop = Interrupts::exit().and_then(Interrupts::close).map_err(End::signals)?;
    let deadline = args.duration.and_then(|duration| Instant::now().checked_add(duration));
    let mut output = Output::open(args)?;
    let bus = if args.wait { connect_patiently(|| go_on(&stop))? } else { connect()? };
    let info = bus.info()?;
    let because = if output.is_resumed() { Because::Resumed } else { Because::Begun };
    let (epoch, protocol, clock_offset_ns) = (info.epoch, info.protocol, info.clock_offset_ns);
    output.note(&Note::Bus { because, epoch, protocol, clock_offset_ns })?;
    let topics = Topics { filters: args.filters.clone(), exclude: args.exclude.clone() };
    let feed = Feed::open(&bus, &topics, |_, subscriber| subscriber.start(args.start))?;
    output.flush()?;
    // Scripts wait for this line; it has no prefix.
    let _ = io::stderr().write_all(b"recording\n");
    let source = (protocol, clock_offset_ns);
    Recorder { args, bus, feed, output, stop, deadline, counts: Counts::default(), source }.run()
}

/// Ends the waiting for a broker when the verb is to end.
fn go_on(stop: &Receiver<Infallible>) -> Result<(), End> {
    if is_closed(stop) { Err(End::Interrupted) } else { Ok(()) }
}

/// What has been recorded.
#[derive(Debug, Default)]
struct Counts {
    events: u64,
    lost: u64,
    topics: HashSet<Arc<str>>,
    /// The last one, which often is the next one's, too.
    topic: Option<Arc<str>>,
}

impl Counts {
    fn event(&mut self, topic: &str) {
        self.events += 1;
        if self.topic.as_deref() != Some(topic) {
            let topic = self.topics.get(topic).cloned().unwrap_or_else(|| topic.into());
            self.topics.insert(Arc::clone(&topic));
            self.topic = Some(topic);
        }
    }
}

struct Recorder<'a> {
    args: &'a Args,
    bus: Bus,
    feed: Feed,
    output: Output,
    stop: Receiver<Infallible>,
    deadline: Option<Instant>,
    counts: Counts,
    /// The bus's protocol and clock offset, as it last said.
    source: (u32, i64),
}

impl Recorder<'_> {
    fn run(mut self) -> Result<(), End> {
        let start = Instant::now();
        // Nothing is drawn unless that is a terminal.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {msg}") {
            bar.set_style(style);
        }
        let end = self.until_the_end(&bar);
        bar.finish_and_clear();
        let Counts { events, lost, .. } = self.counts;
        // Whatever ended it, what came before is in the file.
        let written = self.output.note(&Note::End { events, lost }).and_then(|()| self.output.sync());
        match end {
            Err(end @ End::Failed(_)) => return Err(end),
            _ => written?,
        }
        let took = humantime::format_duration(Duration::from_millis(start.elapsed().as_millis() as u64));
        say(&format!("recorded {} in {took}", self.summary()));
        end
    }

    fn summary(&self) -> String {
        let Counts { events, lost, topics, .. } = &self.counts;
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        let of = topics.len() as u64;
        format!(
            "{events} event{} of {of} topic{}, {lost} lost, {}",
            plural(*events),
            plural(of),
            HumanBytes(self.output.bytes())
        )
    }

    fn until_the_end(&mut self, bar: &ProgressBar) -> Result<(), End> {
        let mut drawn = Instant::now();
        loop {
            let items = match self.feed.take()? {
                Some(items) => items,
                None => {
                    self.output.flush()?;
                    match self.feed.wait(&self.stop, self.deadline)? {
                        Next::Deliveries(items) => items,
                        Next::TimedOut => return Ok(()),
                        Next::Stopped => return Err(End::Interrupted),
                    }
                }
            };
            // Events that never cease must not put the end off.
            if is_closed(&self.stop) {
                return Err(End::Interrupted);
            }
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(());
            }
            for item in items.iter().filter(|item| item.wanted) {
                self.record(item)?;
                if self.args.count == Some(self.counts.events) {
                    return Ok(());
                }
            }
            if !bar.is_hidden() && drawn.elapsed() >= PROGRESS {
                drawn = Instant::now();
                bar.set_message(self.summary());
            }
        }
    }

    fn record(&mut self, item: &Item) -> Result<(), End> {
        match &item.delivery {
            Delivery::Event(event) => {
                self.output.event(event)?;
                self.counts.event(event.topic());
                Ok(())
            }
            Delivery::Lost(lost) => {
                self.counts.lost = self.counts.lost.saturating_add(lost.count());
                let (topic, cause) = (lost.topic.as_ref().into(), lost.cause.as_str().into());
                self.output.note(&Note::Lost { topic, from: lost.from, to: lost.to, cause })
            }
            Delivery::Ended(ended) => {
                let (topic, reason) = (ended.topic.as_ref().into(), ended.reason.as_str().into());
                self.output.note(&Note::Ended { topic, last: ended.last, reason })
            }
            Delivery::Restarted(restarted) => {
                // Unless this one is gone again: then they are the last one's.
                if let Ok(info) = self.bus.info() {
                    self.source = (info.protocol, info.clock_offset_ns);
                }
                let (epoch, (protocol, clock_offset_ns)) = (restarted.epoch, self.source);
                self.output.note(&Note::Bus { because: Because::Restarted, epoch, protocol, clock_offset_ns })
            }
            // What a newer library delivers besides is nothing that this format knows.
            _ => Ok(()),
        }
    }
}
