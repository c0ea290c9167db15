//! What drives a client: it holds the sockets and the clock, feeds the client with what they say, and carries out what
//! the client wants. One turn at a time and on no thread of its own: `reactor.rs` gives it one, `direct.rs` lets the
//! caller take the turns. It never stops reading, whatever a consumer does.

mod moving;
mod remote;

use crate::client::{Client, Output};
#[cfg(feature = "faults")]
use crate::intake::Faults;
use crate::intake::Intake;
use crate::link::{SocketOptions, Sought};
use crate::overruns::Overruns;
use crate::pool::Pool;
use crate::publisher::{Publisher, Way};
use crate::search::Search;
use crate::sockets::{Ready, Sockets, error_of, watch};
use crate::sys::{NetlinkSocket, RecvBatch};
use crate::wire::uapi::NLBUS_DATAGRAM_MAX;
use crate::wire::{BrokerKind, Info};
use bytes::{Bytes, BytesMut};
use crossbeam_channel::Receiver;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};
use nix::sys::eventfd::EventFd;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
pub(crate) use remote::{Ask, Command, Remote, What};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Datagrams read from a socket before the other one gets its turn.
const TURN: usize = 64;

/// Datagrams that are expected while few come.
const FEW: usize = 4;

/// What the driver needs to know of its bus.
pub(crate) struct Settings {
    pub(crate) sought: Sought,
    pub(crate) sockets: SocketOptions,
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
    /// When buffered publishers hold something that is to go out by then.
    flush_due: Option<Instant>,
    /// What was read last, of either socket. Two, so that what is expected of one has nothing to do with the other.
    events: RecvBatch<BytesMut>,
    replies: RecvBatch<BytesMut>,
    /// The event socket may have dropped something, and wasn't read to its end: only who reads on gets to ask.
    unread: bool,
    /// Of the event socket.
    overruns: Overruns,
    /// Holds what was received, for as long as somebody has it.
    pool: Pool,
    /// What happens to events and replies between socket and client.
    event_intake: Intake,
    reply_intake: Intake,
    /// The module said that it is: once its last words are read, it is gone.
    retired: bool,
    /// For the broker, while it is gone.
    search: Search,
    /// What is to be asked of it once it is found.
    asks: Vec<Ask>,
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
        let overruns = Overruns::new(events.recv_buffer()?);
        let sockets = Sockets { events, requests };
        sockets.watch(&epoll)?;
        watch(&epoll, &*waker, Ready::WAKER)?;
        watch(&epoll, &timer, Ready::TIMER)?;
        let (sender, commands) = crossbeam_channel::unbounded();
        let remote = Remote::new(sender, Arc::clone(&waker));
        let [event_intake, reply_intake] = settings.intakes();
        let search = Search::new(settings.sought, namespace);
        let few_first = || RecvBatch::new(TURN, NLBUS_DATAGRAM_MAX).few_first(FEW);
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
            flush_due: None,
            events: few_first(),
            replies: few_first(),
            unread: false,
            overruns,
            pool: Pool::default(),
            event_intake,
            reply_intake,
            retired: false,
            search,
            asks: Vec::new(),
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
        let timeout = if self.unread { EpollTimeout::ZERO } else { timeout };
        let ready = match self.epoll.wait(&mut events, timeout) {
            Ok(0) | Err(Errno::EINTR) if !self.unread => return Turn::Quiet,
            Err(Errno::EINTR) => Ready::default(),
            Ok(count) => Ready(events[..count].iter().fold(0, |all, event| all | event.data())),
            // Not possible with a valid epoll descriptor (epoll_wait(2)); turns that never wait would be worse.
            Err(_) => return Turn::Stopped,
        };
        let now = Instant::now();
        if ready.has(Ready::WAKER) {
            // Before what it tells of is looked at: what comes later wakes again.
            let _ = self.waker.read();
            self.client.room(now);
            // Each command wakes.
            if self.obey(now) == Turn::Stopped {
                return Turn::Stopped;
            }
        }
        if self.publisher.take_gone() {
            self.disconnect(now);
        }
        if self.publisher.take_wanted() {
            self.search.hasten();
        }
        if ready.has(Ready::REQUESTS) {
            self.read_replies(now);
        }
        if ready.has(Ready::EVENTS) || self.unread || self.retired {
            self.read_events(now);
        }
        if ready.has(Ready::TIMER) {
            let _ = self.timer.wait();
            self.armed = None;
            self.let_pass(now);
        }
        // The timer goes off no later than the client wants to be told.
        if self.armed.is_none_or(|armed| armed <= now) {
            self.client.tick(now);
        }
        let acted = self.carry_out();
        self.look_for_broker();
        let buffers_due = self.publisher.take_begun() || self.flush_due.is_some_and(|due| due <= now);
        if buffers_due {
            self.send_buffers(now);
        }
        // Events alone bring no deadline nearer, unless the client asks for something because of them.
        let only_events = ready.0 == Ready::EVENTS && !acted && !buffers_due && !self.search.is_on();
        if !only_events || self.armed.is_none() || self.event_intake.deadline().is_some() {
            self.arm();
        }
        Turn::Busy
    }

    /// Sends what buffered publishers hold and have held for long enough.
    fn send_buffers(&mut self, now: Instant) {
        let publisher = Arc::clone(&self.publisher);
        let module = self.info.broker == BrokerKind::Module;
        self.flush_due = publisher.send_due(now, module.then_some(|| self.read_replies(now)));
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
        let next =
            [self.client.deadline(), self.search.deadline(), self.flush_due].into_iter().chain(intakes).flatten().min();
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
            Command::Open(opening) => {
                self.search.hasten();
                self.client.open(*opening, now);
            }
            Command::Close(id) => self.client.close(id),
            Command::Ask(ask) => self.ask(ask),
            Command::Counters(reply) => drop(reply.send(self.client.counters())),
            Command::Stop => return false,
        }
        // One command's groups are joined before the next one's requests are sent.
        self.carry_out();
        true
    }

    /// Whether there may be more.
    fn read_replies(&mut self, now: Instant) -> bool {
        let Some(sockets) = &self.sockets else { return false };
        // Whoever was just refused looks for all that is there.
        self.replies.expect_more();
        let mut received = self.replies.receive(&sockets.requests);
        if error_of(&received) == Some(Errno::ESHUTDOWN) {
            // The module is retired. What it answered before comes after the error.
            self.retired = true;
            received = self.replies.receive(&sockets.requests);
        }
        // Any other error is an overrun, or passes: what is missing is asked for again.
        drop(received);
        let (client, mut is_usurped) = (&mut self.client, false);
        for (datagram, bytes) in self.replies.iter_mut() {
            let is_brokers = datagram.port == self.info.request_port || datagram.port == self.info.publish_port;
            let is_believed = self.settings.sought.trust.believes(self.info.broker, datagram.credentials);
            is_usurped |= is_brokers && !is_believed;
            if is_brokers && is_believed {
                let bytes = self.pool.take(bytes);
                self.reply_intake.take(bytes, datagram.truncated, now, |bytes, _| client.replies(&bytes, now));
            } else {
                client.count_foreign();
            }
        }
        let more = !self.replies.is_drained();
        if is_usurped {
            self.usurped();
        }
        // Groups that an answer named are joined before events are read.
        self.carry_out();
        more
    }

    fn read_events(&mut self, now: Instant) {
        self.unread = false;
        let Some(sockets) = &self.sockets else { return };
        if self.retired || self.overruns.may_be(1, now) {
            // So that the end shows, if this is it.
            self.events.expect_more();
        }
        let mut retired = false;
        let mut received = self.events.receive(&sockets.events);
        if error_of(&received) == Some(Errno::ESHUTDOWN) {
            // The module is retired. What it sent before, and that it closes, comes after the error.
            retired = true;
            received = self.events.receive(&sockets.events);
        }
        if error_of(&received).is_some_and(|errno| errno != Errno::EINTR) {
            // The module had no memory for a broadcast (netlink_set_err): no datagram shows what is missing.
            self.client.missed(now);
        }
        let (client, mut count, mut all_whole, mut is_usurped) = (&mut self.client, 0, true, false);
        for (datagram, bytes) in self.events.iter_mut() {
            count += 1;
            all_whole &= !datagram.truncated;
            let is_brokers = datagram.port == self.info.publish_port;
            let is_believed = self.settings.sought.trust.believes(self.info.broker, datagram.credentials);
            is_usurped |= is_brokers && !is_believed;
            if !(is_brokers && is_believed) {
                client.count_foreign();
                continue;
            }
            let bytes = self.pool.take(bytes);
            self.event_intake.take(bytes, datagram.truncated, now, |bytes, cut| client.events(&bytes, cut, now));
        }
        client.finish(now);
        self.overruns.received(count, all_whole);
        self.retired |= retired;
        // Otherwise it is readable still if there is more.
        let drained = self.events.is_drained();
        self.unread = self.overruns.want_more(drained, now) || (self.retired && !drained);
        if drained
            && self.overruns.may_be(0, now)
            && let Ok(drops) = sockets.events.drops()
        {
            self.overruns.counted(drops, now);
        }
        client.dropped(self.overruns.drops().wrapping_add(self.event_intake.drops()), now);
        if self.retired && !self.unread {
            self.disconnect(now);
        }
        if is_usurped {
            self.usurped();
        }
    }

    /// What was held up on its way arrives in its time.
    fn let_pass(&mut self, now: Instant) {
        let client = &mut self.client;
        self.event_intake.pass(now, |bytes, cut| client.events(&bytes, cut, now));
        client.finish(now);
        self.reply_intake.pass(now, |bytes, _| client.replies(&bytes, now));
    }

    /// Carries out what the client wants. Whether there was anything.
    fn carry_out(&mut self) -> bool {
        let mut acted = false;
        while let Some(output) = self.client.next_output() {
            acted = true;
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
        acted
    }

    fn send(&mut self, datagram: Bytes) {
        let Some(sockets) = &self.sockets else { return };
        let sent = sockets.requests.send_to(&datagram, self.info.request_port, 0, true);
        match error_of(&sent) {
            Some(Errno::ECONNREFUSED) => {
                self.publisher.nobody_at(&sockets.requests);
                self.client.disconnect();
            }
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
}
