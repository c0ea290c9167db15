//! Requests that wait for their answer. Both the request and the reply may be lost (a full socket), and
//! all requests of the client itself may be repeated, so each has a deadline and a few tries.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Set in the `nlmsg_seq` of requests, clear in that of publishes, so that both can share a socket.
pub(crate) const REQUEST_BIT: u32 = 1 << 31;

/// How long an answer may take before the request is sent again.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How often a request is sent in all.
const TRIES: u32 = 3;

/// Waiting requests, each with the reason `P` why it was made.
#[derive(Debug)]
pub(super) struct Requests<P> {
    next: u32,
    waiting: HashMap<u32, Waiting<P>>,
}

#[derive(Debug)]
struct Waiting<P> {
    purpose: P,
    deadline: Instant,
    tries: u32,
}

/// What a deadline that has passed means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expired<P> {
    /// Send it again.
    Again(P, u32),
    /// It was sent often enough.
    GivenUp(P),
}

impl<P> Requests<P> {
    pub(super) fn new() -> Self {
        Requests { next: 0, waiting: HashMap::new() }
    }

    /// Registers a request and returns the number to send it with. `tried` counts earlier tries.
    pub(super) fn add(&mut self, purpose: P, tried: u32, now: Instant) -> (u32, &P) {
        let (seq, waiting) = self.insert(Waiting { purpose, deadline: now + PATIENCE, tries: tried + 1 });
        (seq, &waiting.purpose)
    }

    /// Registers a request that isn't made again, and returns the number to send it with.
    pub(super) fn add_once(&mut self, purpose: P, deadline: Instant) -> u32 {
        // The deadline may be the last moment there is: nothing can be added to it.
        self.insert(Waiting { purpose, deadline, tries: TRIES }).0
    }

    fn insert(&mut self, waiting: Waiting<P>) -> (u32, &Waiting<P>) {
        let seq = self.next | REQUEST_BIT;
        self.next = self.next.wrapping_add(1);
        (seq, self.waiting.entry(seq).insert_entry(waiting).into_mut())
    }

    /// The purpose of the request that this answers, which waits no longer.
    pub(super) fn take(&mut self, seq: u32) -> Option<P> {
        self.waiting.remove(&seq).map(|waiting| waiting.purpose)
    }

    /// Whether an answer to this one is still of use.
    pub(super) fn is_waiting(&self, seq: u32) -> bool {
        self.waiting.contains_key(&seq)
    }

    /// When the next deadline is.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.deadline).min()
    }

    /// A request whose deadline has passed, if there is one.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Expired<P>> {
        let seq = self.waiting.iter().find(|(_, waiting)| waiting.deadline <= now).map(|(seq, _)| *seq)?;
        let Waiting { purpose, tries, .. } = self.waiting.remove(&seq)?;
        Some(if tries < TRIES { Expired::Again(purpose, tries) } else { Expired::GivenUp(purpose) })
    }

    /// Forgets all; they were asked of a broker that is gone.
    pub(super) fn drain(&mut self) -> Vec<P> {
        self.waiting.drain().map(|(_, waiting)| waiting.purpose).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_tried_three_times() {
        let mut now = Instant::now();
        let mut requests = Requests::new();
        let (seq, _) = requests.add("why", 0, now);
        assert_ne!(seq & REQUEST_BIT, 0);
        assert_eq!(requests.expire(now), None);
        let mut tried = 0;
        for _ in 0..2 {
            now = requests.deadline().unwrap();
            let Some(Expired::Again("why", tries)) = requests.expire(now) else { panic!("given up after {tried}") };
            tried = tries;
            requests.add("why", tried, now);
        }
        now = requests.deadline().unwrap();
        assert_eq!(requests.expire(now), Some(Expired::GivenUp("why")));
        assert_eq!(requests.deadline(), None);
        assert_eq!(requests.take(seq), None);
    }

    #[test]
    fn a_deadline_may_be_the_end_of_time() {
        let later = |at: Instant, bit: u32| at.checked_add(Duration::from_secs(1 << bit)).unwrap_or(at);
        let end = (0..64).rev().fold(Instant::now(), later);
        let mut requests = Requests::new();
        let seq = requests.add_once("why", end);
        assert_eq!(requests.deadline(), Some(end));
        assert_eq!(requests.take(seq), Some("why"));
    }
}
