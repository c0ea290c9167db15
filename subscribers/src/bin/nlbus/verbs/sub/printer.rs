//! Deliveries as bytes on standard output; what isn't an event goes to standard error unless it is JSON.

use super::loss;
use nlbus::{Ended, Event, Lost, Restarted};
use nlbus_subscribers::end::say;
use nlbus_subscribers::event_json::{EventJson, NoteJson};
use nlbus_subscribers::text::Escaped;
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use std::time::{Duration, SystemTime};

/// How events are printed.
#[derive(Debug, Clone, Copy)]
pub enum Format {
    /// `TOPIC SEQ PAYLOAD`, with the date and time before it where the clock's offset is known.
    Text {
        /// `CLOCK_REALTIME` minus `CLOCK_BOOTTIME`.
        clock_offset_ns: Option<i64>,
    },
    /// An object a line.
    Json,
    /// The payload and a newline.
    Raw,
}

/// Collects output until [`flush`](Self::flush).
#[derive(Debug)]
pub struct Printer<W: Write> {
    out: BufWriter<W>,
    format: Format,
}

impl<W: Write> Printer<W> {
    pub fn new(out: W, format: Format) -> Self {
        Printer { out: BufWriter::with_capacity(1 << 16, out), format }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        match self.format {
            Format::Raw => {
                self.out.write_all(event.payload())?;
                self.out.write_all(b"\n")
            }
            Format::Json => self.object(&EventJson::from(event)),
            Format::Text { clock_offset_ns } => {
                if let Some(offset) = clock_offset_ns {
                    write!(self.out, "{} ", humantime::format_rfc3339_nanos(wall_clock(event.time_ns(), offset)))?;
                }
                let (topic, payload) = (Escaped::field(event.topic()), Escaped::text(event.payload()));
                writeln!(self.out, "{topic} {} {payload}", event.seq())
            }
        }
    }

    pub fn lost(&mut self, lost: &Lost) -> io::Result<()> {
        match self.format {
            Format::Json => self.object(&NoteJson::from(lost)),
            _ => self.note(&loss(lost)),
        }
    }

    pub fn restarted(&mut self, restarted: &Restarted) -> io::Result<()> {
        match self.format {
            Format::Json => self.object(&NoteJson::from(restarted)),
            _ => self.note(&format!("the broker restarted; events may be lost; its epoch is now {}", restarted.epoch)),
        }
    }

    pub fn ended(&mut self, ended: &Ended) -> io::Result<()> {
        match self.format {
            Format::Json => self.object(&NoteJson::from(ended)),
            _ => self.note(&format!("topic '{}' ended after {}: {}", ended.topic, ended.last, ended.reason.as_str())),
        }
    }

    /// In line with the events, as far as two streams can be.
    fn note(&mut self, line: &str) -> io::Result<()> {
        self.flush()?;
        say(line);
        Ok(())
    }

    fn object(&mut self, object: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, object)?;
        self.out.write_all(b"\n")
    }
}

/// The date and time of a `CLOCK_BOOTTIME`; what no u64 holds is 1970.
fn wall_clock(time_ns: u64, offset_ns: i64) -> SystemTime {
    let ns = time_ns.checked_add_signed(offset_ns).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_nanos(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_clock_can_be_printed() {
        let print = |time, offset| humantime::format_rfc3339_nanos(wall_clock(time, offset)).to_string();
        assert_eq!(print(5, 1_000_000_000), "1970-01-01T00:00:01.000000005Z");
        assert_eq!(print(u64::MAX, 0), "2554-07-21T23:34:33.709551615Z");
        for (time, offset) in [(0, -1), (u64::MAX, 1)] {
            assert_eq!(print(time, offset), "1970-01-01T00:00:00.000000000Z");
        }
    }
}
