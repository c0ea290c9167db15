//! zenoh, peer to peer: the publisher listens, each subscriber connects; no scouting.

use crate::system::{Cell, Go, Publisher, Subscriber, System};
use anyhow::{Result, anyhow};
use zenoh::handlers::{FifoChannel, FifoChannelHandler};
use zenoh::qos::CongestionControl;
use zenoh::sample::Sample;
use zenoh::{Config, Session, Wait};

const KEY: &str = "bench/events";

struct Zenoh {
    tuned: bool,
}

pub fn variants() -> Vec<Box<dyn System>> {
    [false, true].map(|tuned| -> Box<dyn System> { Box::new(Zenoh { tuned }) }).into()
}

impl Zenoh {
    /// A session that listens, or connects.
    fn open(&self, run: &Cell, way: &str) -> Result<Session> {
        let endpoint =
            if self.tuned { run.address("unixsock-stream/", "zenoh") } else { "tcp/127.0.0.1:7447".to_owned() };
        let other = if way == "listen" { "connect" } else { "listen" };
        let mut settings = vec![
            (format!("{way}/endpoints"), format!("[\"{endpoint}\"]")),
            (format!("{other}/endpoints"), "[]".to_owned()),
            ("scouting/multicast/enabled".into(), "false".into()),
            ("scouting/gossip/enabled".into(), "false".into()),
            ("transport/unicast/max_sessions".into(), "1000".into()),
        ];
        if self.tuned {
            settings.push(("transport/link/tx/queue/size/data".into(), "16".into()));
            settings.push(("transport/link/rx/buffer_size".into(), "1048576".into()));
        }
        let mut config = Config::default();
        for (key, value) in settings {
            config.insert_json5(&key, &value).map_err(|error| anyhow!("{key}: {error}"))?;
        }
        zenoh::open(config).wait().map_err(|error| anyhow!(error))
    }
}

impl System for Zenoh {
    fn name(&self) -> &'static str {
        if self.tuned { "zenoh-tuned" } else { "zenoh" }
    }

    fn peer(&self) -> &'static str {
        "zenoh"
    }

    fn about(&self) -> &'static str {
        if self.tuned {
            "peer to peer over a Unix socket, CongestionControl::Block, 16 batches in the queue, channels of 16 384 events"
        } else {
            "peer to peer over loopback TCP, without scouting; channels of 256 events"
        }
    }

    /// By default it drops what has waited a millisecond for one of two batches of 64 KiB.
    fn window(&self, cell: &Cell) -> u64 {
        if self.tuned { cell.events_in(8 << 20).min(16_384) } else { cell.events_in(128 << 10).min(512) }
    }

    fn publisher(&self, run: &Cell) -> Result<Box<dyn Publisher>> {
        let session = self.open(run, "listen")?;
        let publisher = session.declare_publisher(KEY);
        let publisher = if self.tuned { publisher.congestion_control(CongestionControl::Block) } else { publisher };
        let publisher = publisher.wait().map_err(|error| anyhow!(error))?;
        Ok(Box::new(Sender { publisher, _session: session }))
    }

    fn subscriber(&self, run: &Cell) -> Result<Box<dyn Subscriber>> {
        let session = self.open(run, "connect")?;
        let channel = FifoChannel::new(if self.tuned { 16_384 } else { 256 });
        let events = session.declare_subscriber(KEY).with(channel).wait().map_err(|error| anyhow!(error))?;
        Ok(Box::new(Receiver { events, _session: session }))
    }
}

struct Sender {
    publisher: zenoh::pubsub::Publisher<'static>,
    _session: Session,
}

impl Publisher for Sender {
    /// What is put goes out by itself, in batches where several wait: there is nothing to flush.
    fn send(&mut self, payload: &[u8]) -> Result<()> {
        self.publisher.put(payload).wait().map_err(|error| anyhow!(error))
    }
}

struct Receiver {
    events: zenoh::pubsub::Subscriber<FifoChannelHandler<Sample>>,
    _session: Session,
}

impl Subscriber for Receiver {
    fn receive(&mut self, sink: &mut dyn FnMut(&[u8]) -> Go) -> Result<()> {
        loop {
            let event = self.events.recv().map_err(|error| anyhow!(error))?;
            if sink(&event.payload().to_bytes()) == Go::End {
                return Ok(());
            }
        }
    }
}
