//! The background thread that takes a driver's turns, so that the application need not.

use crate::driver::{Driver, Turn};
use crate::sys;
use nix::sys::epoll::EpollTimeout;
use std::io;

/// Starts the thread. It runs until it is told to stop, and nobody waits for it.
///
/// # Errors
/// When the system has no thread to give.
pub(crate) fn start(mut driver: Driver) -> io::Result<()> {
    let run = move || while driver.turn(EpollTimeout::NONE) != Turn::Stopped {};
    sys::spawn("nlbus", run).map(drop)
}
