//! A user broker that is bound, and one that serves in a thread.

use super::error::{self, BrokerError};
use super::run::Running;
use crate::sys::{self, ForkMark, Parental};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;

/// A user broker whose sockets are bound: what clients send from now on is served when it [runs](Broker::run).
///
/// ```no_run
/// let broker = nlbus::Broker::builder().port(1234567890).spawn()?;
/// println!("port {}", broker.port());
/// broker.stop()?;
/// # Ok::<(), nlbus::BrokerError>(())
/// ```
#[derive(Debug)]
pub struct Broker {
    pub(super) running: Running,
}

impl Broker {
    /// The port id for publishes; requests go to the next one.
    ///
    /// ```no_run
    /// let broker = nlbus::Broker::builder().bind()?;
    /// println!("serving at port {}", broker.port());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn port(&self) -> u32 {
        self.running.core.port()
    }

    /// The random number of this bus, not 0; a new broker has a new one.
    ///
    /// ```no_run
    /// let broker = nlbus::Broker::builder().bind()?;
    /// assert_ne!(broker.epoch(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn epoch(&self) -> u64 {
        self.running.core.epoch()
    }

    /// Serves in the calling thread until `stop` is readable: an eventfd, a signalfd, the end of a pipe. Then it goes on
    /// with what was sent before, for a quarter of a second at most, publishes `$SYS/closing` and returns.
    ///
    /// # Errors
    /// [`BrokerError::ModuleAppeared`] when the module was loaded meanwhile; it has taken its leave then as well.
    /// [`BrokerError::Io`] when its sockets fail.
    ///
    /// # Example
    /// ```no_run
    /// use nix::sys::eventfd::EventFd;
    ///
    /// let stop = EventFd::new()?;
    /// nlbus::Broker::builder().bind()?.run(&stop)?; // until another thread or a signal handler writes to it
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run(self, stop: impl AsFd) -> Result<(), BrokerError> {
        self.running.run(stop)
    }

    /// Serves in a thread of its own.
    ///
    /// # Errors
    /// [`BrokerError::Io`] when no thread can be started.
    ///
    /// # Example
    /// ```no_run
    /// let broker = nlbus::Broker::builder().bind()?.spawn()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spawn(self) -> Result<BrokerHandle, BrokerError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let stop = EventFd::from_flags(flags).map_err(error::io_error("make an eventfd"))?;
        let stop = Arc::new(stop);
        let (port, epoch, stopped) = (self.port(), self.epoch(), stop.clone());
        let thread = sys::spawn("nlbus-broker", move || self.run(&*stopped));
        let thread = thread.map_err(error::io_error("start a thread"))?;
        let mark = Arc::new(ForkMark::new());
        Ok(BrokerHandle { thread: Parental::new(Some(thread), &mark), stop, mark, port, epoch })
    }
}

/// A broker that serves in a thread. Dropping it stops the broker and waits for its end; but not in a child of the process
/// that started it (fork(2)), where that is the parent's to do.
#[derive(Debug)]
pub struct BrokerHandle {
    /// There until it has been joined.
    thread: Parental<Option<JoinHandle<Result<(), BrokerError>>>>,
    stop: Arc<EventFd>,
    mark: Arc<ForkMark>,
    port: u32,
    epoch: u64,
}

impl BrokerHandle {
    /// The port id for publishes; requests go to the next one.
    ///
    /// ```no_run
    /// let broker = nlbus::Broker::builder().spawn()?;
    /// println!("serving at port {}", broker.port());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn port(&self) -> u32 {
        self.port
    }

    /// The random number of this bus, not 0.
    ///
    /// ```no_run
    /// let broker = nlbus::Broker::builder().spawn()?;
    /// assert_ne!(broker.epoch(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the broker has ended by itself: [`stop`](Self::stop) says why.
    ///
    /// ```no_run
    /// let broker = nlbus::Broker::builder().spawn()?;
    /// if broker.is_finished() {
    ///     broker.stop()?; // the reason
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops the broker and waits for its end.
    ///
    /// # Errors
    /// As [`Broker::run`]; and [`BrokerError::Io`] in a child of the process that started it, which stops nothing.
    ///
    /// # Panics
    /// If the broker's thread has panicked.
    ///
    /// # Example
    /// ```no_run
    /// let broker = nlbus::Broker::builder().spawn()?;
    /// broker.stop()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stop(mut self) -> Result<(), BrokerError> {
        if self.mark.is_child() {
            let error = io::Error::other("it is the parent process's; stop it there");
            return Err(BrokerError::Io { what: "stop", error });
        }
        self.end().unwrap_or(Ok(()))
    }

    fn end(&mut self) -> Option<Result<(), BrokerError>> {
        if self.mark.is_child() {
            // The thread isn't here to be waited for, and the eventfd is the one that the parent's waits at.
            return None;
        }
        let thread = self.thread.take()?;
        // An eventfd takes 2^64 - 2 such writes before it would block.
        let _ = self.stop.write(1);
        match thread.join() {
            Ok(result) => Some(result),
            Err(panic) if !std::thread::panicking() => std::panic::resume_unwind(panic),
            Err(_) => None,
        }
    }
}

impl Drop for BrokerHandle {
    fn drop(&mut self) {
        self.end();
    }
}
