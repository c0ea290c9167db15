//! Topic names and filters, by MQTT 5.0 section 4.7: levels separated by `/`, `+` for one level, `#`
//! for all that follow. Pure: no I/O, no other module.

use std::fmt;
use std::sync::Arc;

/// Longest topic name and longest filter, in bytes (`NLBUS_TOPIC_MAX`).
pub const TOPIC_MAX: usize = 255;

/// What is wrong with a topic name or a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicError {
    /// It has no bytes.
    Empty,
    /// It has more than 255 bytes: how many.
    TooLong(usize),
    /// It isn't UTF-8.
    NotUtf8,
    /// It contains U+0000.
    Nul,
    /// A name contains `+` or `#`, which only filters may.
    Wildcard,
    /// A filter has `+` or `#` beside other characters in a level, or `#` before the last level.
    Misplaced,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TopicError::Empty => f.write_str("it is empty; a topic has 1 to 255 bytes"),
            TopicError::TooLong(len) => write!(f, "it has {len} bytes; a topic has 1 to {TOPIC_MAX}"),
            TopicError::NotUtf8 => f.write_str("it isn't UTF-8"),
            TopicError::Nul => f.write_str("it contains U+0000"),
            TopicError::Wildcard => f.write_str("it contains '+' or '#', which only filters may"),
            TopicError::Misplaced => {
                f.write_str("'+' and '#' stand for whole levels, and '#' only for the last ones, as in a/+/b or a/#")
            }
        }
    }
}

impl std::error::Error for TopicError {}

/// Checks a topic name as it came over the wire: 1 to 255 bytes of UTF-8 without U+0000, `+` and `#`.
pub(crate) fn check_name(bytes: &[u8]) -> Result<&str, TopicError> {
    check_length(bytes.len())?;
    let name = std::str::from_utf8(bytes).map_err(|_| TopicError::NotUtf8)?;
    match bytes.iter().find(|byte| matches!(byte, 0 | b'+' | b'#')) {
        None => Ok(name),
        Some(0) => Err(TopicError::Nul),
        Some(_) => Err(TopicError::Wildcard),
    }
}

fn check_length(len: usize) -> Result<(), TopicError> {
    match len {
        0 => Err(TopicError::Empty),
        1..=TOPIC_MAX => Ok(()),
        _ => Err(TopicError::TooLong(len)),
    }
}

/// Whether only the broker or kernel code publishes to this topic: `$SYS` and `kernel`, and what is below.
///
/// ```
/// assert!(nlbus::is_reserved("kernel/net/link"));
/// assert!(!nlbus::is_reserved("kernels"));
/// ```
pub fn is_reserved(name: &str) -> bool {
    matches!(name.split('/').next(), Some("$SYS" | "kernel"))
}

/// A checked topic filter. A filter without wildcards is a topic name and matches just that topic.
///
/// ```
/// use nlbus::Filter;
///
/// let filter: Filter = "sensors/+/temp".parse()?;
/// assert!(filter.matches("sensors/1/temp"));
/// assert!(!filter.matches("sensors/1/2/temp"));
/// assert!("a/#".parse::<Filter>()?.matches("a"));
/// assert!(!"#".parse::<Filter>()?.matches("$SYS/heartbeat"));
/// # Ok::<(), nlbus::TopicError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    text: Arc<str>,
    wildcard: bool,
}

impl Filter {
    /// Checks a filter's syntax.
    ///
    /// # Errors
    /// Any [`TopicError`] but `Wildcard` and `NotUtf8`.
    ///
    /// # Example
    /// ```
    /// assert!(nlbus::Filter::new("sensors/+/temp").is_ok());
    /// assert_eq!(nlbus::Filter::new("sensors/+1"), Err(nlbus::TopicError::Misplaced));
    /// ```
    pub fn new(text: &str) -> Result<Filter, TopicError> {
        check_length(text.len())?;
        if text.contains('\0') {
            return Err(TopicError::Nul);
        }
        let mut levels = text.split('/').peekable();
        let mut wildcard = false;
        while let Some(level) = levels.next() {
            match level {
                "+" => wildcard = true,
                "#" if levels.peek().is_none() => wildcard = true,
                _ if level.contains(['+', '#']) => return Err(TopicError::Misplaced),
                _ => {}
            }
        }
        Ok(Filter { text: text.into(), wildcard })
    }

    /// The filter as it was written.
    ///
    /// ```
    /// assert_eq!(nlbus::Filter::new("a/#")?.as_str(), "a/#");
    /// # Ok::<(), nlbus::TopicError>(())
    /// ```
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it contains `+` or `#`.
    ///
    /// ```
    /// assert!(nlbus::Filter::new("a/#")?.is_wildcard());
    /// assert!(!nlbus::Filter::new("a/b")?.is_wildcard());
    /// # Ok::<(), nlbus::TopicError>(())
    /// ```
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// Whether a topic matches. A filter that begins with a wildcard doesn't match topics that begin with `$`.
    ///
    /// ```
    /// let filter = nlbus::Filter::new("sensors/+/temp")?;
    /// assert!(filter.matches("sensors/1/temp"));
    /// assert!(!filter.matches("sensors/1/humidity"));
    /// # Ok::<(), nlbus::TopicError>(())
    /// ```
    pub fn matches(&self, topic: &str) -> bool {
        if !self.wildcard {
            return *self.text == *topic;
        }
        if topic.starts_with('$') && self.text.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = topic.split('/');
        for want in self.text.split('/') {
            match (want, levels.next()) {
                // "a/#" matches "a" too: '#' stands for any number of levels, also none.
                ("#", _) => return true,
                (_, None) => return false,
                ("+", Some(_)) => {}
                (want, Some(level)) if want == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Filter {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Filter, TopicError> {
        Filter::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_checked() {
        assert_eq!(check_name(b"a/b"), Ok("a/b"));
        assert_eq!(check_name("/ö//".as_bytes()), Ok("/ö//"));
        assert_eq!(check_name(b""), Err(TopicError::Empty));
        assert_eq!(check_name(&[b'a'; 255]).map(str::len), Ok(255));
        assert_eq!(check_name(&[b'a'; 256]), Err(TopicError::TooLong(256)));
        assert_eq!(check_name(b"a\xed\xa0\x80"), Err(TopicError::NotUtf8));
        assert_eq!(check_name(b"a\0"), Err(TopicError::Nul));
        assert_eq!(check_name(b"a/+"), Err(TopicError::Wildcard));
        assert_eq!(check_name(b"a#"), Err(TopicError::Wildcard));
    }

    #[test]
    fn reserved_names_are_whole_first_levels() {
        for (name, reserved) in [
            ("$SYS", true),
            ("$SYS/a", true),
            ("kernel", true),
            ("kernel/x/y", true),
            ("$SYSTEM", false),
            ("kernels/a", false),
            ("a/kernel", false),
            ("$other", false),
        ] {
            assert_eq!(is_reserved(name), reserved, "{name}");
        }
    }

    #[test]
    fn filters_match_as_mqtt_says() {
        for (filter, topic, matches) in [
            ("a/b", "a/b", true),
            ("a/b", "a/c", false),
            ("+", "a", true),
            ("+", "/a", false),
            ("/+", "/a", true),
            ("+/+", "/a", true),
            ("+", "", true),
            ("a/+", "a/", true),
            ("a/+", "a", false),
            ("a/+/c", "a/b/c", true),
            ("a/+/c", "a/b/d/c", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("$SYS/+", "$SYS/x", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
        ] {
            assert_eq!(Filter::new(filter).unwrap().matches(topic), matches, "{filter} on {topic}");
        }
    }

    #[test]
    fn bad_filters_are_refused() {
        for (filter, error) in [
            ("", TopicError::Empty),
            ("a#", TopicError::Misplaced),
            ("#/a", TopicError::Misplaced),
            ("a+/b", TopicError::Misplaced),
            ("a/##", TopicError::Misplaced),
            ("a\0", TopicError::Nul),
        ] {
            assert_eq!(Filter::new(filter), Err(error), "{filter:?}");
        }
        assert_eq!(Filter::new(&"a".repeat(256)), Err(TopicError::TooLong(256)));
    }

    proptest! {
        #[test]
        fn a_name_is_a_filter_for_itself_alone(name in "[a-c/$]{1,12}", other in "[a-c/$]{1,12}") {
            let filter = Filter::new(&name).unwrap();
            prop_assert!(!filter.is_wildcard());
            prop_assert_eq!(filter.matches(&other), name == other);
        }

        #[test]
        fn plus_for_a_level_and_hash_for_the_rest_still_match(levels in prop::collection::vec("[a-c]{0,2}", 1..6), at in 0usize..6) {
            prop_assume!(levels.iter().any(|level| !level.is_empty()) || levels.len() > 1);
            let at = at % levels.len();
            let topic = levels.join("/");
            let mut plus = levels.clone();
            plus[at] = "+".into();
            prop_assert!(Filter::new(&plus.join("/")).unwrap().matches(&topic));
            let mut hash = levels[..at].to_vec();
            hash.push("#".into());
            prop_assert!(Filter::new(&hash.join("/")).unwrap().matches(&topic));
        }
    }
}
