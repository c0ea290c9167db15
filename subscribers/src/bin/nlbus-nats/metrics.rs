//! What the bridge counts, for Prometheus.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use tokio::sync::watch;
use tracing::warn;

/// The metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// How often a server was connected to.
    connections: watch::Sender<u64>,
    is_connected: IntGauge,
    reconnects: IntCounter,
    /// Times that messages came in faster than they were taken.
    pub slow_consumer: IntCounter,
    pub sent: IntCounterVec,
    pub sent_bytes: IntCounterVec,
    pub sent_lost: IntCounterVec,
    pub sent_again: IntCounterVec,
    pub sent_before: IntCounterVec,
    pub out_unmappable: IntCounterVec,
    pub came: IntCounterVec,
    pub came_bytes: IntCounterVec,
    pub came_lost: IntCounterVec,
    pub came_before: IntCounterVec,
    pub came_back: IntCounterVec,
    pub came_malformed: IntCounterVec,
    pub came_refused: IntCounterVec,
    pub in_unmappable: IntCounterVec,
    pub forwarded: IntCounterVec,
    pub pending: IntGaugeVec,
}

impl Metrics {
    /// All of them zero.
    pub fn new() -> prometheus::Result<Metrics> {
        let registry = Registry::new();
        let vec = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntCounterVec::new(Opts::new(format!("nlbus_nats_{name}"), help), labels)?;
            registry.register(Box::new(vec.clone())).map(|()| vec)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(format!("nlbus_nats_{name}"), help)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let is_connected = IntGauge::new("nlbus_nats_connected", "Whether a NATS server is connected.")?;
        registry.register(Box::new(is_connected.clone()))?;
        let pending = Opts::new("nlbus_nats_in_pending_messages", "Messages of the stream that are still to come in.");
        let pending = IntGaugeVec::new(pending, &["rule"])?;
        registry.register(Box::new(pending.clone()))?;
        let rule = &["rule"][..];
        Ok(Metrics {
            connections: watch::Sender::new(0),
            is_connected,
            reconnects: counter("reconnects_total", "Times that a NATS server was connected to anew.")?,
            slow_consumer: counter("slow_consumer_total", "Times that messages came in faster than they were taken.")?,
            sent: vec("out_events_total", "Local events that went out.", rule)?,
            sent_bytes: vec("out_payload_bytes_total", "Bytes of payload that went out.", rule)?,
            sent_lost: vec(
                "out_lost_events_total",
                "Local events that didn't go out, as the other side was told: the local history no longer had them, or a \
                 server doesn't take messages of that size.",
                &["rule", "cause"],
            )?,
            sent_again: vec("out_retries_total", "Times that something was sent again, for want of an answer.", rule)?,
            sent_before: vec("out_duplicates_total", "Events that the stream had already.", rule)?,
            out_unmappable: vec("out_unmappable_events_total", "Local events whose topic is no subject.", rule)?,
            came: vec("in_events_total", "Events that came in and were published here.", rule)?,
            came_bytes: vec("in_payload_bytes_total", "Bytes of payload that came in.", rule)?,
            came_lost: vec(
                "in_lost_events_total",
                "Events of other hosts that didn't come in, and were reported as lost here.",
                rule,
            )?,
            came_before: vec("in_duplicates_total", "Messages that had come before, and so were left.", rule)?,
            came_back: vec(
                "in_own_total",
                "Messages that were published here or went by here, and so were left.",
                rule,
            )?,
            came_malformed: vec("in_malformed_total", "Messages whose headers are no bridge's.", rule)?,
            came_refused: vec("in_refused_total", "Events that the local broker refused.", rule)?,
            in_unmappable: vec("in_unmappable_total", "Messages whose subject is no topic.", rule)?,
            forwarded: vec("forwarded_events_total", "Events that came in by this rule and went out again.", rule)?,
            pending,
            registry,
        })
    }

    pub fn connected(&self) {
        self.is_connected.set(1);
        self.connections.send_modify(|connections| *connections += 1);
        if *self.connections.borrow() > 1 {
            self.reconnects.inc();
        }
    }

    pub fn disconnected(&self) {
        self.is_connected.set(0);
    }

    /// How often a server was connected to.
    pub fn connections(&self) -> u64 {
        *self.connections.borrow()
    }

    /// The same, and whether it changed.
    pub fn connections_from_now(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    /// The page, in Prometheus' text format.
    pub fn page(&self) -> String {
        let mut page = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut page) {
            warn!("can't write the metrics: {error}");
        }
        page
    }
}
