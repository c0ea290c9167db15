//! What a subscriber does with each event: checks it, counts it where the publisher sees that, and, where latency is
//! measured, takes the time.

use crate::clock::now;
use crate::latency::Latency;
use crate::order::Order;
use crate::page::{At, Page};
use crate::payload::{Payload, Seen};
use crate::system::{Cell, Go};
use std::sync::atomic::{AtomicU64, Ordering};

/// What is left out of a paced run: caches and connections warm up.
pub const WARM_UP: u64 = 200;

/// Room for the latencies of a paced run, so that none has to be made in it.
const PACED_MAX: usize = 1 << 16;

pub struct Taker {
    page: &'static Page,
    index: usize,
    progress: &'static AtomicU64,
    expected: Payload,
    order: Order,
    /// 1 + the number of the newest probe.
    probed: u64,
    paced: bool,
    latencies: Vec<u64>,
    /// How many events there are, once that was told: of several topics the last event may come before others.
    all: Option<u64>,
    wrong: Option<String>,
}

impl Taker {
    pub fn new(page: &'static Page, run: &Cell, paced: bool) -> Taker {
        Taker {
            page,
            index: run.index,
            progress: page.subscriber(run.index, At::Progress),
            expected: Payload::new(run.size),
            order: Order::new(run.shape.topics),
            probed: 0,
            paced,
            latencies: Vec::with_capacity(if paced { PACED_MAX } else { 0 }),
            all: None,
            wrong: None,
        }
    }

    /// Takes what came.
    pub fn take(&mut self, event: &[u8]) -> Go {
        match self.expected.read(event) {
            Seen::Event { number, sent } => {
                if let Err(due) = self.order.take(number) {
                    return self.fail(format!("event {number} came in the place of {due}"));
                }
                if self.paced && number >= WARM_UP {
                    self.latencies.push(now().saturating_sub(sent));
                }
                self.progress.store(self.order.came(), Ordering::Release);
                if self.all.is_none() {
                    return Go::On;
                }
            }
            Seen::Probe { number } => {
                // Those of other topics may come behind newer ones.
                self.probed = self.probed.max(number + 1);
                self.set(At::Primed, self.probed);
                return Go::On;
            }
            Seen::End { events } => {
                self.all = Some(events);
                self.set(At::Told, events + 1);
            }
            Seen::Broken(what) => {
                let due = self.order.came();
                return self
                    .fail(format!("{} bytes that came in the place of event {due} are broken: {what}", event.len()));
            }
        }
        if self.order.is_loose() && self.all != Some(self.order.came()) {
            return Go::On;
        }
        self.set(At::Ended, now());
        Go::End
    }

    fn fail(&mut self, what: String) -> Go {
        self.set(At::Wrong, 1);
        self.wrong = Some(what);
        Go::End
    }

    fn set(&self, at: At, value: u64) {
        self.page.subscriber(self.index, at).store(value, Ordering::Release);
    }

    /// The latencies, or what went wrong.
    pub fn end(self) -> Result<Latency, String> {
        self.wrong.map_or_else(|| Ok(Latency::of(self.latencies)), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Shape;

    fn taker(topics: usize) -> (Payload, Taker) {
        let dir = tempfile::tempdir().unwrap();
        let page: &'static Page = Box::leak(Box::new(Page::open(dir.path(), 1).unwrap()));
        let cell = Cell::new(64, 1, Shape { topics, ..Shape::FURNISHED });
        (Payload::new(64), Taker::new(page, &cell, false))
    }

    #[test]
    fn what_was_lost_fails_the_run() {
        let (mut payload, mut taker) = taker(1);
        assert_eq!(taker.take(payload.probe(0)), Go::On);
        assert_eq!(taker.take(payload.event(0, 1)), Go::On);
        assert_eq!(taker.take(payload.event(2, 1)), Go::End);
        assert!(taker.end().unwrap_err().contains("event 2 came in the place of 1"));
    }

    #[test]
    fn the_newest_probe_is_told() {
        let (mut payload, mut taker) = taker(2);
        for (number, told) in [(0, 1), (5, 6), (3, 6)] {
            assert_eq!(taker.take(payload.probe(number)), Go::On);
            assert_eq!(taker.page.least(At::Primed), told);
        }
    }

    #[test]
    fn what_was_cut_fails_the_run() {
        let (mut payload, mut taker) = taker(1);
        assert_eq!(taker.take(&payload.event(0, 1)[..60]), Go::End);
        assert!(taker.end().unwrap_err().contains("60 bytes that came in the place of event 0 are broken"));
    }

    #[test]
    fn it_ends_with_the_last_event_of_all_topics() {
        let (mut payload, mut taker) = taker(2);
        for (event, go) in [(payload.event(1, 1).to_vec(), Go::On), (payload.end(2).to_vec(), Go::On)] {
            assert_eq!(taker.take(&event), go);
        }
        assert_eq!(taker.take(payload.event(0, 1)), Go::End);
        assert!(taker.end().is_ok());
    }
}
