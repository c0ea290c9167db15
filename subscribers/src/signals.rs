//! SIGINT and SIGTERM. By default they end the command at once, with the status of an interruption; a
//! verb that has something to put in order first asks to be told instead.

use crate::end::INTERRUPTED;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_shutdown;
use signal_hook::iterator::Signals;
use std::convert::Infallible;
use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How long a verb may take to end once it has been told.
const GRACE: Duration = Duration::from_secs(2);

/// What SIGINT and SIGTERM do.
#[derive(Debug)]
pub struct Interrupts {
    at_once: Arc<AtomicBool>,
}

impl Interrupts {
    /// From now on they exit with 130.
    pub fn exit() -> io::Result<Interrupts> {
        let at_once = Arc::new(AtomicBool::new(true));
        for signal in [SIGINT, SIGTERM] {
            register_conditional_shutdown(signal, INTERRUPTED.into(), Arc::clone(&at_once))?;
        }
        Ok(Interrupts { at_once })
    }

    /// From now on they send `message`; a second one, or a verb that doesn't end in time, exits with 130.
    pub fn tell<T: Send + 'static>(self, listener: Sender<T>, message: T) -> io::Result<()> {
        self.act(move || drop(listener.send(message)))
    }

    /// From now on they close what this returns, and nothing ever comes out of it; otherwise as [`tell`](Self::tell).
    pub fn close(self) -> io::Result<Receiver<Infallible>> {
        let (stopper, stop) = bounded(0);
        self.act(move || drop(stopper))?;
        Ok(stop)
    }

    fn act(self, act: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        self.at_once.store(false, Ordering::SeqCst);
        thread::Builder::new().name("signals".into()).spawn(move || {
            signals.forever().next();
            self.at_once.store(true, Ordering::SeqCst);
            act();
            // The verb may be stuck in writing to a pipe that nobody reads.
            thread::sleep(GRACE);
            process::exit(INTERRUPTED.into());
        })?;
        Ok(())
    }
}

/// Whether what [`Interrupts::close`] returned was closed: the verb is to end.
pub fn is_closed(stop: &Receiver<Infallible>) -> bool {
    stop.try_recv() == Err(TryRecvError::Disconnected)
}
