//! What was published, and what a host's subscribers were given of it: each event carries who published it and which of his
//! it is.

use crate::host::Host;
use nlbus::{Bus, Delivery, RecvTimeoutError};
use nlbus_tests::patience;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What the bridge keeps on the bus for itself.
const OWN: &str = "$nlbus-nats/";

/// What a subscriber was given.
#[derive(Default, Clone)]
pub struct Seen {
    /// By topic, the events as they came: who published it in the high half, which of his in the low one.
    pub topics: BTreeMap<String, Vec<u64>>,
    /// By topic, how many were reported as lost.
    pub lost: BTreeMap<String, u64>,
    /// How often the broker was another one.
    pub restarts: u64,
}

impl Seen {
    /// How many events came.
    pub fn count(&self) -> u64 {
        self.topics.values().map(|events| events.len() as u64).sum()
    }

    /// How many were reported as lost.
    pub fn lost(&self) -> u64 {
        self.lost.values().sum()
    }

    /// How many came more than once.
    pub fn repeated(&self) -> u64 {
        let distinct = |events: &Vec<u64>| events.iter().collect::<BTreeSet<_>>().len() as u64;
        self.count() - self.topics.values().map(distinct).sum::<u64>()
    }

    /// How many of each publisher's came after a later one of his, in the same topic.
    pub fn late(&self) -> u64 {
        let mut late = 0;
        for events in self.topics.values() {
            let mut newest = BTreeMap::new();
            for event in events {
                let newest = newest.entry(event >> 32).or_insert(0);
                late += u64::from(event < newest);
                *newest = (*newest).max(*event);
            }
        }
        late
    }
}

/// In short: a failing test prints this.
impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topics: BTreeMap<_, _> = self.topics.iter().map(|(topic, events)| (topic, events.len())).collect();
        f.debug_struct("Seen")
            .field("events", &self.count())
            .field("repeated", &self.repeated())
            .field("late", &self.late())
            .field("topics", &topics)
            .field("lost", &self.lost)
            .field("restarts", &self.restarts)
            .finish()
    }
}

/// A subscriber of all topics of a host, in a thread of its own.
#[derive(Debug)]
pub struct Collector {
    host: String,
    seen: Arc<Mutex<Seen>>,
    count: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _bus: Bus,
}

impl Collector {
    /// Starts one. From now on nothing is missed.
    pub fn start(host: &Host) -> Collector {
        let bus = host.connect();
        let mut subscription = bus.subscribe("#").expect("to subscribe");
        let (seen, count) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicU64::new(0)));
        let is_over = Arc::new(AtomicBool::new(false));
        let thread = {
            let (seen, count, is_over) = (Arc::clone(&seen), Arc::clone(&count), Arc::clone(&is_over));
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let delivery = match subscription.recv_timeout(Duration::from_millis(50)) {
                        Ok(delivery) => delivery,
                        Err(RecvTimeoutError::Timeout) => continue,
                        Err(_) => break,
                    };
                    let mut seen = lock(&seen);
                    match delivery {
                        Delivery::Event(event) if !event.topic().starts_with(OWN) => {
                            let number = number_of(event.payload());
                            match seen.topics.get_mut(event.topic()) {
                                Some(events) => events.push(number),
                                None => drop(seen.topics.insert(event.topic().to_owned(), vec![number])),
                            }
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        Delivery::Lost(lost) if !lost.topic.starts_with(OWN) => {
                            *seen.lost.entry(lost.topic.to_string()).or_default() += lost.count();
                            count.fetch_add(lost.count(), Ordering::Relaxed);
                        }
                        Delivery::Restarted(_) => seen.restarts += 1,
                        _ => {}
                    }
                }
            })
        };
        Collector { host: host.name.clone(), seen, count, is_over, thread: Some(thread), _bus: bus }
    }

    /// What it was given so far.
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// How many events it was given or told that they are lost.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until it was given, or told that they are lost, so many in all.
    ///
    /// # Panics
    /// When for [`patience`] nothing comes.
    pub fn wait(&self, count: u64) {
        let mut last = (self.count(), Instant::now());
        loop {
            let now = self.count();
            if now >= count {
                return;
            }
            if now != last.0 {
                last = (now, Instant::now());
            }
            assert!(
                last.1.elapsed() < patience() * 2,
                "{} of {count} on {}, and no more for {:?}: {:?}",
                now,
                self.host,
                patience() * 2,
                self.seen()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if thread::panicking() {
            eprintln!("  on {}: {:?}", self.host, self.seen());
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The payload of an event.
pub fn payload(publisher: u32, number: u32) -> String {
    format!("{publisher} {number:07}")
}

/// The event that a payload is of; 0 for any other payload.
fn number_of(payload: &[u8]) -> u64 {
    let numbers = std::str::from_utf8(payload).ok().and_then(|text| {
        let (publisher, number) = text.split_once(' ')?;
        Some(publisher.parse::<u64>().ok()? << 32 | number.parse::<u64>().ok()?)
    });
    numbers.unwrap_or(0)
}

/// Publishes events `numbers` of one publisher, in turn to the topics, and waits before each while `is_full`.
pub fn publish(bus: &Bus, publisher: u32, topics: &[&str], numbers: std::ops::Range<u32>, is_full: impl Fn() -> bool) {
    for number in numbers {
        while is_full() {
            thread::sleep(Duration::from_millis(2));
        }
        let topic = topics[number as usize % topics.len()];
        bus.publish(topic, &payload(publisher, number)).unwrap_or_else(|error| panic!("{error}"));
    }
    bus.flush().unwrap_or_else(|error| panic!("{error}"));
}
