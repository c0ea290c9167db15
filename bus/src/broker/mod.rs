//! The user broker.

mod answer;
mod config;
mod core;
mod pack;
mod topics;
