//! What is counted as events come, and the page that tells it.

use crate::labels::{Given, Labels};
use crate::snapshot::{self, Found};
use nlbus::{Bus, Delivery, Filter, TopicRecord};
use nlbus_subscribers::sockets::netlink_sockets;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::warn;

/// Stands for the topics beyond the limit. A topic of this name is counted among them.
pub const OTHER: &str = "_other";

/// Which topics are told of.
#[derive(Debug)]
pub struct Scope {
    /// Any of these.
    pub filters: Vec<Filter>,
    /// But none of these.
    pub exclude: Vec<Filter>,
    /// Topics with series of their own.
    pub max_topics: usize,
    /// How long each keeps them without an event.
    pub quiet: Duration,
}

impl Scope {
    fn contains(&self, topic: &str) -> bool {
        let is_one_of = |filters: &[Filter]| filters.iter().any(|filter| filter.matches(topic));
        is_one_of(&self.filters) && !is_one_of(&self.exclude)
    }
}

/// The metrics.
pub struct Metrics {
    bus: Bus,
    scope: Scope,
    registry: Registry,
    state: Mutex<State>,
    events: IntCounterVec,
    rates: GaugeVec,
    bytes: IntCounterVec,
    lost: IntCounterVec,
    replayed: IntCounterVec,
    restarts: IntCounter,
}

/// What is not a metric.
struct State {
    labels: Labels,
    /// When rates were last taken, and the events counted until then.
    taken: (Instant, HashMap<String, u64>),
    /// By topic, the causes of losses that have a series.
    causes: HashMap<String, BTreeSet<&'static str>>,
}

impl Metrics {
    pub fn new(bus: Bus, scope: Scope) -> prometheus::Result<Metrics> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone())).map(|()| vec)
        };
        let rates = GaugeVec::new(
            Opts::new("nlbus_topic_events_per_second", "Events received, over the last interval."),
            &["topic"],
        )?;
        registry.register(Box::new(rates.clone()))?;
        let restarts = IntCounter::new("nlbus_restarts_total", "Restarts of the broker that were seen.")?;
        registry.register(Box::new(restarts.clone()))?;
        let state = State {
            labels: Labels::new(scope.max_topics, scope.quiet),
            taken: (Instant::now(), HashMap::new()),
            causes: HashMap::new(),
        };
        Ok(Metrics {
            events: counters("nlbus_topic_events_total", "Events received.", &["topic"])?,
            bytes: counters("nlbus_topic_payload_bytes_total", "Bytes of payload received.", &["topic"])?,
            lost: counters("nlbus_topic_lost_events_total", "Events that could not be had.", &["topic", "cause"])?,
            replayed: counters(
                "nlbus_topic_replayed_events_total",
                "Events received out of the broker's history: the first ones of a new topic, and those that would have \
                 been lost otherwise.",
                &["topic"],
            )?,
            state: Mutex::new(state),
            bus,
            scope,
            registry,
            rates,
            restarts,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The label of a topic that something came of.
    fn label<'a>(&self, state: &mut State, topic: &'a str) -> &'a str {
        if topic == OTHER {
            return OTHER;
        }
        match state.labels.active(topic, Instant::now()) {
            Given::Own => topic,
            Given::None => OTHER,
            Given::InPlaceOf(before) => {
                self.forget(state, &before);
                topic
            }
        }
    }

    /// Ends a topic's series. A series that doesn't exist is none to end.
    fn forget(&self, state: &mut State, topic: &str) {
        for counters in [&self.events, &self.bytes, &self.replayed] {
            let _ = counters.remove_label_values(&[topic]);
        }
        let _ = self.rates.remove_label_values(&[topic]);
        for cause in state.causes.remove(topic).unwrap_or_default() {
            let _ = self.lost.remove_label_values(&[topic, cause]);
        }
        state.taken.1.remove(topic);
    }

    /// Counts a delivery.
    pub fn count(&self, delivery: &Delivery) {
        match delivery {
            Delivery::Event(event) => {
                let topic = [self.label(&mut self.state(), event.topic())];
                self.events.with_label_values(&topic).inc();
                self.bytes.with_label_values(&topic).inc_by(event.payload().len() as u64);
                self.replayed.with_label_values(&topic).inc_by(event.is_replayed().into());
            }
            Delivery::Lost(lost) => {
                let mut state = self.state();
                let (topic, cause) = (self.label(&mut state, &lost.topic), lost.cause.as_str());
                state.causes.entry(topic.into()).or_default().insert(cause);
                self.lost.with_label_values(&[topic, cause]).inc_by(lost.count());
            }
            Delivery::Restarted(_) => self.restarts.inc(),
            _ => {}
        }
    }

    /// Takes the rates since the last time.
    pub fn take_rates(&self) {
        let mut state = self.state();
        let (now, seconds) = (Instant::now(), state.taken.0.elapsed().as_secs_f64());
        let topics: Vec<String> = state.labels.iter().map(str::to_owned).chain([OTHER.to_owned()]).collect();
        let mut counted = HashMap::new();
        for topic in topics {
            let events = self.events.with_label_values(&[topic.as_str()]).get();
            let before = state.taken.1.get(&topic).copied().unwrap_or_default();
            self.rates.with_label_values(&[topic.as_str()]).set(events.saturating_sub(before) as f64 / seconds);
            counted.insert(topic, events);
        }
        state.taken = (now, counted);
    }

    /// The page, in Prometheus' text format.
    pub fn page(&self) -> String {
        let info = self.bus.info().ok();
        let sockets = netlink_sockets().unwrap_or_else(|error| {
            warn!("can't list netlink sockets: {error}");
            Vec::new()
        });
        let asked = Instant::now();
        // One that doesn't tell has not lost all its topics.
        let listed = info.as_ref().and_then(|_| self.bus.topics().ok());
        let is_listed = listed.is_some();
        let mut topics = listed.unwrap_or_default();
        topics.retain(|topic| self.scope.contains(&topic.name));
        let shown = self.shown(&topics, is_listed.then_some(asked));
        let found = Found { info: info.as_ref(), topics: &topics, shown: &shown, sockets: &sockets };
        let mut page = String::new();
        let families = snapshot::families(&found).map(|found| [self.registry.gather(), found].concat());
        let written = families.and_then(|families| TextEncoder::new().encode_utf8(&families, &mut page));
        if let Err(error) = written {
            warn!("can't write the metrics: {error}");
        }
        page
    }

    /// Those of the topics that are shown by their own name.
    fn shown<'a>(&self, topics: &'a [TopicRecord], asked: Option<Instant>) -> BTreeSet<&'a str> {
        let names: BTreeSet<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        let mut state = self.state();
        if let Some(asked) = asked {
            state.labels.listed(&names, asked);
        }
        state.labels.shown(&names)
    }
}
