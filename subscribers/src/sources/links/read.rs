//! What a message of rtnetlink says of a thing: what makes it the same one, and what is published of it. The name of its link
//! is known elsewhere.

use super::{Address, Change, Event, Link, Route};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteVia};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What makes a thing the same one, whatever changes about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Link(u32),
    Address(u32, IpAddr, u8, Option<IpAddr>),
    Route(Way, Hop),
}

/// What a packet must have for routes to be alike to it. `ip route replace` is about these (`fib_table_insert`,
/// `fib6_add_rt2node`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    pub table: u32,
    pub destination: IpAddr,
    pub prefix_len: u8,
    pub source: Option<(IpAddr, u8)>,
    pub tos: u8,
    pub priority: u32,
}

/// What becomes of such a packet. The first one of all there are, by order, is the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    pub kind: u8,
    pub index: Option<u32>,
    pub gateway: Option<IpAddr>,
}

/// `None` for a message that doesn't name its link, or that is of one protocol's part in it: when a link leaves a bridge,
/// the bridge says `RTM_DELLINK` of it (`br_ifinfo_notify`), and IPv6 has news of its own (`inet6_ifinfo_notify`).
pub fn link(message: &LinkMessage) -> Option<(Key, Event)> {
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let flags = message.header.flags;
    let mut link = Link {
        change: Change::Current,
        index: message.header.index,
        name: String::new(),
        renamed_from: None,
        kind: None,
        up: flags.contains(LinkFlags::Up),
        running: flags.contains(LinkFlags::Running),
        loopback: message.header.link_layer_type == LinkLayerType::Loopback,
        mtu: 0,
        address: String::new(),
        master: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.master = Some(*index).filter(|index| *index != 0),
            LinkAttribute::Address(bytes) => {
                let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                link.address = bytes.join(":");
            }
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Kind(kind) = info {
                        link.kind = Some(kind.to_string());
                    }
                }
            }
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some((Key::Link(link.index), Event::Link(link)))
}

/// `None` for a message without an address.
pub fn address(message: &AddressMessage) -> Option<(Key, Event)> {
    let (mut address, mut local) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Local(ip) => local = Some(*ip),
            _ => {}
        }
    }
    // On a point-to-point link the other one is the peer's (rtnetlink(7)). An IPv4 address may have several; of an IPv6
    // address, it may change.
    let peer = address.filter(|peer| peer.is_ipv4() && Some(*peer) != local);
    let address = local.or(address)?;
    let header = &message.header;
    let (index, prefix_len, scope) = (header.index, header.prefix_len, u8::from(header.scope));
    let value = Address { change: Change::Current, index, link: String::new(), address, prefix_len, scope };
    Some((Key::Address(index, address, prefix_len, peer), Event::Address(value)))
}

/// A route for each of its next hops. None, where it is no unicast address's, or only what the kernel remembers of one
/// destination, like a path MTU.
pub fn routes(message: &RouteMessage) -> Vec<(Key, Event)> {
    let header = &message.header;
    let unspecified: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return Vec::new(),
    };
    if header.flags.contains(RouteFlags::Cloned) {
        return Vec::new();
    }
    let mut way = Way {
        table: header.table.into(),
        destination: unspecified,
        prefix_len: header.destination_prefix_length,
        source: None,
        tos: header.tos,
        priority: 0,
    };
    let mut hops = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => way.destination = ip(address).unwrap_or(unspecified),
            RouteAttribute::Source(address) => {
                way.source = ip(address).map(|source| (source, header.source_prefix_length));
            }
            RouteAttribute::Priority(priority) => way.priority = *priority,
            RouteAttribute::Table(table) => way.table = *table,
            RouteAttribute::MultiPath(each) => {
                hops = each.iter().map(|hop| self::hop(Some(hop.interface_index), &hop.attributes)).collect();
            }
            _ => {}
        }
    }
    if hops.is_empty() {
        hops.push(hop(None, &message.attributes));
    }
    let route = |(index, gateway)| {
        let kind = header.kind.into();
        let route = Route {
            change: Change::Current,
            destination: way.destination,
            prefix_len: way.prefix_len,
            gateway,
            index,
            link: String::new(),
            table: way.table,
            priority: way.priority,
            protocol: header.protocol.into(),
            kind,
        };
        (Key::Route(way.clone(), Hop { kind, index, gateway }), Event::Route(route))
    };
    hops.into_iter().map(route).collect()
}

fn hop(mut index: Option<u32>, attributes: &[RouteAttribute]) -> (Option<u32>, Option<IpAddr>) {
    let mut gateway = None;
    for attribute in attributes {
        match attribute {
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            // Of the other family: IPv4 over an IPv6 next hop.
            RouteAttribute::Via(RouteVia::Inet(address)) => gateway = Some((*address).into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => gateway = Some((*address).into()),
            _ => {}
        }
    }
    // A next hop without a link has 0.
    (index.filter(|index| *index != 0), gateway)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
