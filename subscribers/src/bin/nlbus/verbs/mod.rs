//! One file a verb: its arguments, and what it does.

pub mod broker;
pub mod completions;
pub mod doctor;
pub mod info;
pub mod man;
pub mod module;
pub mod publish;
pub mod sub;
pub mod topic;
pub mod topics;
