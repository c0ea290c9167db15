//! The user broker: what the kernel module does, in a process, over `NETLINK_USERSOCK`. For kernels without the module,
//! for development and for tests; as a thread of any program or in the foreground as `nlbus broker`.
//!
//! The rules are in [`core`](self::core), a pure function of frames, senders and time, over [`topics`], [`access`], [`quota`] and [`pack`];
//! [`run`] gives it sockets and a clock, [`requests`] has those who ask take turns, and [`outbox`] is the patience with clients
//! that don't read.

mod access;
mod announce;
mod answer;
mod builder;
mod census;
mod clients;
mod config;
mod core;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handle;
mod lost;
mod module;
mod outbox;
mod pack;
mod publishes;
mod quota;
mod requests;
mod run;
mod sender;
#[cfg(test)]
mod simulation;
mod topics;
mod users;

pub use builder::BrokerBuilder;
pub use error::BrokerError;
pub use handle::{Broker, BrokerHandle};
