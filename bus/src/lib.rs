//! A multicast publish/subscribe event bus for Linux, carried by netlink.

mod sys;
mod topic;
pub mod wire;

pub use topic::{Filter, TopicError};
