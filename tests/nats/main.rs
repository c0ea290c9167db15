//! The bridge to NATS, `nlbus-nats`, with real servers: one or a cluster of three, and hosts with a network namespace and a
//! broker each. One file a promise. Most of it is on the user broker alone: to the bridge, a bus is a bus.

mod account;
mod bridge;
mod durable;
mod host;
mod live;
mod plain;
mod program;
mod servers;

use nlbus_tests::Role;
use std::process::ExitCode;

const ROLES: &[(&str, Role)] = &[];

fn main() -> ExitCode {
    program::become_one();
    nlbus_tests::main(&[durable::CASES, live::CASES], ROLES)
}
