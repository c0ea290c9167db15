//! Measures nlbus and its peers in one run: throughput without loss, latency at a paced rate, and CPU time; and how nlbus's
//! cost and memory grow. `make bench`.
//!
//! The program runs itself again as the processes of a run: one publisher, the subscribers, and nlbus's own broker. What
//! they share is a page of counters ([`page`]), by which the publisher never runs further ahead of the slowest
//! subscriber than the system under test can keep ([`system::System::window`]).

mod chart;
mod clock;
mod docs;
mod figures;
mod growth;
mod host;
mod knobs;
mod latency;
mod orchestrator;
mod order;
mod page;
mod payload;
mod plots;
mod ratios;
mod repeats;
mod results;
mod roles;
mod run;
mod shape;
mod system;
mod systems;
mod table;
mod taker;
mod worker;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Measures nlbus and its peers")]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Runs the cells round by round, and writes results, table and plots
    Run(knobs::Knobs),
    /// Writes the table of results.json into docs/BENCHMARKS.md
    Docs {
        /// What a run wrote
        results: PathBuf,
        /// The page with the markers
        page: PathBuf,
    },
    /// Lists the systems
    List,
    #[command(hide = true)]
    Publisher(roles::Part),
    #[command(hide = true)]
    Subscriber(roles::Part),
    #[command(hide = true)]
    Server(roles::Part),
}

fn main() -> Result<()> {
    match Arguments::parse().role {
        Role::Run(knobs) => orchestrator::measure(&knobs),
        Role::Docs { results, page } => docs::write(&results, &page),
        Role::List => {
            for system in systems::all() {
                println!("{:24} {}", system.name(), system.about());
            }
            Ok(())
        }
        Role::Publisher(part) => roles::publish(&part),
        Role::Subscriber(part) => roles::subscribe(&part),
        Role::Server(part) => roles::serve(&part),
    }
}
