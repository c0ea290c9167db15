//! How many events a second go to NATS over the bridge, beside what a plain client of the same library sends: in one run, in
//! rounds that take turns, on one machine. `make bench-nats` prints it as a table.
//!
//! All of it is as fast as it can without loss: no publisher runs further ahead of who receives than the window.

use crate::bridge::Bridge;
use crate::host::Host;
use crate::plain::Plain;
use crate::servers::Servers;
use async_nats::HeaderMap;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::stream;
use bytes::Bytes;
use futures_util::StreamExt;
use nlbus::{Bus, Delivery, RecvTimeoutError};
use nlbus_tests::in_new_namespace;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Set to the number of rounds, it has this run in place of the tests.
pub const ROUNDS: &str = "NLBUS_NATS_ROUNDS";

const SIZES: &[usize] = &[16, 64, 1024];

/// Events that are sent and not received, at most: fewer than a bridge lets wait (8192), so that none is lost.
const WINDOW: u64 = 3000;

/// Events of a measurement over core NATS, and into a stream.
const LIVE: u64 = 200_000;
const STORED: u64 = 50_000;

/// As large as the bridge's.
const BATCH: u64 = 500;

const RULES_A: &str = "[[out]]\ntopics = [\"out/#\", \"across/#\"]\n[[out]]\ntopics = [\"kept/#\"]\ndurable = \"KEPT\"\n[streams.KEPT]\nsubjects = [\"kept.>\"]\n";
const RULES_B: &str = "[[in]]\nsubjects = [\"across.>\"]\n";

/// A number that who receives counts up, and who sends reads.
type Count = Arc<AtomicU64>;

/// Measures one way with payloads of so many bytes: events a second.
type Measure = fn(&Ground, usize) -> f64;

/// What is measured. Each has a subject of its own, so that nobody receives what another one's window paces.
const WAYS: &[(&str, Measure)] = &[
    ("plain client → core NATS → plain client", Ground::plain),
    ("bus → bridge → core NATS → plain client", Ground::out),
    ("bus → bridge → core NATS → bridge → bus", Ground::across),
    ("plain client → stream, each acknowledged, many at once", Ground::stored_each),
    ("plain client → stream, in atomic batches", Ground::stored_in_batches),
    ("bus → bridge → stream", Ground::stored_by_bridge),
];

/// What all of it runs on.
struct Ground {
    a: Host,
    b: Host,
    servers: Servers,
    sender: Plain,
    receiver: Plain,
    bridges: [Bridge; 2],
}

/// Measures, and prints the table.
pub fn run(rounds: usize) {
    in_new_namespace(|| {
        let servers = Servers::one();
        servers.wait_for_jetstream();
        let (a, b) = (Host::new("a", 1), Host::new("b", 2));
        for (host, topic) in [(&a, "out/x"), (&a, "kept/x"), (&a, "across/x"), (&b, "across/x")] {
            host.connect().topic_options(topic).history(64 << 20).create().expect("a topic");
        }
        let bridges = [Bridge::start(&a, &servers, RULES_A), Bridge::start(&b, &servers, RULES_B)];
        // Over the same cable as the bridge.
        let sender = a.run(|| Plain::connect(&servers.urls(&a.way_to_servers())));
        let receiver = b.run(|| Plain::connect(&servers.urls(&b.way_to_servers())));
        let ground = Ground { a, b, servers, sender, receiver, bridges };
        let mut rates = BTreeMap::<(usize, usize), Vec<f64>>::new();
        for _ in 0..rounds {
            for size in SIZES {
                for (number, (_, measure)) in WAYS.iter().enumerate() {
                    rates.entry((number, *size)).or_default().push(measure(&ground, *size));
                }
            }
        }
        ground.servers.wait_for_jetstream();
        print(&rates);
    });
}

fn print(rates: &BTreeMap<(usize, usize), Vec<f64>>) {
    let median = |way: usize, size: usize| {
        let mut rates = rates[&(way, size)].clone();
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let heads: Vec<_> = SIZES.iter().map(|size| format!("{size} B, events/s | of plain")).collect();
    println!("| way | {} |", heads.join(" | "));
    println!("|---|{}", "---:|---:|".repeat(SIZES.len()));
    for (way, (name, _)) in WAYS.iter().enumerate() {
        // Those into a stream beside the plain client's faster way into a stream.
        let plain = |size| if way < 3 { median(0, size) } else { median(3, size).max(median(4, size)) };
        let cells =
            SIZES.iter().map(|size| format!("{:.0} | {:.2}", median(way, *size), median(way, *size) / plain(*size)));
        println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
}

/// Waits until a count is at least this.
fn until(count: &AtomicU64, least: u64) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while count.load(Ordering::Acquire) < least {
        assert!(Instant::now() < deadline, "{} of {least} came", count.load(Ordering::Acquire));
        thread::sleep(Duration::from_micros(200));
    }
}

/// Publishes on the bus as fast as it comes through.
fn publish(bus: &Bus, topic: &str, size: usize, events: u64, received: &AtomicU64) {
    let payload = vec![b'x'; size];
    let buffered = bus.buffered();
    for number in 0..events {
        // Looked at now and then: it is another core's.
        if number % 256 == 0 && number >= WINDOW {
            buffered.flush().expect("to publish");
            until(received, number - WINDOW);
        }
        buffered.publish(topic, &payload).expect("to publish");
    }
    buffered.flush().expect("to publish");
}

impl Ground {
    /// A plain subscriber of a subject, that counts; it ends with the message behind the flag's becoming true.
    fn count_messages(&self, subject: &'static str) -> (Count, Arc<AtomicBool>) {
        let (count, is_over) = (Count::default(), Arc::new(AtomicBool::new(false)));
        let mut messages = self.receiver.block(async {
            let messages = self.receiver.client.subscribe(subject).await.expect("to subscribe");
            self.receiver.client.flush().await.expect("to flush");
            messages
        });
        let (counted, over) = (Arc::clone(&count), Arc::clone(&is_over));
        self.receiver.spawn(async move {
            while let Some(_message) = messages.next().await {
                counted.fetch_add(1, Ordering::Release);
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        (count, is_over)
    }

    fn plain(&self, size: usize) -> f64 {
        let (count, is_over) = self.count_messages("plain.x");
        let payload = Bytes::from(vec![b'x'; size]);
        let start = Instant::now();
        self.sender.block(async {
            for number in 0..LIVE {
                while number % 256 == 0 && count.load(Ordering::Acquire) + WINDOW < number {
                    self.sender.client.flush().await.expect("to flush");
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
                self.sender.client.publish("plain.x", payload.clone()).await.expect("to publish");
            }
            self.sender.client.flush().await.expect("to flush");
        });
        until(&count, LIVE);
        let rate = LIVE as f64 / start.elapsed().as_secs_f64();
        is_over.store(true, Ordering::Relaxed);
        self.sender.publish("plain.x", "the end");
        rate
    }

    fn out(&self, size: usize) -> f64 {
        let (count, is_over) = self.count_messages("out.x");
        let bus = self.a.connect();
        let start = Instant::now();
        publish(&bus, "out/x", size, LIVE, &count);
        until(&count, LIVE);
        let rate = LIVE as f64 / start.elapsed().as_secs_f64();
        is_over.store(true, Ordering::Relaxed);
        self.sender.publish("out.x", "the end");
        rate
    }

    fn across(&self, size: usize) -> f64 {
        let (count, is_over) = (Count::default(), AtomicBool::new(false));
        let bus = self.b.connect();
        let mut arriving = bus.subscribe("across/x").expect("to subscribe");
        let here = self.a.connect();
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    match arriving.recv_timeout(Duration::from_millis(20)) {
                        Ok(Delivery::Event(_)) => drop(count.fetch_add(1, Ordering::Release)),
                        Ok(other) => {
                            let pages = [(&self.a, &self.bridges[0]), (&self.b, &self.bridges[1])];
                            panic!("{other:?}: {:#?}", pages.map(|(host, bridge)| bridge.metrics(host)))
                        }
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            let start = Instant::now();
            publish(&here, "across/x", size, LIVE, &count);
            until(&count, LIVE);
            is_over.store(true, Ordering::Relaxed);
            LIVE as f64 / start.elapsed().as_secs_f64()
        })
    }

    /// An empty stream, as the bridge makes one.
    fn empty(&self, name: &str, subject: &str) {
        let config = stream::Config {
            name: name.into(),
            subjects: vec![subject.into()],
            allow_atomic_publish: true,
            ..stream::Config::default()
        };
        self.sender.block(async {
            let jetstream = async_nats::jetstream::new(self.sender.client.clone());
            let stream = jetstream.get_or_create_stream(config).await.expect("the stream");
            stream.purge().await.expect("to empty it");
        });
    }

    fn stored_each(&self, size: usize) -> f64 {
        self.empty("PLAIN", "stored.>");
        let payload = Bytes::from(vec![b'x'; size]);
        let start = Instant::now();
        self.sender.block(async {
            let jetstream = ContextBuilder::new()
                .max_ack_inflight(500)
                .backpressure_on_inflight(true)
                .build(self.sender.client.clone());
            let mut acks = Vec::with_capacity(500);
            for number in 0..STORED {
                acks.push(jetstream.publish("stored.x", payload.clone()).await.expect("to publish").into_future());
                if acks.len() == 500 || number + 1 == STORED {
                    for ack in futures_util::future::join_all(acks.drain(..)).await {
                        ack.expect("an ack");
                    }
                }
            }
        });
        STORED as f64 / start.elapsed().as_secs_f64()
    }

    fn stored_in_batches(&self, size: usize) -> f64 {
        self.empty("PLAIN", "stored.>");
        let payload = Bytes::from(vec![b'x'; size]);
        let client = &self.sender.client;
        let start = Instant::now();
        self.sender.block(async {
            for batch in 0..STORED / BATCH {
                let id = format!("{:032x}", u128::from(batch) << 64 | u128::from(start.elapsed().subsec_nanos()));
                for number in 1..=BATCH {
                    let mut headers = HeaderMap::new();
                    headers.insert("Nats-Batch-Id", id.as_str());
                    headers.insert("Nats-Batch-Sequence", number.to_string());
                    if number < BATCH {
                        client.publish_with_headers("stored.x", headers, payload.clone()).await.expect("to publish");
                    } else {
                        headers.insert("Nats-Batch-Commit", "1");
                        let answer =
                            client.request_with_headers("stored.x", headers, payload.clone()).await.expect("an answer");
                        let answer = String::from_utf8_lossy(&answer.payload).into_owned();
                        assert!(answer.contains("\"count\":500"), "{answer}");
                    }
                }
            }
        });
        STORED as f64 / start.elapsed().as_secs_f64()
    }

    fn stored_by_bridge(&self, size: usize) -> f64 {
        self.empty("KEPT", "kept.>");
        let bus = self.a.connect();
        let sent = Count::default();
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                // What the stream has; asked seldom, as it costs the server.
                while sent.load(Ordering::Relaxed) < STORED {
                    sent.store(self.receiver.count_stored("KEPT"), Ordering::Release);
                    thread::sleep(Duration::from_millis(5));
                }
            });
            publish(&bus, "kept/x", size, STORED, &sent);
            until(&sent, STORED);
            STORED as f64 / start.elapsed().as_secs_f64()
        })
    }
}
