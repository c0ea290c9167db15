//! The socket to rtnetlink, and a thread that reads it.

use crossbeam_channel::{Receiver, Sender, bounded};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::RouteMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nlbus_subscribers::sources::links::{Listing, Request};
use std::io;
use std::sync::Arc;
use std::thread;

/// `RTNLGRP_LINK`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV6_IFADDR`, `_IPV6_ROUTE` (linux/rtnetlink.h).
const GROUPS: [u32; 5] = [1, 5, 7, 9, 11];

/// More than the kernel puts into one datagram of a listing (32 KiB, `netlink_dump`).
const DATAGRAM: usize = 1 << 16;

/// Receive buffer, bytes; the kernel grants what it allows.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Datagrams that wait in the program, besides those in the socket.
const WAITING: usize = 256;

/// What is heard.
#[derive(Debug)]
pub enum Word {
    Datagram(Vec<u8>),
    /// Some were dropped (`ENOBUFS`).
    Overrun,
    Failed(io::Error),
}

/// The asking end.
#[derive(Debug)]
pub struct Rtnetlink {
    socket: Arc<Socket>,
    port: u32,
}

impl Rtnetlink {
    /// Listens for changes.
    pub fn listen() -> io::Result<(Rtnetlink, Receiver<Word>)> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let port = socket.bind_auto()?.port_number();
        // As much as is allowed: what doesn't fit is listed anew.
        let _ = socket.set_rx_buf_sz(RECEIVE_BUFFER);
        GROUPS.iter().try_for_each(|group| socket.add_membership(*group))?;
        let socket = Arc::new(socket);
        let (sender, words) = bounded(WAITING);
        let reader = Arc::clone(&socket);
        thread::Builder::new().name("rtnetlink".into()).spawn(move || read(&reader, &sender))?;
        Ok((Rtnetlink { socket, port }, words))
    }

    /// Its port id, which answers name.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Asks for a listing, whose messages come among the others.
    pub fn ask(&self, request: Request) -> io::Result<()> {
        let message = match request.listing {
            Listing::Links => RouteNetlinkMessage::GetLink(LinkMessage::default()),
            Listing::Addresses => RouteNetlinkMessage::GetAddress(AddressMessage::default()),
            Listing::Routes => RouteNetlinkMessage::GetRoute(RouteMessage::default()),
        };
        let mut message = NetlinkMessage::from(message);
        message.header.sequence_number = request.seq;
        message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        message.finalize();
        let mut datagram = vec![0; message.buffer_len()];
        message.serialize(&mut datagram);
        self.socket.send_to(&datagram, &SocketAddr::new(0, 0), 0).map(drop)
    }
}

fn read(socket: &Socket, words: &Sender<Word>) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let word = match socket.recv_from(&mut &mut buffer[..], 0) {
            // Only the kernel knows; anyone may write to this socket.
            Ok((_, sender)) if sender.port_number() != 0 => continue,
            Ok((length, _)) => Word::Datagram(buffer[..length.min(DATAGRAM)].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => Word::Overrun,
            Err(error) => Word::Failed(error),
        };
        let failed = matches!(word, Word::Failed(_));
        if words.send(word).is_err() || failed {
            return;
        }
    }
}
