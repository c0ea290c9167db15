//! `nlbus-log`: events into a file, a JSON object a line, without hole or repetition over rotation, an orderly end and,
//! with a state file, a restart.

mod file;
mod state;

use clap::Parser;
use file::{Limits, LogFile};
use humantime::Duration as HumanDuration;
use nlbus::{Bus, Delivery, Filter, Start};
use nlbus_subscribers::end::End;
use nlbus_subscribers::event_json::{EventJson, NoteJson};
use nlbus_subscribers::feed::{Feed, Goal, Item, Next};
use nlbus_subscribers::service::{self, Connection, Service};
use nlbus_subscribers::values;
use signal_hook::consts::SIGHUP;
use signal_hook::flag;
use state::State;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How long the end may wait for events that were published before it was asked for.
const DRAIN: Duration = Duration::from_secs(10);

/// How often to look whether SIGHUP came, where nothing else happens.
const LOOK: Duration = Duration::from_millis(500);

/// Write events to a file, one JSON object a line, as `nlbus sub --json` prints them.
///
/// What was lost and restarts of the broker are lines, too: {"lost":…}, {"restarted":…}.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Args {
    /// Topics, or filters with '+' for one level and '#' for all that follow.
    #[arg(value_name = "FILTER", default_value = "#")]
    filters: Vec<Filter>,
    /// Leave out topics that match; can be given several times.
    #[arg(long, value_name = "FILTER")]
    exclude: Vec<Filter>,
    /// The file; lines are appended.
    #[arg(short, long, value_name = "PATH")]
    file: PathBuf,
    /// Rotate before the file would become larger than this, like 500k or 64MiB.
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    max_size: u64,
    /// Rotate a file that is this old, like 1h or 1day [default: never].
    #[arg(long, value_name = "DUR")]
    max_age: Option<HumanDuration>,
    /// Rotated files to keep; the oldest ones are removed.
    #[arg(long, value_name = "N", default_value_t = 10)]
    keep: usize,
    /// Where to begin: live, last, last=N, seq=N or all.
    #[arg(long, value_name = "START", default_value = "live", value_parser = values::start)]
    start: Start,
    /// Keep the position here, and go on after it the next time.
    #[arg(long, value_name = "PATH")]
    state: Option<PathBuf>,
    /// How often lines are forced to disk, and the position is kept.
    #[arg(long, value_name = "DUR", default_value = "1s")]
    sync: HumanDuration,
    #[command(flatten)]
    connection: Connection,
}

const AFTER_HELP: &str = "\
Rotated files are named PATH.000000001, PATH.000000002 and so on: the higher, the newer. SIGHUP opens PATH
anew, for logrotate. SIGTERM and SIGINT end the program after all that was published before them is written.

Examples:
  nlbus-log -f /var/log/nlbus/events.jsonl --state /var/lib/nlbus/log.state
  nlbus-log 'sensors/#' --exclude 'sensors/+/raw' -f sensors.jsonl --max-age 1day --keep 30

Environment: NLBUS_LOG is the level of this program's own log, like debug or warn [default: info]";

fn size(text: &str) -> Result<u64, String> {
    let size = parse_size::Config::new().with_binary().parse_size(text);
    size.map_err(|error| error.to_string()).and_then(|size| match size {
        0 => Err("a file takes at least a byte".into()),
        size => Ok(size),
    })
}

fn main() -> ExitCode {
    service::main(run)
}

fn run(args: Args, service: &Service) -> Result<(), End> {
    if let (Start::From(_), Some(filter)) = (args.start, args.filters.iter().find(|filter| filter.is_wildcard())) {
        let why = "a sequence number to start from needs exact topics";
        return Err(End::Usage(format!("--start seq=N with '{filter}': {why}")));
    }
    let reopen = Arc::new(AtomicBool::new(false));
    flag::register(SIGHUP, Arc::clone(&reopen))
        .map_err(|error| End::Failed(format!("can't handle SIGHUP: {error}")))?;
    let limits = Limits { size: args.max_size, age: args.max_age.map(Into::into), keep: args.keep };
    let mut file = LogFile::open(&args.file, limits).map_err(|error| failed(&args, "open", &error))?;
    let state = args.state.as_deref().map(State::open).transpose()?;
    if let Some((state, saved)) = state.as_ref().and_then(|state| state.saved.as_ref().map(|saved| (state, saved))) {
        file.cut_to(saved.rotation, saved.length).map_err(|error| failed(&args, "cut", &error))?;
        info!("going on where {} says", state.path.display());
    }
    let bus = service.connect(&args.connection)?;
    let saved = state.as_ref().and_then(|state| state.saved.as_ref());
    let feed = Feed::open(&bus, &args.filters, &args.exclude, |filter, subscriber| {
        let subscriber = subscriber.start(args.start);
        match saved.and_then(|saved| saved.positions.get(filter.as_str())) {
            Some(positions) => subscriber.resume(positions.clone()),
            None => subscriber,
        }
    })?;
    let synced = Instant::now();
    let mut log = Log { args: &args, bus, feed, file, state, reopen, synced, dirty: true };
    // From here on nothing is missed, whatever ends this program.
    log.sync()?;
    service.ready();
    log.run(service)
}

fn failed(args: &Args, what: &str, error: &io::Error) -> End {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room on that file system",
        io::ErrorKind::FileTooLarge => {
            "; raise the limit on the size of files (ulimit -f), or choose a lower --max-size"
        }
        io::ErrorKind::PermissionDenied => "; run it as a user who may write there, or choose another --file",
        io::ErrorKind::NotFound => "; create its directory, or choose another --file",
        _ => "",
    };
    End::Failed(format!("can't {what} {}: {error}{remedy}", args.file.display()))
}

struct Log<'a> {
    args: &'a Args,
    bus: Bus,
    feed: Feed,
    file: LogFile,
    state: Option<State>,
    reopen: Arc<AtomicBool>,
    synced: Instant,
    /// Something was written, or has moved on, since.
    dirty: bool,
}

impl Log<'_> {
    fn run(mut self, service: &Service) -> Result<(), End> {
        let end = self.until_stopped(service);
        // Whatever ended it, what was written stays, and the position says where it ends. Where that was a write, lines
        // are missing: then the position that was kept last stays, too, and they come again the next time.
        let saved = self.sync();
        end.and(saved)
    }

    fn until_stopped(&mut self, service: &Service) -> Result<(), End> {
        loop {
            let deliveries = match self.feed.take()? {
                Some(deliveries) => deliveries,
                None => {
                    self.flush()?;
                    match self.feed.wait(service.stop(), Some(self.wake_up()))? {
                        Next::Deliveries(deliveries) => deliveries,
                        Next::TimedOut => Vec::new(),
                        Next::Stopped => return self.drain(),
                    }
                }
            };
            self.write(&deliveries)?;
            if service.is_stopped() {
                return self.drain();
            }
            if self.reopen.swap(false, Ordering::Relaxed) {
                self.reopen()?;
            }
            if self.file.is_old() {
                self.rotate()?;
            }
            if self.synced.elapsed() >= self.args.sync.into() {
                self.sync()?;
            }
        }
    }

    /// When there is something to do though nothing comes.
    fn wake_up(&self) -> Instant {
        let now = Instant::now();
        let sync = self.dirty.then(|| self.synced + Duration::from(self.args.sync));
        [Some(now + LOOK), sync, self.file.old_at()].into_iter().flatten().min().unwrap_or(now)
    }

    fn write(&mut self, deliveries: &[Item]) -> Result<(), End> {
        for item in deliveries {
            let line = match &item.delivery {
                _ if !item.wanted => None,
                Delivery::Event(event) => Some(serde_json::to_vec(&EventJson::from(event))),
                Delivery::Lost(lost) => {
                    warn!("lost {} of '{}', {} to {}", lost.count(), lost.topic, lost.from, lost.to);
                    Some(serde_json::to_vec(&NoteJson::from(lost)))
                }
                Delivery::Restarted(restarted) => {
                    warn!("the broker restarted; events may be lost");
                    Some(serde_json::to_vec(&NoteJson::from(restarted)))
                }
                _ => None,
            };
            if let Some(line) = line {
                self.write_line(line)?;
            }
            // Not before: on the way the file may be rotated, and the position kept.
            self.feed.passed(item);
        }
        self.dirty |= !deliveries.is_empty();
        Ok(())
    }

    fn write_line(&mut self, line: serde_json::Result<Vec<u8>>) -> Result<(), End> {
        let mut line = line.map_err(|error| End::Failed(format!("can't write an event as JSON: {error}")))?;
        line.push(b'\n');
        if !self.file.has_room(line.len()) {
            self.rotate()?;
        }
        self.file.push(&line).map_err(|error| failed(self.args, "write to", &error))
    }

    /// Goes on until all that was published by now is written.
    fn drain(&mut self) -> Result<(), End> {
        let never = crossbeam_channel::never();
        let deadline = Instant::now() + DRAIN;
        let mut goal = match Goal::now(&self.bus) {
            Ok(goal) => goal,
            Err(error) => {
                warn!("ending without the newest events: {error}");
                return Ok(());
            }
        };
        while !goal.is_reached(&self.feed) {
            match self.feed.wait(&never, Some(deadline))? {
                Next::Deliveries(deliveries) => self.write(&deliveries)?,
                Next::TimedOut | Next::Stopped => {
                    warn!("ending without the newest events of {} topics: they didn't come in time", goal.missing());
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), End> {
        self.file.flush().map_err(|error| failed(self.args, "write to", &error))
    }

    fn sync(&mut self) -> Result<(), End> {
        self.synced = Instant::now();
        if self.dirty {
            self.file.sync().map_err(|error| failed(self.args, "write to", &error))?;
            if let Some(state) = &mut self.state {
                state.save(&self.file, &self.feed)?;
            }
            self.dirty = false;
        }
        Ok(())
    }

    /// The position is kept before and after: in between the two no line is written, so that it fits the one file or
    /// the other.
    fn rotate(&mut self) -> Result<(), End> {
        self.dirty = true;
        self.sync()?;
        self.file.rotate().map_err(|error| failed(self.args, "rotate", &error))?;
        info!("rotated");
        self.dirty = true;
        self.sync()
    }

    fn reopen(&mut self) -> Result<(), End> {
        self.dirty = true;
        self.sync()?;
        self.file.reopen().map_err(|error| failed(self.args, "open", &error))?;
        info!("opened {} anew", self.args.file.display());
        self.dirty = true;
        self.sync()
    }
}
