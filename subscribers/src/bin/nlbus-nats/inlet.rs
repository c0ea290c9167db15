//! One rule's messages on their way in: each is new or came before, is this host's own or another one's, and what is new lands
//! on the local bus.

use crate::config::{InRule, OWN_TOPICS, OutRule};
use crate::courier::{Courier, GivenUp, Outgoing};
use crate::landing::{Ground, Landing};
use crate::ledger::Ledger;
use crate::mapping::{self, Unmappable};
use crate::metrics::Metrics;
use crate::origin::{Origin, content_of, headers_onward, went_by};
use crate::outlet;
use crate::source::{Came, Source};
use crate::state::{InPlace, Pace, State};
use crate::stop::Stop;
use async_nats::{HeaderMap, Subject};
use futures_util::FutureExt;
use nlbus::Content;
use nlbus::wire::uapi::NLBUS_LOST_MAX;
use nlbus_subscribers::end::End;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tracing::warn;

/// Bytes of payload that are published together, at most: those of a datagram.
const TOGETHER: usize = 60_000;

/// Subjects of which it is said that their messages stay outside; no more is said of further ones.
const TOLD: usize = 1000;

/// How long a stream may take to give what it gave before.
const PATIENCE: Duration = Duration::from_secs(10);

/// Messages that are looked at together, at most.
const MOST: usize = 1000;

/// What has arrived, by all rules together: whatever is known of that is known to all of them.
#[derive(Debug, Default)]
pub struct Arrivals {
    ledger: Ledger,
    /// How far each stream is.
    places: BTreeMap<String, InPlace>,
    /// Rules of which something is noted here that isn't published yet: it must not be kept.
    ahead: usize,
}

impl Arrivals {
    pub fn new(ledger: Ledger) -> Arrivals {
        Arrivals { ledger, ..Arrivals::default() }
    }
}

/// The way out again, for what goes on.
#[derive(Debug, Clone)]
pub struct Onward {
    pub rule: OutRule,
    pub courier: Arc<Courier>,
}

/// One rule's way in.
pub struct Inlet {
    pub rule: InRule,
    pub host: Arc<str>,
    pub source: Source,
    pub ground: Ground,
    pub onward: Vec<Onward>,
    pub arrivals: Arc<Mutex<Arrivals>>,
    pub state: Option<Arc<State>>,
    pub metrics: Arc<Metrics>,
    pub stop: Stop,
    pub runtime: Handle,
    /// Where it is, if it comes from a stream: the last message dealt with, and the last one that an earlier life of the bridge
    /// has published.
    pub place: Option<(InPlace, u64)>,
    pub pace: Pace,
    /// Subjects of messages that stay outside, as was said.
    pub told: HashSet<String>,
}

/// What a rule is known by again.
pub fn key(rule: &InRule) -> String {
    let stream = rule.durable.as_deref().unwrap_or("-");
    let (subjects, strip, prefix) = (rule.subjects.join(" "), &rule.strip, &rule.prefix);
    format!("{stream} {subjects} {strip} {prefix}")
}

/// What becomes of messages that were taken together.
#[derive(Debug, Default)]
struct Taken {
    landed: Vec<Landing>,
    bytes: usize,
    /// Those that go on, by the number of their rule.
    onward: BTreeMap<usize, Vec<Outgoing>>,
}

impl Inlet {
    /// Takes messages in until the program is to end.
    ///
    /// # Errors
    /// When the connection to the local bus has ended, or a position can't be kept.
    pub fn run(mut self) -> Result<(), End> {
        loop {
            match self.next() {
                Wake::Came(came) => match self.take(came, false) {
                    Err(End::Interrupted) => break,
                    taken => taken?,
                },
                Wake::Due => {}
                Wake::Stopped => break,
            }
            self.keep(false)?;
        }
        self.keep(true)
    }

    /// Keeps the place where a stream is begun: it is gone on with there after a crash, though nothing came.
    ///
    /// # Errors
    /// When it can't be kept.
    pub fn begin(&mut self) -> Result<(), End> {
        let arrivals = Arc::clone(&self.arrivals);
        self.note(&mut arrivals.lock().unwrap_or_else(PoisonError::into_inner));
        self.keep(true)
    }

    /// Reads what an earlier life of the bridge has published and not kept: all rules are to know it before any publishes more.
    ///
    /// # Errors
    /// [`End::Interrupted`], and as [`run`](Self::run).
    pub fn catch_up(&mut self) -> Result<(), End> {
        while self.place.as_ref().is_some_and(|(place, published)| place.seq < *published) {
            let source = &mut self.source;
            let next = self.runtime.block_on(async {
                tokio::select! {
                    () = self.stop.asked() => Err(End::Interrupted),
                    came = source.next() => Ok(came),
                    // The stream may have it no more.
                    () = tokio::time::sleep(PATIENCE) => Ok(None),
                }
            })?;
            let Some(came) = next else { break };
            self.take(came, true)?;
        }
        Ok(())
    }

    /// Notes how far it is.
    fn note(&mut self, arrivals: &mut Arrivals) {
        if let Some((place, _)) = &self.place {
            arrivals.places.insert(key(&self.rule), place.clone());
        }
        self.pace.changed();
    }

    fn next(&mut self) -> Wake {
        let (source, stop, due) = (&mut self.source, &self.stop, self.pace.due());
        self.runtime.block_on(async {
            let due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.asked() => Wake::Stopped,
                came = source.next() => came.map_or(Wake::Stopped, Wake::Came),
                () = due => Wake::Due,
            }
        })
    }

    /// Takes a message, and those that are there already; or of those, only what was published before.
    fn take(&mut self, first: Came, published: bool) -> Result<(), End> {
        let arrivals = Arc::clone(&self.arrivals);
        let mut known = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        // What is interrupted comes again: so nothing of it counts as arrived.
        known.ahead += 1;
        let mut taken = Taken::default();
        let mut next = Some(first);
        let mut count = 0;
        while let Some(came) = next.take() {
            self.sort(came, &mut known.ledger, &mut taken);
            count += 1;
            let is_old = |(place, published): &(InPlace, u64)| place.seq < *published;
            if count < MOST && taken.bytes < TOGETHER && (!published || self.place.as_ref().is_some_and(is_old)) {
                let _runtime = self.runtime.enter();
                next = self.source.next().now_or_never().flatten();
            }
        }
        if !taken.onward.is_empty() {
            // That may take as long as a server is away, and is no other rule's concern.
            drop(known);
            self.send_on(&mut taken)?;
            known = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        }
        self.ground.take(&mut taken.landed, self.place.as_ref().map(|(place, _)| place))?;
        known.ahead -= 1;
        self.note(&mut known);
        Ok(())
    }

    /// What goes on goes first: if the end comes in between, it is sent again, and known by its id.
    fn send_on(&self, taken: &mut Taken) -> Result<(), End> {
        for (number, messages) in std::mem::take(&mut taken.onward) {
            let count = messages.len() as u64;
            let sent = self.runtime.block_on(self.onward[number].courier.send(messages));
            sent.map_err(|GivenUp| End::Interrupted)?;
            self.metrics.forwarded.with_label_values(&[self.rule.name.as_str()]).inc_by(count);
        }
        Ok(())
    }

    /// Finds out what a message is.
    fn sort(&mut self, came: Came, ledger: &mut Ledger, taken: &mut Taken) {
        let label = [self.rule.name.as_str()];
        let metrics = &self.metrics;
        let mut is_published = false;
        if let (Some(now), Some((place, published))) = (&came.place, &mut self.place) {
            // Another stream, or its numbers begin anew.
            if *place.created != *now.created || now.seq <= place.seq {
                (place.created, *published) = (now.created.to_string(), 0);
            }
            place.seq = now.seq;
            is_published = now.seq <= *published;
            metrics.pending.with_label_values(&label).set(now.pending.try_into().unwrap_or(i64::MAX));
        }
        if is_internal(&self.rule, &came.subject) {
            return;
        }
        let none = HeaderMap::new();
        let headers = came.headers.as_ref().unwrap_or(&none);
        let origin = match Origin::read(headers) {
            Ok(origin) => origin,
            Err(why) => {
                metrics.came_malformed.with_label_values(&label).inc();
                return self.tell(&came.subject, &why);
            }
        };
        if origin.as_ref().is_some_and(|origin| origin.host == self.host) || went_by(headers, &self.host) {
            return metrics.came_back.with_label_values(&label).inc();
        }
        let topic = match topic(&self.rule, &came.subject) {
            Ok(topic) => topic,
            Err(why) => {
                metrics.in_unmappable.with_label_values(&label).inc();
                return self.tell(&came.subject, &why);
            }
        };
        let lost = match &origin {
            None => 0,
            Some(origin) => {
                let verdict = ledger.enter(origin);
                if !verdict.new {
                    return metrics.came_before.with_label_values(&label).inc();
                }
                // More in a row isn't a count that anybody needs to be exact.
                verdict.lost.min(NLBUS_LOST_MAX)
            }
        };
        if is_published {
            return metrics.came_before.with_label_values(&label).inc();
        }
        let content = content_of(headers);
        if let Some(origin) = origin.as_ref().filter(|_| self.rule.forward) {
            self.onward(&came, &topic, content, origin, taken);
        }
        let is_event = origin.is_none_or(|origin| origin.lost.is_none());
        taken.bytes += came.payload.len() + topic.len();
        let event = is_event.then_some((content, came.payload));
        if event.is_some() || lost > 0 {
            let seq = came.place.map(|place| place.seq);
            taken.landed.push(Landing { topic, lost, event, seq });
        }
    }

    /// Says why a message stays outside, once for each subject.
    fn tell(&mut self, subject: &Subject, why: &dyn Display) {
        if self.told.len() < TOLD && self.told.insert(subject.to_string()) {
            warn!("rule {}: messages of {subject} stay outside: {why}", self.rule.name);
        }
    }

    /// Has a message go on by the first rule that matches its topic, but not where it came from.
    fn onward(&self, came: &Came, topic: &str, content: Content, origin: &Origin, taken: &mut Taken) {
        let matching = self.onward.iter().enumerate().find(|(_, onward)| onward.rule.matches(topic));
        let Some((number, onward)) = matching else { return };
        let Ok(subject) = outlet::subject(&onward.rule, topic) else { return };
        if subject == came.subject {
            return;
        }
        let headers = came.headers.as_ref().map(|headers| headers_onward(headers, origin, &self.host));
        let (origin, payload) = (origin.clone(), came.payload.clone());
        taken.onward.entry(number).or_default().push(Outgoing { subject, origin, content, payload, headers });
    }

    fn keep(&mut self, now: bool) -> Result<(), End> {
        let Some(state) = &self.state else { return Ok(()) };
        if !now && self.pace.due().is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        if arrivals.ahead > 0 {
            return Ok(());
        }
        self.pace.keep(now, || state.keep_in(arrivals.places.clone(), arrivals.ledger.rows()))
    }
}

/// What a wait came to.
enum Wake {
    Came(Came),
    Due,
    Stopped,
}

/// Whether a message is the servers' or a client's own, which a rule takes only if it names it: as filters don't match `$SYS` that
/// begin with a wildcard.
fn is_internal(rule: &InRule, subject: &str) -> bool {
    let first = |subject: &str| subject.split('.').next().unwrap_or_default().to_owned();
    let name = first(subject);
    (name.starts_with('$') || name == "_INBOX") && !rule.subjects.iter().any(|subject| first(subject) == name)
}

/// The topic that a rule gives a subject.
///
/// # Errors
/// When there is none.
fn topic(rule: &InRule, subject: &str) -> Result<String, Unmappable> {
    let topic = format!("{}{}", rule.prefix, mapping::topic_of(mapping::strip(subject, &rule.strip)?)?);
    let is_ours = topic.split('/').next() == Some(OWN_TOPICS);
    if is_ours || nlbus::is_reserved(&topic) || topic.len() > nlbus::wire::uapi::NLBUS_TOPIC_MAX {
        return Err(Unmappable::Reserved);
    }
    Ok(topic)
}
