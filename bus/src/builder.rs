//! How a bus is connected.

use crate::connection::Shared;
use crate::direct::Direct;
use crate::driver::{Driver, Settings};
use crate::link::{self, Choice, ConnectError, Reached, SocketOptions, Sought, Trust};
use crate::publisher::{Publisher, Route};
use crate::reactor;
use crate::wire::uapi::NLBUS_USER_PORT;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Receive buffer of the sockets unless [set](Builder::receive_buffer), bytes. The kernel's default holds 256 small datagrams.
pub const RECEIVE_BUFFER: usize = 8 << 20;

/// How long a publisher waits for its ack and a handle for its answer, unless set.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait between looks for a broker that isn't there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How to connect to a bus.
///
/// ```no_run
/// use std::time::Duration;
///
/// let bus = nlbus::Bus::builder()
///     .broker(nlbus::Choice::User)
///     .wait(Duration::from_secs(5))
///     .connect()?;
/// # Ok::<(), nlbus::ConnectError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    choice: Choice,
    port: u32,
    broker_uid: Option<u32>,
    sockets: SocketOptions,
    wait: Duration,
    patience: Duration,
    outage: Duration,
    direct: bool,
    #[cfg(feature = "faults")]
    faults: Option<u64>,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder {
            choice: Choice::default(),
            port: NLBUS_USER_PORT,
            broker_uid: None,
            sockets: SocketOptions { receive_buffer: RECEIVE_BUFFER, send_ports: 0..=0 },
            wait: Duration::ZERO,
            patience: PATIENCE,
            outage: Duration::ZERO,
            direct: false,
            #[cfg(feature = "faults")]
            faults: None,
        }
    }

    /// Which broker: [`Choice::Auto`] unless set.
    ///
    /// ```no_run
    /// let bus = nlbus::Bus::builder().broker(nlbus::Choice::Module).connect()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn broker(mut self, choice: Choice) -> Self {
        self.choice = choice;
        self
    }

    /// The port id of a user broker, 1852596852 (0x6e6c6274) unless set; it answers requests at the next one.
    ///
    /// ```no_run
    /// let bus = nlbus::Bus::builder().broker(nlbus::Choice::User).port(1_234_567_890).connect()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn port(mut self, port: u32) -> Self {
        self.port = port;
        self
    }

    /// The user that a user broker may run as besides root and the caller's own (effective) one. Anybody can take a broker's
    /// port while none has it, so nobody else is believed: what he sends is dropped and counted
    /// ([`ClientCounters::foreign`](crate::ClientCounters::foreign)). As this process's user namespace has the number.
    ///
    /// ```no_run
    /// let bus = nlbus::Bus::builder().broker_uid(997).connect()?; // the service runs as a user of its own
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn broker_uid(mut self, uid: u32) -> Self {
        self.broker_uid = Some(uid);
        self
    }

    /// Receive buffer of each of the two sockets in bytes, 8 MiB unless set. Beyond `net.core.rmem_max` it takes
    /// `CAP_NET_ADMIN` in the initial user namespace (`SO_RCVBUFFORCE`), which nobody has inside `unshare -Urn`: without,
    /// it silently becomes rmem_max, 208 KiB unless the host raised it.
    ///
    /// ```no_run
    /// let bus = nlbus::Bus::builder().receive_buffer(64 << 20).connect()?; // for bursts of 64 MiB
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.sockets.receive_buffer = bytes;
        self
    }

    /// The port ids that this connection may publish from: it takes the first one that is free, and events tell it of their
    /// sender ([`Sender`](crate::Sender)). Unless set, it is one that the kernel chooses. Each connection of a
    /// network namespace needs one of its own, and for a moment a second one when the broker restarts.
    ///
    /// That is for bridges, which thereby know their own events from others, also in history and after a restart:
    /// `NLBUS_BRIDGE_PORT_FIRST..=NLBUS_BRIDGE_PORT_LAST` of [`wire::uapi`](crate::wire::uapi) are theirs.
    ///
    /// ```no_run
    /// use nlbus::wire::uapi::{NLBUS_BRIDGE_PORT_FIRST, NLBUS_BRIDGE_PORT_LAST};
    ///
    /// let bus = nlbus::Bus::builder().send_ports(NLBUS_BRIDGE_PORT_FIRST..=NLBUS_BRIDGE_PORT_LAST).connect()?;
    /// # Ok::<(), nlbus::ConnectError>(())
    /// ```
    pub fn send_ports(mut self, ports: RangeInclusive<u32>) -> Self {
        self.sockets.send_ports = ports;
        self
    }

    /// Waits at most this long for a broker to appear, not at all unless set.
    ///
    /// ```no_run
    /// let bus = nlbus::Bus::builder().wait(std::time::Duration::from_secs(30)).connect()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait(mut self, timeout: Duration) -> Self {
        self.wait = timeout;
        self
    }

    /// How long acks and answers may take, 10 s unless set: with an ack, a flush or a request, all of the call, also where
    /// the broker is stopped and its queue full. (The module can't be stopped, and makes whoever publishes wait for room as
    /// long as it takes to do what came before.)
    ///
    /// ```no_run
    /// let bus = nlbus::Bus::builder().patience(std::time::Duration::from_millis(500)).connect()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn patience(mut self, timeout: Duration) -> Self {
        self.patience = timeout;
        self
    }

    /// How long publishes and requests wait for a broker that is gone to come back, not at all unless set: then they fail
    /// when there is none at the moment. A new subscription waits as long as [`patience`](Self::patience) says in any case, and a
    /// flush never: what it asks about went with the broker. What is known not to have
    /// been published is then published to the next broker; where that isn't known, the error is
    /// [`PublishReason::Unknown`](crate::PublishReason::Unknown) as ever.
    ///
    /// ```no_run
    /// let bus = nlbus::Bus::builder().outage(std::time::Duration::from_secs(60)).connect()?;
    /// bus.publish("jobs/done", "17")?; // also while the broker restarts
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn outage(mut self, timeout: Duration) -> Self {
        self.outage = timeout;
        self
    }

    /// Starts no thread: the caller drives the connection. Whatever waits or looks for something
    /// ([`Subscription::recv`](crate::Subscription::recv) and its like, [`Bus::flush`](crate::Bus::flush), requests,
    /// publishing with an ack) does the connection's work meanwhile, one wake-up sooner than a thread would have. An
    /// event loop of the application's own waits at [`Subscription::fd`](crate::Subscription::fd) and calls
    /// [`Subscription::try_recv`](crate::Subscription::try_recv), or at [`Bus::fd`](crate::Bus::fd) and calls
    /// [`Bus::turn`](crate::Bus::turn) where it only publishes or other tasks take what is delivered.
    ///
    /// While nobody calls, nothing is read: events wait in the socket's receive buffer, what doesn't fit there is
    /// repaired from history or reported as lost later on, and a broker that restarts isn't noticed.
    ///
    /// The connection stays in the network namespace where it was made. A thread in another one can drive it, but not find
    /// a broker that restarted: that waits for a call from a thread at home. (Linux before 5.14 doesn't tell namespaces
    /// apart; there, threads in another one must not drive.)
    ///
    /// ```no_run
    /// let bus = nlbus::Bus::builder().direct().connect()?;
    /// let mut alarms = bus.subscribe("alarms/#")?;
    /// println!("{:?}", alarms.recv()?); // reads the socket in this very thread
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn direct(mut self) -> Self {
        self.direct = true;
        self
    }

    /// For tests: datagrams get lost, late (and out of order) and cut between the sockets and the connection, about one
    /// in five, the same ones for the same seed and the same traffic. What is promised holds all the same.
    ///
    /// ```no_run
    /// let bus = nlbus::Bus::builder().faults(7).connect()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "faults")]
    pub fn faults(mut self, seed: u64) -> Self {
        self.faults = Some(seed);
        self
    }

    /// Looks for the broker, opens the sockets and starts what drives them.
    pub(crate) fn open(self) -> Result<Shared, ConnectError> {
        let start = Instant::now();
        let sought = Sought { choice: self.choice, port: self.port, trust: Trust::new(self.broker_uid) };
        let Reached { info, events, requests } = loop {
            match link::reach(sought, &self.sockets) {
                Err(error) if error.may_pass() && start.elapsed() < self.wait => thread::sleep(LOOK_AGAIN),
                reached => break reached?,
            }
        };
        let route = Route::new(&info, &requests);
        let io = |what| move |error| ConnectError::Io { what, error };
        let waker = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let waker = Arc::new(waker.map_err(|errno| io("make an eventfd")(errno.into()))?);
        let publisher = Arc::new(Publisher::new(route, Arc::clone(&waker)));
        let settings = Settings {
            sought,
            sockets: self.sockets,
            #[cfg(feature = "faults")]
            faults: self.faults,
        };
        let (driver, remote) = Driver::new(settings, info, events, requests, Arc::clone(&publisher), waker)
            .map_err(io("wait at the sockets"))?;
        let direct = if self.direct {
            Some(Direct::new(driver))
        } else {
            reactor::start(driver).map_err(io("start the background thread"))?;
            None
        };
        Ok(Shared::new(publisher, remote, self.patience, self.outage, direct))
    }
}
