//! `nlbus-log`: events into a file, a JSON object a line, without hole or repetition over rotation, an orderly end and,
//! with a state file, a restart.

mod ending;
mod file;
mod opening;
mod resume;
mod rotated;
mod state;
mod writer;

use clap::Parser;
use file::{Limits, LogFile};
use nlbus::Start;
use nlbus_subscribers::end::End;
use nlbus_subscribers::feed::Feed;
use nlbus_subscribers::service::{self, Connection, Service};
use nlbus_subscribers::topics::{Topics, check_start};
use nlbus_subscribers::values;
use state::State;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tracing::{info, warn};
use writer::Writer;

/// Write events to a file, one JSON object a line, as `nlbus sub --json` prints them.
///
/// What was lost and restarts of the broker are lines, too: {"lost":…}, {"restarted":…}.
#[derive(Debug, Parser)]
#[command(name = env!("CARGO_BIN_NAME"), version, after_help = AFTER_HELP)]
struct Args {
    #[command(flatten)]
    topics: Topics,
    /// The file; lines are appended.
    #[arg(short, long, value_name = "PATH")]
    file: PathBuf,
    /// Rotate before the file would become larger than this, like 500k or 64MiB.
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    max_size: u64,
    /// Rotate a file that is this old, like 1h or 1day [default: never].
    #[arg(long, value_name = "DUR", value_parser = values::duration)]
    max_age: Option<Duration>,
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
    #[arg(long, value_name = "DUR", default_value = "1s", value_parser = values::duration)]
    sync: Duration,
    #[command(flatten)]
    connection: Connection,
}

const AFTER_HELP: &str = "\
Rotated files are named PATH.000000001, PATH.000000002 and so on: the higher, the newer. SIGHUP opens PATH
anew, for logrotate. SIGTERM and SIGINT end the program after all that was published before them is written. PATH is
locked against a second nlbus-log; pipes and devices are neither locked nor rotated.

After a crash, lines behind the position that --state has are cut off if the broker still has their events, for these
come again. Else they stay, with a warning.

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
    service::main_reopening(run)
}

fn run(args: Args, service: &Service) -> Result<(), End> {
    check_start(args.start, &args.topics.filters)?;
    if args.state.as_deref().is_some_and(|state| file::are_same(state, &args.file)) {
        let why = "--state and --file are one file; choose another --state";
        return Err(End::Usage(why.into()));
    }
    let limits = Limits { size: args.max_size, age: args.max_age, keep: args.keep };
    let mut file = LogFile::open(&args.file, limits).map_err(|error| failed(&args, "open", &error))?;
    let state = args.state.as_deref().map(State::open).transpose()?;
    let bus = service.connect(&args.connection)?;
    let saved = state.as_ref().and_then(|state| state.saved.as_ref());
    let feed = Feed::open(&bus, &args.topics, |filter, subscriber| {
        let subscriber = subscriber.start(args.start);
        match saved.and_then(|saved| saved.positions.get(filter.as_str())) {
            Some(positions) => subscriber.resume(positions.clone()),
            None => subscriber,
        }
    })?;
    // Not before there is a broker to have it from again.
    if let Some(saved) = saved {
        let name = args.file.display();
        let failed = |error: &io::Error| failed(&args, "fit the position to", error);
        match resume::fit(&mut file, saved, &args.topics, &bus, failed)? {
            None => info!("going on where {name} ends"),
            Some(why) => warn!("{name} stays as it is, and events may be missing or repeated: {why}"),
        }
    }
    file.mend().map_err(|error| failed(&args, "write to", &error))?;
    let writer = Writer::begin(&args, bus, feed, file, state)?;
    service.ready();
    writer.run(service)
}

fn failed(args: &Args, what: &str, error: &io::Error) -> End {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room on that file system",
        io::ErrorKind::FileTooLarge => {
            "; raise the limit on the size of files (ulimit -f), or choose a lower --max-size"
        }
        io::ErrorKind::PermissionDenied => "; run it as a user who may write there, or choose another --file",
        io::ErrorKind::WouldBlock => "; end that one, or choose another --file",
        io::ErrorKind::IsADirectory => "; give the path of a file",
        io::ErrorKind::NotFound => "; create its directory, or choose another --file",
        _ => "",
    };
    End::Failed(format!("can't {what} {}: {error}{remedy}", args.file.display()))
}
