//! What is counted, and the page that tells it.

use nlbus::{BrokerKind, Bus, Delivery, Info};
use nlbus_subscribers::sockets::netlink_sockets;
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use tracing::warn;

/// Stands for the topics beyond the limit. A topic of this name is counted among them.
const OTHER: &str = "_other";

/// The metrics.
pub struct Metrics {
    bus: Bus,
    max_topics: usize,
    registry: Registry,
    state: Mutex<State>,
    events: IntCounterVec,
    rates: GaugeVec,
    bytes: IntCounterVec,
    lost: IntCounterVec,
    repaired: IntCounterVec,
    newest: IntGaugeVec,
    kept: IntGaugeVec,
    kept_bytes: IntGaugeVec,
    queued: IntGaugeVec,
    drops: IntCounterVec,
    up: Gauge,
    broker: IntGaugeVec,
    restarts: IntCounter,
}

/// What is not a metric.
struct State {
    topics: BTreeSet<String>,
    /// When rates were last taken, and the events counted until then.
    taken: (Instant, HashMap<String, u64>),
}

impl Metrics {
    pub fn new(bus: Bus, max_topics: usize) -> prometheus::Result<Metrics> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone())).map(|()| vec)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone())).map(|()| vec)
        };
        let rates = GaugeVec::new(
            Opts::new("nlbus_topic_events_per_second", "Events received, over the last interval."),
            &["topic"],
        )?;
        registry.register(Box::new(rates.clone()))?;
        let up = Gauge::new("nlbus_up", "Whether the broker answers.")?;
        registry.register(Box::new(up.clone()))?;
        let restarts = IntCounter::new("nlbus_restarts_total", "Restarts of the broker that were seen.")?;
        registry.register(Box::new(restarts.clone()))?;
        let socket = ["portid", "role"];
        Ok(Metrics {
            events: counters("nlbus_topic_events_total", "Events received.", &["topic"])?,
            bytes: counters("nlbus_topic_payload_bytes_total", "Bytes of payload received.", &["topic"])?,
            lost: counters("nlbus_topic_lost_events_total", "Events that could not be had.", &["topic", "cause"])?,
            repaired: counters(
                "nlbus_topic_repaired_events_total",
                "Events received out of the broker's history.",
                &["topic"],
            )?,
            newest: gauges("nlbus_topic_newest_sequence_number", "Newest sequence number.", &["topic"])?,
            kept: gauges("nlbus_topic_kept_events", "Events that history keeps.", &["topic"])?,
            kept_bytes: gauges("nlbus_topic_kept_bytes", "Bytes that history keeps.", &["topic"])?,
            queued: gauges("nlbus_socket_queued_bytes", "Bytes that wait to be read.", &socket)?,
            drops: counters(
                "nlbus_socket_dropped_datagrams_total",
                "Datagrams that a socket had no room for.",
                &socket,
            )?,
            broker: gauges("nlbus_broker_info", "Which broker it is; always 1.", &["broker", "version", "epoch"])?,
            state: Mutex::new(State { topics: BTreeSet::new(), taken: (Instant::now(), HashMap::new()) }),
            bus,
            max_topics,
            registry,
            rates,
            up,
            restarts,
        })
    }

    /// The label of a topic.
    fn label<'a>(&self, topic: &'a str) -> &'a str {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.topics.contains(topic) {
            return topic;
        }
        if state.topics.len() >= self.max_topics || topic == OTHER {
            return OTHER;
        }
        state.topics.insert(topic.into());
        topic
    }

    /// Counts a delivery.
    pub fn count(&self, delivery: &Delivery) {
        match delivery {
            Delivery::Event(event) => {
                let topic = [self.label(event.topic())];
                self.events.with_label_values(&topic).inc();
                self.bytes.with_label_values(&topic).inc_by(event.payload().len() as u64);
                self.repaired.with_label_values(&topic).inc_by(event.is_replayed().into());
            }
            Delivery::Lost(lost) => {
                let topic = self.label(&lost.topic);
                self.lost.with_label_values(&[topic, lost.cause.as_str()]).inc_by(lost.count());
            }
            Delivery::Restarted(_) => self.restarts.inc(),
            _ => {}
        }
    }

    /// Takes the rates since the last time.
    pub fn take_rates(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, seconds) = (Instant::now(), state.taken.0.elapsed().as_secs_f64());
        let topics: Vec<String> = state.topics.iter().cloned().chain([OTHER.to_owned()]).collect();
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
        let info = self.bus.info();
        self.up.set(f64::from(u8::from(info.is_ok())));
        for gauges in [&self.newest, &self.kept, &self.kept_bytes, &self.queued, &self.broker] {
            gauges.reset();
        }
        if let Ok(info) = info {
            let kind = if info.broker == BrokerKind::Module { "module" } else { "user" };
            let labels = [kind, &info.version.to_string(), &format!("{:016x}", info.epoch)];
            self.broker.with_label_values(&labels).set(1);
            self.topics();
            self.sockets(&info);
        }
        let mut page = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut page) {
            warn!("can't write the metrics: {error}");
        }
        page
    }

    fn topics(&self) {
        for topic in self.bus.topics().unwrap_or_default() {
            let label = [self.label(&topic.name)];
            // Of those beyond the limit, sums; a sequence number of several topics would say nothing.
            if label != [OTHER] {
                self.newest.with_label_values(&label).set(topic.head as i64);
            }
            self.kept.with_label_values(&label).add((topic.head + 1).saturating_sub(topic.first) as i64);
            self.kept_bytes.with_label_values(&label).add(topic.bytes as i64);
        }
    }

    fn sockets(&self, info: &Info) {
        let sockets = netlink_sockets().unwrap_or_else(|error| {
            warn!("can't list netlink sockets: {error}");
            Vec::new()
        });
        self.drops.reset();
        for socket in sockets.iter().filter(|socket| socket.protocol == info.protocol && socket.portid != 0) {
            let broker = [info.publish_port, info.request_port].contains(&socket.portid);
            let portid = socket.portid.to_string();
            let labels = [portid.as_str(), if broker { "broker" } else { "client" }];
            self.queued.with_label_values(&labels).set(socket.queued as i64);
            self.drops.with_label_values(&labels).inc_by(socket.drops);
        }
    }
}
