//! `nlbus-exec`: a command for each event.

mod groups;
mod job;
mod limit;
mod program;
mod runner;

use clap::Parser;
use limit::Rate;
use nlbus::{Filter, Start};
use nlbus_subscribers::end::End;
use nlbus_subscribers::service::{self, Connection, Service};
use nlbus_subscribers::topics::check_start;
use nlbus_subscribers::values;
use runner::Runner;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

/// Run a command for each event, with its payload on standard input.
#[derive(Debug, Parser)]
#[command(name = env!("CARGO_BIN_NAME"), version, after_help = AFTER_HELP)]
struct Args {
    /// Topics, or filters with '+' for one level and '#' for all that follow.
    #[arg(required = true, value_name = "FILTER")]
    filters: Vec<Filter>,
    /// Run the command at most that often for one of the filters, like 'alarms/#=10/min', and drop and count what comes
    /// beyond that; can be given several times. The unit is s, min, h or day.
    #[arg(long, value_name = "FILTER=RATE", value_parser = rule)]
    rate: Vec<Rule>,
    /// Commands that run at a time; 1 keeps the order of a topic's events [default: the number of CPUs].
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// End a command that runs longer than this.
    #[arg(long, value_name = "DUR", value_parser = values::duration)]
    timeout: Option<Duration>,
    /// How long running commands may go on when the program is to end.
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = values::duration)]
    grace: Duration,
    /// Where to begin: live, last, last=N, seq=N or all.
    #[arg(long, value_name = "START", default_value = "live", value_parser = values::start)]
    start: Start,
    /// End with status 1 as soon as a command fails.
    #[arg(long)]
    fail: bool,
    /// The command and its arguments. No shell is involved.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    #[command(flatten)]
    connection: Connection,
}

const AFTER_HELP: &str = "\
The command's environment has NLBUS_TOPIC, NLBUS_SEQ, NLBUS_TIME_NS, NLBUS_ORIGIN (kernel or user), NLBUS_PORTID,
NLBUS_PID, NLBUS_UID and NLBUS_CONTENT of the event.

While all jobs are busy, or the system has no room for another process, events wait in the broker's history. What is
lost there is logged. An event that several filters match is the first one's.

A command leads a process group. When it is to be ended, the group gets SIGTERM, and SIGKILL two seconds later. What a
command leaves running when it ends by itself is its own affair. SIGTERM, SIGINT and SIGHUP: no new command is started,
running ones are waited for, and ended after the grace time; a second one ends them at once.

Examples:
  nlbus-exec 'deploy/+' -- /usr/local/bin/deploy
  nlbus-exec 'alarms/#' --rate 'alarms/#=10/min' -- sh -c 'mail -s \"$NLBUS_TOPIC\" root'

Environment: NLBUS_LOG is the level of this program's own log, like debug or warn [default: info]";

/// How often the events of a filter may run the command.
#[derive(Debug, Clone)]
struct Rule {
    filter: Filter,
    rate: Rate,
}

fn rule(text: &str) -> Result<Rule, String> {
    // A topic may have a '=' in its name, and a rate has none.
    let (filter, rate) = text.rsplit_once('=').ok_or("takes a filter and its rate, like 'alarms/#=10/min'")?;
    Ok(Rule { filter: Filter::new(filter).map_err(|error| error.to_string())?, rate: rate.parse()? })
}

fn main() -> ExitCode {
    service::main(run)
}

fn run(args: Args, service: &Service) -> Result<(), End> {
    check(&args)?;
    program::find(&args.command[0])?;
    service.at_once(groups::kill_all_at_once);
    let bus = service.connect(&args.connection)?;
    // From here on nothing is missed.
    let feeds = runner::subscribe(&bus, &args)?;
    service.ready();
    Runner::new(&args).run(service, feeds)
}

/// Refuses what can't be before anything is done.
fn check(args: &Args) -> Result<(), End> {
    check_start(args.start, &args.filters)?;
    match args.rate.iter().find(|rule| !args.filters.contains(&rule.filter)) {
        Some(rule) => Err(End::Usage(format!("--rate of '{}': it is none of the filters", rule.filter))),
        None => Ok(()),
    }
}
