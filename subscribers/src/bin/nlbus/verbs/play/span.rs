//! Which part of a recording, by time.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// A time in a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nanoseconds since 1970.
    Date(u64),
    /// Nanoseconds since the first event.
    After(u64),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).map_err(|_| "takes 500 years at most".to_owned());
        if let Ok(after) = humantime::parse_duration(text.strip_prefix('+').unwrap_or(text)) {
            return ns(after).map(Moment::After);
        }
        let date = humantime::parse_rfc3339_weak(text).map_err(|_| {
            "takes a date and time like 2026-01-31T12:00:00Z, in UTC, or a time from the first event on like 10s"
                .to_owned()
        })?;
        ns(date.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()).map(Moment::Date)
    }
}

/// From one time on up to another one.
#[derive(Debug)]
pub struct Span {
    from: Option<Moment>,
    to: Option<Moment>,
    /// The date of the first event there is, whatever its topic.
    first: Option<u64>,
    clock_offset_ns: i64,
}

impl Span {
    pub fn new(from: Option<Moment>, to: Option<Moment>) -> Span {
        Span { from, to, first: None, clock_offset_ns: 0 }
    }

    /// The events that follow are of this clock.
    pub fn set_offset(&mut self, clock_offset_ns: i64) {
        self.clock_offset_ns = clock_offset_ns;
    }

    /// The date of an event's time, in nanoseconds since 1970.
    pub fn date(&mut self, time_ns: u64) -> u64 {
        let date = time_ns.saturating_add_signed(self.clock_offset_ns);
        self.first.get_or_insert(date);
        date
    }

    /// Whether a date is in it.
    pub fn has(&self, date: u64) -> bool {
        let at = |moment: Moment| match moment {
            Moment::Date(date) => date,
            Moment::After(ns) => self.first.unwrap_or(date).saturating_add(ns),
        };
        self.from.is_none_or(|from| date >= at(from)) && self.to.is_none_or(|to| date < at(to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        assert_eq!("10s".parse(), Ok(Moment::After(10_000_000_000)));
        assert_eq!("+1m 500ms".parse(), Ok(Moment::After(60_500_000_000)));
        assert_eq!("1970-01-01T00:00:01.5Z".parse(), Ok(Moment::Date(1_500_000_000)));
        assert_eq!("1970-01-01 00:00:02".parse(), Ok(Moment::Date(2_000_000_000)));
        for bad in ["", "tomorrow", "-5s", "12:00", "2026-13-01T00:00:00Z", "9999y"] {
            assert!(bad.parse::<Moment>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_span_is_by_date_or_from_the_first_event_on() {
        let mut span = Span::new(Some(Moment::After(10)), Some(Moment::Date(130)));
        span.set_offset(100);
        let within: Vec<u64> = (5..40)
            .filter(|time| {
                let date = span.date(*time);
                span.has(date)
            })
            .collect();
        assert_eq!((within.first(), within.last()), (Some(&15), Some(&29)));
        // The machine was started anew in between: its clock, too.
        span.set_offset(125);
        let date = span.date(1);
        assert!(span.has(date) && !Span::new(None, Some(Moment::After(0))).has(date));
    }
}
