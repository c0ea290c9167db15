//! One file a verb: its arguments, and what it does.

pub mod bench;
pub mod broker;
pub mod completions;
pub mod doctor;
pub mod hz;
pub mod info;
pub mod man;
pub mod module;
pub mod play;
pub mod publish;
pub mod record;
pub mod sub;
pub mod top;
pub mod topic;
pub mod topics;
