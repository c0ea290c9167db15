//! Values that arguments take, checked before anything else happens: what is wrong with them is a
//! question of usage, not of the bus.

use nix::unistd::{Group, User};
use nlbus::{Choice, Filter, Start, TopicError, TypeName, TypeNameError};
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

/// Bytes, like 4096, 64KiB or 16 MB.
pub fn size(text: &str) -> Result<u64, String> {
    parse_size::Config::new().with_binary().parse_size(text).map_err(|error| error.to_string())
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

/// Who may read and write a topic: digits as chmod(1) takes them, without the execute bits.
pub fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode & !0o666 == 0 => Ok(mode),
        _ => Err("takes octal digits of 0666, like 0640: reading is subscribing, writing is publishing".into()),
    }
}

/// A mode as [`mode`] takes it.
pub fn mode_name(mode: u32) -> String {
    format!("{mode:04o}")
}

/// What a topic's values are called, if anything. (clap takes a bare `Option` for whether the argument is given.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeArg(pub Option<TypeName>);

/// What a topic's values are called; nothing for not known.
pub fn type_name(text: &str) -> Result<TypeArg, TypeNameError> {
    if text.is_empty() { Ok(TypeArg(None)) } else { text.parse().map(Some).map(TypeArg) }
}

/// A user, by name or number.
pub fn user(text: &str) -> Result<u32, String> {
    by_name_or_number(text, "user", |name| Ok(User::from_name(name)?.map(|user| user.uid.as_raw())))
}

/// A group, by name or number.
pub fn group(text: &str) -> Result<u32, String> {
    by_name_or_number(text, "group", |name| Ok(Group::from_name(name)?.map(|group| group.gid.as_raw())))
}

/// A name comes first, as chown(1) has it: some are digits.
fn by_name_or_number(
    text: &str,
    what: &str,
    look_up: impl FnOnce(&str) -> nix::Result<Option<u32>>,
) -> Result<u32, String> {
    match (look_up(text), text.parse()) {
        (Ok(Some(id)), _) => Ok(id),
        // The last number is nobody's: chown(2) takes it for "none".
        (_, Ok(number)) if number < u32::MAX => Ok(number),
        (Err(errno), _) => Err(format!("can't look the {what} up ({}); give the number", errno.desc())),
        _ => Err(format!("there is no {what} of that name here; give another one, or a number")),
    }
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
    fn modes_users_and_groups_are_read() {
        assert_eq!((mode("0640"), mode("6"), mode("0")), (Ok(0o640), Ok(6), Ok(0)));
        for bad in ["", "0777", "8", "-1", "u=rw", "1666", "0o640"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
        assert_eq!((mode_name(0o60), mode_name(0o666)), ("0060".into(), "0666".into()));
        assert_eq!((user("root"), user("4000001"), group("4000002")), (Ok(0), Ok(4_000_001), Ok(4_000_002)));
        for bad in ["", "-1", "4294967295", "no such name"] {
            assert!(user(bad).is_err() && group(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_type_may_be_none() {
        assert_eq!(type_name(""), Ok(TypeArg(None)));
        assert_eq!(type_name("Reading").map(|name| name.0.map(|name| name.to_string())), Ok(Some("Reading".into())));
        assert!(type_name("a\n").is_err() && type_name(&"x".repeat(64)).is_err());
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
