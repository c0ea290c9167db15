//! The `nlbus` command: the bus from a shell. This file chooses the verb and turns its end into the exit
//! status that scripts rely on; a verb is a file in `verbs/`.

mod verbs;

use clap::{CommandFactory, Parser};
use nlbus_subscribers::{colours, pages};
use std::process::ExitCode;

/// Publish and subscribe on this host's event bus.
#[derive(Debug, Parser)]
#[command(name = "nlbus", version, color = colours::choice(), after_help = pages::COMMAND.help())]
enum Command {
    Broker(verbs::broker::Args),
    Pub(verbs::publish::Args),
    Sub(verbs::sub::Args),
    Topics(verbs::topics::Args),
    Topic(verbs::topic::Args),
    Info(verbs::info::Args),
    Module(verbs::module::Args),
    Doctor(verbs::doctor::Args),
    Completions(verbs::completions::Args),
    Man(verbs::man::Args),
}

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
        Command::Completions(args) => verbs::completions::run(&args, Command::command()),
        Command::Man(args) => verbs::man::run(&args, Command::command()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(end) => end.report(quiet),
    }
}
