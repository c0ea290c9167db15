//! What the broker and the kernel tell at the moment of a scrape, as metrics that are made afresh for each: two scrapes at a
//! time have nothing in common.

use crate::metrics::OTHER;
use nlbus::{BrokerKind, Info, TopicRecord};
use nlbus_subscribers::sockets::NetlinkSocket;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use std::collections::BTreeSet;

/// What was found.
#[derive(Debug)]
pub struct Found<'a> {
    /// `None` where no broker answers.
    pub info: Option<&'a Info>,
    pub topics: &'a [TopicRecord],
    /// Those of them that are shown by their own name.
    pub shown: &'a BTreeSet<&'a str>,
    /// Of this host.
    pub sockets: &'a [NetlinkSocket],
}

/// The metrics of what was found.
pub fn families(found: &Found) -> prometheus::Result<Vec<MetricFamily>> {
    let registry = Registry::new();
    let gauges = |name: &str, help: &str, labels: &[&str]| {
        let vec = IntGaugeVec::new(Opts::new(name, help), labels)?;
        registry.register(Box::new(vec.clone())).map(|()| vec)
    };
    let up = IntGauge::new("nlbus_up", "Whether the broker answers.")?;
    registry.register(Box::new(up.clone()))?;
    up.set(found.info.is_some().into());

    let newest = gauges("nlbus_topic_newest_sequence_number", "Newest sequence number.", &["topic"])?;
    let kept = gauges("nlbus_topic_kept_events", "Events that history keeps.", &["topic"])?;
    let kept_bytes = gauges("nlbus_topic_kept_bytes", "Bytes that history keeps.", &["topic"])?;
    for topic in found.topics {
        let name = topic.name.as_str();
        let is_shown = name != OTHER && found.shown.contains(name);
        let label = [if is_shown { name } else { OTHER }];
        // Of the others, sums; a sequence number of several topics would say nothing.
        if is_shown {
            newest.with_label_values(&label).set(topic.head as i64);
        }
        kept.with_label_values(&label).add((topic.head + 1).saturating_sub(topic.first) as i64);
        kept_bytes.with_label_values(&label).add(topic.bytes as i64);
    }

    let Some(info) = found.info else { return Ok(registry.gather()) };
    let broker = gauges("nlbus_broker_info", "Which broker it is; always 1.", &["broker", "version", "epoch"])?;
    let kind = if info.broker == BrokerKind::Module { "module" } else { "user" };
    broker.with_label_values(&[kind, &info.version.to_string(), &format!("{:016x}", info.epoch)]).set(1);

    let labels = ["portid", "role"];
    let queued = gauges("nlbus_socket_queued_bytes", "Bytes that wait to be read.", &labels)?;
    let drops = Opts::new("nlbus_socket_dropped_datagrams_total", "Datagrams that a socket had no room for.");
    let drops = IntCounterVec::new(drops, &labels)?;
    registry.register(Box::new(drops.clone()))?;
    for socket in found.sockets.iter().filter(|socket| socket.protocol == info.protocol && socket.portid != 0) {
        let is_broker = [info.publish_port, info.request_port].contains(&socket.portid);
        let portid = socket.portid.to_string();
        let labels = [portid.as_str(), if is_broker { "broker" } else { "client" }];
        queued.with_label_values(&labels).set(socket.queued as i64);
        drops.with_label_values(&labels).inc_by(socket.drops);
    }
    Ok(registry.gather())
}
