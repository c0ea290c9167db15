//! Threads that the application didn't start and so doesn't expect to be interrupted in its stead.

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use std::io;
use std::thread::{Builder, JoinHandle};

/// Signals of a fault are the faulting thread's. Blocked there, the process would die without its handlers' words.
const FAULTS: [Signal; 6] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGTRAP, Signal::SIGSYS];

/// Starts a thread that takes none of the application's signals (signal(7): one sent to a process goes to any thread that
/// doesn't block it). Otherwise a program that blocks signals in its own threads, to wait for them with sigwait or a
/// signalfd, would be killed by them through this one.
///
/// # Errors
/// When the system has no thread to give.
pub fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    let mut blocked = SigSet::all();
    FAULTS.into_iter().for_each(|signal| blocked.remove(signal));
    // A thread inherits the mask of the one that starts it (pthread_create(3)): there is no moment without.
    let before = blocked.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let thread = Builder::new().name(name.into()).spawn(run);
    before.thread_set_mask()?;
    thread
}
