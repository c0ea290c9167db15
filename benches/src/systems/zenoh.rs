//! zenoh, peer to peer: the publisher listens, each subscriber connects; no scouting.

use crate::system::{Cell, Go, Publisher, Sink, Subscriber, System};
use anyhow::{Result, anyhow};
use std::sync::{Mutex, mpsc};
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
            "peer to peer over a Unix socket, CongestionControl::Block, 16 batches in the queue, subscribers by callback"
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
        if self.tuned {
            return Ok(Box::new(Called { session }));
        }
        let events =
            session.declare_subscriber(KEY).with(FifoChannel::new(256)).wait().map_err(|error| anyhow!(error))?;
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
    fn receive(&mut self, mut sink: Sink) -> Result<()> {
        loop {
            let event = self.events.recv().map_err(|error| anyhow!(error))?;
            if sink(&event.payload().to_bytes()) == Go::End {
                return Ok(());
            }
        }
    }
}

/// Is called with each event on the thread that received it, which no channel is as fast as.
struct Called {
    session: Session,
}

impl Subscriber for Called {
    /// Subscribes only now that there is somebody to call: the publisher sends probes until it hears of one.
    fn receive(&mut self, sink: Sink) -> Result<()> {
        let (end, ended) = mpsc::channel();
        let sink = Mutex::new(sink);
        let call = move |event: Sample| {
            // Only this takes the lock, on one thread at a time.
            let Ok(mut sink) = sink.lock() else { return };
            if sink(&event.payload().to_bytes()) == Go::End {
                // Nobody hears it once it has ended.
                let _ = end.send(());
            }
        };
        let _events = self.session.declare_subscriber(KEY).callback(call).wait().map_err(|error| anyhow!(error))?;
        Ok(ended.recv()?)
    }
}
