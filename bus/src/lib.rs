//! A multicast publish/subscribe event bus for Linux, carried by netlink.

mod broker;
mod history;
mod sys;
mod topic;
pub mod wire;

pub use topic::{Filter, TopicError};
