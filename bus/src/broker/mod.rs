//! The user broker.

mod answer;
mod config;
mod core;
mod pack;
#[cfg(test)]
mod simulation;
mod topics;
