//! `nlbus-exec`: a command for each event.

mod job;
mod limit;

use clap::Parser;
use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, after, select, unbounded};
use humantime::Duration as HumanDuration;
use job::{Job, Outcome};
use limit::Rate;
use nlbus::{Batch, Bus, Delivery, Event, Filter, Start, Subscription};
use nlbus_subscribers::end::End;
use nlbus_subscribers::service::{self, Connection, Service};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Run a command for each event, with its payload on standard input.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Args {
    /// Topics, or filters with '+' for one level and '#' for all that follow; FILTER=RATE, like 'alarms/#=10/min', runs
    /// the command at most that often for this filter, and drops and counts what comes beyond that.
    #[arg(required = true, value_name = "FILTER[=RATE]", value_parser = rule)]
    filters: Vec<Rule>,
    /// Commands that run at a time; 1 keeps the order of a topic's events [default: the number of CPUs].
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// End a command that runs longer than this.
    #[arg(long, value_name = "DUR")]
    timeout: Option<HumanDuration>,
    /// How long running commands may go on when the program is to end.
    #[arg(long, value_name = "DUR", default_value = "10s")]
    grace: HumanDuration,
    /// Where to begin: live, last, last=N or all.
    #[arg(long, value_name = "START", default_value = "live", value_parser = nlbus_subscribers::values::start)]
    start: Start,
    /// End with status 1 as soon as a command fails.
    #[arg(long)]
    fail: bool,
    #[command(flatten)]
    connection: Connection,
    /// The command and its arguments. No shell is involved.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const AFTER_HELP: &str = "\
The command's environment has NLBUS_TOPIC, NLBUS_SEQ, NLBUS_TIME_NS, NLBUS_ORIGIN (kernel or user), NLBUS_PORTID,
NLBUS_PID, NLBUS_UID and NLBUS_CONTENT of the event.

While all jobs are busy, events wait in the broker's history. What is lost there is logged. An event that several
filters match is the first one's. SIGTERM and SIGINT: no new command is started, running ones are waited for, and
ended after the grace time.

Examples:
  nlbus-exec 'deploy/+' -- /usr/local/bin/deploy
  nlbus-exec 'alarms/#=10/min' -- sh -c 'mail -s \"$NLBUS_TOPIC\" root'

Environment: NLBUS_LOG is the level of this program's own log, like debug or warn [default: info]";

/// A filter and how often its events may run the command.
#[derive(Debug, Clone)]
struct Rule {
    filter: Filter,
    rate: Option<Rate>,
}

fn rule(text: &str) -> Result<Rule, String> {
    let filter = |text| Filter::new(text).map_err(|error| error.to_string());
    match text.rsplit_once('=') {
        None => Ok(Rule { filter: filter(text)?, rate: None }),
        // A topic may have a '=' in its name; a rate begins with a number.
        Some((_, rest)) if !rest.starts_with(|c: char| c.is_ascii_digit()) => {
            Ok(Rule { filter: filter(text)?, rate: None })
        }
        Some((name, rate)) => Ok(Rule { filter: filter(name)?, rate: Some(rate.parse()?) }),
    }
}

fn main() -> ExitCode {
    service::main(run)
}

fn run(args: Args, service: &Service) -> Result<(), End> {
    if let (Start::From(_), Some(rule)) = (args.start, args.filters.iter().find(|rule| rule.filter.is_wildcard())) {
        let why = "a sequence number to start from needs exact topics";
        return Err(End::Usage(format!("--start seq=N with '{}': {why}", rule.filter)));
    }
    let bus = service.connect(&args.connection)?;
    let jobs = args.jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let (subscriptions, batches) = subscribe(&bus, &args)?;
    let (outcomes, ended) = unbounded();
    let rates = args.filters.iter().map(|rule| rule.rate.map(Rate::begin)).collect();
    let mut runner = Runner { args: &args, jobs, running: 0, rates, waiting: VecDeque::new(), outcomes, dropped: 0 };
    service.ready();
    let result = runner.until_stopped(service, &batches, &ended);
    drop(subscriptions);
    runner.finish(&ended);
    result
}

/// Batches of all filters, each with its place. A batch is taken only when there is a job for it, so that the rest
/// waits where it is bounded.
fn subscribe(bus: &Bus, args: &Args) -> Result<(Vec<Subscription>, Vec<Receiver<Batch>>), End> {
    let open = |rule: &Rule| bus.subscriber(rule.filter.as_str()).start(args.start).open();
    let subscriptions = args.filters.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let batches = subscriptions.iter().map(|subscription| subscription.batches().clone()).collect();
    Ok((subscriptions, batches))
}

struct Runner<'a> {
    args: &'a Args,
    jobs: usize,
    running: usize,
    /// By filter.
    rates: Vec<Option<limit::Limiter>>,
    /// Events of the batch that is being worked on.
    waiting: VecDeque<Event>,
    outcomes: Sender<Outcome>,
    /// Events beyond their filter's rate.
    dropped: u64,
}

impl Runner<'_> {
    fn until_stopped(
        &mut self,
        service: &Service,
        batches: &[Receiver<Batch>],
        ended: &Receiver<Outcome>,
    ) -> Result<(), End> {
        loop {
            while self.running < self.jobs
                && let Some(event) = self.waiting.pop_front()
            {
                self.start(event)?;
            }
            if service.is_stopped() {
                return Ok(());
            }
            // With everybody busy, nothing is taken.
            let hungry = self.waiting.is_empty() && self.running < self.jobs;
            let mut select = Select::new();
            for batch in batches.iter().filter(|_| hungry) {
                select.recv(batch);
            }
            let from_ended = select.recv(ended);
            select.recv(service.stop());
            let ready = select.ready();
            if ready < from_ended {
                match batches[ready].try_recv() {
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
                    warn!("lost {} of '{}', {} to {}", lost.count(), lost.topic, lost.from, lost.to);
                }
                Delivery::Restarted(_) => warn!("the broker restarted; events may be lost"),
                _ => {}
            }
        }
    }

    fn is_first(&self, place: usize, topic: &str) -> bool {
        !self.args.filters[..place].iter().any(|rule| rule.filter.matches(topic))
    }

    fn start(&mut self, event: Event) -> Result<(), End> {
        let timeout = self.args.timeout.map(Duration::from);
        Job::start(&self.args.command, event, timeout, self.outcomes.clone())?;
        self.running += 1;
        Ok(())
    }

    fn ended(&mut self, outcome: &Outcome) -> Result<(), End> {
        self.running -= 1;
        match &outcome.failure {
            None => Ok(()),
            Some(failure) => {
                warn!("the command for '{}' #{} {failure}", outcome.topic, outcome.seq);
                match self.args.fail {
                    true => Err(End::Failed(format!("a command {failure}"))),
                    false => Ok(()),
                }
            }
        }
    }

    /// Waits for what runs, and ends it when the time is over.
    fn finish(&mut self, ended: &Receiver<Outcome>) {
        if !self.waiting.is_empty() {
            warn!("{} events are left without a command", self.waiting.len());
        }
        let deadline = Instant::now() + self.args.grace.into();
        while self.running > 0 {
            match ended.recv_deadline(deadline) {
                Ok(outcome) => drop(self.ended(&outcome)),
                Err(_) => break,
            }
        }
        if self.running > 0 {
            info!("ending {} commands that still run", self.running);
            job::end_all();
            let patience = after(job::PATIENCE * 2);
            while self.running > 0 {
                select! {
                    recv(ended) -> outcome => drop(outcome.map(|outcome| self.ended(&outcome))),
                    recv(patience) -> _ => return,
                }
            }
        }
    }
}
