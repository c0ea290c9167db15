//! A multicast publish/subscribe event bus for Linux, carried by netlink.

mod topic;
pub mod wire;

pub use topic::{Filter, TopicError};
