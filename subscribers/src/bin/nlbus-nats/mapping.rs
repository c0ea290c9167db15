//! MQTT topics as NATS subjects and back, as nats-server's own MQTT gateway converts them (its documentation, "Topics and
//! subjects"): `/` becomes `.`, and a `/` that begins or ends a topic or follows another one becomes a level of its own; `.`
//! becomes `//`; of wildcards, `+` becomes `*` and `#` becomes `>`. White space has no place in a subject.
//!
//! What is a topic comes back as it was. Not all subjects are topics: that of one with `+` or `#` in it isn't.

use nlbus::{Filter, TopicError};
use std::fmt;

/// Why a topic has no subject, or a subject no topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmappable {
    /// White space or a control character, which ends a subject on the wire.
    Space,
    /// A level that is `*` or `>`, which would be a wildcard.
    Wildcard,
    /// A subject has a token without characters.
    EmptyToken,
    /// The topic would be none.
    Topic(TopicError),
    /// The rule takes tokens off the front that the subject doesn't have.
    Strip,
    /// Nobody may publish to the topic, or it is the bridge's own.
    Reserved,
}

impl fmt::Display for Unmappable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unmappable::Space => f.write_str("it has white space or a control character, which a subject can't have"),
            Unmappable::Wildcard => f.write_str("it has a level '*' or '>', which is a wildcard in a subject"),
            Unmappable::EmptyToken => f.write_str("it has an empty token"),
            Unmappable::Topic(error) => write!(f, "as a topic: {error}"),
            Unmappable::Reserved => {
                f.write_str("its topic is the broker's, the kernel's or a bridge's own; give a prefix")
            }
            Unmappable::Strip => f.write_str("it doesn't begin with what the rule strips"),
        }
    }
}

/// The subject of a topic.
///
/// # Errors
/// [`Unmappable::Space`] and [`Unmappable::Wildcard`].
pub fn subject_of(topic: &str) -> Result<String, Unmappable> {
    check_levels(topic)?;
    Ok(convert(topic))
}

/// A filter's subjects: what matches one of them matches the filter. `#` stands for no level, too, so it takes two.
///
/// # Errors
/// As [`subject_of`].
pub fn subjects_of(filter: &Filter) -> Result<Vec<String>, Unmappable> {
    let text = filter.as_str();
    check_levels(text)?;
    let above = text.strip_suffix("/#").into_iter();
    Ok([text].into_iter().chain(above).map(|text| wildcards(&convert(text))).collect())
}

fn wildcards(subject: &str) -> String {
    subject.split('.').map(wildcard).collect::<Vec<_>>().join(".")
}

fn wildcard(token: &str) -> &str {
    match token {
        "+" => "*",
        "#" => ">",
        token => token,
    }
}

fn check_levels(topic: &str) -> Result<(), Unmappable> {
    if topic.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(Unmappable::Space);
    }
    match topic.split('/').any(|level| matches!(level, "*" | ">")) {
        true => Err(Unmappable::Wildcard),
        false => Ok(()),
    }
}

fn convert(topic: &str) -> String {
    let mut subject = String::with_capacity(topic.len() + 8);
    let mut rest = topic.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '/' if subject.is_empty() || subject.ends_with('.') => subject.push_str("/."),
            '/' if matches!(rest.peek(), None | Some('/')) => subject.push_str("./"),
            '/' => subject.push('.'),
            '.' => subject.push_str("//"),
            c => subject.push(c),
        }
    }
    if subject.ends_with('.') {
        subject.push('/');
    }
    subject
}

/// The topic of a subject.
///
/// # Errors
/// [`Unmappable::EmptyToken`], [`Unmappable::Space`] and [`Unmappable::Topic`].
pub fn topic_of(subject: &str) -> Result<String, Unmappable> {
    check_tokens(subject)?;
    let mut topic = String::with_capacity(subject.len());
    let mut rest = subject.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            // An escape: of a level that isn't there, or of a dot.
            '/' => match rest.next() {
                Some('.') => topic.push('/'),
                Some('/') => topic.push('.'),
                // The last one ends the topic; any other means nothing.
                Some(other) => topic.push(other),
                None => {}
            },
            '.' => topic.push('/'),
            c => topic.push(c),
        }
    }
    if topic.contains(['+', '#']) {
        return Err(Unmappable::Topic(TopicError::Wildcard));
    }
    Filter::new(&topic).map_err(Unmappable::Topic)?;
    Ok(topic)
}

fn check_tokens(subject: &str) -> Result<(), Unmappable> {
    if subject.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(Unmappable::Space);
    }
    if subject.split('.').any(str::is_empty) {
        return Err(Unmappable::EmptyToken);
    }
    Ok(())
}

/// Checks a subject that messages are to have, or with wildcards, that are to come in.
///
/// # Errors
/// What is wrong with it, and how it should be.
pub fn check_subject(subject: &str, wildcards: bool) -> Result<(), String> {
    check_tokens(subject)
        .map_err(|why| format!("{why}; tokens are separated by single dots, as in site.sensors.temp"))?;
    let mut tokens = subject.split('.').peekable();
    while let Some(token) = tokens.next() {
        match token {
            "*" | ">" if !wildcards => return Err("wildcards aren't possible here; give the tokens themselves".into()),
            ">" if tokens.peek().is_some() => {
                return Err("'>' stands for all that follows, so it comes last, as in site.>".into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a subject can match both.
pub fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(one), Some(other)) if one == other || one == "*" || other == "*" => {}
            _ => return false,
        }
    }
}

/// What is left of a subject without as many tokens as there are in front of it; there, `*` is any one.
///
/// # Errors
/// [`Unmappable::Strip`] when it doesn't begin with them, or is no more than they are.
pub fn strip<'a>(subject: &'a str, front: &str) -> Result<&'a str, Unmappable> {
    let mut rest = subject;
    for expected in front.split('.').filter(|token| !token.is_empty()) {
        let (token, behind) = rest.split_once('.').ok_or(Unmappable::Strip)?;
        if expected != "*" && expected != token {
            return Err(Unmappable::Strip);
        }
        rest = behind;
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The table in the documentation of nats-server.
    #[test]
    fn topics_are_subjects_as_the_server_has_them() {
        for (topic, subject) in [
            ("foo/bar", "foo.bar"),
            ("/foo/bar", "/.foo.bar"),
            ("foo/bar/", "foo.bar./"),
            ("foo//bar", "foo./.bar"),
            ("//foo/bar", "/./.foo.bar"),
            ("foo.bar", "foo//bar"),
            ("/", "/./"),
            ("a/.b", "a.//b"),
            ("a///b", "a././.b"),
            ("grün/é", "grün.é"),
            ("a*/b>", "a*.b>"),
        ] {
            assert_eq!(subject_of(topic).as_deref(), Ok(subject), "{topic}");
            assert_eq!(topic_of(subject).as_deref(), Ok(topic), "{subject}");
        }
        for topic in ["foo bar", "a\tb", "a\nb", "a\u{7f}"] {
            assert_eq!(subject_of(topic), Err(Unmappable::Space), "{topic:?}");
        }
        assert_eq!(subject_of("a/*/b"), Err(Unmappable::Wildcard));
        assert_eq!(subject_of("a/>"), Err(Unmappable::Wildcard));
    }

    #[test]
    fn what_is_no_topic_stays_outside() {
        for subject in ["a.+.b", "a.b#"] {
            assert_eq!(topic_of(subject), Err(Unmappable::Topic(TopicError::Wildcard)), "{subject}");
        }
        assert_eq!(topic_of("a..b"), Err(Unmappable::EmptyToken));
        assert_eq!(topic_of(&"a".repeat(256)), Err(Unmappable::Topic(TopicError::TooLong(256))));
    }

    #[test]
    fn filters_are_subjects_with_wildcards() {
        for (filter, subjects) in [
            ("#", vec![">"]),
            ("a/#", vec!["a.>", "a"]),
            ("a/+/c", vec!["a.*.c"]),
            ("+", vec!["*"]),
            ("/+/b.c/#", vec!["/.*.b//c.>", "/.*.b//c"]),
        ] {
            let subjects: Vec<_> = subjects.into_iter().map(str::to_owned).collect();
            assert_eq!(subjects_of(&Filter::new(filter).unwrap()), Ok(subjects), "{filter}");
        }
    }

    #[test]
    fn the_front_of_a_subject_is_taken_off() {
        assert_eq!(strip("site.web1.a.b", "site.*"), Ok("a.b"));
        assert_eq!(strip("site.web1.a.b", ""), Ok("site.web1.a.b"));
        assert_eq!(strip("site.web1.a.b", "other"), Err(Unmappable::Strip));
        assert_eq!(strip("site", "site"), Err(Unmappable::Strip));
    }

    #[test]
    fn subjects_overlap_where_one_matches_both() {
        for (one, other, overlaps) in [
            ("a.b", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("a.*.c", "*.b.c", true),
            ("a.*", "a.b.c", false),
            (">", "*", true),
            ("a.b", "a.c", false),
        ] {
            assert_eq!((overlap(one, other), overlap(other, one)), (overlaps, overlaps), "{one} {other}");
        }
    }

    #[test]
    fn subjects_are_checked() {
        assert!(check_subject("a.*.>", true).is_ok() && check_subject("a.b", false).is_ok());
        for bad in ["", "a..b", ".a", "a b", "a.>.b", "a.\u{7f}"] {
            assert!(check_subject(bad, true).is_err(), "{bad}");
        }
        assert!(check_subject("a.*", false).is_err() && check_subject(">", false).is_err());
    }

    proptest! {
        #[test]
        fn a_topic_comes_back_as_it_was(topic in "[a./*é]{1,12}") {
            if let Ok(subject) = subject_of(&topic) {
                prop_assert!(check_subject(&subject, false).is_ok(), "{subject}");
                prop_assert_eq!(topic_of(&subject), Ok(topic));
            }
        }

        #[test]
        fn different_topics_have_different_subjects(one in "[a./]{1,8}", other in "[a./]{1,8}") {
            prop_assume!(one != other);
            prop_assert_ne!(subject_of(&one), subject_of(&other));
        }
    }
}
