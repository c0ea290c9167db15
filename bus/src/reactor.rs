//! The background thread that drives the client: it waits at the sockets, feeds the client with what they
//! hold, and carries out what the client wants. It never stops reading, whatever a consumer does.

use crate::client::{Client, ClientCounters, Opening, Output, Reply, SubId};
use crate::link::{self, Choice};
use crate::publisher::{Publisher, Route};
use crate::sys::{NetlinkSocket, RecvBatch};
use crate::wire::Info;
use crate::wire::uapi::NLBUS_DATAGRAM_MAX;
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Datagrams read from a socket before the other one gets its turn.
const TURN: usize = 64;

/// How long to wait before looking for a broker again, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// What handles ask of the thread.
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

/// How the thread is reached: commands first, then a wake-up.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    commands: Sender<Command>,
    waker: Arc<EventFd>,
}

impl Remote {
    /// Hands a command over. The thread may have ended; then nobody answers, and the command's channels close.
    pub(crate) fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
        self.wake();
    }

    /// Wakes the thread. It can fail only when the counter is full, and then the thread is awake.
    pub(crate) fn wake(&self) {
        let _ = self.waker.write(1);
    }
}

/// What the thread needs to know of its bus.
pub(crate) struct Settings {
    pub(crate) choice: Choice,
    pub(crate) port: u32,
    pub(crate) receive_buffer: usize,
}

pub(crate) struct Reactor {
    settings: Settings,
    info: Info,
    client: Client,
    events: NetlinkSocket,
    requests: Arc<NetlinkSocket>,
    publisher: Arc<Publisher>,
    commands: Receiver<Command>,
    waker: Arc<EventFd>,
    epoll: Epoll,
    batch: RecvBatch,
    /// When to look for the broker again, and how long to wait after that; `None` while connected.
    reconnect: Option<(Instant, Duration)>,
}

impl Reactor {
    pub(crate) fn new(
        settings: Settings,
        info: Info,
        events: NetlinkSocket,
        requests: Arc<NetlinkSocket>,
        publisher: Arc<Publisher>,
        waker: Arc<EventFd>,
    ) -> io::Result<(Reactor, Remote)> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&events, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        epoll.add(&*requests, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        epoll.add(&*waker, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        let (sender, commands) = crossbeam_channel::unbounded();
        let remote = Remote { commands: sender, waker: Arc::clone(&waker) };
        let reactor = Reactor {
            client: Client::new(info.epoch),
            settings,
            info,
            events,
            requests,
            publisher,
            commands,
            waker,
            epoll,
            batch: RecvBatch::new(TURN, NLBUS_DATAGRAM_MAX),
            reconnect: None,
        };
        Ok((reactor, remote))
    }

    /// Runs until it is told to stop.
    pub(crate) fn run(mut self) {
        let mut ready = [EpollEvent::empty(); 3];
        loop {
            // Which of the three it was doesn't matter: each is asked without waiting.
            match self.epoll.wait(&mut ready, self.timeout()) {
                Ok(_) | Err(Errno::EINTR) => {}
                // Not possible with a valid epoll descriptor (epoll_wait(2)); a thread that span would be worse.
                Err(_) => return,
            }
            let _ = self.waker.read();
            let now = Instant::now();
            while let Ok(command) = self.commands.try_recv() {
                if !self.obey(command, now) {
                    // Before they are dropped, publishers in waiting are told.
                    self.publisher.reroute(None);
                    return;
                }
            }
            if self.publisher.take_gone() {
                self.client.disconnect();
            }
            self.client.room(now);
            self.read_replies(now);
            self.read_events(now);
            self.client.tick(now);
            self.carry_out();
            self.look_for_broker();
        }
    }

    fn timeout(&self) -> EpollTimeout {
        let next = [self.client.deadline(), self.reconnect.map(|(at, _)| at)].into_iter().flatten().min();
        let Some(next) = next else { return EpollTimeout::NONE };
        let left = next.saturating_duration_since(Instant::now());
        // Rounded up: a wake-up before the deadline would find nothing to do, and spin.
        EpollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(EpollTimeout::MAX)
    }

    fn obey(&mut self, command: Command, now: Instant) -> bool {
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
        // An error is an overrun, or passes: what is missing is asked for again.
        let _ = self.batch.receive(&self.requests);
        for datagram in self.batch.iter() {
            if datagram.port == self.info.request_port || datagram.port == self.info.publish_port {
                self.client.replies(&Bytes::copy_from_slice(datagram.bytes), now);
            } else {
                self.client.count_foreign();
            }
        }
        // Groups that an answer named are joined before events are read.
        self.carry_out();
    }

    fn read_events(&mut self, now: Instant) {
        let received = self.batch.receive(&self.events).unwrap_or_else(|error| {
            match error.raw_os_error().map(Errno::from_raw) {
                // The module retires.
                Some(Errno::ESHUTDOWN) => self.client.disconnect(),
                Some(Errno::EINTR) => {}
                // The module had no memory for a broadcast (netlink_set_err): no datagram shows what is missing.
                _ => self.client.missed(now),
            }
            0
        });
        for datagram in self.batch.iter() {
            if datagram.port != self.info.publish_port {
                self.client.count_foreign();
                continue;
            }
            if datagram.truncated {
                self.client.event_datagram_cut(now);
            }
            self.client.events(&Bytes::copy_from_slice(datagram.bytes), now);
        }
        if received < self.batch.slots()
            && let Ok(drops) = self.events.drops()
        {
            self.client.drained(drops, now);
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.client.next_output() {
            match output {
                Output::Send(datagram) => {
                    match self.requests.send_to(&datagram, self.info.request_port, 0, true) {
                        Err(error) if error.raw_os_error() == Some(Errno::ECONNREFUSED as i32) => {
                            self.client.disconnect();
                        }
                        // A full broker (EAGAIN), say: the request runs into its deadline and is made again.
                        Ok(()) | Err(_) => {}
                    }
                }
                Output::Join(group) => {
                    if let Err(error) = self.events.add_membership(group) {
                        let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
                        self.client.join_failed(group, errno, Instant::now());
                    }
                }
                // What still comes from a group that can't be left is nobody's.
                Output::Leave(group) => drop(self.events.drop_membership(group)),
                Output::Answer(seq, verdict) => self.publisher.answer(seq, verdict),
                Output::Reconnect => self.reconnect = Some((Instant::now(), BACKOFF.0)),
            }
        }
    }

    /// While the broker is gone, looks for it now and then.
    fn look_for_broker(&mut self) {
        let Some((at, wait)) = self.reconnect else { return };
        let now = Instant::now();
        if now < at {
            return;
        }
        self.reconnect = Some((now + wait, (wait * 2).min(BACKOFF.1)));
        let Ok(info) = link::find(self.settings.choice, self.settings.port) else { return };
        let same_place = (info.protocol, info.publish_port) == (self.info.protocol, self.info.publish_port);
        if info.epoch == self.info.epoch && same_place {
            self.reconnect = None;
            self.client.resumed(Instant::now());
        } else if self.move_to(info).is_ok() {
            self.reconnect = None;
            self.client.restarted(info.epoch, Instant::now());
        }
        self.carry_out();
    }

    /// Fresh sockets for another broker: what the old ones still hold is the old broker's.
    fn move_to(&mut self, info: Info) -> Result<(), link::ConnectError> {
        let failed = |error: Errno| link::ConnectError::Io { what: "wait at a socket", error: error.into() };
        let events = link::open_events(&info, self.settings.receive_buffer)?;
        let requests = Arc::new(link::open_requests(&info, self.settings.receive_buffer)?);
        self.epoll.add(&events, EpollEvent::new(EpollFlags::EPOLLIN, 0)).map_err(failed)?;
        self.epoll.add(&*requests, EpollEvent::new(EpollFlags::EPOLLIN, 0)).map_err(failed)?;
        // A publisher that is just sending holds the old socket open; epoll must not report it.
        let _ = self.epoll.delete(&*self.requests);
        let _ = self.epoll.delete(&self.events);
        self.publisher.reroute(Some(Route { socket: Arc::clone(&requests), port: info.publish_port }));
        (self.events, self.requests, self.info) = (events, requests, info);
        Ok(())
    }
}

/// The time after a wait; a wait beyond all bounds ends in a century.
fn later(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).unwrap_or_else(|| now + Duration::from_secs(100 * 365 * 86_400))
}
