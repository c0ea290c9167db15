//! What the `nlbus` command and the subscriber binaries have in common: how they connect, what their arguments take, how
//! they write events, and how they end. A library for this package's own binaries; programs of yours use `nlbus` itself.

pub mod clients;
pub mod colours;
pub mod connect;
pub mod end;
pub mod event_json;
pub mod feed;
pub mod holders;
pub mod http;
pub mod pages;
pub mod pipe;
pub mod recording;
pub mod service;
pub mod signals;
pub mod sockets;
pub mod sources;
pub mod text;
pub mod topics;
pub mod values;
