//! `nlbus hz`: how often events come, by the times at which the broker numbered them.

mod pace;

use crossbeam_channel::Receiver;
use nlbus::{Delivery, Filter};
use nlbus_subscribers::connect::connect;
use nlbus_subscribers::end::{End, say};
use nlbus_subscribers::feed::{Feed, Next};
use nlbus_subscribers::pipe;
use nlbus_subscribers::signals::{Interrupts, is_closed};
use nlbus_subscribers::text::Escaped;
use nlbus_subscribers::topics::Topics;
use nlbus_subscribers::values;
use pace::{Figures, Pace};
use serde_json::json;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process;
use std::time::{Duration, Instant};

/// Show how often events come: once a second, a line a topic.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topics, or filters with '+' for one level and '#' for all that follow.
    #[arg(required = true, value_name = "FILTER")]
    filters: Vec<Filter>,
    /// Leave out topics that match; can be given several times.
    #[arg(long, value_name = "FILTER")]
    exclude: Vec<Filter>,
    /// How many of a topic's last events count.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(2..=1_000_000))]
    window: u64,
    /// Time between two reports, like 500ms, 10s or 2m.
    #[arg(long, value_name = "DUR", default_value = "1s", value_parser = values::duration)]
    interval: Duration,
    /// End after this many reports.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Shorter times between two reports would show nothing but their own making.
const SHORTEST: Duration = Duration::from_millis(10);

pub fn run(args: &Args) -> Result<(), End> {
    let interrupts = Interrupts::exit().map_err(End::signals)?;
    pipe::when_closed(|| process::exit(0))?;
    let bus = connect()?;
    let topics = Topics { filters: args.filters.clone(), exclude: args.exclude.clone() };
    let feed = Feed::open(&bus, &topics, |_, subscriber| subscriber)?;
    let stop = interrupts.close().map_err(End::signals)?;
    // Scripts wait for this line; it has no prefix.
    let _ = io::stderr().write_all(b"subscribed\n");
    Meter { args, feed, stop, paces: BTreeMap::new() }.run()
}

struct Meter<'a> {
    args: &'a Args,
    feed: Feed,
    stop: Receiver<Infallible>,
    paces: BTreeMap<String, Pace>,
}

impl Meter<'_> {
    fn run(mut self) -> Result<(), End> {
        let interval = self.args.interval.max(SHORTEST);
        let mut due = Instant::now() + interval;
        let mut reports = 0;
        loop {
            self.take_until(due)?;
            self.report()?;
            reports += 1;
            if self.args.count == Some(reports) {
                return Ok(());
            }
            // Not as many as would have been due while the machine slept.
            due = (due + interval).max(Instant::now());
        }
    }

    fn take_until(&mut self, due: Instant) -> Result<(), End> {
        while Instant::now() < due {
            let items = match self.feed.wait(&self.stop, Some(due))? {
                Next::Deliveries(items) => items,
                Next::TimedOut => return Ok(()),
                Next::Stopped => return Err(End::Interrupted),
            };
            if is_closed(&self.stop) {
                return Err(End::Interrupted);
            }
            for item in items.iter().filter(|item| item.wanted) {
                match &item.delivery {
                    Delivery::Event(event) => self.pace(event.topic()).event(event.time_ns()),
                    Delivery::Lost(lost) => self.pace(&lost.topic).lost(lost.count()),
                    Delivery::Ended(ended) => drop(self.paces.remove(&*ended.topic)),
                    Delivery::Restarted(_) => {
                        // Another broker's times are after these, whatever came in between.
                        say("the broker restarted; the windows begin anew");
                        self.paces.clear();
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn pace(&mut self, topic: &str) -> &mut Pace {
        if !self.paces.contains_key(topic) {
            let window = usize::try_from(self.args.window).unwrap_or(usize::MAX);
            self.paces.insert(topic.to_owned(), Pace::new(window));
        }
        self.paces.entry(topic.to_owned()).or_insert_with(|| Pace::new(0))
    }

    fn report(&mut self) -> Result<(), End> {
        let mut text = String::new();
        for (topic, pace) in &mut self.paces {
            let figures = pace.figures();
            let _ = if self.args.json {
                writeln!(text, "{}", as_json(topic, &figures))
            } else {
                writeln!(text, "{}", as_text(topic, &figures))
            };
        }
        if self.paces.is_empty() && !self.args.json {
            text.push_str("no events yet\n");
        }
        io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()).map_err(End::output)
    }
}

fn as_json(topic: &str, figures: &Figures) -> serde_json::Value {
    json!({
        "topic": topic,
        "rate": figures.rate,
        "min_ns": figures.min_ns,
        "max_ns": figures.max_ns,
        "stddev_ns": figures.stddev_ns,
        "window": figures.window,
        "new": figures.new,
        "lost": figures.lost,
    })
}

fn as_text(topic: &str, figures: &Figures) -> String {
    let mut line = Escaped::field(topic).to_string();
    if figures.new == 0 {
        line.push_str("  no new events");
    }
    if let (Some(rate), Some(min), Some(max), Some(stddev)) =
        (figures.rate, figures.min_ns, figures.max_ns, figures.stddev_ns)
    {
        let _ = write!(line, "  {rate:.3}/s  min {}  max {}  std dev {}", time(min), time(max), time(stddev));
    }
    let _ = write!(line, "  window {}", figures.window);
    if figures.lost > 0 {
        let _ = write!(line, "  lost {}", figures.lost);
    }
    line
}

/// A time in a unit that leaves few digits.
fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_is_known() {
        let mut figures = Figures { window: 1, new: 1, ..Figures::default() };
        assert_eq!(as_text("a b", &figures), "a\\x20b  window 1");
        (figures.new, figures.lost, figures.window) = (0, 3, 4);
        (figures.rate, figures.min_ns, figures.max_ns, figures.stddev_ns) =
            (Some(10.0), Some(999), Some(1_500_000), Some(2_000_000_000));
        assert_eq!(
            as_text("t", &figures),
            "t  no new events  10.000/s  min 999 ns  max 1.5 ms  std dev 2.00 s  window 4  lost 3"
        );
        assert_eq!(
            as_json("t", &figures).to_string(),
            r#"{"topic":"t","rate":10.0,"min_ns":999,"max_ns":1500000,"stddev_ns":2000000000,"window":4,"new":0,"lost":3}"#
        );
    }
}
