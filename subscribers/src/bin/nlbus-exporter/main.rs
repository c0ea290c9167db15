//! `nlbus-exporter`: the bus as Prometheus metrics.

mod labels;
mod metrics;
mod snapshot;

use clap::Parser;
use metrics::{Metrics, Scope};
use nlbus_subscribers::end::End;
use nlbus_subscribers::feed::{Feed, Next};
use nlbus_subscribers::http;
use nlbus_subscribers::service::{self, Connection, Service};
use nlbus_subscribers::topics::Topics;
use nlbus_subscribers::values;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::info;

/// Intervals without an event after which a topic gives its series to another one.
const QUIET: u32 = 12;

/// Serve the bus's metrics for Prometheus at /metrics.
#[derive(Debug, Parser)]
#[command(name = env!("CARGO_BIN_NAME"), version, after_help = AFTER_HELP)]
struct Args {
    #[command(flatten)]
    topics: Topics,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9853")]
    listen: SocketAddr,
    /// Time over which rates are taken.
    #[arg(long, value_name = "DUR", default_value = "5s", value_parser = values::duration)]
    interval: Duration,
    /// Topics with series of their own; all others together are the topic "_other". One that had no event for twelve
    /// intervals, or that the broker has no more, gives way to another one.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_topics: usize,
    #[command(flatten)]
    connection: Connection,
}

const AFTER_HELP: &str = "\
Per topic: nlbus_topic_events_total, _events_per_second, _payload_bytes_total, _lost_events_total (by cause),
_replayed_events_total, as this program received them; _newest_sequence_number, _kept_events and _kept_bytes, as the
broker tells. FILTER and --exclude are about both. Per netlink socket of the bus, this program's own too: nlbus_socket_queued_bytes,
nlbus_socket_dropped_datagrams_total. Of the broker: nlbus_up, nlbus_broker_info, nlbus_restarts_total.

Examples:
  nlbus-exporter --listen '[::]:9853' &
  curl -s localhost:9853/metrics

Environment: NLBUS_LOG is the level of this program's own log, like debug or warn [default: info]";

fn main() -> ExitCode {
    service::main(run)
}

fn run(args: Args, service: &Service) -> Result<(), End> {
    let bus = service.connect(&args.connection)?;
    let mut feed = Feed::open(&bus, &args.topics, |_, subscriber| subscriber)?;
    let interval = args.interval.max(Duration::from_millis(1));
    let scope = Scope {
        filters: args.topics.filters,
        exclude: args.topics.exclude,
        max_topics: args.max_topics,
        quiet: interval.saturating_mul(QUIET),
    };
    let metrics = Metrics::new(bus, scope);
    let metrics = Arc::new(metrics.map_err(|error| End::Failed(format!("can't make metrics: {error}")))?);
    let answering = Arc::clone(&metrics);
    let address = http::serve(args.listen, "--listen", move || answering.page())?;
    info!("listening at {address}");
    service.ready();
    let mut next = Instant::now() + interval;
    loop {
        match feed.wait(service.stop(), Some(next))? {
            Next::Deliveries(items) => {
                for item in &items {
                    if item.wanted {
                        metrics.count(&item.delivery);
                    }
                    feed.passed(item);
                }
            }
            Next::TimedOut => {}
            Next::Stopped => return Ok(()),
        }
        if Instant::now() >= next {
            metrics.take_rates();
            next = Instant::now() + interval;
        }
    }
}
