//! `nlbus topics`: what is on the bus.

use nix::unistd::{Gid, Group, Uid, User};
use nlbus::{Filter, TopicRecord, TypeName};
use nlbus_subscribers::connect::connect;
use nlbus_subscribers::end::End;
use nlbus_subscribers::text::Escaped;
use nlbus_subscribers::values;
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write as _;

/// List topics: what history keeps of them, who may use them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only topics that match; all of them, the broker's own included, unless given.
    filter: Option<Filter>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), End> {
    let mut topics = connect()?.topics()?;
    topics.retain(|topic| args.filter.as_ref().is_none_or(|filter| filter.matches(&topic.name)));
    topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    print(&topics, args.json)
}

/// Prints topics as a table, or as a JSON object a line.
pub fn print(topics: &[TopicRecord], json: bool) -> Result<(), End> {
    let shown = if json { topics.iter().map(as_json).collect() } else { as_table(topics) };
    std::io::stdout().write_all(shown.as_bytes()).map_err(End::output)
}

/// How many events history keeps: it has them from `first` to `head`.
fn kept(topic: &TopicRecord) -> u64 {
    topic.head.saturating_add(1).saturating_sub(topic.first)
}

fn as_json(topic: &TopicRecord) -> String {
    let object = json!({
        "topic": topic.name,
        "id": topic.id,
        "group": topic.group,
        "first": topic.first,
        "head": topic.head,
        "events": kept(topic),
        "bytes": topic.bytes,
        "history": topic.history,
        "broadcast": topic.broadcast,
        "dropped": topic.dropped,
        "replayed": topic.replayed,
        "mode": values::mode_name(topic.mode),
        "uid": topic.uid,
        "gid": topic.gid,
        "type": topic.type_name.as_ref().map(TypeName::as_str),
    });
    format!("{object}\n")
}

fn as_table(topics: &[TopicRecord]) -> String {
    let header =
        ["ID", "GROUP", "FIRST", "NEWEST", "EVENTS", "BYTES", "LIMIT", "DROPPED", "REPLAYED", "MODE", "OWNER", "TYPE"]
            .map(str::to_owned);
    let rows = topics.iter().map(|topic| {
        [
            topic.id.to_string(),
            topic.group.to_string(),
            topic.first.to_string(),
            topic.head.to_string(),
            kept(topic).to_string(),
            topic.bytes.to_string(),
            topic.history.to_string(),
            topic.dropped.to_string(),
            topic.replayed.to_string(),
            values::mode_name(topic.mode),
            owner(topic),
            topic.type_name.map_or_else(|| "-".into(), |name| name.to_string()),
        ]
    });
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    let names = std::iter::once("TOPIC").chain(topics.iter().map(|topic| topic.name.as_str()));
    let mut widths = [0; 12];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let mut table = String::new();
    for (row, name) in rows.iter().zip(names) {
        // Numbers stand to the right, the owner and the type to the left.
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            let _ = if at < 10 { write!(table, "{cell:>width$}  ") } else { write!(table, "{cell:<width$}  ") };
        }
        let _ = writeln!(table, "{}", Escaped::field(name));
    }
    table
}

/// Names where this host knows them.
fn owner(topic: &TopicRecord) -> String {
    let user = User::from_uid(Uid::from_raw(topic.uid)).ok().flatten();
    let group = Group::from_gid(Gid::from_raw(topic.gid)).ok().flatten();
    let user = user.map_or_else(|| topic.uid.to_string(), |user| user.name);
    let group = group.map_or_else(|| topic.gid.to_string(), |group| group.name);
    format!("{user}:{group}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic() -> TopicRecord {
        let mut topic = TopicRecord::default();
        topic.id = 4;
        topic.name = "a b".into();
        topic.group = 3;
        (topic.first, topic.head, topic.bytes, topic.history) = (2, 5, 100, 4096);
        (topic.broadcast, topic.dropped, topic.replayed) = (5, 1, 3);
        (topic.mode, topic.uid, topic.gid) = (0o660, 4_000_001, 4_000_002);
        topic.type_name = "[u8;4]".parse().ok();
        topic
    }

    #[test]
    fn table_and_json_say_the_same() {
        assert_eq!(
            as_table(&[topic()]),
            "ID  GROUP  FIRST  NEWEST  EVENTS  BYTES  LIMIT  DROPPED  REPLAYED  MODE  OWNER            TYPE    TOPIC\n \
              4      3      2       5       4    100   4096        1         3  0660  4000001:4000002  [u8;4]  a\\x20b\n"
        );
        assert_eq!(
            as_json(&topic()),
            "{\"topic\":\"a b\",\"id\":4,\"group\":3,\"first\":2,\"head\":5,\"events\":4,\"bytes\":100,\
             \"history\":4096,\"broadcast\":5,\"dropped\":1,\"replayed\":3,\"mode\":\"0660\",\"uid\":4000001,\"gid\":4000002,\"type\":\"[u8;4]\"}\n"
        );
    }

    #[test]
    fn a_topic_without_events_keeps_none() {
        let mut empty = TopicRecord::default();
        empty.first = 1;
        assert_eq!(kept(&empty), 0);
    }
}
