//! The `nlbus` command: the bus from a shell. This file chooses the verb and turns its end into the exit
//! status that scripts rely on; a verb is a file in `verbs/`.

mod verbs;

use clap::Parser;
use std::process::ExitCode;

/// Publish and subscribe on this host's event bus.
#[derive(Debug, Parser)]
#[command(name = "nlbus", version, after_help = AFTER_HELP)]
enum Command {
    Broker(verbs::broker::Args),
    Pub(verbs::publish::Args),
    Sub(verbs::sub::Args),
    Topics(verbs::topics::Args),
    Topic(verbs::topic::Args),
    Info(verbs::info::Args),
    Module(verbs::module::Args),
    Doctor(verbs::doctor::Args),
}

const AFTER_HELP: &str = "\
Environment:
  NLBUS_BROKER  auto, module or user: which broker to connect to [default: auto]
  NLBUS_PORT    netlink port id of the user broker [default: 1852596852]
  NLBUS_BROKER_UID  number of the user that the user broker runs as, if not root nor oneself

Exit status: 0 done (a closed output pipe, too), 1 failed, 2 usage, 27 timed out, 130 interrupted";

fn main() -> ExitCode {
    let command = Command::parse();
    let quiet = matches!(&command, Command::Pub(args) if args.quiet);
    let result = match command {
        Command::Broker(args) => verbs::broker::run(&args),
        Command::Pub(args) => verbs::publish::run(&args),
        Command::Sub(args) => verbs::sub::run(&args),
        Command::Topics(args) => verbs::topics::run(&args),
        Command::Topic(args) => verbs::topic::run(&args),
        Command::Info(args) => verbs::info::run(&args),
        Command::Module(args) => verbs::module::run(&args),
        Command::Doctor(args) => verbs::doctor::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(end) => end.report(quiet),
    }
}
