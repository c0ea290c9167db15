//! What a recording has: when it began and ended, how much of which topics, what is missing.

use super::span::Span;
use super::{Args, wrong};
use nlbus_subscribers::end::End;
use nlbus_subscribers::recording::{Because, Flaw, Note, ReadError, Reader, Record};
use nlbus_subscribers::text::Escaped;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::time::{Duration, SystemTime};

/// What is counted.
#[derive(Debug, Default)]
struct About {
    /// The dates of the first and the last event, in nanoseconds since 1970.
    dates: Option<(u64, u64)>,
    topics: BTreeMap<String, Topic>,
    restarts: u64,
    resumed: u64,
    /// What is not an event, in order.
    is_ended: bool,
    unknown: u64,
    bytes: u64,
    flaw: Option<Flaw>,
}

#[derive(Debug, Default)]
struct Topic {
    events: u64,
    bytes: u64,
    lost: u64,
}

/// Reads all of it, and prints what it has of the topics and times that the arguments name.
pub fn show(mut reader: Reader<impl Read>, args: &Args, mut span: Span) -> Result<(), End> {
    let mut about = About::default();
    loop {
        match reader.read() {
            Ok(Some(Record::Event(event))) => {
                about.is_ended = false;
                let date = span.date(event.header.time_ns);
                if span.has(date) && args.is_wanted(event.topic) {
                    about.event(event.topic, event.payload.len() as u64, date);
                }
            }
            Ok(Some(Record::Note(note))) => {
                if let Note::Bus { clock_offset_ns, .. } = &note {
                    span.set_offset(*clock_offset_ns);
                }
                about.note(&note, args);
            }
            Ok(Some(Record::Unknown)) => about.unknown += 1,
            Ok(None) => break,
            Err(ReadError::Flaw(flaw)) => {
                about.flaw = Some(flaw);
                break;
            }
            Err(ReadError::Io(error)) => return Err(wrong(args, &error)),
        }
    }
    about.bytes = reader.at();
    io::stdout().write_all(about.as_text().as_bytes()).map_err(End::output)
}

impl About {
    fn event(&mut self, topic: &str, bytes: u64, date: u64) {
        let (first, last) = self.dates.unwrap_or((date, date));
        self.dates = Some((first.min(date), last.max(date)));
        let topic = self.topic(topic);
        topic.events += 1;
        topic.bytes += bytes;
    }

    fn topic(&mut self, name: &str) -> &mut Topic {
        if !self.topics.contains_key(name) {
            self.topics.insert(name.to_owned(), Topic::default());
        }
        self.topics.entry(name.to_owned()).or_default()
    }

    fn note(&mut self, note: &Note, args: &Args) {
        self.is_ended = matches!(note, Note::End { .. });
        match note {
            Note::Bus { because: Because::Restarted, .. } => self.restarts += 1,
            Note::Bus { because: Because::Resumed, .. } => self.resumed += 1,
            Note::Lost { topic, from, to, .. } if args.is_wanted(topic) => {
                let lost = &mut self.topic(topic).lost;
                *lost = lost.saturating_add(to.saturating_sub(*from).saturating_add(1));
            }
            _ => {}
        }
    }

    fn as_text(&self) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: &str| writeln!(text, "{key:<12}{value}").unwrap_or_default();
        let date =
            |ns: u64| humantime::format_rfc3339_nanos(SystemTime::UNIX_EPOCH + Duration::from_nanos(ns)).to_string();
        if let Some((first, last)) = self.dates {
            line("first", &date(first));
            line("last", &date(last));
            line("duration", &humantime::format_duration(Duration::from_nanos(last - first)).to_string());
        }
        line("events", &self.topics.values().map(|topic| topic.events).sum::<u64>().to_string());
        line("lost", &self.topics.values().map(|topic| topic.lost).sum::<u64>().to_string());
        line("size", &format!("{} bytes", self.bytes));
        for (what, count) in [("restarts", self.restarts), ("resumed", self.resumed), ("unknown", self.unknown)] {
            if count > 0 {
                line(what, &count.to_string());
            }
        }
        match (&self.flaw, self.is_ended) {
            (Some(flaw), _) => line("end", &format!("{flaw}; what stands before is whole")),
            (None, true) => line("end", "in order"),
            (None, false) => line("end", "recording still goes on, or was killed"),
        }
        if !self.topics.is_empty() {
            let _ = writeln!(text, "\n{:>12}  {:>14}  {:>10}  TOPIC", "EVENTS", "BYTES", "LOST");
        }
        for (name, Topic { events, bytes, lost }) in &self.topics {
            let _ = writeln!(text, "{events:>12}  {bytes:>14}  {lost:>10}  {}", Escaped::field(name));
        }
        text
    }
}
