//! Netlink sockets, threads, and what fork(2) does to both: the one place where this crate talks to the kernel past what nix
//! and netlink-sys wrap safely, and so the only one with `unsafe`. It moves datagrams and knows nothing of what is in them.

mod biased;
mod fork;
mod recv;
mod socket;
mod thread;

pub use biased::{Biased, BiasedGuard};
pub use fork::{ForkMark, Parental};
pub use recv::{Credentials, RecvBatch};
pub use socket::NetlinkSocket;
pub use thread::spawn;
