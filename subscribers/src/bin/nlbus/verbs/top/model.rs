//! What is shown, and how: nothing here knows of a terminal.

use super::source::{Look, Update};
use nlbus::{BrokerKind, Content, Event, Filter, Info, TopicRecord};
use nlbus_subscribers::clients::Client;
use nlbus_subscribers::text::Escaped;
use std::cmp::{Ordering, Reverse};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Events that are remembered.
const EVENTS: usize = 200;

/// Bytes of a payload that are shown.
const SHOWN: usize = 400;

/// Looks that follow each other faster say nothing of how often events come.
const SOON: Duration = Duration::from_millis(50);

/// What topics are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Topic,
    Rate,
    Bytes,
    Kept,
    Size,
    Subscribers,
    Drops,
}

impl Column {
    pub const ALL: [Column; 7] =
        [Column::Topic, Column::Rate, Column::Bytes, Column::Kept, Column::Size, Column::Subscribers, Column::Drops];

    /// What stands above it.
    pub fn title(self) -> &'static str {
        match self {
            Column::Topic => "TOPIC",
            Column::Rate => "EVENTS/S",
            Column::Bytes => "BYTES/S",
            Column::Kept => "KEPT",
            Column::Size => "BYTES",
            Column::Subscribers => "SUBS",
            Column::Drops => "DROPS",
        }
    }
}

/// A topic's line.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub topic: String,
    pub type_name: String,
    /// Events and bytes a second since the look before; bytes by the size of the events that are kept.
    pub rate: f64,
    pub bytes: f64,
    /// Events and bytes that history keeps.
    pub kept: u64,
    pub size: u64,
    /// Sockets in its group, which it may share with other topics; `None` where the kernel's list doesn't say.
    pub subscribers: Option<u32>,
    pub drops: u64,
}

/// What one types at the bottom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Editing {
    pub text: String,
    pub error: Option<String>,
}

/// All that is shown.
#[derive(Debug)]
pub struct Model {
    /// What the whole program is limited to, and what was typed besides.
    scope: Filter,
    pub filter: Option<Filter>,
    pub sort: Column,
    pub is_reversed: bool,
    pub is_paused: bool,
    pub shows_help: bool,
    pub shows_events: bool,
    pub shows_clients: bool,
    pub editing: Option<Editing>,
    pub selected: usize,
    /// Whose line that is, once one was chosen: it is wherever the order puts it.
    chosen: Option<String>,
    /// The first line of the table that is on the screen; drawing keeps the selected one there.
    pub offset: usize,
    pub rows: Vec<Row>,
    /// Topics, and what is shown of their events.
    pub events: VecDeque<(String, String)>,
    pub clients: Vec<Client>,
    /// Which broker, in a line.
    pub broker: String,
    /// What is wrong with it.
    pub trouble: Option<String>,
    pub no_events: Option<String>,
    /// Events a second, of the whole bus and by the topics' ids.
    rate: f64,
    rates: HashMap<u32, f64>,
    last: Option<Last>,
}

/// What the next look is compared with.
#[derive(Debug)]
struct Last {
    at: Instant,
    epoch: u64,
    published: u64,
    heads: HashMap<u32, u64>,
}

impl Model {
    pub fn new(scope: &Filter) -> Model {
        Model {
            scope: scope.clone(),
            filter: None,
            sort: Column::Rate,
            is_reversed: false,
            is_paused: false,
            shows_help: false,
            shows_events: true,
            shows_clients: true,
            editing: None,
            selected: 0,
            chosen: None,
            offset: 0,
            rows: Vec::new(),
            events: VecDeque::new(),
            clients: Vec::new(),
            broker: "looking for the broker".into(),
            trouble: None,
            no_events: None,
            rate: 0.0,
            rates: HashMap::new(),
            last: None,
        }
    }

    /// Takes in what is new. While it is paused all stays as it is, but that the broker goes and comes.
    pub fn update(&mut self, update: Update) {
        match update {
            Update::Gone(why) => self.trouble = Some(why),
            Update::Look(_) if self.is_paused => self.trouble = None,
            _ if self.is_paused => {}
            Update::Look(look) => self.look(*look),
            Update::Events(events) => {
                for event in &events {
                    self.events.push_front((event.topic().to_owned(), line(event)));
                }
                self.events.truncate(EVENTS);
            }
            Update::NoEvents(why) => self.no_events = Some(why),
        }
    }

    fn look(&mut self, look: Look) {
        let Look { at, info, topics, clients } = look;
        self.measure(at, &info, &topics);
        let who = match info.broker {
            BrokerKind::Module => "module".to_owned(),
            _ => format!("user broker at port {}", info.publish_port),
        };
        let up = humantime::format_duration(Duration::from_secs(info.uptime_ns / 1_000_000_000));
        self.broker = format!("{who}, up {up}, {} topics, {}/s", topics.len(), short(self.rate));
        self.trouble = None;
        let shown = topics.iter().filter(|topic| self.is_in_scope(&topic.name));
        self.rows = shown.map(|topic| self.row(topic, &clients)).collect();
        self.clients = clients;
        self.clients.sort_by_key(|client| Reverse((client.socket.drops, client.socket.queued)));
        self.arrange();
    }

    /// Compares with the look before, if that was of the same broker and long enough ago.
    fn measure(&mut self, at: Instant, info: &Info, topics: &[TopicRecord]) {
        let last = self.last.take().filter(|last| last.epoch == info.epoch);
        let seconds = last.as_ref().map_or(0.0, |last| (at - last.at).as_secs_f64());
        if last.is_some() && seconds < SOON.as_secs_f64() {
            self.last = last;
            return;
        }
        let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let published = info.counters.published;
        self.rate = last.as_ref().map_or(0.0, |last| per_second(published, last.published));
        let rate = |last: &Last, topic: &TopicRecord| {
            per_second(topic.head, last.heads.get(&topic.id).copied().unwrap_or_default())
        };
        let rates = |last: &Last| topics.iter().map(|topic| (topic.id, rate(last, topic))).collect();
        self.rates = last.as_ref().map(rates).unwrap_or_default();
        let heads = topics.iter().map(|topic| (topic.id, topic.head)).collect();
        self.last = Some(Last { at, epoch: info.epoch, published, heads });
    }

    fn row(&self, topic: &TopicRecord, clients: &[Client]) -> Row {
        let rate = self.rates.get(&topic.id).copied().unwrap_or_default();
        let kept = topic.head.saturating_add(1).saturating_sub(topic.first);
        let bit = topic.group.checked_sub(1).filter(|bit| *bit < 32);
        let members = |bit: u32| clients.iter().filter(|client| client.socket.groups >> bit & 1 == 1).count() as u32;
        Row {
            topic: topic.name.clone(),
            type_name: topic.type_name.map(|name| name.to_string()).unwrap_or_default(),
            rate,
            bytes: if kept > 0 { rate * topic.bytes as f64 / kept as f64 } else { 0.0 },
            kept,
            size: topic.bytes,
            subscribers: bit.map(members),
            drops: topic.dropped,
        }
    }

    /// '#' alone matches the broker's own topics here, too: who watches a bus wants to see it all.
    fn is_in_scope(&self, topic: &str) -> bool {
        (self.scope.as_str() == "#" || self.scope.matches(topic))
            && self.filter.as_ref().is_none_or(|filter| filter.matches(topic))
    }

    /// Sorts, and keeps the selected line within.
    pub fn arrange(&mut self) {
        let (sort, is_reversed) = (self.sort, self.is_reversed);
        self.rows.sort_by(|a, b| {
            let by = compare(sort, a, b);
            let by = if is_reversed { by.reverse() } else { by };
            by.then_with(|| a.topic.cmp(&b.topic))
        });
        let chosen = self.chosen.as_ref().and_then(|topic| self.rows.iter().position(|row| row.topic == *topic));
        self.selected = chosen.unwrap_or(self.selected).min(self.rows.len().saturating_sub(1));
    }

    pub fn select(&mut self, by: isize) {
        let last = self.rows.len().saturating_sub(1);
        self.selected = self.selected.saturating_add_signed(by).min(last);
        self.chosen = self.rows.get(self.selected).map(|row| row.topic.clone());
    }
}

/// The largest first, names from a to z.
fn compare(sort: Column, a: &Row, b: &Row) -> Ordering {
    match sort {
        Column::Topic => a.topic.cmp(&b.topic),
        Column::Rate => b.rate.total_cmp(&a.rate),
        Column::Bytes => b.bytes.total_cmp(&a.bytes),
        Column::Kept => b.kept.cmp(&a.kept),
        Column::Size => b.size.cmp(&a.size),
        Column::Subscribers => b.subscribers.cmp(&a.subscribers),
        Column::Drops => b.drops.cmp(&a.drops),
    }
}

/// An event in a line: its topic, number and payload, decoded as far as it says what it is.
fn line(event: &Event) -> String {
    let shown = &event.payload()[..event.payload().len().min(SHOWN)];
    let stands_for = match event.stands_for() {
        1 => String::new(),
        events => format!(" (of {events})"),
    };
    let payload = match event.content() {
        Content::Bincode => shown.iter().map(|byte| format!("{byte:02x}")).collect(),
        _ => Escaped::text(shown).to_string(),
    };
    format!("{} #{}{stands_for} {payload}", Escaped::field(event.topic()), event.seq())
}

/// A number in at most five characters or so.
pub fn short(number: f64) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    let (mut scaled, mut unit) = (number, 0);
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 && scaled.fract() == 0.0 || scaled >= 99.95 {
        0
    } else if scaled >= 9.995 {
        1
    } else {
        2
    };
    format!("{scaled:.digits$}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use nlbus_subscribers::sockets::NetlinkSocket;

    fn topic(id: u32, name: &str, head: u64) -> TopicRecord {
        let mut topic = TopicRecord::default();
        (topic.id, topic.name, topic.head, topic.first, topic.bytes, topic.group) =
            (id, name.into(), head, 1, head * 100, id);
        topic
    }

    fn look(at: Instant, epoch: u64, topics: &[TopicRecord]) -> Update {
        let mut info = Info::default();
        info.epoch = epoch;
        info.counters.published = topics.iter().map(|topic| topic.head).sum();
        let socket = |groups| NetlinkSocket { protocol: 2, portid: 5, groups, queued: 0, drops: 0, inode: 1 };
        let clients = [0b10, 0b110].map(|groups| Client { socket: socket(groups), process: None }).to_vec();
        Update::Look(Box::new(Look { at, info, topics: topics.to_vec(), clients }))
    }

    fn names(model: &Model) -> Vec<&str> {
        model.rows.iter().map(|row| &*row.topic).collect()
    }

    #[test]
    fn rates_are_of_what_came_between_two_looks() {
        let (mut model, start) = (Model::new(&"#".parse().unwrap()), Instant::now());
        model.update(look(start, 1, &[topic(2, "a", 10), topic(3, "b", 5)]));
        assert!(model.rows.iter().all(|row| row.rate == 0.0), "nothing to compare with");
        model.update(look(
            start + Duration::from_secs(2),
            1,
            &[topic(2, "a", 10), topic(3, "b", 25), topic(4, "new", 4)],
        ));
        let rows: Vec<_> = model.rows.iter().map(|row| (&*row.topic, row.rate, row.bytes, row.subscribers)).collect();
        assert_eq!(rows, [("b", 10.0, 1000.0, Some(1)), ("new", 2.0, 200.0, Some(0)), ("a", 0.0, 0.0, Some(2))]);
        assert!(model.broker.contains("3 topics, 12/s"), "{}", model.broker);
        // Once more at once, because somebody asked for it: too soon to compare.
        model.update(look(start + Duration::from_millis(2001), 1, &[topic(2, "a", 11), topic(3, "b", 25)]));
        assert_eq!(model.rows.iter().map(|row| row.rate).collect::<Vec<_>>(), [10.0, 0.0]);
        // Another broker's numbers are not more of the same.
        model.update(look(start + Duration::from_secs(3), 2, &[topic(2, "a", 1000)]));
        assert_eq!((model.rows[0].rate, model.trouble.as_deref()), (0.0, None));
    }

    #[test]
    fn rows_are_sorted_and_filtered() {
        let (mut model, start) = (Model::new(&"#".parse().unwrap()), Instant::now());
        let topics = [topic(2, "a/x", 3), topic(3, "b", 9), topic(4, "a/y", 6), topic(1, "$SYS/heartbeat", 1)];
        model.update(look(start, 1, &topics));
        model.sort = Column::Kept;
        model.arrange();
        assert_eq!(names(&model), ["b", "a/y", "a/x", "$SYS/heartbeat"]);
        model.is_reversed = true;
        model.arrange();
        assert_eq!(names(&model), ["$SYS/heartbeat", "a/x", "a/y", "b"]);
        model.select(2);
        model.filter = "a/+".parse().ok();
        model.update(look(start + Duration::from_secs(1), 1, &topics));
        assert_eq!((names(&model), model.selected), (vec!["a/x", "a/y"], 1), "the same topic");
        model.filter = None;
        model.update(look(start + Duration::from_secs(2), 1, &topics));
        assert_eq!(names(&model).len(), 4);
        let mut scoped = Model::new(&"a/#".parse().unwrap());
        scoped.update(look(start, 1, &topics));
        assert_eq!(names(&scoped), ["a/x", "a/y"]);
    }

    #[test]
    fn paused_it_stays_and_trouble_passes() {
        let (mut model, start) = (Model::new(&"#".parse().unwrap()), Instant::now());
        model.update(look(start, 1, &[topic(2, "a", 1)]));
        model.is_paused = true;
        model.update(Update::Gone("gone".into()));
        model.update(look(start, 1, &[]));
        assert_eq!((names(&model), model.trouble.as_deref()), (vec!["a"], None), "it came back");
        model.update(Update::Gone("gone".into()));
        assert_eq!(model.trouble.as_deref(), Some("gone"));
        model.is_paused = false;
        model.update(Update::Gone("gone".into()));
        assert_eq!((names(&model), model.trouble.as_deref()), (vec!["a"], Some("gone")));
        model.update(look(start, 1, &[]));
        assert_eq!((names(&model).len(), model.trouble.as_deref()), (0, None));
    }

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0.0, "0"),
            (7.0, "7"),
            (0.5, "0.50"),
            (12.34, "12.3"),
            (999.0, "999"),
            (999.6, "1.00k"),
            (1234.0, "1.23k"),
            (45_600.0, "45.6k"),
            (999_400.0, "999k"),
            (2.5e6, "2.50M"),
            (1e15, "1000T"),
        ] {
            assert_eq!(short(number), text, "{number}");
        }
    }
}
