//! How a user broker is set up.

use super::config::Config;
use super::error::BrokerError;
use super::handle::{Broker, BrokerHandle};
use super::run::Running;

use crate::wire::uapi::{NLBUS_DATAGRAM_MAX, NLBUS_TOPIC_MODE_MASK};
use std::time::Duration;

/// Receive buffer unless set, bytes.
const RECEIVE_BUFFER: usize = 8 << 20;
/// Smallest and largest bound of a packed datagram.
const PACK_RANGE: std::ops::RangeInclusive<usize> = 1024..=NLBUS_DATAGRAM_MAX;

impl Broker {
    /// How to start a broker; all settings have defaults.
    ///
    /// ```no_run
    /// let broker = nlbus::Broker::builder().history(256 << 20).spawn()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder { config: Config::default(), receive_buffer: RECEIVE_BUFFER }
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
    ///
    /// ```no_run
    /// let broker = nlbus::Broker::builder().port(1_234_567_890).spawn()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn port(mut self, port: u32) -> Self {
        self.config.port = port;
        self
    }

    /// Time between heartbeats, a second unless set, at least a millisecond; zero for none.
    ///
    /// ```no_run
    /// let broker = nlbus::Broker::builder().heartbeat(std::time::Duration::from_millis(200)).spawn()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.config.heartbeat = interval;
        self
    }

    /// What the histories of all topics may keep together, 64 MiB unless set. A topic's newest event is kept in any case.
    ///
    /// ```no_run
    /// let broker = nlbus::Broker::builder().history(256 << 20).spawn()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn history(mut self, bytes: u64) -> Self {
        self.config.history = bytes;
        self
    }

    /// What the history of one topic may keep, 4 MiB unless set. Its newest event is kept in any case.
    ///
    /// ```no_run
    /// let broker = nlbus::Broker::builder().topic_history(64 << 10).spawn()?; // 64 KiB a topic
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn topic_history(mut self, bytes: u64) -> Self {
        self.config.topic_history = bytes;
        self
    }

    /// How many topics there may be, 16384 unless set; the broker's own four are of them.
    ///
    /// ```no_run
    /// let broker = nlbus::Broker::builder().topics_max(1000).spawn()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn topics_max(mut self, topics: u32) -> Self {
        self.config.topics_max = topics;
        self
    }

    /// How many topics one user may create, a quarter of [`topics_max`](Self::topics_max) unless set. A topic is charged to who
    /// created it as long as it exists. Root and the broker's own user are exempt, and an eighth of all topics is theirs alone.
    ///
    /// ```no_run
    /// let broker = nlbus::Broker::builder().topics_max(1000).user_topics(100).spawn()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn user_topics(mut self, topics: u32) -> Self {
        self.config.user_topics = Some(topics);
        self
    }

    /// How many last wills ([`Bus::set_will`](crate::Bus::set_will)) clients may leave, 4096 unless set.
    ///
    /// ```no_run
    /// let broker = nlbus::Broker::builder().wills(100).spawn()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wills(mut self, wills: u32) -> Self {
        self.config.wills = wills;
        self
    }

    /// How many of these the clients of one user may leave, a quarter of [`wills`](Self::wills) unless set. Root and the broker's
    /// own user are exempt, and an eighth of all is theirs alone.
    ///
    /// ```no_run
    /// let broker = nlbus::Broker::builder().wills(100).user_wills(10).spawn()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn user_wills(mut self, wills: u32) -> Self {
        self.config.user_wills = Some(wills);
        self
    }

    /// What the histories of the topics that one user created may keep together, a quarter of [`history`](Self::history) unless
    /// set. Beyond that the largest of them give, and nobody else's. The newest event of each topic is kept in any case: when
    /// those alone take more than twice as much, and more than 1 MiB, publishes to his topics are refused. Root and the broker's
    /// own user are exempt, and an eighth of all bytes is theirs alone.
    ///
    /// ```no_run
    /// let broker = nlbus::Broker::builder().history(256 << 20).user_history(32 << 20).spawn()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn user_history(mut self, bytes: u64) -> Self {
        self.config.user_history = Some(bytes);
        self
    }

    /// Who may read and write a topic that is created without a mode: bits of `0o666`, as chmod(2) has them, and the others
    /// don't count. All of them, and so everybody, unless set.
    ///
    /// ```no_run
    /// let broker = nlbus::Broker::builder().topic_mode(0o660).spawn()?; // who creates it, and his group
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn topic_mode(mut self, mode: u32) -> Self {
        self.config.topic_mode = mode & NLBUS_TOPIC_MODE_MASK;
        self
    }

    /// Length of a broadcast datagram that packs several events, 65216 unless set, clamped to 1024..=65216. Each
    /// subscriber's socket is charged the allocation that holds it, a power of two for a little more than this.
    ///
    /// ```no_run
    /// let broker = nlbus::Broker::builder().pack(16_064).spawn()?; // an allocation of 16 KiB
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pack(mut self, bytes: usize) -> Self {
        self.config.pack = bytes.clamp(*PACK_RANGE.start(), *PACK_RANGE.end());
        self
    }

    /// Room for publishes that the broker hasn't taken yet, 8 MiB unless set, and the same for requests: a publisher
    /// waits while it is full. Above `net.core.rmem_max` takes `CAP_NET_ADMIN` in the initial user namespace, so not that of
    /// `unshare -U`; without, it is that much.
    ///
    /// ```no_run
    /// let broker = nlbus::Broker::builder().receive_buffer(64 << 20).spawn()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = bytes;
        self
    }

    /// Binds the sockets, in the calling thread's network namespace.
    ///
    /// # Errors
    /// Any [`BrokerError`] but `ModuleAppeared`: the module is there, the port is taken, the kernel refused a socket.
    ///
    /// # Example
    /// ```no_run
    /// match nlbus::Broker::builder().bind() {
    ///     Ok(broker) => drop(broker.spawn()?),
    ///     Err(nlbus::BrokerError::ModuleLoaded) => println!("the kernel module serves already"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    ///
    /// # Example
    /// ```no_run
    /// let broker = nlbus::Broker::builder().spawn()?;
    /// let bus = nlbus::Bus::builder().port(broker.port()).connect()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spawn(self) -> Result<BrokerHandle, BrokerError> {
        self.bind()?.spawn()
    }
}
