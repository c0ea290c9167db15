//! What the conformance suite stands on: brokers in network namespaces of their own, processes that play a role, raw
//! sockets that send any bytes, and the bookkeeping of what a subscriber was given.
//!
//! The same tests run on both brokers. `NLBUS_SUITE_BROKER` says which: `user` (unless set), where each test starts a
//! broker process, or `module`, where the module is loaded and each network namespace is a bus. And with both drivers of
//! the library: `NLBUS_SUITE_DRIVER` is `thread` (unless set) or `direct`.

mod args;
mod burst;
mod case;
mod child;
mod fixture;
pub mod limits;
mod namespace;
mod raw;
mod restarts;
mod roles;
mod tally;
mod users;
mod wait;

pub use args::Args;
pub use burst::burst;
pub use case::{Case, main};
pub use child::Child;
pub use fixture::{Fixture, Place, broker_kind};
pub use namespace::{in_new_namespace, no_other_user, other_users};
pub use raw::{Datagram, Endpoint, RawClient};
pub use restarts::{clean_restarts, restarts};
pub use roles::{Role, hear, payload, say, stamp, value};
pub use tally::{Tally, collect, events, quiet};
pub use users::{OtherSocket, become_another};
pub use wait::{patience, wait_for, wait_for_head};
