//! A socket to rtnetlink, the kernel's side of network links: it tells of changes, lists links, and sets one up or down.

use anyhow::{Context, bail};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};

/// `RTNLGRP_LINK`
const LINK_GROUP: u32 = 1;

/// More than the kernel puts into one datagram of a listing (32 KiB, `netlink_dump`).
const DATAGRAM: usize = 1 << 16;

/// The loopback interface's index in every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// What the kernel says of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub name: String,
    pub index: u32,
    pub exists: bool,
    pub up: bool,
    pub running: bool,
    pub mtu: Option<u32>,
    pub rx_bytes: Option<u64>,
    pub tx_bytes: Option<u64>,
}

/// A socket in the network namespace where it was opened, wherever its thread goes.
#[derive(Debug)]
pub struct Rtnetlink {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Rtnetlink {
    /// Listens for changes of links.
    pub fn listen() -> anyhow::Result<Rtnetlink> {
        let mut socket = Socket::new(NETLINK_ROUTE).context("can't open an rtnetlink socket")?;
        socket.bind_auto().context("can't bind an rtnetlink socket")?;
        socket.add_membership(LINK_GROUP).context("can't listen for changes of links")?;
        socket.set_non_blocking(true).context("can't set up an rtnetlink socket")?;
        Ok(Rtnetlink { socket, buffer: vec![0; DATAGRAM] })
    }

    /// Asks for a list of all links, which [`take`](Self::take) then brings.
    pub fn ask_for_all(&self) -> anyhow::Result<()> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.send(request, NLM_F_REQUEST | NLM_F_DUMP).context("can't ask for the links")
    }

    /// Sets the loopback interface up or down, which takes `CAP_NET_ADMIN` in its namespace.
    pub fn set_loopback(&self, up: bool) -> anyhow::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = LOOPBACK;
        link.header.change_mask = LinkFlags::Up;
        link.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        self.send(RouteNetlinkMessage::SetLink(link), NLM_F_REQUEST)
            .context("can't set the loopback interface up or down")
    }

    fn send(&self, request: RouteNetlinkMessage, flags: u16) -> anyhow::Result<()> {
        let mut message = NetlinkMessage::from(request);
        message.header.flags = flags;
        message.finalize();
        let mut datagram = vec![0; message.buffer_len()];
        message.serialize(&mut datagram);
        self.socket.send_to(&datagram, &SocketAddr::new(0, 0), 0)?;
        Ok(())
    }

    /// What the kernel has said since the last time.
    pub fn take(&mut self) -> anyhow::Result<Vec<Link>> {
        let mut links = Vec::new();
        loop {
            let (len, sender) = match self.socket.recv_from(&mut &mut self.buffer[..], 0) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(links),
                // More changes than the socket holds (ENOBUFS): what the links are now is asked for each second anyway.
                Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ENOBUFS as i32) => continue,
                Err(error) => return Err(error).context("can't hear rtnetlink"),
            };
            // Only the kernel knows; anyone may write to this socket.
            if sender.port_number() == 0 {
                read(&self.buffer[..len], &mut links)?;
            }
        }
    }
}

impl AsFd for Rtnetlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Reads a datagram's messages.
fn read(mut datagram: &[u8], links: &mut Vec<Link>) -> anyhow::Result<()> {
    while !datagram.is_empty() {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram)?;
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => links.extend(Link::new(&link, true)),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => links.extend(Link::new(&link, false)),
            NetlinkPayload::Error(error) if error.code.is_some() => bail!("rtnetlink refused: {error}"),
            _ => {}
        }
        // NLMSG_ALIGN; a last message may end without its padding.
        let len = (message.header.length as usize).next_multiple_of(4).max(4);
        datagram = datagram.get(len..).unwrap_or_default();
    }
    Ok(())
}

impl Link {
    /// `None` for a message that doesn't name its link.
    fn new(message: &LinkMessage, exists: bool) -> Option<Link> {
        let flags = message.header.flags;
        let mut link = Link {
            name: String::new(),
            index: message.header.index,
            exists,
            up: flags.contains(LinkFlags::Up),
            running: flags.contains(LinkFlags::Running),
            mtu: None,
            rx_bytes: None,
            tx_bytes: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = Some(*mtu),
                LinkAttribute::Stats64(stats) => {
                    link.rx_bytes = Some(stats.rx_bytes);
                    link.tx_bytes = Some(stats.tx_bytes);
                }
                _ => {}
            }
        }
        (!link.name.is_empty()).then_some(link)
    }
}
