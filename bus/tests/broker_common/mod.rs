//! A client made of nothing but a netlink socket and frames, so that the broker is tested without the library's client.

#![allow(dead_code, reason = "each test binary uses its part")]

use netlink_sys::{Socket, SocketAddr};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nlbus::wire::uapi::*;
use nlbus::wire::{
    Answer, Content, EventHeader, EventView, Info, Messages, ReplayEnd, ReplayRequest, TopicRecord, TopicRequest,
    push_info_request, push_publish,
};
use nlbus::{Broker, BrokerBuilder, BrokerHandle};
use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A pair of port ids that no other test has, in this process or in another.
pub fn port() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    0x1000_0000 + std::process::id() * 128 + NEXT.fetch_add(2, Ordering::Relaxed)
}

/// Gives the calling thread, and those that it starts, a network namespace of their own: brokers of one namespace
/// share its groups, so tests side by side would hear each other's floods.
pub fn isolate() {
    thread_local!(static ISOLATED: Cell<bool> = const { Cell::new(false) });
    if !ISOLATED.replace(true) {
        unshare(CloneFlags::CLONE_NEWNET)
            .expect("a network namespace takes CAP_SYS_ADMIN: run as root or in unshare -Urn");
    }
}

/// A broker that says nothing by itself, in a namespace of the test's own.
pub fn quiet() -> BrokerBuilder {
    isolate();
    Broker::builder().port(port()).heartbeat(Duration::ZERO)
}

pub fn start(builder: BrokerBuilder) -> BrokerHandle {
    builder.spawn().expect("a broker starts")
}

/// An event as a subscriber reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub header: EventHeader,
    pub topic: String,
    pub payload: Vec<u8>,
}

impl Event {
    pub fn read(body: &[u8]) -> Event {
        let view = EventView::parse(body).expect("a whole event");
        Event { header: view.header, topic: view.topic.into(), payload: view.payload.into() }
    }
}

/// A socket of a client.
pub struct Client {
    pub socket: Socket,
    /// Its own port id.
    pub port: u32,
    broker: u32,
}

impl Client {
    pub fn new(broker: &BrokerHandle) -> Client {
        Client::at(broker.port())
    }

    pub fn at(broker: u32) -> Client {
        let mut socket = Socket::new(NETLINK_USERSOCK as isize).unwrap();
        let port = socket.bind_auto().unwrap().port_number();
        socket.set_no_enobufs(true).unwrap();
        let bytes = 16usize << 20;
        if nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &bytes).is_err() {
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBuf, &bytes).unwrap();
        }
        Client { socket, port, broker }
    }

    /// A client that has joined a group.
    pub fn member(broker: &BrokerHandle, group: u32) -> Client {
        let client = Client::new(broker);
        client
            .socket
            .add_membership(group)
            .expect("joining a group takes CAP_NET_ADMIN: run as root or in unshare -Urn");
        client
    }

    pub fn send(&self, datagram: &[u8]) {
        self.send_to(self.broker, datagram).unwrap();
    }

    pub fn request(&self, datagram: &[u8]) {
        self.send_to(self.broker + 1, datagram).unwrap();
    }

    pub fn send_to(&self, port: u32, datagram: &[u8]) -> io::Result<()> {
        self.socket.send_to(datagram, &SocketAddr::new(port, 0), 0).map(drop)
    }

    /// The next datagram and its sender, or none until the deadline.
    pub fn receive_until(&self, deadline: Instant) -> Option<(Vec<u8>, u32)> {
        let left = PollTimeout::try_from(deadline.saturating_duration_since(Instant::now())).unwrap();
        if poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], left).unwrap() == 0 {
            return None;
        }
        let mut bytes = Vec::with_capacity(1 << 16);
        let (_, from) = self.socket.recv_from(&mut bytes, 0).unwrap();
        Some((bytes, from.port_number()))
    }

    /// The next datagram, which must come from the broker.
    pub fn receive(&self) -> Vec<u8> {
        let (bytes, from) = self.receive_until(Instant::now() + PATIENCE).expect("a datagram in time");
        assert!(from == self.broker || from == self.broker + 1, "from {from:#x}");
        bytes
    }

    pub fn answer(&self) -> Answer {
        let datagram = self.receive();
        let mut messages = Messages::new(&datagram);
        let message = messages.next().unwrap().unwrap();
        assert_eq!(message.header.kind, NLMSG_ERROR);
        assert!(messages.next().is_none());
        Answer::parse(&message).unwrap()
    }

    pub fn info(&self) -> Info {
        let mut datagram = Vec::new();
        push_info_request(&mut datagram, 77);
        self.request(&datagram);
        let reply = self.receive();
        let message = Messages::new(&reply).next().unwrap().unwrap();
        assert_eq!((message.header.kind, message.header.seq), (NLBUS_MSG_INFO, 77), "{reply:?}");
        Info::read(message.body).unwrap()
    }

    pub fn publish(&self, topic: &str, payload: &[u8]) {
        self.send(&publish(topic, payload));
    }

    /// Publishes and returns the sequence number of the ack.
    pub fn publish_acked(&self, topic: &str, payload: &[u8]) -> u64 {
        let mut datagram = Vec::new();
        push_publish(&mut datagram, 5, true, 0, Content::Opaque, topic, payload);
        self.send(&datagram);
        self.answer().result.unwrap().expect("a cookie")
    }

    pub fn topic(&self, request: TopicRequest<'_>) -> TopicRecord {
        let mut datagram = Vec::new();
        request.push(&mut datagram, 9);
        self.request(&datagram);
        let reply = self.receive();
        let message = Messages::new(&reply).next().unwrap().unwrap();
        assert_eq!((message.header.kind, message.header.seq), (NLBUS_MSG_TOPIC, 9), "{reply:?}");
        TopicRecord::read(message.body).unwrap()
    }

    pub fn create(&self, topic: &str) -> TopicRecord {
        self.topic(TopicRequest::create(topic))
    }

    pub fn replay(&self, epoch: u64, topic_id: u32, from: u64, limit: Option<u32>) -> (Vec<Event>, ReplayEnd) {
        let mut datagram = Vec::new();
        ReplayRequest { epoch, topic_id, from, limit }.push(&mut datagram, 6);
        self.request(&datagram);
        let reply = self.receive();
        let mut events = Vec::new();
        for message in Messages::new(&reply) {
            let message = message.unwrap();
            if message.header.kind == NLBUS_MSG_REPLAY {
                assert!(message.last);
                return (events, ReplayEnd::read(message.body).unwrap());
            }
            assert_eq!((message.header.kind, message.header.flags), (NLBUS_MSG_EVENT, NLM_F_MULTI));
            events.push(Event::read(message.body));
        }
        panic!("a replay without an end");
    }

    /// The events of the next broadcast.
    pub fn broadcast(&self) -> Vec<Event> {
        let datagram = self.receive();
        Messages::new(&datagram)
            .map(|message| {
                let message = message.unwrap();
                assert_eq!(message.header.kind, NLBUS_MSG_EVENT);
                assert_eq!(message.header.flags, if message.last { 0 } else { NLM_F_MULTI });
                Event::read(message.body)
            })
            .collect()
    }

    /// Receives so many events.
    pub fn events(&self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.broadcast());
        }
        events
    }
}

pub fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    push_publish(&mut datagram, 5, false, 0, Content::Opaque, topic, payload);
    datagram
}
