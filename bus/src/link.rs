//! Where the broker is, and the sockets to it: the one file where frames meet sockets.
//!
//! Numbers are never guessed. The module says through generic netlink which protocol it has; only where it
//! doesn't answer is the user broker asked, at its well-known port.

mod error;
mod trust;

use crate::sys::{NetlinkSocket, RecvBatch};
use crate::wire::uapi::*;
use crate::wire::{self, Answer, BrokerKind, Info, Message, Messages, push_info_request};
pub use error::ConnectError;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
pub(crate) use trust::Trust;

/// How long a broker may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a send sleeps for room in the broker's queue before it fails with `EAGAIN`, and may look at the time.
const ROOM: Duration = Duration::from_millis(50);

/// Which broker to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Choice {
    /// The module where it is loaded, else the user broker.
    #[default]
    Auto,
    /// The kernel module only.
    Module,
    /// The user broker only.
    User,
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sought {
    pub(crate) choice: Choice,
    /// Where a user broker would be.
    pub(crate) port: u32,
    /// Who may be one.
    pub(crate) trust: Trust,
}

/// Finds the broker and what it says of itself. Waits for a user broker's answer, which one that is stopped doesn't give, for
/// 2 s.
///
/// # Errors
/// Any [`ConnectError`]. Where the module answers, the user broker is never asked, whatever is wrong with the module.
pub(crate) fn find(sought: Sought) -> Result<Info, ConnectError> {
    match look_for(sought, true)? {
        Look::Found(info) => Ok(*info),
        Look::Asked(inquiry) => inquiry.wait(),
    }
}

/// What a look finds at once.
pub(crate) enum Look {
    /// The module, which answers while it is asked.
    Found(Box<Info>),
    /// Somebody at a user broker's port, who was asked.
    Asked(Inquiry),
}

/// Looks for the broker, as [`find`] does, without waiting for anybody but the kernel.
///
/// # Errors
/// As [`find`].
pub(crate) fn look(sought: Sought) -> Result<Look, ConnectError> {
    look_for(sought, false)
}

/// The same, or waiting for room in a broker's queue.
fn look_for(sought: Sought, waits: bool) -> Result<Look, ConnectError> {
    let Sought { choice, port, .. } = sought;
    let module = if choice == Choice::User { None } else { find_module()? };
    match (module, choice) {
        (Some(info), _) => spoken(info).map(|info| Look::Found(Box::new(info))),
        (None, Choice::Module) => Err(ConnectError::NoBroker { choice, port }),
        (None, _) => Inquiry::new(sought, waits).map(Look::Asked),
    }
}

/// The network namespace of the calling thread, by its number.
pub(crate) fn namespace() -> Option<u64> {
    NetlinkSocket::open(NETLINK_USERSOCK).ok()?.namespace()
}

/// What a broker says of itself, if it is of this protocol.
fn spoken(info: Info) -> Result<Info, ConnectError> {
    match info.version {
        NLBUS_VERSION => Ok(info),
        found => Err(ConnectError::Version { broker: info.broker, found }),
    }
}

/// Ends the module's buses, in all network namespaces: what was accepted is broadcast, then `$SYS/closing`, and whatever
/// comes later is refused. Clients let go of the module by themselves and wait for the next broker; once none of them
/// holds on, it can be unloaded. `nlbus module retire` does this.
///
/// # Errors
/// [`ConnectError::NoBroker`] where it isn't loaded; [`ConnectError::Refused`] with `EPERM` without `CAP_SYS_MODULE`.
///
/// # Example
/// ```no_run
/// nlbus::retire_module()?;
/// # Ok::<(), nlbus::ConnectError>(())
/// ```
pub fn retire_module() -> Result<(), ConnectError> {
    let genl = Exchange::new(NETLINK_GENERIC, 0, BrokerKind::Module)?;
    let absent = ConnectError::NoBroker { choice: Choice::Module, port: 0 };
    let family = find_family(&genl)?.ok_or(absent)?;
    genl.ask_for_ack(&wire::genl_retire_request(family, 2))
}

/// The id of the module's family, or `None` where it isn't loaded.
fn find_family(genl: &Exchange) -> Result<Option<u16>, ConnectError> {
    genl.ask_until(&wire::families_request(1), |message| {
        let id = wire::family_id(message, NLBUS_GENL_NAME).map(Some);
        id.or((message.header.kind == NLMSG_DONE).then_some(None)).map(Ok)
    })
}

/// What the module says, or `None` where it isn't loaded.
fn find_module() -> Result<Option<Info>, ConnectError> {
    let genl = Exchange::new(NETLINK_GENERIC, 0, BrokerKind::Module)?;
    let Some(family) = find_family(&genl)? else { return Ok(None) };
    match genl.ask(&wire::genl_info_request(family, 2), wire::genl_info_reply) {
        // It is just being loaded or removed.
        Err(ConnectError::Refused(refusal)) if matches!(refusal.errno, Errno::ENOENT | Errno::ENODEV) => Ok(None),
        info => info.map(Some),
    }
}

/// The question to whoever has a user broker's port.
#[derive(Debug)]
pub(crate) struct Inquiry {
    exchange: Exchange,
    seq: u32,
}

impl Inquiry {
    /// Asks, and waits only if it is to: the queue of one that is stopped may be full, and so may that of one who has much to do.
    fn new(Sought { choice, port, trust }: Sought, waits: bool) -> Result<Inquiry, ConnectError> {
        let absent = ConnectError::NoBroker { choice, port };
        // Behind the last port id there is none for requests, and so no broker.
        let Some(request_port) = port.checked_add(1) else { return Err(absent) };
        let mut request = Vec::new();
        push_info_request(&mut request, 1);
        let exchange =
            Exchange { trust: Some(trust), ..Exchange::new(NETLINK_USERSOCK, request_port, BrokerKind::User)? };
        let io = |what| move |error| ConnectError::Io { what, error };
        exchange.socket.set_send_timeout(PATIENCE).map_err(io("set SO_SNDTIMEO"))?;
        match exchange.send(&request, !waits) {
            Err(ConnectError::Io { error, .. }) if error.raw_os_error() == Some(Errno::ECONNREFUSED as i32) => {
                Err(absent)
            }
            Err(ConnectError::Io { error, .. }) if error.kind() == ErrorKind::WouldBlock => {
                Err(ConnectError::Silent { broker: BrokerKind::User })
            }
            sent => Ok(Inquiry { seq: sent?, exchange }),
        }
    }

    /// The answer, if it is there.
    pub(crate) fn answer(&self) -> Result<Option<Info>, ConnectError> {
        self.exchange.receive(self.seq, &mut read_info)?.map(spoken).transpose()
    }

    fn wait(self) -> Result<Info, ConnectError> {
        spoken(self.exchange.wait(self.seq, read_info)?)
    }
}

impl AsFd for Inquiry {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.exchange.socket.as_fd()
    }
}

fn read_info(message: &Message<'_>) -> Option<Result<Info, ConnectError>> {
    Some(Info::read(message.body).map_err(|error| ConnectError::NotABroker { why: error.0 }))
}

/// One request and its answer on a socket of its own.
#[derive(Debug)]
struct Exchange {
    socket: NetlinkSocket,
    port: u32,
    broker: BrokerKind,
    /// Whom to believe, where the port may be anybody's.
    trust: Option<Trust>,
}

impl Exchange {
    fn new(protocol: u32, port: u32, broker: BrokerKind) -> Result<Exchange, ConnectError> {
        let socket = open(protocol)?;
        pass_credentials(&socket, broker)?;
        Ok(Exchange { socket, port, broker, trust: None })
    }

    /// Sends a request whose answer is one message.
    fn ask<T>(
        &self,
        request: &[u8],
        read: impl Fn(&Message<'_>) -> Result<T, wire::Malformed>,
    ) -> Result<T, ConnectError> {
        self.ask_until(request, |message| {
            Some(read(message).map_err(|error| ConnectError::NotABroker { why: error.0 }))
        })
    }

    /// Sends a request that is answered by an ack.
    fn ask_for_ack(&self, request: &[u8]) -> Result<(), ConnectError> {
        self.ask_until(request, |message| (message.header.kind == NLMSG_ERROR).then_some(Ok(())))
    }

    /// Sends a request and shows its answer's messages, acks included, to `look`, until that has what it wants.
    fn ask_until<T>(
        &self,
        request: &[u8],
        look: impl FnMut(&Message<'_>) -> Option<Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        self.wait(self.send(request, true)?, look)
    }

    /// Sends a request, and returns the number that its answer has.
    fn send(&self, request: &[u8], dont_wait: bool) -> Result<u32, ConnectError> {
        self.socket
            .send_to(request, self.port, 0, dont_wait)
            .map_err(|error| ConnectError::Io { what: "ask the broker what it is", error })?;
        Ok(Messages::new(request).find_map(Result::ok).map_or(0, |message| message.header.seq))
    }

    fn wait<T>(
        &self,
        seq: u32,
        mut look: impl FnMut(&Message<'_>) -> Option<Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if !readable(&self.socket, deadline)? {
                return Err(ConnectError::Silent { broker: self.broker });
            }
            if let Some(found) = self.receive(seq, &mut look)? {
                return Ok(found);
            }
        }
    }

    /// Shows a datagram, if one is there, to `look`, as far as it answers the request with this number.
    fn receive<T>(
        &self,
        seq: u32,
        look: &mut impl FnMut(&Message<'_>) -> Option<Result<T, ConnectError>>,
    ) -> Result<Option<T>, ConnectError> {
        let mut batch = RecvBatch::<Vec<u8>>::new(1, NLBUS_DATAGRAM_MAX);
        let what = "receive the broker's answer";
        batch.receive(&self.socket).map_err(|error| ConnectError::Io { what, error })?;
        // Anyone may send to this port; only the broker's word counts.
        let mut datagrams = batch.iter_mut().filter(|(datagram, _)| datagram.port == self.port).peekable();
        if let (Some(trust), Some((datagram, _))) = (self.trust, datagrams.peek())
            && !trust.believes(self.broker, datagram.credentials)
        {
            return Err(ConnectError::Untrusted {
                port: self.port,
                uid: datagram.credentials.map(|sender| sender.uid),
            });
        }
        let messages = datagrams.flat_map(|(_, bytes)| Messages::new(bytes).map_while(Result::ok));
        for message in messages.filter(|message| message.header.seq == seq) {
            if message.header.kind == NLMSG_ERROR {
                let answer = Answer::parse(&message);
                if let Err(refusal) = answer.map_err(|error| ConnectError::NotABroker { why: error.0 })?.result {
                    return Err(ConnectError::Refused(refusal));
                }
            }
            if let Some(found) = look(&message) {
                return found.map(Some);
            }
        }
        Ok(None)
    }
}

fn readable(socket: &NetlinkSocket, deadline: Instant) -> Result<bool, ConnectError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(ConnectError::Io { what: "wait for the broker's answer", error: errno.into() }),
        }
    }
}

/// What a connection's sockets are like.
#[derive(Debug, Clone)]
pub(crate) struct SocketOptions {
    /// Bytes that may wait in each.
    pub(crate) receive_buffer: usize,
    /// The port ids that the one that sends may have, 0 for any that is free.
    pub(crate) send_ports: RangeInclusive<u32>,
}

/// A broker, and the sockets that a connection to it has.
pub(crate) struct Reached {
    pub(crate) info: Info,
    pub(crate) events: NetlinkSocket,
    pub(crate) requests: Arc<NetlinkSocket>,
}

/// Finds the broker and opens the sockets; it may go in between.
pub(crate) fn reach(sought: Sought, options: &SocketOptions) -> Result<Reached, ConnectError> {
    let info = find(sought)?;
    let events = open_events(&info, options)?;
    let requests = Arc::new(open_requests(&info, options)?);
    Ok(Reached { info, events, requests })
}

/// A bound socket of a protocol, whose port id is the first of these that is free.
fn open_at(protocol: u32, mut ports: RangeInclusive<u32>) -> Result<NetlinkSocket, ConnectError> {
    let io = |what| move |error| ConnectError::Io { what, error };
    let mut socket = NetlinkSocket::open(protocol).map_err(io("open a netlink socket"))?;
    let bound = ports.find_map(|port| match socket.bind(port) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => None,
        bound => Some(bound),
    });
    let taken = || Err(ErrorKind::AddrInUse.into());
    bound.unwrap_or_else(taken).map_err(io("bind a netlink socket"))?;
    Ok(socket)
}

/// A bound socket of a protocol.
fn open(protocol: u32) -> Result<NetlinkSocket, ConnectError> {
    open_at(protocol, 0..=0)
}

/// Has the kernel say who sent each datagram, where that isn't known by the port id.
fn pass_credentials(socket: &NetlinkSocket, broker: BrokerKind) -> Result<(), ConnectError> {
    match broker {
        BrokerKind::Module => Ok(()),
        _ => socket.set_pass_credentials().map_err(|error| ConnectError::Io { what: "set SO_PASSCRED", error }),
    }
}

/// The socket that joins groups. A full buffer must not make the kernel drop all that follows, too.
pub(crate) fn open_events(info: &Info, options: &SocketOptions) -> Result<NetlinkSocket, ConnectError> {
    let io = |what| move |error| ConnectError::Io { what, error };
    let socket = open(info.protocol)?;
    pass_credentials(&socket, info.broker)?;
    socket.set_no_enobufs().map_err(io("set NETLINK_NO_ENOBUFS"))?;
    // The module counts what some socket didn't take, of those that ask for it.
    socket.set_broadcast_error().map_err(io("set NETLINK_BROADCAST_ERROR"))?;
    socket.set_recv_buffer(options.receive_buffer).map_err(io("set the receive buffer"))?;
    Ok(socket)
}

/// The socket for publishes, requests and their answers.
pub(crate) fn open_requests(info: &Info, options: &SocketOptions) -> Result<NetlinkSocket, ConnectError> {
    let io = |what| move |error| ConnectError::Io { what, error };
    let socket = open_at(info.protocol, options.send_ports.clone())?;
    pass_credentials(&socket, info.broker)?;
    // A reply that is dropped is asked for again, and must not drag the next one with it.
    socket.set_no_enobufs().map_err(io("set NETLINK_NO_ENOBUFS"))?;
    socket.set_recv_buffer(options.receive_buffer).map_err(io("set the receive buffer"))?;
    if info.broker == BrokerKind::Module {
        // An open socket holds the module, which tells those who ever sent something when to let go. Nobody waits for the
        // answer.
        let mut hello = Vec::new();
        push_info_request(&mut hello, u32::MAX);
        socket.send_to(&hello, info.request_port, 0, true).map_err(io("send to the module"))?;
    }
    socket.set_send_timeout(ROOM).map_err(io("set SO_SNDTIMEO"))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_broker_is_an_error_that_names_both_remedies() {
        // Below 2^31 and no process id: the kernel gives it to nobody.
        let at = |port| Sought { choice: Choice::User, port, trust: Trust::new(None) };
        let error = find(at(0x7000_0000)).unwrap_err();
        assert!(matches!(error, ConnectError::NoBroker { .. }), "{error:?}");
        let error = find(at(u32::MAX)).unwrap_err();
        assert!(matches!(error, ConnectError::NoBroker { port: u32::MAX, .. }), "{error:?}");
        let both = ConnectError::NoBroker { choice: Choice::Auto, port: 7 }.to_string();
        assert!(both.contains("modprobe nlbus") && both.contains("nlbus broker"), "{both}");
    }
}
