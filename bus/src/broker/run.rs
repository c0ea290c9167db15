//! The sockets around the core: two netlink sockets, an epoll, the clock.

use super::census::Census;
use super::config::Config;
use super::core::{Action, Core, Endpoint, MEMORY, Now, Sender};
use super::error::{BrokerError, io_error};
use super::module::ModuleWatch;
use super::outbox::{Outbox, Sent};
use super::requests::Requests;
use crate::sys::{Credentials, NetlinkSocket, RecvBatch};
use crate::wire;
use crate::wire::uapi::NETLINK_USERSOCK;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::time::{ClockId, clock_gettime};
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::time::Duration;

/// Datagrams of publishes of one turn; then requests get theirs.
const PUBLISHES: usize = 64;
/// The least of them that the kernel is offered room for.
const FEW: usize = 4;
/// Bytes of them: with the segments that they go to, about what a core's own cache holds.
const PUBLISHED_BYTES: usize = 1 << 18;
/// Datagrams of requests that are received at a time, and how often of a turn: whoever sends them, others' find room.
const REQUESTS: usize = 64;
const REQUESTS_AGAIN: usize = 16;
/// How long a turn answers them, at least one: publishes wait meanwhile, and each answer may be a large datagram.
const ANSWERS_NS: u64 = 250_000;
/// How long a stopped broker goes on with what was sent to it before.
const DRAIN_NS: u64 = 250_000_000;

/// What epoll says is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ready {
    Publish,
    Request,
    Module,
    Stop,
}

impl Ready {
    const ALL: [Ready; 4] = [Ready::Publish, Ready::Request, Ready::Module, Ready::Stop];

    fn event(self) -> EpollEvent {
        EpollEvent::new(EpollFlags::EPOLLIN, self as u64)
    }
}

/// A core with its sockets, bound: whoever sends to them is served once it runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) core: Core,
    out: Out,
    watch: ModuleWatch,
    census: Option<Census>,
    publishes: RecvBatch,
    requests: RecvBatch,
    waiting: Requests,
}

/// The way out: the sockets, and what waits for clients that have no room.
#[derive(Debug)]
struct Out {
    sockets: Sockets,
    outbox: Outbox,
}

#[derive(Debug)]
struct Sockets {
    publish: NetlinkSocket,
    request: NetlinkSocket,
}

impl Sockets {
    fn of(&self, endpoint: Endpoint) -> &NetlinkSocket {
        match endpoint {
            Endpoint::Publish => &self.publish,
            Endpoint::Request => &self.request,
        }
    }

    /// Sends to a client without waiting for it.
    fn unicast(&self, port: u32, from: Endpoint, datagram: &[u8]) -> Sent {
        match self.of(from).send_to(datagram, port, 0, true).map_err(|error| errno(&error)) {
            Err(Errno::EAGAIN) => Sent::Full,
            Err(Errno::ECONNREFUSED) => Sent::Gone,
            _ => Sent::Done,
        }
    }

    /// Sends to a group. Returns whether the kernel took it; what became of it at each member, it doesn't tell.
    fn broadcast(&self, group: u32, datagram: &[IoSlice<'_>]) -> bool {
        // To port id 0, too, where nobody is: the refusal comes after the group got it (netlink_sendmsg).
        let sent = self.publish.send_joined(datagram, 0, 1 << (group - 1), true).map_err(|error| errno(&error));
        matches!(sent, Ok(()) | Err(Errno::ECONNREFUSED))
    }
}

impl Out {
    /// Does what the core says. Whether the kernel took it; what a client has no room for waits.
    fn perform(&mut self, action: Action<'_>, now_ns: u64) -> bool {
        let Out { sockets, outbox } = self;
        match action {
            Action::Broadcast { group, datagram } => sockets.broadcast(group, datagram),
            Action::Unicast { port, uid, from, datagram } => {
                let transmit = |port, from, datagram: &[u8]| sockets.unicast(port, from, datagram);
                outbox.send(port, uid, from, datagram, now_ns, transmit);
                true
            }
        }
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}

impl Running {
    /// Binds the sockets. The one for publishes gets room for `receive_buffer` bytes, if the kernel allows.
    pub(super) fn bind(mut config: Config, receive_buffer: usize) -> Result<Running, BrokerError> {
        if config.port == 0 || config.port == u32::MAX {
            return Err(BrokerError::BadPort { port: config.port });
        }
        // First listen for the module, then ask for it: nothing falls in between.
        let mut watch = ModuleWatch::open().map_err(io_error("listen for the module"))?;
        if watch.ask().map_err(io_error("ask for the module"))? {
            return Err(BrokerError::ModuleLoaded);
        }
        // The port of the publishes is taken last: whoever finds it finds both.
        let (request, _) = open(Endpoint::Request, config.port, receive_buffer)?;
        let (publish, granted) = open(Endpoint::Publish, config.port, receive_buffer)?;
        config.queue = granted as u64;
        let now = read_clock()?;
        let epoch = loop {
            match getrandom::u64().map_err(io_error("get a random number"))? {
                0 => {}
                epoch => break epoch,
            }
        };
        // Whether the kernel has such a list at all, it says when it is asked.
        let census = Census::open().and_then(|mut census| census.take().map(|_| census)).ok();
        let mut core = Core::new(config, epoch, now);
        core.clients.can_look = census.is_some();
        Ok(Running {
            core,
            out: Out { sockets: Sockets { publish, request }, outbox: Outbox::default() },
            watch,
            census,
            publishes: RecvBatch::new(PUBLISHES, MEMORY).few_first(FEW).about(PUBLISHED_BYTES),
            requests: RecvBatch::new(REQUESTS, MEMORY).few_first(FEW).about(PUBLISHED_BYTES),
            waiting: Requests::default(),
        })
    }

    /// Serves until `stop` is readable or the module appears, then says that the bus closes.
    pub(super) fn run(mut self, stop: impl AsFd) -> Result<(), BrokerError> {
        let served = self.serve(stop);
        let finished = self.finish();
        served.and(finished)
    }

    fn serve(&mut self, stop: impl AsFd) -> Result<(), BrokerError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(io_error("make an epoll"))?;
        let add = io_error("wait for its sockets");
        epoll.add(&self.out.sockets.publish, Ready::Publish.event()).map_err(&add)?;
        epoll.add(&self.out.sockets.request, Ready::Request.event()).map_err(&add)?;
        epoll.add(&self.watch, Ready::Module.event()).map_err(&add)?;
        epoll.add(&stop, Ready::Stop.event()).map_err(&add)?;
        let mut events = [EpollEvent::empty(); Ready::ALL.len()];
        let mut now = read_clock()?;
        loop {
            let count = match epoll.wait(&mut events, self.timeout(now)) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(errno) => return Err(add(errno)),
            };
            let ready = |what: Ready| events[..count].iter().any(|event| event.data() == what as u64);
            if ready(Ready::Stop) {
                return Ok(());
            }
            if ready(Ready::Module) && self.watch.heard().map_err(io_error("listen for the module"))? {
                return Err(BrokerError::ModuleAppeared);
            }
            // Requests first: a flood of publishes delays no answer for longer than a turn.
            if ready(Ready::Request) {
                self.take_requests()?;
            }
            self.answer()?;
            if ready(Ready::Publish) {
                self.take_publishes()?;
            }
            let drained = (!ready(Ready::Request) || self.requests.is_drained())
                && (!ready(Ready::Publish) || self.publishes.is_drained());
            self.look_after_clients(drained && self.waiting.is_empty())?;
            // The wait counts from here, so what is due may be late by as long as the sending took.
            now = self.send_what_is_due()?;
        }
    }

    /// Goes on with what was sent before the end, for a moment, and takes leave.
    fn finish(&mut self) -> Result<(), BrokerError> {
        let end_ns = read_clock()?.boot_ns + DRAIN_NS;
        loop {
            let taken = self.take_requests()? + self.answer()? + self.take_publishes()?;
            let now = self.send_what_is_due()?;
            if taken == 0 || now.boot_ns >= end_ns {
                let Running { core, out, .. } = self;
                core.close(now, &mut |action| out.perform(action, now.boot_ns));
                return self.send_what_is_due().map(drop);
            }
        }
    }

    /// Accepts the publishes that wait, up to a turn's worth. Returns how many datagrams that was.
    fn take_publishes(&mut self) -> Result<usize, BrokerError> {
        let Running { core, out, publishes, .. } = self;
        let count = receive(publishes, &out.sockets.publish)?;
        let now = read_clock()?;
        for (datagram, bytes) in publishes.iter_mut() {
            if let Some(sender) = sender_of(datagram.port, datagram.credentials, Endpoint::Publish) {
                core.accept(bytes, sender, now, &mut |action| out.perform(action, now.boot_ns));
            }
        }
        Ok(count)
    }

    /// Has the requests that came wait for their turn. Returns how many datagrams that was.
    fn take_requests(&mut self) -> Result<usize, BrokerError> {
        let Running { core, out, requests, waiting, .. } = self;
        let mut taken = 0;
        for _ in 0..REQUESTS_AGAIN {
            taken += receive(requests, &out.sockets.request)?;
            for (datagram, bytes) in requests.iter_mut() {
                let sender = sender_of(datagram.port, datagram.credentials, Endpoint::Request);
                if sender.is_some_and(|sender| !waiting.push(sender, bytes)) {
                    core.count_refused();
                }
            }
            if requests.is_drained() {
                break;
            }
        }
        core.set_queued(out.sockets.publish.queued().unwrap_or_default().into());
        Ok(taken)
    }

    /// Answers requests that wait, for some time. Returns how many datagrams that was.
    fn answer(&mut self) -> Result<usize, BrokerError> {
        let Running { core, out, census, waiting, .. } = self;
        if waiting.is_empty() {
            return Ok(0);
        }
        let mut now = read_clock()?;
        let end_ns = now.boot_ns + ANSWERS_NS;
        let mut answered = 0;
        while let Some((sender, mut datagram)) = waiting.pop() {
            answered += 1;
            // Who had the sender's port id before him, or has it after him, must not be taken for him.
            if wire::has_will(&datagram) {
                look(core, census, now);
                if !core.clients.knows(sender.port) {
                    core.clients.note(sender);
                    look(core, census, now);
                }
            }
            // Who doesn't read costs no answers: they would be dropped.
            if !out.outbox.is_full(sender.port) {
                core.accept(&mut datagram, sender, now, &mut |action| out.perform(action, now.boot_ns));
            }
            now = read_clock()?;
            if now.boot_ns >= end_ns {
                break;
            }
        }
        Ok(answered)
    }

    /// Publishes the wills of clients that were seen to be gone, once all that they sent is taken, and looks who else is.
    /// `drained` says that nothing waits that was there when this turn began.
    fn look_after_clients(&mut self, drained: bool) -> Result<(), BrokerError> {
        let Running { core, out, census, .. } = self;
        let now = read_clock()?;
        if core.clients.any_dying() {
            core.bury(drained, now, &mut |action| out.perform(action, now.boot_ns));
        }
        if core.clients.look_at().is_some_and(|due| now.boot_ns >= due) {
            look(core, census, now);
        }
        Ok(())
    }

    /// Returns the time that it was done at.
    fn send_what_is_due(&mut self) -> Result<Now, BrokerError> {
        let Running { core, out, .. } = self;
        let now = read_clock()?;
        core.flush(now, &mut |action| out.perform(action, now.boot_ns));
        let Out { sockets, outbox } = out;
        if outbox.next_retry().is_some_and(|due| now.boot_ns >= due) {
            outbox.retry(now.boot_ns, |port, from, datagram| sockets.unicast(port, from, datagram));
        }
        Ok(now)
    }

    /// How long to wait when nobody sends: until the core or the outbox has something to do.
    fn timeout(&self, now: Now) -> EpollTimeout {
        if !self.waiting.is_empty() || self.core.clients.any_dying() {
            return EpollTimeout::ZERO;
        }
        let due = [self.core.next_deadline(), self.out.outbox.next_retry()].into_iter().flatten().min();
        let Some(due) = due else { return EpollTimeout::NONE };
        // Rounded up: a millisecond too early would be a turn for nothing.
        let wait = Duration::from_nanos(due.saturating_sub(now.boot_ns)).as_nanos().div_ceil(1_000_000);
        EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::MAX)
    }
}

/// Looks who is there.
fn look(core: &mut Core, census: &mut Option<Census>, now: Now) {
    match census.as_mut().map(Census::take) {
        Some(Ok(there)) => core.looked(&there, Census::has, now),
        // For want of memory, say: nobody is taken to be gone, and the next look is as soon as any.
        Some(Err(_)) => core.clients.look_later(now.boot_ns),
        None => {}
    }
}

/// Receives what waits, up to a batch. Returns how many datagrams that is.
fn receive(batch: &mut RecvBatch, socket: &NetlinkSocket) -> Result<usize, BrokerError> {
    match batch.receive(socket) {
        // Nothing of the socket's state: the next turn tries again.
        Err(error) if matches!(errno(&error), Errno::EINTR | Errno::ENOBUFS | Errno::ENOMEM) => Ok(0),
        received => received.map_err(io_error("receive")),
    }
}

/// Who sent a datagram to an endpoint. The kernel says so of each one, because the socket asked before it was bound.
fn sender_of(port: u32, credentials: Option<Credentials>, to: Endpoint) -> Option<Sender> {
    let Credentials { pid, uid, gid } = credentials?;
    Some(Sender { port, pid, uid, gid, to })
}

/// A bound socket, and the size of its receive buffer.
fn open(endpoint: Endpoint, publish_port: u32, receive_buffer: usize) -> Result<(NetlinkSocket, usize), BrokerError> {
    let mut socket = NetlinkSocket::open(NETLINK_USERSOCK).map_err(io_error("open a netlink socket"))?;
    socket.set_no_enobufs().map_err(io_error("set NETLINK_NO_ENOBUFS"))?;
    socket.set_pass_credentials().map_err(io_error("set SO_PASSCRED"))?;
    let granted = socket.set_recv_buffer(receive_buffer).map_err(io_error("set the receive buffer"))?;
    match socket.bind(endpoint.port(publish_port)) {
        Ok(_) => Ok((socket, granted)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(BrokerError::PortTaken { port: publish_port }),
        Err(error) => Err(io_error("bind a netlink socket")(error)),
    }
}

fn read_clock() -> Result<Now, BrokerError> {
    let failed = io_error("read the clock");
    let ns = |clock| clock_gettime(clock).map(|time| time.tv_sec() * 1_000_000_000 + time.tv_nsec()).map_err(&failed);
    let boot_ns = ns(ClockId::CLOCK_BOOTTIME)?;
    Ok(Now { boot_ns: boot_ns as u64, clock_offset_ns: ns(ClockId::CLOCK_REALTIME)? - boot_ns })
}
