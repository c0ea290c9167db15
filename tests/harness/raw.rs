//! A netlink socket that sends any bytes to a broker and shows what comes back, without the library in between.

use crate::{Place, patience};
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::libc::{MSG_DONTWAIT, ucred};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, NetlinkAddr, UnixCredentials, sendmsg};
use nlbus::BrokerKind;
use nlbus::wire::uapi::{NETLINK_USERSOCK, NLBUS_PROTOCOL};
use nlbus::wire::{Answer, Message, Messages};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

/// Room for any datagram.
const ROOM: usize = 1 << 17;

/// Which of a broker's two ports. They are one with the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// Takes publishes.
    Publish,
    /// Takes requests.
    Request,
}

/// A datagram, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Sender's port id.
    pub port: u32,
    /// 0 if it was sent to this socket alone.
    pub groups: u32,
}

impl Datagram {
    /// Its messages.
    ///
    /// # Panics
    /// When they can't be told apart.
    pub fn messages(&self) -> Vec<Message<'_>> {
        let messages = Messages::new(&self.bytes).collect::<Result<_, _>>();
        messages.unwrap_or_else(|error| panic!("{error:?} in {:?}", self.bytes))
    }

    /// The one `NLMSG_ERROR` that it is.
    ///
    /// # Panics
    /// When it is anything else.
    pub fn answer(&self) -> Answer {
        let messages = self.messages();
        let [message] = &messages[..] else { panic!("not one message: {messages:?}") };
        Answer::parse(message).unwrap_or_else(|error| panic!("{error}: {message:?}"))
    }
}

/// A raw client.
pub struct RawClient {
    socket: Socket,
    port: u32,
    place: Place,
}

impl RawClient {
    pub(crate) fn open(place: Place) -> RawClient {
        RawClient::bind(place, 0).expect("a netlink socket")
    }

    /// With a port id of one's choice.
    ///
    /// # Errors
    /// As `bind(2)`.
    pub fn bind(place: Place, port: u32) -> io::Result<RawClient> {
        let protocol = if place.kind == BrokerKind::Module { NLBUS_PROTOCOL } else { NETLINK_USERSOCK };
        let mut socket = Socket::new(protocol as isize)?;
        socket.bind(&SocketAddr::new(port, 0))?;
        let mut address = SocketAddr::new(0, 0);
        socket.get_address(&mut address)?;
        socket.set_rx_buf_sz(4i32 << 20)?;
        Ok(RawClient { socket, port: address.port_number(), place })
    }

    /// Its own port id.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Joins a group.
    ///
    /// # Errors
    /// As `setsockopt(NETLINK_ADD_MEMBERSHIP)`.
    pub fn join(&self, group: u32) -> io::Result<()> {
        self.socket.add_membership(group)
    }

    /// Leaves one.
    ///
    /// # Errors
    /// As `setsockopt(NETLINK_DROP_MEMBERSHIP)`.
    pub fn leave(&self, group: u32) -> io::Result<()> {
        self.socket.drop_membership(group)
    }

    /// The broker's port id.
    pub fn port_of(&self, endpoint: Endpoint) -> u32 {
        match (self.place.kind, endpoint) {
            (BrokerKind::Module, _) => 0,
            (_, Endpoint::Publish) => self.place.port,
            (_, Endpoint::Request) => self.place.port + 1,
        }
    }

    /// Sends a datagram to the broker.
    ///
    /// # Panics
    /// When the kernel doesn't take it.
    pub fn send(&self, to: Endpoint, datagram: &[u8]) {
        self.send_to(self.port_of(to), 0, datagram).unwrap_or_else(|error| panic!("send to {to:?}: {error}"));
    }

    /// Sends a datagram to the broker unless its queue is full.
    ///
    /// # Errors
    /// `EAGAIN` when it is; as `sendmsg(2)`.
    pub fn try_send(&self, to: Endpoint, datagram: &[u8]) -> io::Result<()> {
        self.socket.send_to(datagram, &SocketAddr::new(self.port_of(to), 0), MSG_DONTWAIT).map(drop)
    }

    /// Sends a datagram to a port id and the groups of a mask.
    ///
    /// # Errors
    /// As `sendmsg(2)`.
    pub fn send_to(&self, port: u32, groups: u32, datagram: &[u8]) -> io::Result<()> {
        self.socket.send_to(datagram, &SocketAddr::new(port, groups), 0).map(drop)
    }

    /// Sends a datagram to the broker with somebody else's credentials (`SCM_CREDENTIALS`).
    ///
    /// # Errors
    /// `EPERM` without the capabilities to do so; as `sendmsg(2)`.
    pub fn send_claiming(&self, to: Endpoint, datagram: &[u8], pid: i32, uid: u32) -> nix::Result<()> {
        let claimed = UnixCredentials::from(ucred { pid, uid, gid: uid });
        let address = NetlinkAddr::new(self.port_of(to), 0);
        let (bytes, control) = ([IoSlice::new(datagram)], [ControlMessage::ScmCredentials(&claimed)]);
        sendmsg(self.socket.as_raw_fd(), &bytes, &control, MsgFlags::empty(), Some(&address)).map(drop)
    }

    /// Makes its receive buffer as small as this.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn set_buffer(&self, bytes: i32) {
        self.socket.set_rx_buf_sz(bytes).expect("SO_RCVBUF");
    }

    /// The next datagram, if one is there.
    ///
    /// # Panics
    /// When the socket fails.
    pub fn try_receive(&self) -> Option<Datagram> {
        self.receive_now().unwrap_or_else(|error| panic!("receive: {error}"))
    }

    /// The next datagram, if one is there.
    ///
    /// # Errors
    /// `ENOBUFS` after an overrun, `ESHUTDOWN` from a module that is retired; as `recvmsg(2)`.
    pub fn receive_now(&self) -> io::Result<Option<Datagram>> {
        let mut bytes = Vec::with_capacity(ROOM);
        match self.socket.recv_from(&mut bytes, MSG_DONTWAIT) {
            Ok((_, from)) => Ok(Some(Datagram { bytes, port: from.port_number(), groups: from.multicast_groups() })),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next datagram.
    ///
    /// # Panics
    /// When none comes in time.
    pub fn receive(&self) -> Datagram {
        let deadline = Instant::now() + patience();
        loop {
            if let Some(datagram) = self.try_receive() {
                return datagram;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Ok(0) => panic!("no datagram came within {:?}", patience()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => panic!("poll: {errno}"),
            }
        }
    }

    /// Makes a request and returns the datagram that answers it.
    ///
    /// # Panics
    /// When none comes in time.
    pub fn ask(&self, request: &[u8]) -> Datagram {
        self.send(Endpoint::Request, request);
        self.receive()
    }
}
