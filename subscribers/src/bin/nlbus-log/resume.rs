//! What a log has behind the position that was kept: written, and then a crash came before the position was kept anew. It
//! is cut off if all of it comes again. If any of it may not come again, it stays: a line twice is better than none.

use crate::ending::is_ours;
use crate::file::LogFile;
use crate::state::{Saved, names};
use nlbus::{Bus, TopicRecord};
use nlbus_subscribers::end::End;
use nlbus_subscribers::topics::Topics;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::HashMap;
use std::io::{self, BufRead};

/// What a line says, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Line {
    topic: Option<String>,
    seq: Option<u64>,
    lost: Option<IgnoredAny>,
}

/// Why lines behind the position can't be cut off.
type Why = &'static str;

/// Makes the log fit the position, or else says why it doesn't.
///
/// # Errors
/// When the log can't be read or cut, or the broker doesn't say what it has.
pub fn fit(
    log: &mut LogFile,
    saved: &Saved,
    topics: &Topics,
    bus: &Bus,
    failed: impl Fn(&io::Error) -> End,
) -> Result<Option<Why>, End> {
    let now = log.extent();
    if now.identity != saved.log.identity {
        return Ok((now.length > 0).then_some("it is not the file that the position belongs to"));
    }
    if now.length <= saved.log.length {
        return Ok((now.length < saved.log.length).then_some("it has become shorter since the position was kept"));
    }
    let epoch = bus.info()?.epoch;
    if saved.positions.values().any(|positions| positions.epoch() != epoch) {
        return Ok(Some("the broker is another one"));
    }
    if saved.filters != names(&topics.filters) || saved.exclude != names(&topics.exclude) {
        return Ok(Some("the filters are others"));
    }
    let records = bus.topics()?.into_iter().map(|record| (record.name.clone(), record)).collect();
    let behind = Behind { saved, topics, records };
    let comes_again = log.read_from(saved.log.length).and_then(|lines| behind.comes_again(lines));
    if !comes_again.map_err(|error| failed(&error))? {
        return Ok(Some("the broker doesn't keep all of these events any more"));
    }
    log.cut_to(saved.log.length).map_err(|error| failed(&error))?;
    Ok(None)
}

struct Behind<'a> {
    saved: &'a Saved,
    topics: &'a Topics,
    records: HashMap<String, TopicRecord>,
}

impl Behind<'_> {
    fn comes_again(&self, mut lines: impl BufRead) -> io::Result<bool> {
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            let again = match serde_json::from_slice(&line) {
                Ok(Line { topic: Some(topic), seq: Some(seq), .. }) => self.is_kept(&topic, seq),
                // What was lost is lost again.
                Ok(Line { lost, .. }) => lost.is_some(),
                // The last one may be torn.
                Err(_) => is_ours(&line) && !line.ends_with(b"\n"),
            };
            if !again {
                return Ok(false);
            }
            line.clear();
        }
        Ok(true)
    }

    fn is_kept(&self, topic: &str, seq: u64) -> bool {
        let Some(filter) = self.topics.filters.iter().find(|filter| filter.matches(topic)) else { return false };
        let (Some(record), Some(positions)) = (self.records.get(topic), self.saved.positions.get(filter.as_str()))
        else {
            return false;
        };
        !self.topics.exclude.iter().any(|filter| filter.matches(topic))
            && (record.first..=record.head).contains(&seq)
            && positions.seq(record.id).is_none_or(|last| last < seq)
    }
}
