//! The user broker: what the kernel module does, in a process, over `NETLINK_USERSOCK`. For kernels without the module,
//! for development and for tests; as a thread of any program or in the foreground as `nlbus broker`.
//!
//! The rules are in [`core`](self::core), a pure function of frames, senders and time, over [`topics`] and [`pack`];
//! [`run`] gives it sockets and a clock, and [`outbox`] the patience with clients that don't read.

mod answer;
mod config;
mod core;
mod error;
mod module;
mod outbox;
mod pack;
mod run;
#[cfg(test)]
mod simulation;
mod topics;

use crate::wire::uapi::NLBUS_DATAGRAM_MAX;
use config::Config;
pub use error::BrokerError;
use nix::sys::eventfd::{EfdFlags, EventFd};
use run::Running;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Receive buffer unless set, bytes.
const RECEIVE_BUFFER: usize = 8 << 20;
/// Smallest and largest bound of a packed datagram.
const PACK_RANGE: std::ops::RangeInclusive<usize> = 1024..=NLBUS_DATAGRAM_MAX;

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
    running: Running,
}

impl Broker {
    /// How to start a broker; all settings have defaults.
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder { config: Config::default(), receive_buffer: RECEIVE_BUFFER }
    }

    /// The port id for publishes; requests go to the next one.
    pub fn port(&self) -> u32 {
        self.running.core.port()
    }

    /// The random number of this bus, not 0; a new broker has a new one.
    pub fn epoch(&self) -> u64 {
        self.running.core.epoch()
    }

    /// Serves in the calling thread until `stop` is readable: an eventfd, a signalfd, the end of a pipe. Then it goes on
    /// with what was sent before, for a quarter of a second at most, publishes `$SYS/closing` and returns.
    ///
    /// # Errors
    /// [`BrokerError::ModuleAppeared`] when the module was loaded meanwhile; it has taken its leave then as well.
    /// [`BrokerError::Io`] when its sockets fail.
    pub fn run(self, stop: impl AsFd) -> Result<(), BrokerError> {
        self.running.run(stop)
    }

    /// Serves in a thread of its own.
    ///
    /// # Errors
    /// [`BrokerError::Io`] when no thread can be started.
    pub fn spawn(self) -> Result<BrokerHandle, BrokerError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let stop = EventFd::from_flags(flags).map_err(error::io_error("make an eventfd"))?;
        let stop = Arc::new(stop);
        let (port, epoch, stopped) = (self.port(), self.epoch(), stop.clone());
        let thread = std::thread::Builder::new().name("nlbus-broker".into()).spawn(move || self.run(&*stopped));
        let thread = thread.map_err(error::io_error("start a thread"))?;
        Ok(BrokerHandle { thread: Some(thread), stop, port, epoch })
    }
}

/// Settings of a user broker. Sizes are bytes.
#[derive(Debug, Clone)]
pub struct BrokerBuilder {
    config: Config,
    receive_buffer: usize,
}

impl BrokerBuilder {
    /// The port id for publishes, `NLBUS_USER_PORT` unless set; requests go to the next one. From 2^22 to 2^31 − 2
    /// the kernel gives it to no other socket unasked.
    pub fn port(mut self, port: u32) -> Self {
        self.config.port = port;
        self
    }

    /// Time between heartbeats, a second unless set, at least a millisecond; zero for none.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.config.heartbeat = interval;
        self
    }

    /// What the histories of all topics may keep together, 64 MiB unless set. A topic's newest event is kept in any case.
    pub fn history(mut self, bytes: u64) -> Self {
        self.config.history = bytes;
        self
    }

    /// What the history of one topic may keep, 4 MiB unless set. Its newest event is kept in any case.
    pub fn topic_history(mut self, bytes: u64) -> Self {
        self.config.topic_history = bytes;
        self
    }

    /// How many topics there may be, 16384 unless set; the broker's own three are of them.
    pub fn topics_max(mut self, topics: u32) -> Self {
        self.config.topics_max = topics;
        self
    }

    /// Length of a broadcast datagram that packs several events, 16064 unless set, clamped to 1024..=65216. Each
    /// subscriber's socket is charged the allocation that holds it, a power of two for a little more than this.
    pub fn pack(mut self, bytes: usize) -> Self {
        self.config.pack = bytes.clamp(*PACK_RANGE.start(), *PACK_RANGE.end());
        self
    }

    /// Room for publishes that the broker hasn't taken yet, 8 MiB unless set, and the same for requests: a publisher
    /// waits while it is full. Above `net.core.rmem_max` takes `CAP_NET_ADMIN`; without, it is that much.
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = bytes;
        self
    }

    /// Binds the sockets, in the calling thread's network namespace.
    ///
    /// # Errors
    /// Any [`BrokerError`] but `ModuleAppeared`: the module is there, the port is taken, the kernel refused a socket.
    pub fn bind(mut self) -> Result<Broker, BrokerError> {
        self.config.pid = std::process::id();
        self.config.uid = nix::unistd::geteuid().as_raw();
        self.config.gid = nix::unistd::getegid().as_raw();
        Ok(Broker { running: Running::bind(self.config, self.receive_buffer)? })
    }

    /// Binds the sockets and serves in a thread.
    ///
    /// # Errors
    /// As [`bind`](Self::bind) and [`Broker::spawn`].
    pub fn spawn(self) -> Result<BrokerHandle, BrokerError> {
        self.bind()?.spawn()
    }
}

/// A broker that serves in a thread. Dropping it stops the broker and waits for its end.
#[derive(Debug)]
pub struct BrokerHandle {
    /// There until it has been joined.
    thread: Option<JoinHandle<Result<(), BrokerError>>>,
    stop: Arc<EventFd>,
    port: u32,
    epoch: u64,
}

impl BrokerHandle {
    /// The port id for publishes; requests go to the next one.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// The random number of this bus, not 0.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the broker has ended by itself: [`stop`](Self::stop) says why.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops the broker and waits for its end.
    ///
    /// # Errors
    /// As [`Broker::run`].
    ///
    /// # Panics
    /// If the broker's thread has panicked.
    pub fn stop(mut self) -> Result<(), BrokerError> {
        self.end().unwrap_or(Ok(()))
    }

    fn end(&mut self) -> Option<Result<(), BrokerError>> {
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
