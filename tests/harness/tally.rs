//! What a subscriber was given, checked as it comes: each topic's numbers in order, each at most once, times that
//! don't go back, and nothing missing that isn't reported as lost.

use crate::{patience, stamp};
use nlbus::{Delivery, Event, Lost, RecvTimeoutError, Subscription};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// The account of one subscription.
#[derive(Default, Clone)]
pub struct Tally {
    /// Events.
    pub delivered: u64,
    /// Events reported as lost.
    pub lost: u64,
    /// Of the events, those out of history.
    pub replayed: u64,
    /// Events that a delivered one stands for besides itself.
    pub conflated: u64,
    /// Restarts of the broker.
    pub restarts: u64,
    /// Topics that ended.
    pub ended: u64,
    topics: BTreeMap<String, Account>,
    from_one: bool,
}

#[derive(Debug, Default, Clone)]
struct Account {
    next: u64,
    time_ns: u64,
    /// Publishers' numbers of their newest events.
    publishers: BTreeMap<u32, u64>,
}

/// Of many topics only the first ones: a failing test prints this.
impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads: Vec<_> =
            self.topics.iter().take(20).map(|(name, account)| format!("{name}: {}", account.next - 1)).collect();
        f.debug_struct("Tally")
            .field("delivered", &self.delivered)
            .field("lost", &self.lost)
            .field("replayed", &self.replayed)
            .field("conflated", &self.conflated)
            .field("restarts", &self.restarts)
            .field("ended", &self.ended)
            .field("topics", &self.topics.len())
            .field("heads", &heads)
            .finish()
    }
}

impl Tally {
    /// An account in which a topic begins with whatever comes first.
    pub fn new() -> Tally {
        Tally::default()
    }

    /// An account in which every topic begins with number 1.
    pub fn from_one() -> Tally {
        Tally { from_one: true, ..Tally::default() }
    }

    /// The sequence number that a topic has come to.
    pub fn head(&self, topic: &str) -> u64 {
        self.topics.get(topic).map_or(0, |account| account.next - 1)
    }

    /// Topics seen.
    pub fn topics(&self) -> usize {
        self.topics.len()
    }

    /// Delivered, stood for, and lost.
    pub fn total(&self) -> u64 {
        self.delivered + self.conflated + self.lost
    }

    /// Enters a delivery.
    ///
    /// # Panics
    /// When it isn't what must come next.
    pub fn add(&mut self, delivery: &Delivery) {
        match delivery {
            Delivery::Event(event) => {
                let first = event.seq() - (event.stands_for() - 1);
                let account = self.account(event.topic(), first);
                assert_eq!(first, account.next, "not the next number of '{}'", event.topic());
                assert!(event.time_ns() >= account.time_ns, "time goes back: {event:?} after {account:?}");
                account.next = event.seq() + 1;
                account.time_ns = event.time_ns();
                if let Some((publisher, number)) = stamp(event.payload()) {
                    let last = account.publishers.insert(publisher, number);
                    assert!(last < Some(number), "publisher {publisher}: {number} after {last:?}");
                }
                self.delivered += 1;
                self.conflated += event.stands_for() - 1;
                self.replayed += u64::from(event.is_replayed());
            }
            Delivery::Lost(Lost { topic, from, to, .. }) => {
                assert!(from <= to, "lost from {from} to {to}");
                let account = self.account(topic, *from);
                assert_eq!(*from, account.next, "lost, but not from the next number of '{topic}' on");
                account.next = to + 1;
                self.lost += to - from + 1;
            }
            Delivery::Restarted(_) => {
                self.topics.clear();
                self.from_one = true;
                self.restarts += 1;
            }
            Delivery::Ended(ended) => {
                let account = self.topics.remove(&*ended.topic).unwrap_or_default();
                // One that is followed again begins anew, wherever that is; a new one of its name with 1.
                let next = if account.next == 0 { ended.last + 1 } else { account.next };
                assert_eq!(ended.last + 1, next, "'{}' ended elsewhere", ended.topic);
                self.ended += 1;
            }
            other => panic!("a delivery of a kind unknown here: {other:?}"),
        }
    }

    fn account(&mut self, topic: &str, first: u64) -> &mut Account {
        let next = if self.from_one { 1 } else { first };
        self.topics.entry(topic.to_owned()).or_insert_with(|| Account { next, ..Account::default() })
    }

    /// Takes deliveries until this many events are delivered or lost.
    ///
    /// # Panics
    /// When they don't come in time, saying what came.
    pub fn take(&mut self, subscription: &mut Subscription, total: u64) {
        let mut deadline = Instant::now() + patience();
        while self.total() < total {
            match subscription.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(delivery) => {
                    self.add(&delivery);
                    deadline = Instant::now() + patience();
                }
                Err(error) => panic!("{error} after {} of {total}: {self:?}", self.total()),
            }
        }
    }
}

/// A delivery in a few words: payloads are long.
fn brief(delivery: &Delivery) -> String {
    match delivery.event() {
        Some(event) => format!("{} #{}, {} bytes", event.topic(), event.seq(), event.payload().len()),
        None => format!("{delivery:?}"),
    }
}

/// Deliveries until it is enough.
///
/// # Panics
/// When it isn't in time, saying what came.
pub fn collect(subscription: &mut Subscription, mut enough: impl FnMut(&[Delivery]) -> bool) -> Vec<Delivery> {
    let deadline = Instant::now() + patience();
    let mut deliveries = Vec::new();
    while !enough(&deliveries) {
        match subscription.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(delivery) => deliveries.push(delivery),
            Err(error) => {
                let last = deliveries[deliveries.len().saturating_sub(20)..].iter().map(brief);
                let others = deliveries.iter().filter(|delivery| delivery.event().is_none());
                panic!(
                    "{error} after {} deliveries, the last ones: {:?}; no events among all: {:?}; counted: {:?}",
                    deliveries.len(),
                    last.collect::<Vec<_>>(),
                    others.collect::<Vec<_>>(),
                    subscription.counters()
                );
            }
        }
    }
    deliveries
}

/// The next `count` deliveries, which must be events.
///
/// # Panics
/// When they don't come in time or are anything else.
pub fn events(subscription: &mut Subscription, count: usize) -> Vec<Event> {
    let deliveries = collect(subscription, |deliveries| deliveries.len() == count);
    let event = |delivery: Delivery| match delivery {
        Delivery::Event(event) => event,
        other => panic!("not an event: {other:?}"),
    };
    deliveries.into_iter().map(event).collect()
}

/// Makes sure that nothing waits, when all that could come has been waited for.
///
/// # Panics
/// When there is a delivery.
pub fn quiet(subscription: &mut Subscription) {
    match subscription.recv_timeout(Duration::from_millis(20)) {
        Err(RecvTimeoutError::Timeout) => {}
        other => panic!("something came that shouldn't: {other:?}"),
    }
}
