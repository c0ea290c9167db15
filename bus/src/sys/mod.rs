//! Netlink sockets: the one place where this crate talks to the kernel past what nix and netlink-sys wrap
//! safely, and so the only one with `unsafe`. It moves datagrams and knows nothing of what is in them.

mod recv;
mod socket;

pub use recv::RecvBatch;
pub use socket::NetlinkSocket;
