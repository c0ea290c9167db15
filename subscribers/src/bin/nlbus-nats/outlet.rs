//! One rule's local events on their way out: what the feed delivers becomes messages, and is passed once they are out.
//!
//! While they can't go out nothing is taken from the feed, so what comes meanwhile waits in the local history, and what that no
//! longer has comes as a loss, in line, and goes out as such.

use crate::config::{OWN_TOPICS, OutRule, OutStart};
use crate::courier::{BATCH, BATCH_BYTES, Courier, GivenUp, Outgoing};
use crate::declared::{self, Declared};
use crate::mapping::{self, Unmappable};
use crate::metrics::Metrics;
use crate::origin::{Origin, cause_name};
use crate::state::{OutPlace, Pace, State};
use async_nats::Subject;
use bytes::Bytes;
use nlbus::{Bus, Content, Delivery, Event, Filter, Lost, Start};
use nlbus_subscribers::end::End;
use nlbus_subscribers::feed::{self, Feed, Item, Next, Sink};
use nlbus_subscribers::service::Service;
use nlbus_subscribers::topics::Topics;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tracing::warn;

/// How often to look whether a server was connected to anew.
const LOOK: Duration = Duration::from_secs(1);

/// Topics whose subjects are remembered.
const REMEMBERED: usize = 1 << 16;

/// A topic that goes out.
#[derive(Debug)]
struct Way {
    topic: Arc<str>,
    subject: Subject,
    /// The last event that went out: epoch, topic id and number.
    last: Option<(u64, u32, u64)>,
}

/// What belongs to a rule before there is a connection to NATS.
#[derive(Debug)]
pub struct Intake {
    rule: OutRule,
    feed: Feed,
    declared: Declared,
    /// Of the local broker, as far as the feed is.
    epoch: u64,
    /// By topic id, how many events behind the last one that went out were not this host's own.
    skipped: BTreeMap<u32, u64>,
}

impl Intake {
    /// Subscribes to the rule's topics but for those that an earlier rule has.
    ///
    /// # Errors
    /// As [`Feed::open`].
    pub fn open(bus: &Bus, rule: OutRule, earlier: &[OutRule], state: Option<&State>) -> Result<Intake, End> {
        let mut exclude = rule.exclude.clone();
        exclude.extend(earlier.iter().filter(|other| other.exclude.is_empty()).flat_map(|other| other.topics.clone()));
        exclude.extend(Filter::new(&format!("{OWN_TOPICS}/#")));
        let topics = Topics { filters: rule.topics.clone(), exclude };
        let epoch = bus.info()?.epoch;
        let mut skipped = BTreeMap::new();
        let mut places = HashMap::new();
        for filter in &rule.topics {
            if let Some(place) = state.and_then(|state| state.out_place(&key(&rule, filter)?)) {
                // Another broker has other ids.
                if place.positions.epoch() == epoch {
                    skipped.extend(place.skipped);
                }
                places.insert(filter.as_str().to_owned(), place.positions);
            }
        }
        let start = match (&rule.durable, rule.start) {
            (Some(_), OutStart::All) => Start::All,
            _ => Start::Live,
        };
        let feed = Feed::open(bus, &topics, |filter, subscriber| match places.get(filter.as_str()) {
            Some(positions) => subscriber.resume(positions.clone()),
            None => subscriber.start(start),
        })?;
        let intake = Intake { rule, feed, declared: Declared::open(bus)?, epoch, skipped };
        if let Some(state) = state.filter(|_| intake.rule.durable.is_some()) {
            // A rule that has just begun goes on from here after a crash, and doesn't begin anew.
            state.keep_out(places_of(&intake.rule, &intake.feed, &intake.skipped))?;
        }
        Ok(intake)
    }
}

/// How far a rule's filters are, as it is kept.
fn places_of<'a>(
    rule: &'a OutRule,
    feed: &'a Feed,
    skipped: &'a BTreeMap<u32, u64>,
) -> impl Iterator<Item = (String, OutPlace)> + 'a {
    feed.positions().filter_map(move |(filter, positions)| {
        Some((key(rule, filter)?, OutPlace { positions: positions.clone(), skipped: skipped.clone() }))
    })
}

/// What a filter's position is kept under, if it is.
fn key(rule: &OutRule, filter: &Filter) -> Option<String> {
    let stream = rule.durable.as_ref()?;
    Some(format!("{stream} {} {filter}", rule.prefix))
}

/// One rule's way out.
#[derive(Debug)]
pub struct Outlet {
    rule: OutRule,
    /// The rules before it, which may have a topic that matches this one, too.
    earlier: Vec<OutRule>,
    feed: Feed,
    declared: Declared,
    epoch: u64,
    skipped: BTreeMap<u32, u64>,
    /// By topic: `None` for one that has no subject.
    ways: HashMap<Box<str>, Option<Way>>,
    /// Topics, by id, of which bridges have published events here.
    bridged: HashSet<u32>,
    courier: Arc<Courier>,
    host: Arc<str>,
    state: Option<Arc<State>>,
    pace: Pace,
    metrics: Arc<Metrics>,
    /// How often a server had been connected to when all was known to be out.
    connections: u64,
    runtime: Handle,
}

impl Outlet {
    pub fn new(
        intake: Intake,
        earlier: &[OutRule],
        courier: Arc<Courier>,
        host: Arc<str>,
        state: Option<Arc<State>>,
        metrics: Arc<Metrics>,
        runtime: Handle,
    ) -> Outlet {
        let Intake { rule, feed, declared, epoch, skipped } = intake;
        let connections = metrics.connections();
        Outlet {
            rule,
            earlier: earlier.to_vec(),
            feed,
            declared,
            epoch,
            skipped,
            ways: HashMap::new(),
            bridged: HashSet::new(),
            courier,
            host,
            state,
            pace: Pace::default(),
            metrics,
            connections,
            runtime,
        }
    }

    /// Takes events out until the program is to end, and then those that were published by then.
    ///
    /// # Errors
    /// When the connection to the local bus has ended, or a position can't be kept.
    pub fn run(mut self, bus: &Bus, service: &Service) -> Result<(), End> {
        loop {
            match self.feed.wait(service.stop(), self.deadline())? {
                Next::Deliveries(mut items) => {
                    // A batch takes as long with one message as with many.
                    while self.courier.is_durable()
                        && items.len() < BATCH
                        && let Some(more) = self.feed.take()?
                    {
                        items.extend(more);
                    }
                    match self.write(&items) {
                        Err(End::Interrupted) => break,
                        written => written?,
                    }
                }
                Next::TimedOut => match self.write(&[]) {
                    Err(End::Interrupted) => break,
                    written => written?,
                },
                Next::Stopped => {
                    match feed::drain(bus, &mut self) {
                        Err(End::Interrupted) => {}
                        drained => drained?,
                    }
                    break;
                }
            }
            self.keep(false)?;
        }
        if !self.courier.is_durable() {
            self.runtime.block_on(self.courier.flush());
        }
        self.keep(true)
    }

    /// When to look at what else there is to do.
    fn deadline(&self) -> Option<Instant> {
        if self.courier.is_durable() { self.pace.due() } else { Some(Instant::now() + LOOK) }
    }

    fn keep(&mut self, now: bool) -> Result<(), End> {
        let (Some(state), true) = (&self.state, self.courier.is_durable()) else { return Ok(()) };
        self.pace.keep(now, || state.keep_out(places_of(&self.rule, &self.feed, &self.skipped)))
    }

    /// What a delivery becomes.
    fn push(&mut self, item: &Item, messages: &mut Vec<Outgoing>) {
        match &item.delivery {
            Delivery::Event(event) if item.wanted => messages.extend(self.event(event)),
            Delivery::Lost(lost) if item.wanted => self.loss(lost, messages),
            Delivery::Restarted(restarted) if item.wanted => {
                self.skipped.clear();
                self.epoch = restarted.epoch;
            }
            Delivery::Ended(ended) => drop(self.skipped.remove(&ended.topic_id)),
            _ => {}
        }
    }

    fn event(&mut self, event: &Event) -> Option<Outgoing> {
        if declared::is_a_bridges(event) {
            // Another host's. It goes out there.
            self.skip((event.epoch(), event.topic_id()), 1);
            return None;
        }
        let (epoch, id, seq) = (event.epoch(), event.topic_id(), event.seq());
        let (content, payload) = (event.content(), Bytes::copy_from_slice(event.payload()));
        self.outgoing(event.topic(), (epoch, id), (seq, seq), None, content, payload)
    }

    fn loss(&mut self, lost: &Lost, messages: &mut Vec<Outgoing>) {
        let cause = cause_name(lost.cause);
        let place = (lost.epoch, lost.topic_id);
        let mut next = lost.from;
        for (from, to) in self.declared.own(lost) {
            self.skip(place, from - next);
            let cause = Some(Arc::clone(&cause));
            messages.extend(self.outgoing(&lost.topic, place, (from, to), cause, Content::Opaque, Bytes::new()));
            next = to + 1;
        }
        self.skip(place, (lost.to + 1).saturating_sub(next));
    }

    /// Whether there is a loss that a bridge may have declared: of a topic on which bridges publish, or that nothing is known of.
    fn is_to_catch_up(&mut self, items: &[Item]) -> bool {
        let events = items.iter().filter_map(|item| item.delivery.event());
        let theirs = events.filter(|event| declared::is_a_bridges(event)).map(Event::topic_id);
        if self.bridged.len() >= REMEMBERED {
            self.bridged.clear();
        }
        self.bridged.extend(theirs);
        self.declared.take();
        items.iter().filter(|item| item.wanted).any(|item| match &item.delivery {
            Delivery::Lost(lost) => {
                let is_known = self.ways.get(&*lost.topic).is_some_and(Option::is_some);
                !is_known || self.bridged.contains(&lost.topic_id) || self.declared.has(lost.topic_id)
            }
            _ => false,
        })
    }

    /// Notes that numbers of a topic are not this host's own. Those of an earlier broker can still come, by another filter.
    fn skip(&mut self, (epoch, id): (u64, u32), count: u64) {
        if epoch == self.epoch && count > 0 {
            *self.skipped.entry(id).or_default() += count;
        }
    }

    fn outgoing(
        &mut self,
        topic: &str,
        (epoch, id): (u64, u32),
        (from, to): (u64, u64),
        lost: Option<Arc<str>>,
        content: Content,
        payload: Bytes,
    ) -> Option<Outgoing> {
        if self.earlier.iter().any(|rule| rule.matches(topic)) {
            return None;
        }
        let skipped = if epoch == self.epoch { self.skipped.remove(&id).unwrap_or_default() } else { 0 };
        let skipped = skipped.min(from - 1);
        let host = Arc::clone(&self.host);
        let Some(way) = self.way(topic) else {
            let label = [self.rule.name.as_str()];
            self.metrics.out_unmappable.with_label_values(&label).inc_by(to + 1 - from);
            return None;
        };
        way.last = Some((epoch, id, to));
        let origin = Origin { host, epoch, topic: Arc::clone(&way.topic), topic_id: id, from, to, skipped, lost };
        Some(Outgoing { subject: way.subject.clone(), origin, content, payload, headers: None })
    }

    fn way(&mut self, topic: &str) -> Option<&mut Way> {
        if !self.ways.contains_key(topic) {
            if self.ways.len() >= REMEMBERED {
                self.ways.clear();
            }
            let way = match subject(&self.rule, topic) {
                Ok(subject) => Some(Way { topic: topic.into(), subject, last: None }),
                Err(why) => {
                    warn!("rule {}: events of {topic:?} don't go out: {why}", self.rule.name);
                    None
                }
            };
            self.ways.insert(topic.into(), way);
        }
        self.ways.get_mut(topic)?.as_mut()
    }

    /// After the connection was gone, what was on its way may be lost, and nothing may follow by which that would be seen. So
    /// the other side is told how far each topic is.
    fn heads(&mut self) -> Vec<Outgoing> {
        let connections = self.metrics.connections();
        if self.courier.is_durable() || std::mem::replace(&mut self.connections, connections) == connections {
            return Vec::new();
        }
        let ways = self.ways.values().flatten();
        let head = |way: &Way| {
            let (epoch, topic_id, last) = way.last?;
            let (host, topic) = (Arc::clone(&self.host), Arc::clone(&way.topic));
            let origin = Origin {
                host,
                epoch,
                topic,
                topic_id,
                from: last + 1,
                to: last,
                skipped: 0,
                lost: Some("on its way".into()),
            };
            let (content, payload) = (Content::Opaque, Bytes::new());
            Some(Outgoing { subject: way.subject.clone(), origin, content, payload, headers: None })
        };
        ways.filter_map(head).collect()
    }

    fn send(&self, messages: Vec<Outgoing>) -> Result<(), End> {
        if messages.is_empty() {
            return Ok(());
        }
        self.runtime.block_on(self.courier.send(messages)).map_err(|GivenUp| End::Interrupted)
    }
}

/// The subject that a rule gives a topic.
///
/// # Errors
/// When there is none.
pub fn subject(rule: &OutRule, topic: &str) -> Result<Subject, Unmappable> {
    let subject = mapping::subject_of(topic)?;
    Ok(format!("{}{subject}", rule.prefix).into())
}

impl Sink for Outlet {
    fn feed(&mut self) -> &mut Feed {
        &mut self.feed
    }

    fn write(&mut self, items: &[Item]) -> Result<(), End> {
        let heads = self.heads();
        self.send(heads)?;
        for items in chunks(items) {
            let skipped = self.skipped.clone();
            if self.is_to_catch_up(items) {
                self.declared.catch_up();
            }
            let mut messages = Vec::with_capacity(items.len());
            items.iter().for_each(|item| self.push(item, &mut messages));
            if let Err(end) = self.send(messages) {
                // The position stays before them.
                self.skipped = skipped;
                return Err(end);
            }
            for item in items {
                self.feed.passed(item);
            }
            self.pace.changed();
        }
        Ok(())
    }
}

/// As many at once as a batch takes.
fn chunks(mut items: &[Item]) -> impl Iterator<Item = &[Item]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |item: &&Item| {
            bytes += item.delivery.event().map_or(0, |event| event.payload().len());
            bytes <= BATCH_BYTES
        };
        let count = items.iter().take(BATCH).take_while(fits).count();
        let (chunk, rest) = items.split_at(count.max(1).min(items.len()));
        items = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}
