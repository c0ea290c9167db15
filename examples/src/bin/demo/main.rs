//! The bus at work, in one command: a broker, three processes that publish and four that subscribe, and after ten
//! seconds a table of what each of them got. What one of the publishers says comes from this host's own netlink.
//!
//! This process directs ([`director`]); the others are this program again, told their role by an argument, and talk
//! to it in lines of JSON ([`report`]). A subscriber ends when it has got, or was told to have lost, everything up to
//! the numbers that the director read from the broker: nothing is taken on trust.

mod director;
mod heartbeats;
mod host;
mod links;
mod namespace;
mod publishers;
mod report;
mod rtnetlink;
mod sensors;
mod subscribers;
mod table;
mod team;
mod tracker;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use nlbus::{Bus, Choice};
use std::process::ExitCode;
use std::time::Duration;

/// A broker, three publishing and four subscribing processes, and a table of what came through.
#[derive(Debug, Parser)]
#[command(name = "demo", version)]
struct Args {
    #[command(flatten)]
    stage: Stage,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What all processes of the demo need to know.
#[derive(Debug, Clone, clap::Args)]
struct Stage {
    /// Which broker to show.
    #[arg(long, env = "NLBUS_BROKER", default_value = "auto")]
    broker: BrokerArg,
    /// How long to publish.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Port id of the user broker.
    #[arg(long, hide = true, default_value_t = 0)]
    port: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BrokerArg {
    /// The kernel module where it is loaded, else a user broker.
    Auto,
    /// A user broker of the demo's own.
    User,
    /// The kernel module.
    Module,
}

/// What a process does that the director started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
#[command(hide = true)]
enum Role {
    /// Publish what rtnetlink says of links.
    Links,
    /// Publish load, memory and pressure.
    Host,
    /// Publish many small values.
    Sensors,
    /// Subscribe to one topic.
    Exact,
    /// Subscribe with `+`.
    Plus,
    /// Subscribe with `#`.
    Hash,
    /// Subscribe to values of a type.
    Typed,
}

impl Stage {
    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    fn connect(&self) -> anyhow::Result<Bus> {
        let choice = match self.broker {
            BrokerArg::Auto => Choice::Auto,
            BrokerArg::User => Choice::User,
            BrokerArg::Module => Choice::Module,
        };
        Ok(Bus::builder().broker(choice).port(self.port).connect()?)
    }
}

fn main() -> ExitCode {
    let Args { stage, role } = Args::parse();
    let name = role.map_or("demo", Role::name);
    let result = match role {
        None => director::direct(stage),
        Some(role) => role.play(&stage).with_context(|| format!("{name} failed")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Role {
    const PUBLISHERS: [Role; 3] = [Role::Links, Role::Host, Role::Sensors];
    const SUBSCRIBERS: [Role; 4] = [Role::Exact, Role::Plus, Role::Hash, Role::Typed];

    /// The argument that stands for it.
    fn name(self) -> &'static str {
        match self {
            Role::Links => "links",
            Role::Host => "host",
            Role::Sensors => "sensors",
            Role::Exact => "exact",
            Role::Plus => "plus",
            Role::Hash => "hash",
            Role::Typed => "typed",
        }
    }

    /// What a subscriber subscribes to; nothing for a publisher.
    fn filter(self) -> &'static str {
        match self {
            Role::Exact => "demo/host/load",
            Role::Plus => "demo/link/+",
            Role::Hash => "demo/#",
            Role::Typed => sensors::FILTER,
            Role::Links | Role::Host | Role::Sensors => "",
        }
    }

    fn play(self, stage: &Stage) -> anyhow::Result<()> {
        match self {
            Role::Links => publishers::run(stage, links::publish),
            Role::Host => publishers::run(stage, host::publish),
            Role::Sensors => publishers::run(stage, sensors::publish),
            Role::Exact | Role::Plus | Role::Hash => subscribers::run(stage, self.filter()),
            Role::Typed => subscribers::run_typed(stage, self.filter()),
        }
    }
}
