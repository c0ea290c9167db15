//! `nlbus sub`: events as lines. One subscription a filter; what several filters match is the first one's.

mod printer;

use crossbeam_channel::{Receiver, Select, TryRecvError, unbounded};
use nlbus::{Batch, Bus, CAPACITY, Delivery, Filter, Lost, Overflow, Start, Subscription};
use nlbus_subscribers::connect;
use nlbus_subscribers::end::End;
use nlbus_subscribers::pipe;
use nlbus_subscribers::signals::Interrupts;
use nlbus_subscribers::text::Escaped;
use nlbus_subscribers::topics::check_start;
use nlbus_subscribers::values;
use printer::{Format, Printer};
use std::io;
use std::time::{Duration, Instant};

/// Print events, one a line: TOPIC SEQ PAYLOAD.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topics, or filters with '+' for one level and '#' for all that follow.
    #[arg(required = true, value_name = "FILTER")]
    filters: Vec<Filter>,
    /// Print one JSON object a line. What is published as JSON (--content json) is in its `value`.
    #[arg(long, conflicts_with = "raw")]
    json: bool,
    /// Print the payload's bytes and a newline.
    #[arg(long)]
    raw: bool,
    /// Put the date and time before each line; JSON has `time_ns` in any case.
    #[arg(long, conflicts_with = "raw")]
    timestamps: bool,
    /// End after this many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End with status 27 after this time, like 500ms, 10s or 2m.
    #[arg(long, value_name = "DUR", value_parser = values::duration)]
    timeout: Option<Duration>,
    /// Where to begin: live, last, last=N, seq=N or all.
    #[arg(long, value_name = "START", default_value = "live", value_parser = values::start)]
    start: Start,
    /// What happens when events come faster than they are printed.
    #[arg(long, value_name = "POLICY", default_value = "catch-up")]
    overflow: OverflowArg,
    /// How many events wait to be printed before that happens.
    #[arg(long, value_name = "N", default_value_t = CAPACITY as u64, value_parser = clap::value_parser!(u64).range(1..))]
    capacity: u64,
    /// Leave out topics that match; can be given several times.
    #[arg(long, value_name = "FILTER")]
    exclude: Vec<Filter>,
    /// Wait for a broker where there is none yet.
    #[arg(long)]
    wait: bool,
    /// Fail as soon as events were lost, or may have been because the broker restarted.
    #[arg(long)]
    fail_on_loss: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum OverflowArg {
    /// Read what is missing from the broker's history, once there is room.
    CatchUp,
    /// Drop the oldest event that waits.
    DropOldest,
    /// Drop the event that comes.
    DropNewest,
    /// Keep the newest event of each topic.
    Latest,
}

impl From<OverflowArg> for Overflow {
    fn from(arg: OverflowArg) -> Overflow {
        match arg {
            OverflowArg::CatchUp => Overflow::CatchUp,
            OverflowArg::DropOldest => Overflow::DropOldest,
            OverflowArg::DropNewest => Overflow::DropNewest,
            OverflowArg::Latest => Overflow::Latest,
        }
    }
}

/// What ends the command from outside.
#[derive(Debug, Clone, Copy)]
enum Stop {
    Interrupted,
    PipeClosed,
}

pub fn run(args: &Args) -> Result<(), End> {
    check(args)?;
    let interrupts = Interrupts::exit().map_err(End::signals)?;
    let (stopper, stop) = unbounded();
    let closed = stopper.clone();
    pipe::when_closed(move || {
        let _ = closed.send(Stop::PipeClosed);
    })?;
    let deadline = args.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let bus = connect(args, deadline, &stop)?;
    let mut subscriptions = Vec::with_capacity(args.filters.len());
    for filter in &args.filters {
        let subscriber = bus.subscriber(filter.as_str()).start(args.start).overflow(args.overflow.into());
        // More than fits an address space is as good as all of it.
        subscriptions.push(subscriber.capacity(usize::try_from(args.capacity).unwrap_or(usize::MAX)).open()?);
    }
    let mut printer = Printer::new(io::stdout().lock(), format(args, &bus)?);
    interrupts.tell(stopper, Stop::Interrupted).map_err(End::signals)?;
    say_subscribed();
    let end = Run { args, subscriptions: &subscriptions, stop: &stop, deadline, left: args.count, epoch: None }
        .until_the_end(&mut printer);
    // What was printed before the end came is not held back, whatever the end.
    match printer.flush() {
        Err(error) if !matches!(end, Err(End::PipeClosed)) => Err(End::output(error)),
        _ => end,
    }
}

/// Refuses what can't be before anything is done.
fn check(args: &Args) -> Result<(), End> {
    check_start(args.start, &args.filters)
}

fn connect(args: &Args, deadline: Option<Instant>, stop: &Receiver<Stop>) -> Result<Bus, End> {
    if !args.wait {
        return connect::connect();
    }
    connect::connect_patiently(|| match stop.try_recv() {
        Ok(stop) => Err(stop.into()),
        Err(_) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
            Err(End::TimedOut("timed out before there was a broker".into()))
        }
        Err(_) => Ok(()),
    })
}

fn format(args: &Args, bus: &Bus) -> Result<Format, End> {
    Ok(match args {
        Args { raw: true, .. } => Format::Raw,
        Args { json: true, .. } => Format::Json,
        // The broker's clock, whatever time namespace this process has.
        Args { timestamps: true, .. } => Format::Text { clock_offset_ns: Some(bus.info()?.clock_offset_ns) },
        _ => Format::Text { clock_offset_ns: None },
    })
}

/// Scripts wait for this line; it has no prefix.
fn say_subscribed() {
    use io::Write;
    let _ = io::stderr().write_all(b"subscribed\n");
}

impl From<Stop> for End {
    fn from(stop: Stop) -> End {
        match stop {
            Stop::Interrupted => End::Interrupted,
            Stop::PipeClosed => End::PipeClosed,
        }
    }
}

/// Printing until something ends it.
struct Run<'a> {
    args: &'a Args,
    subscriptions: &'a [Subscription],
    stop: &'a Receiver<Stop>,
    deadline: Option<Instant>,
    /// Events still to print.
    left: Option<u64>,
    /// Of the last restart that was told: each subscription delivers one.
    epoch: Option<u64>,
}

impl Run<'_> {
    fn until_the_end(mut self, printer: &mut Printer<impl io::Write>) -> Result<(), End> {
        let mut select = Select::new();
        for subscription in self.subscriptions {
            select.recv(subscription.batches());
        }
        select.recv(self.stop);
        loop {
            let ready = match select.try_ready() {
                Ok(ready) => ready,
                Err(_) => {
                    printer.flush().map_err(End::output)?;
                    match self.deadline {
                        None => select.ready(),
                        Some(deadline) => select.ready_deadline(deadline).map_err(|_| self.timed_out())?,
                    }
                }
            };
            // Events that never cease must not put the end off.
            if let Ok(stop) = self.stop.try_recv() {
                return Err(stop.into());
            }
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(self.timed_out());
            }
            let Some(subscription) = self.subscriptions.get(ready) else { continue };
            match subscription.batches().try_recv() {
                Ok(batch) => {
                    if self.print(ready, batch, printer)? {
                        return Ok(());
                    }
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => {
                    return Err(End::Failed("the connection to the broker ended; run the command again".into()));
                }
            }
        }
    }

    fn timed_out(&self) -> End {
        let Some(count) = self.args.count else { return End::TimedOut("timed out".into()) };
        End::TimedOut(format!("timed out after {} of {count} events", count - self.left.unwrap_or_default()))
    }

    /// Prints what the filter at this place is to print. True when all events that were asked for are.
    fn print(&mut self, place: usize, batch: Batch, printer: &mut Printer<impl io::Write>) -> Result<bool, End> {
        for delivery in batch {
            match delivery {
                Delivery::Event(event) if self.is_wanted(place, event.topic()) => {
                    printer.event(&event).map_err(End::output)?;
                    if let Some(left) = &mut self.left {
                        *left -= 1;
                        if *left == 0 {
                            return Ok(true);
                        }
                    }
                }
                Delivery::Lost(lost) if self.is_wanted(place, &lost.topic) => {
                    printer.lost(&lost).map_err(End::output)?;
                    if self.args.fail_on_loss {
                        return Err(End::Failed(format!(
                            "ended by --fail-on-loss; history that reaches further back prevents it: nlbus topic set {} \
                             --history BYTES",
                            Escaped::field(&lost.topic)
                        )));
                    }
                }
                Delivery::Restarted(restarted) if self.epoch != Some(restarted.epoch) => {
                    self.epoch = Some(restarted.epoch);
                    printer.restarted(&restarted).map_err(End::output)?;
                    if self.args.fail_on_loss {
                        return Err(End::Failed(
                            "the broker restarted; events may be lost: run the command again".into(),
                        ));
                    }
                }
                Delivery::Ended(ended) if self.is_wanted(place, &ended.topic) => {
                    printer.ended(&ended).map_err(End::output)?;
                }
                _ => {}
            }
        }
        Ok(false)
    }

    /// Whether a topic is this filter's to print: no filter before it matches, and none excludes it.
    fn is_wanted(&self, place: usize, topic: &str) -> bool {
        let matched = |filters: &[Filter]| filters.iter().any(|filter| filter.matches(topic));
        !matched(&self.args.filters[..place]) && !matched(&self.args.exclude)
    }
}

/// A loss in words.
fn loss(lost: &Lost) -> String {
    let Lost { topic, from, to, cause, .. } = lost;
    format!("lost {} of '{topic}', {from} to {to}: {}", lost.count(), cause.as_str())
}
