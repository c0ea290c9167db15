//! What drives a client: it holds the sockets and the clock, feeds the client with what they say, and carries out what
//! the client wants. One turn at a time and on no thread of its own: `reactor.rs` gives it one, `direct.rs` lets the
//! caller take the turns. It never stops reading, whatever a consumer does.

use crate::client::{Client, ClientCounters, Opening, Output, Reply, SubId};
#[cfg(feature = "faults")]
use crate::intake::Faults;
use crate::intake::Intake;
use crate::link::{self, Choice};
use crate::publisher::{Publisher, Route, Way};
use crate::search::Search;
use crate::sockets::{Ready, Sockets, error_of, watch};
use crate::sys::{ForkMark, NetlinkSocket, RecvBatch};
use crate::wire::uapi::NLBUS_DATAGRAM_MAX;
use crate::wire::{BrokerKind, Info};
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};
use nix::sys::eventfd::EventFd;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Datagrams read from a socket before the other one gets its turn.
const TURN: usize = 64;

/// What handles ask of the driver.
pub(crate) enum Command {
    /// A new subscription.
    Open(Opening),
    /// The end of one.
    Close(SubId),
    /// A request, and how long to wait for its answer; the closure writes it with the number it gets.
    Ask(Box<dyn FnOnce(u32) -> Vec<u8> + Send>, Duration, Sender<Reply>),
    /// What the client has counted.
    Counters(Sender<ClientCounters>),
    /// The end.
    Stop,
}

/// How the driver is reached from any thread: commands first, then a wake-up.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    commands: Sender<Command>,
    waker: Arc<EventFd>,
    mark: Arc<ForkMark>,
}

impl Remote {
    /// The mark of the process that has the driver.
    pub(crate) fn mark(&self) -> &Arc<ForkMark> {
        &self.mark
    }

    /// Whether the caller is a child of the process that has the driver: then there is none to reach.
    pub(crate) fn is_forked(&self) -> bool {
        self.mark.is_child()
    }

    /// Hands a command over. The driver may have ended; then nobody answers, and the command's channels close.
    pub(crate) fn tell(&self, command: Command) {
        if !self.is_forked() {
            let _ = self.commands.send(command);
            self.wake();
        }
    }

    /// Wakes the driver. It can fail only when the counter is full, and then the driver is awake.
    pub(crate) fn wake(&self) {
        // The counter of a child is its parent's.
        if !self.is_forked() {
            let _ = self.waker.write(1);
        }
    }
}

/// What the driver needs to know of its bus.
pub(crate) struct Settings {
    pub(crate) choice: Choice,
    pub(crate) port: u32,
    pub(crate) receive_buffer: usize,
    /// Seed of what happens to datagrams on their way.
    #[cfg(feature = "faults")]
    pub(crate) faults: Option<u64>,
}

impl Settings {
    /// The ways of events and of replies.
    fn intakes(&self) -> [Intake; 2] {
        #[cfg(feature = "faults")]
        if let Some(seed) = self.faults {
            return [seed, !seed].map(|seed| Intake::with(Faults::new(seed)));
        }
        Default::default()
    }
}

/// What a turn found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Something, and there may be more.
    Busy,
    /// Nothing.
    Quiet,
    /// The command to end.
    Stopped,
}

pub(crate) struct Driver {
    settings: Settings,
    info: Info,
    client: Client,
    /// `None` while the module is gone: an open socket would keep it from being replaced.
    sockets: Option<Sockets>,
    publisher: Arc<Publisher>,
    commands: Receiver<Command>,
    waker: Arc<EventFd>,
    epoll: Arc<Epoll>,
    timer: TimerFd,
    /// When the timer goes off, if it is set.
    armed: Option<Instant>,
    batch: RecvBatch,
    /// What happens to events and replies between socket and client.
    event_intake: Intake,
    reply_intake: Intake,
    /// The module said that it is: once its last words are read, it is gone.
    retired: bool,
    /// For the broker, while it is gone.
    search: Search,
}

impl Driver {
    /// # Errors
    /// What the kernel says of epoll and timer.
    pub(crate) fn new(
        settings: Settings,
        info: Info,
        events: NetlinkSocket,
        requests: Arc<NetlinkSocket>,
        publisher: Arc<Publisher>,
        waker: Arc<EventFd>,
    ) -> io::Result<(Driver, Remote)> {
        let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        let namespace = events.namespace();
        let sockets = Sockets { events, requests };
        sockets.watch(&epoll)?;
        watch(&epoll, &*waker, Ready::WAKER)?;
        watch(&epoll, &timer, Ready::TIMER)?;
        let (sender, commands) = crossbeam_channel::unbounded();
        let remote = Remote { commands: sender, waker: Arc::clone(&waker), mark: Arc::new(ForkMark::new()) };
        let [event_intake, reply_intake] = settings.intakes();
        let search = Search::new(settings.choice, settings.port, namespace);
        let driver = Driver {
            client: Client::new(info.epoch),
            settings,
            info,
            sockets: Some(sockets),
            publisher,
            commands,
            waker,
            epoll,
            timer,
            armed: None,
            batch: RecvBatch::new(TURN, NLBUS_DATAGRAM_MAX),
            event_intake,
            reply_intake,
            retired: false,
            search,
        };
        Ok((driver, remote))
    }

    /// What is readable while a turn has something to do.
    pub(crate) fn epoll(&self) -> Arc<Epoll> {
        Arc::clone(&self.epoll)
    }

    /// Waits for something to do, at most so long, and does it.
    pub(crate) fn turn(&mut self, timeout: EpollTimeout) -> Turn {
        let mut events = [EpollEvent::empty(); 5];
        let ready = match self.epoll.wait(&mut events, timeout) {
            Ok(0) | Err(Errno::EINTR) => return Turn::Quiet,
            Ok(count) => Ready(events[..count].iter().fold(0, |all, event| all | event.data())),
            // Not possible with a valid epoll descriptor (epoll_wait(2)); turns that never wait would be worse.
            Err(_) => return Turn::Stopped,
        };
        let now = Instant::now();
        if ready.has(Ready::WAKER) {
            // Before what it tells of is looked at: what comes later wakes again.
            let _ = self.waker.read();
            self.client.room(now);
        }
        if self.obey(now) == Turn::Stopped {
            return Turn::Stopped;
        }
        if self.publisher.take_gone() {
            self.disconnect(now);
        }
        if ready.has(Ready::REQUESTS) {
            self.read_replies(now);
        }
        if ready.has(Ready::EVENTS) {
            self.read_events(now);
        }
        if ready.has(Ready::TIMER) {
            let _ = self.timer.wait();
            self.armed = None;
            self.let_pass(now);
        }
        self.client.tick(now);
        self.carry_out();
        self.look_for_broker();
        self.arm();
        Turn::Busy
    }

    /// Does what handles have asked for, without a look at the sockets.
    pub(crate) fn obey(&mut self, now: Instant) -> Turn {
        while let Ok(command) = self.commands.try_recv() {
            if !self.carry_out_command(command, now) {
                // Before they are dropped, publishers in waiting are told.
                self.publisher.reroute(Way::Closed);
                return Turn::Stopped;
            }
        }
        self.arm();
        Turn::Busy
    }

    /// Sets the timer to the client's deadline. One that goes off early is harmless, and deadlines mostly move
    /// further away: it is set anew only for an earlier one.
    fn arm(&mut self) {
        let intakes = [self.event_intake.deadline(), self.reply_intake.deadline()];
        let next = [self.client.deadline(), self.search.deadline()].into_iter().chain(intakes).flatten().min();
        let Some(next) = next else { return };
        if self.armed.is_some_and(|armed| armed <= next) {
            return;
        }
        // A timer of 0 would be none (timerfd_settime(2)).
        let left = next.saturating_duration_since(Instant::now()).max(Duration::from_micros(1));
        if self.timer.set(Expiration::OneShot(left.into()), TimerSetTimeFlags::empty()).is_ok() {
            self.armed = Some(next);
        }
    }

    fn carry_out_command(&mut self, command: Command, now: Instant) -> bool {
        match command {
            Command::Open(opening) => self.client.open(opening, now),
            Command::Close(id) => self.client.close(id),
            Command::Ask(write, patience, reply) => self.client.ask(write, reply, later(now, patience)),
            Command::Counters(reply) => drop(reply.send(self.client.counters())),
            Command::Stop => return false,
        }
        // One command's groups are joined before the next one's requests are sent.
        self.carry_out();
        true
    }

    fn read_replies(&mut self, now: Instant) {
        let Some(sockets) = &self.sockets else { return };
        // An error is an overrun, or passes: what is missing is asked for again.
        let _ = self.batch.receive(&sockets.requests);
        let client = &mut self.client;
        for datagram in self.batch.iter() {
            if datagram.port == self.info.request_port || datagram.port == self.info.publish_port {
                let bytes = Bytes::copy_from_slice(datagram.bytes);
                self.reply_intake.take(bytes, datagram.truncated, now, |bytes, _| client.replies(&bytes, now));
            } else {
                client.count_foreign();
            }
        }
        // Groups that an answer named are joined before events are read.
        self.carry_out();
    }

    fn read_events(&mut self, now: Instant) {
        let Some(sockets) = &self.sockets else { return };
        let mut retired = false;
        let mut received = self.batch.receive(&sockets.events);
        if error_of(&received) == Some(Errno::ESHUTDOWN) {
            // The module is retired. What it sent before, and that it closes, comes after the error.
            retired = true;
            received = self.batch.receive(&sockets.events);
        }
        if error_of(&received).is_some_and(|errno| errno != Errno::EINTR) {
            // The module had no memory for a broadcast (netlink_set_err): no datagram shows what is missing.
            self.client.missed(now);
        }
        let received = received.unwrap_or_default();
        let client = &mut self.client;
        for datagram in self.batch.iter() {
            if datagram.port != self.info.publish_port {
                client.count_foreign();
                continue;
            }
            let bytes = Bytes::copy_from_slice(datagram.bytes);
            self.event_intake.take(bytes, datagram.truncated, now, |bytes, cut| client.events(&bytes, cut, now));
        }
        if received < self.batch.slots()
            && let Ok(drops) = sockets.events.drops()
        {
            self.client.drained(drops.wrapping_add(self.event_intake.drops()), now);
        }
        self.retired |= retired;
        if self.retired && received < self.batch.slots() {
            self.disconnect(now);
        }
    }

    /// The broker is gone. What it answered before may still be unread: an ack, for one.
    fn disconnect(&mut self, now: Instant) {
        self.read_replies(now);
        self.client.disconnect();
    }

    /// What was held up on its way arrives in its time.
    fn let_pass(&mut self, now: Instant) {
        let client = &mut self.client;
        self.event_intake.pass(now, |bytes, cut| client.events(&bytes, cut, now));
        self.reply_intake.pass(now, |bytes, _| client.replies(&bytes, now));
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.client.next_output() {
            match output {
                Output::Send(datagram) => self.send(datagram),
                Output::Join(group) => self.join(group),
                // What still comes from a group that can't be left is nobody's.
                Output::Leave(group) => {
                    self.sockets.as_ref().map(|sockets| sockets.events.drop_membership(group));
                }
                Output::Answer(seq, verdict) => self.publisher.answer(seq, verdict),
                Output::Reconnect => {
                    self.search.begin(Instant::now());
                    if self.info.broker == BrokerKind::Module {
                        self.let_go();
                    }
                }
            }
        }
    }

    fn send(&mut self, datagram: Bytes) {
        let Some(sockets) = &self.sockets else { return };
        let sent = sockets.requests.send_to(&datagram, self.info.request_port, 0, true);
        match error_of(&sent) {
            Some(Errno::ECONNREFUSED) => self.client.disconnect(),
            // The broker's queue is full, or memory is short: both pass.
            Some(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => self.client.unsent(datagram, Instant::now()),
            _ => {}
        }
    }

    fn join(&mut self, group: u32) {
        let Some(sockets) = &self.sockets else { return };
        match error_of(&sockets.events.add_membership(group)) {
            None => {}
            // Retired: whoever waits for this gets it of the next broker.
            Some(Errno::ESHUTDOWN) => self.client.disconnect(),
            Some(errno) => self.client.join_failed(group, errno, Instant::now()),
        }
    }

    /// Closes the sockets, so that the module can be removed.
    fn let_go(&mut self) {
        if let Some(sockets) = self.sockets.take() {
            sockets.unwatch(&self.epoll);
            self.publisher.reroute(Way::Gone);
            self.retired = false;
        }
    }

    /// While the broker is gone, looks for it now and then.
    fn look_for_broker(&mut self) {
        let Some(info) = self.search.look(&self.epoll, Ready::BROKER) else { return };
        let same_place = (info.protocol, info.publish_port) == (self.info.protocol, self.info.publish_port);
        if info.epoch == self.info.epoch && same_place && self.sockets.is_some() {
            self.search.end();
            self.client.resumed(Instant::now());
        } else if self.move_to(info).is_ok() {
            self.search.end();
            self.client.restarted(info.epoch, Instant::now());
        }
        self.carry_out();
    }

    /// Fresh sockets for another broker: what the old ones still hold is the old broker's.
    fn move_to(&mut self, info: Info) -> Result<(), link::ConnectError> {
        let failed = |error: Errno| link::ConnectError::Io { what: "wait at a socket", error: error.into() };
        let events = link::open_events(&info, self.settings.receive_buffer)?;
        // The answer may be read by another thread than the one that asked.
        if !self.search.is_home(events.namespace()) {
            return Err(failed(Errno::EXDEV));
        }
        let requests = Arc::new(link::open_requests(&info, self.settings.receive_buffer)?);
        let route = Route { socket: Arc::clone(&requests), port: info.publish_port, epoch: info.epoch };
        let sockets = Sockets { events, requests };
        sockets.watch(&self.epoll).map_err(failed)?;
        if let Some(old) = &self.sockets {
            old.unwatch(&self.epoll);
        }
        self.publisher.reroute(Way::Open(route));
        (self.sockets, self.info) = (Some(sockets), info);
        self.event_intake.clear();
        self.reply_intake.clear();
        Ok(())
    }
}

/// The time after a wait; a wait beyond all bounds ends in a century.
fn later(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).unwrap_or_else(|| now + Duration::from_secs(100 * 365 * 86_400))
}
