//! What an event costs in instructions, counted in a VM whose clock is the number of instructions done
//! (`make bench-vm`): figures that repeat to the last digits, whatever else the host does. They say nothing of caches, nor
//! of what two CPUs cost each other. How, `count.rs` tells; peers with a library of their own have programs of their own.

mod count;

use count::{PAYLOAD, Publish, Receive, System};
use netlink_sys::{Socket, SocketAddr};
use nix::libc::MSG_TRUNC;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nlbus::wire::uapi::{NETLINK_USERSOCK, NLBUS_PROTOCOL};
use nlbus::wire::{Content, Messages, push_publish};
use nlbus::{Bus, Delivery};
use std::os::fd::AsRawFd;
use std::process::ExitCode;

const TOPIC: &str = "counted";

/// Netlink multicast as tutorials have it: each event a datagram to a group.
fn netlink(subscribers: usize) -> (Publish, Vec<Receive>) {
    let open = || {
        let mut socket = Socket::new(NETLINK_USERSOCK as isize).expect("a netlink socket");
        socket.bind_auto().expect("bind");
        socket
    };
    let receive = |_| -> Receive {
        let socket = open();
        socket.add_membership(5).expect("join a group");
        let mut bytes = Vec::with_capacity(65536);
        Box::new(move || {
            bytes.clear();
            socket.recv(&mut bytes, 0).expect("receive");
            1
        })
    };
    let receivers = (0..subscribers).map(receive).collect();
    let publisher = open();
    let group = SocketAddr::new(0, 1 << 4);
    let mut event = vec![0; 16];
    event[0] = 80;
    event.extend(PAYLOAD);
    let publish = move |events: usize| {
        for _ in 0..events {
            // It is delivered, and nobody has port 0 of this protocol.
            let _ = publisher.send_to(&event, &group, 0);
        }
    };
    (Box::new(publish), receivers)
}

/// A socket pair for each subscriber.
fn seqpacket(subscribers: usize) -> (Publish, Vec<Receive>) {
    let pair = || socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::empty()).expect("a socket pair");
    let (near, far): (Vec<_>, Vec<_>) = (0..subscribers).map(|_| pair()).unzip();
    let receive = |socket: std::os::fd::OwnedFd| -> Receive {
        Box::new(move || {
            recv(socket.as_raw_fd(), &mut [0; 256], MsgFlags::empty()).expect("receive");
            1
        })
    };
    let publish = move |events: usize| {
        for _ in 0..events {
            for socket in &near {
                send(socket.as_raw_fd(), &PAYLOAD, MsgFlags::empty()).expect("send");
            }
        }
    };
    (Box::new(publish), far.into_iter().map(receive).collect())
}

/// Subscribers of the module with sockets by hand.
fn raw_subscribers(subscribers: usize) -> Vec<Receive> {
    let group = Bus::connect().expect("the module").create_topic(TOPIC).expect("a topic").group;
    let receive = |_| -> Receive {
        let socket = raw_socket();
        socket.add_membership(group).expect("join the topic's group");
        let mut bytes = Vec::with_capacity(65536);
        Box::new(move || {
            bytes.clear();
            socket.recv(&mut bytes, MSG_TRUNC).expect("receive");
            Messages::new(&bytes).filter(Result::is_ok).count() as u64
        })
    };
    (0..subscribers).map(receive).collect()
}

/// A publisher to the module with a socket and frames by hand.
fn raw_publisher() -> Publish {
    let publisher = raw_socket();
    let mut datagram = Vec::new();
    Box::new(move |events| {
        datagram.clear();
        for _ in 0..events {
            push_publish(&mut datagram, 1, false, 0, Content::Opaque, TOPIC, &PAYLOAD);
        }
        publisher.send_to(&datagram, &SocketAddr::new(0, 0), 0).expect("send");
    })
}

fn raw_socket() -> Socket {
    let mut socket = Socket::new(NLBUS_PROTOCOL as isize).expect("a netlink socket");
    socket.bind_auto().expect("bind");
    socket
}

/// Subscribers through the library, which drive their connections themselves.
fn subscribers(subscribers: usize) -> Vec<Receive> {
    Bus::connect().expect("the module").create_topic(TOPIC).expect("a topic");
    let receive = |_| -> Receive {
        let bus = Bus::builder().direct().connect().expect("the module");
        let mut subscription = bus.subscribe(TOPIC).expect("a subscription");
        Box::new(move || match subscription.recv().expect("a delivery") {
            Delivery::Event(_) => 1,
            other => panic!("{other:?}"),
        })
    };
    (0..subscribers).map(receive).collect()
}

/// A publisher through the library.
fn publisher() -> Publish {
    let bus = Bus::connect().expect("the module");
    Box::new(move |events| {
        if events == 1 {
            return bus.publish(TOPIC, &PAYLOAD).expect("publish");
        }
        let mut batch = bus.batch();
        for _ in 0..events {
            batch.push(TOPIC, &PAYLOAD).expect("room");
        }
        batch.send().expect("publish");
    })
}

/// The module, with sockets and frames by hand on both sides.
fn module(count: usize) -> (Publish, Vec<Receive>) {
    (raw_publisher(), raw_subscribers(count))
}

/// With the library on the publisher's side, on the subscribers', and on both.
fn library_publisher(count: usize) -> (Publish, Vec<Receive>) {
    (publisher(), raw_subscribers(count))
}

fn library_subscriber(count: usize) -> (Publish, Vec<Receive>) {
    (raw_publisher(), subscribers(count))
}

fn library(count: usize) -> (Publish, Vec<Receive>) {
    (publisher(), subscribers(count))
}

fn main() -> ExitCode {
    let systems: [(&str, System); 6] = [
        ("netlink", netlink),
        ("seqpacket", seqpacket),
        ("module", module),
        ("library-publisher", library_publisher),
        ("library-subscriber", library_subscriber),
        ("library", library),
    ];
    count::print(&systems)
}
