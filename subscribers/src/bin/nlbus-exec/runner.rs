//! Events in, commands out: so many at a time, within their rates, and none forgotten.

use crate::Args;
use crate::groups::{self, PATIENCE};
use crate::job::{self, Outcome};
use crate::limit::Limiter;
use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, after, select, unbounded};
use nlbus::{Batch, Bus, Delivery, Event, Filter, Subscription};
use nlbus_subscribers::end::End;
use nlbus_subscribers::service::Service;
use nlbus_subscribers::text::Escaped;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::thread;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Before a command that couldn't be started is tried again: at first, and after many times.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(2)];

/// A subscription for each filter.
///
/// # Errors
/// As [`nlbus::Subscriber::open`].
pub fn subscribe(bus: &Bus, args: &Args) -> Result<Vec<Subscription>, End> {
    let open = |filter: &Filter| bus.subscriber(filter.as_str()).start(args.start).open();
    Ok(args.filters.iter().map(open).collect::<Result<_, _>>()?)
}

/// Runs commands.
pub struct Runner<'a> {
    args: &'a Args,
    jobs: usize,
    running: usize,
    /// By filter.
    rates: Vec<Option<Limiter>>,
    /// Events of the batch that is being worked on.
    waiting: VecDeque<Event>,
    outcomes: Sender<Outcome>,
    ended: Receiver<Outcome>,
    /// No command is started until then.
    paused: Option<Instant>,
    /// How long the next pause is.
    pause: Duration,
    /// Events beyond their filter's rate.
    dropped: u64,
    /// Of the last restart that was told of: each subscription has one of its own.
    epoch: Option<u64>,
}

impl<'a> Runner<'a> {
    /// One that has nothing to do yet.
    pub fn new(args: &'a Args) -> Runner<'a> {
        let jobs = args.jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        let rule = |filter: &Filter| args.rate.iter().find(|rule| rule.filter == *filter);
        let rate = |filter| rule(filter).map(|rule| rule.rate.begin());
        let (outcomes, ended) = unbounded();
        Runner {
            args,
            jobs,
            running: 0,
            rates: args.filters.iter().map(rate).collect(),
            waiting: VecDeque::new(),
            outcomes,
            ended,
            paused: None,
            pause: PAUSES[0],
            dropped: 0,
            epoch: None,
        }
    }

    /// Runs commands until the program is to end, and then waits for them.
    ///
    /// # Errors
    /// When the connection has ended, or a command has failed and that is to be the end.
    pub fn run(mut self, service: &Service, subscriptions: Vec<Subscription>) -> Result<(), End> {
        let result = self.until_stopped(service, &subscriptions);
        drop(subscriptions);
        let finished = self.finish();
        result.and(finished)
    }

    /// A batch is taken only when there is a job for it, so that the rest waits where it is bounded.
    fn until_stopped(&mut self, service: &Service, subscriptions: &[Subscription]) -> Result<(), End> {
        loop {
            self.start_waiting()?;
            if service.is_stopped() {
                return Ok(());
            }
            // With everybody busy, nothing is taken.
            let hungry = self.waiting.is_empty() && self.running < self.jobs;
            let mut select = Select::new();
            for subscription in subscriptions.iter().filter(|_| hungry) {
                select.recv(subscription.batches());
            }
            let ended = self.ended.clone();
            let from_ended = select.recv(&ended);
            select.recv(service.stop());
            let ready = match self.paused {
                None => Some(select.ready()),
                Some(until) => select.ready_deadline(until).ok(),
            };
            if let Some(ready) = ready.filter(|ready| *ready < from_ended) {
                match subscriptions[ready].batches().try_recv() {
                    Ok(batch) => self.take(ready, batch),
                    Err(TryRecvError::Empty) => {}
                    Err(TryRecvError::Disconnected) => {
                        return Err(End::Failed("the connection to the broker ended; start the program again".into()));
                    }
                }
            }
            while let Ok(outcome) = ended.try_recv() {
                self.ended(&outcome)?;
            }
        }
    }

    fn take(&mut self, place: usize, batch: Batch) {
        for delivery in batch {
            match delivery {
                Delivery::Event(event) if self.is_first(place, event.topic()) => {
                    if self.rates[place].as_mut().is_none_or(|rate| rate.admits(Instant::now())) {
                        self.waiting.push_back(event);
                    } else {
                        self.dropped += 1;
                        if self.dropped.is_power_of_two() {
                            warn!("{} events beyond their filters' rates were dropped until now", self.dropped);
                        }
                    }
                }
                Delivery::Lost(lost) if self.is_first(place, &lost.topic) => {
                    let topic = Escaped::text(lost.topic.as_bytes());
                    warn!("lost {} of '{topic}', {} to {}", lost.count(), lost.from, lost.to);
                }
                Delivery::Restarted(restarted) if self.epoch.replace(restarted.epoch) != Some(restarted.epoch) => {
                    warn!("the broker restarted; events may be lost");
                }
                Delivery::Ended(ended) if self.is_first(place, &ended.topic) => {
                    let topic = Escaped::text(ended.topic.as_bytes());
                    info!("topic '{topic}' ended after {}: {}", ended.last, ended.reason.as_str());
                }
                _ => {}
            }
        }
    }

    fn is_first(&self, place: usize, topic: &str) -> bool {
        !self.args.filters[..place].iter().any(|filter| filter.matches(topic))
    }

    /// Starts commands for events that wait, as many as there are jobs.
    fn start_waiting(&mut self) -> Result<(), End> {
        if self.paused.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        while self.running < self.jobs
            && let Some(event) = self.waiting.front()
        {
            let timeout = self.args.timeout;
            match job::start(&self.args.command, event, timeout, self.outcomes.clone()) {
                Ok(()) => self.running += 1,
                // The event stays where it is.
                Err(error) if job::is_passing(&error) => {
                    if self.paused.is_none() {
                        warn!("can't start a command now: {error}; trying again");
                    }
                    self.paused = Some(Instant::now() + self.pause);
                    self.pause = (self.pause * 2).min(PAUSES[1]);
                    return Ok(());
                }
                Err(error) => self.failed(event.topic(), event.seq(), &format!("can't be run: {error}"))?,
            }
            self.waiting.pop_front();
            (self.paused, self.pause) = (None, PAUSES[0]);
        }
        Ok(())
    }

    fn ended(&mut self, outcome: &Outcome) -> Result<(), End> {
        self.running -= 1;
        match &outcome.failure {
            Some(failure) => self.failed(&outcome.topic, outcome.seq, failure),
            None => Ok(()),
        }
    }

    fn failed(&self, topic: &str, seq: u64, failure: &str) -> Result<(), End> {
        warn!("the command for '{}' #{seq} {failure}", Escaped::text(topic.as_bytes()));
        match self.args.fail {
            true => Err(End::Failed(format!("a command {failure}"))),
            false => Ok(()),
        }
    }

    /// Waits for what runs, and ends it when the time is over.
    fn finish(&mut self) -> Result<(), End> {
        if !self.waiting.is_empty() {
            warn!("{} events are left without a command", self.waiting.len());
        }
        let mut result = Ok(());
        let deadline = Instant::now() + self.args.grace;
        while self.running > 0
            && let Ok(outcome) = self.ended.recv_deadline(deadline)
        {
            result = result.and(self.ended(&outcome));
        }
        if self.running == 0 {
            return result;
        }
        info!("ending {} commands that still run", self.running);
        groups::end_all();
        let patience = after(PATIENCE * 2);
        while self.running > 0 {
            select! {
                recv(self.ended) -> outcome => drop(outcome.map(|outcome| self.ended(&outcome))),
                recv(patience) -> _ => break,
            }
        }
        result
    }
}
