//! Values that arguments take, checked before anything else happens: what is wrong with them is a
//! question of usage, not of the bus.

use nlbus::{Choice, Filter, Start, TopicError};
use std::time::Duration;

/// The longest time that arguments take, a hundred years: it can be added to any clock's time.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A time, like 500ms, 30s or 1h.
pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err("takes 100 years at most".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Which broker.
pub fn broker(text: &str) -> Result<Choice, String> {
    match text {
        "auto" => Ok(Choice::Auto),
        "module" => Ok(Choice::Module),
        "user" => Ok(Choice::User),
        _ => Err("takes auto, module or user".into()),
    }
}

/// A port id for a user broker, whose requests go to the next one.
pub fn port(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(port) if port > 0 && port < u32::MAX => Ok(port),
        _ => Err(format!("a netlink port id is a number from 1 to {}", u32::MAX - 1)),
    }
}

/// A topic name, without wildcards.
pub fn topic(text: &str) -> Result<String, TopicError> {
    if text.contains(['+', '#']) {
        return Err(TopicError::Wildcard);
    }
    Filter::new(text).map(|name| name.as_str().to_owned())
}

/// Where a subscription starts.
pub fn start(text: &str) -> Result<Start, String> {
    let number = |digits: &str| digits.parse::<u64>().map_err(|_| format!("'{digits}' isn't a number"));
    match text.split_once('=') {
        None if text == "live" => Ok(Start::Live),
        None if text == "last" => Ok(Start::Last(1)),
        None if text == "all" => Ok(Start::All),
        Some(("last", n)) => number(n).map(Start::Last),
        Some(("seq", n)) => match number(n)? {
            0 => Err("sequence numbers begin at 1".into()),
            n => Ok(Start::From(n)),
        },
        _ => Err("takes live, last, last=N, seq=N or all".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_checked() {
        assert_eq!(port("1852596852"), Ok(1_852_596_852));
        for bad in ["0", "4294967295", "4294967296", "-1", "x", ""] {
            assert!(port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_bounded() {
        assert_eq!(duration("1m 500ms"), Ok(Duration::from_millis(60_500)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for bad in ["", "1", "-1s", "101years", "584542046090years", "999999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn topics_have_no_wildcards() {
        assert_eq!(topic("a/b"), Ok("a/b".into()));
        assert_eq!(topic("a/+"), Err(TopicError::Wildcard));
        assert_eq!(topic("a#b"), Err(TopicError::Wildcard));
        assert_eq!(topic(""), Err(TopicError::Empty));
    }

    #[test]
    fn starts_are_read() {
        for (text, start_) in [
            ("live", Start::Live),
            ("last", Start::Last(1)),
            ("last=5", Start::Last(5)),
            ("seq=1", Start::From(1)),
            ("all", Start::All),
        ] {
            assert_eq!(start(text), Ok(start_), "{text}");
        }
        for bad in ["", "first", "last=", "last=-1", "seq", "seq=0", "seq=x", "all=1", "live=1"] {
            assert!(start(bad).is_err(), "{bad}");
        }
    }
}
