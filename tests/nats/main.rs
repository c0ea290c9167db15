//! The bridge to NATS, `nlbus-nats`, with real servers: one or a cluster of three, and hosts with a network namespace and a
//! broker each. One file a promise. Most of it is on the user broker alone: to the bridge, a bus is a bus.

mod account;
mod apps;
mod bridge;
mod durable;
mod echoes;
mod ending;
mod host;
mod live;
mod login;
mod mistakes;
mod outages;
mod plain;
mod program;
mod servers;
mod throughput;

use nlbus_tests::Role;
use std::process::ExitCode;

const ROLES: &[(&str, Role)] = &[];

fn main() -> ExitCode {
    program::become_one();
    if let Ok(rounds) = std::env::var(throughput::ROUNDS) {
        throughput::run(rounds.parse().expect("a number of rounds"));
        return ExitCode::SUCCESS;
    }
    nlbus_tests::main(
        &[
            durable::CASES,
            live::CASES,
            apps::CASES,
            echoes::CASES,
            outages::CASES,
            login::CASES,
            ending::CASES,
            mistakes::CASES,
        ],
        ROLES,
    )
}
