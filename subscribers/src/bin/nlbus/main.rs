//! The `nlbus` command: the bus from a shell. This file chooses the verb and turns its end into the exit
//! status that scripts rely on; a verb is a file in `verbs/`.

mod verbs;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use nlbus_subscribers::end::End;
use nlbus_subscribers::{colours, pages};
use std::process::ExitCode;

/// Publish and subscribe on this host's event bus.
#[derive(Debug, Parser)]
#[command(name = "nlbus", version, color = colours::choice(), after_help = pages::COMMAND.help())]
enum Command {
    Broker(verbs::broker::Args),
    Pub(verbs::publish::Args),
    Sub(verbs::sub::Args),
    Hz(verbs::hz::Args),
    Record(verbs::record::Args),
    Play(verbs::play::Args),
    Top(verbs::top::Args),
    Bench(verbs::bench::Args),
    BenchSubscriber(verbs::bench::SubscriberArgs),
    Topics(verbs::topics::Args),
    Topic(verbs::topic::Args),
    Info(verbs::info::Args),
    Module(verbs::module::Args),
    Doctor(verbs::doctor::Args),
    Completions(verbs::completions::Args),
    Man(verbs::man::Args),
}

fn main() -> ExitCode {
    let command = match Command::try_parse() {
        Ok(command) => command,
        // Nothing is wrong yet where a verb is missing: all of the help, on standard error.
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
        Err(error) if error.use_stderr() => return End::Usage(in_one_line(&error.render().to_string())).report(false),
        // Help, or the version.
        Err(error) => error.exit(),
    };
    let quiet = matches!(&command, Command::Pub(args) if args.quiet);
    let result = match command {
        Command::Broker(args) => verbs::broker::run(&args),
        Command::Pub(args) => verbs::publish::run(&args),
        Command::Sub(args) => verbs::sub::run(&args),
        Command::Hz(args) => verbs::hz::run(&args),
        Command::Record(args) => verbs::record::run(&args),
        Command::Play(args) => verbs::play::run(&args),
        Command::Top(args) => verbs::top::run(&args),
        Command::Bench(args) => verbs::bench::run(&args),
        Command::BenchSubscriber(args) => verbs::bench::run_subscriber(&args),
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

/// What clap says of arguments that are wrong, in one line as any other error.
fn in_one_line(said: &str) -> String {
    let (said, _) = said.split_once("For more information").unwrap_or((said, ""));
    let said = said.strip_prefix("error: ").unwrap_or(said);
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut line = String::new();
    for part in lines {
        // A new thought, or more of the one before.
        if ["Usage:", "tip:", "[possible values:"].iter().any(|begin| part.starts_with(begin)) {
            line.push_str("; ");
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(part);
    }
    line.push_str("; --help tells more");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_usage_are_one_line() {
        for (args, line) in [
            (
                &["nlbus", "sub"][..],
                "the following required arguments were not provided: <FILTER>...; Usage: nlbus sub <FILTER>...; --help tells more",
            ),
            (
                &["nlbus", "recrd"],
                "unrecognized subcommand 'recrd'; tip: a similar subcommand exists: 'record'; Usage: nlbus <COMMAND>; --help tells more",
            ),
            (
                &["nlbus", "sub", "x", "--overflow", "no"],
                "invalid value 'no' for '--overflow <POLICY>'; [possible values: catch-up, drop-oldest, drop-newest, latest]; --help tells more",
            ),
        ] {
            let error = Command::try_parse_from(args).unwrap_err();
            assert_eq!(in_one_line(&error.render().to_string()), line);
        }
    }
}
