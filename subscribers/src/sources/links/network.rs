//! What is known of the network, kept up with what rtnetlink says. No I/O: messages in, changes out.

use super::listing::{Listings, Request, Step};
use super::prune::prune;
use super::{Address, Change, Event, Link, Route};
use netlink_packet_core::{NLM_F_DUMP_INTR, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What makes a thing the same one, whatever changes about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Link(u32),
    Address(u32, IpAddr, u8),
    Route {
        table: u32,
        destination: IpAddr,
        prefix_len: u8,
        priority: u32,
        index: Option<u32>,
        gateway: Option<IpAddr>,
    },
}

/// What a message says of a thing.
#[derive(Debug)]
enum News {
    Is(Key, Event),
    Gone(Key),
}

/// What a datagram came to.
#[derive(Debug, Default)]
pub struct Heard {
    /// What to publish, in this order.
    pub events: Vec<Event>,
    /// An answer came to its end: what to do next.
    pub next: Option<Step>,
    /// A listing was refused, with this errno.
    pub refused: Option<i32>,
    /// A link went down: its routes are gone, and the kernel doesn't say so (`fib_sync_down_dev`). List all anew.
    pub stale: bool,
    /// Messages that could not be read.
    pub unreadable: usize,
}

/// What is known of the network.
#[derive(Debug)]
pub struct Network {
    /// The port id of who asks: answers name it, and what the kernel says unasked doesn't.
    port: u32,
    listings: Listings,
    known: BTreeMap<Key, Event>,
    /// Keys that were seen since a listing began, while one is under way.
    seen: Option<BTreeSet<Key>>,
    /// The first listing is over: what comes from now on is a change.
    begun: bool,
}

impl Network {
    /// Nothing is known yet. Requests are made from the socket with this port id.
    pub fn new(port: u32) -> Network {
        Network { port, listings: Listings::default(), known: BTreeMap::new(), seen: None, begun: false }
    }

    /// All that is there is about to be listed: what to ask for first. `None` while it is being listed already.
    pub fn list(&mut self) -> Option<Request> {
        if self.listings.is_under_way() {
            return None;
        }
        self.seen = Some(BTreeSet::new());
        Some(self.listings.begin())
    }

    /// Something was said and not heard. A listing that is under way has holes then, and is repeated when it has ended;
    /// returns whether one is.
    pub fn overrun(&mut self) -> bool {
        self.listings.tear();
        self.listings.is_under_way()
    }

    /// Whether all was listed once.
    pub fn is_known(&self) -> bool {
        self.begun
    }

    /// The answer to a request ended.
    fn ended(&mut self, heard: &mut Heard) {
        let step = self.listings.ended();
        if step == Step::Complete {
            // What was not listed is gone, without anybody having said so.
            let seen = self.seen.take().unwrap_or_default();
            let gone: Vec<Key> = self.known.keys().filter(|key| !seen.contains(key)).cloned().collect();
            let gone = gone.iter().filter_map(|key| self.known.remove(key));
            if self.begun {
                heard.events.extend(gone.map(|event| event.with(Change::Removed)));
            } else {
                gone.for_each(drop);
            }
            self.begun = true;
        }
        heard.next = Some(step);
    }

    /// All that is there, links first.
    pub fn current(&self) -> impl Iterator<Item = Event> {
        self.known.values().map(|event| event.clone().with(Change::Current))
    }

    /// Reads a datagram.
    pub fn hear(&mut self, mut datagram: &[u8]) -> Heard {
        let mut heard = Heard::default();
        // A header has 16 bytes; a length below that would never come to an end.
        while datagram.len() >= 16 {
            let length = u32::from_ne_bytes([datagram[0], datagram[1], datagram[2], datagram[3]]) as usize;
            if length < 16 || length > datagram.len() {
                heard.unreadable += 1;
                break;
            }
            match prune(&datagram[..length]).and_then(|message| NetlinkMessage::deserialize(&message)) {
                Ok(message) => self.message(message, &mut heard),
                Err(_) => heard.unreadable += 1,
            }
            // NLMSG_ALIGN; a last message may end without its padding.
            datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        heard
    }

    fn message(&mut self, message: NetlinkMessage<RouteNetlinkMessage>, heard: &mut Heard) {
        let is_answer = message.header.port_number == self.port;
        if is_answer && !self.listings.is_asked(message.header.sequence_number) {
            // To a request that is over; it may tell what was, not what is.
            return;
        }
        if is_answer && message.header.flags & NLM_F_DUMP_INTR != 0 {
            // What is listed changed meanwhile.
            self.listings.tear();
        }
        let news = match message.payload {
            NetlinkPayload::Done(done) => {
                if is_answer {
                    if done.code != 0 {
                        self.listings.tear();
                    }
                    self.ended(heard);
                }
                return;
            }
            NetlinkPayload::Error(error) => {
                if let (true, Some(code)) = (is_answer, error.code) {
                    heard.refused = Some(code.get().saturating_neg());
                    self.listings.tear();
                    self.ended(heard);
                }
                return;
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => read_link(&link).map(is),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => read_link(&link).map(gone),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(address)) => {
                self.read_address(&address).map(is)
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(address)) => {
                self.read_address(&address).map(gone)
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => self.read_route(&route).map(is),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRoute(route)) => self.read_route(&route).map(gone),
            _ => None,
        };
        match news {
            Some(News::Is(key, event)) => {
                let was_up = self.is_up(&key);
                self.is(key.clone(), event, &mut heard.events);
                heard.stale |= was_up && !self.is_up(&key);
            }
            Some(News::Gone(key)) => {
                let known = self.known.remove(&key);
                heard.stale |= matches!(known, Some(Event::Link(_)));
                if self.begun {
                    heard.events.extend(known.map(|known| known.with(Change::Removed)));
                }
            }
            None => {}
        }
    }

    /// The kernel says the same thing more than once: only what is other than before is an event.
    fn is(&mut self, key: Key, event: Event, events: &mut Vec<Event>) {
        if let Some(seen) = &mut self.seen {
            seen.insert(key.clone());
        }
        // Kept alike, whatever became of it, to be compared.
        let event = event.with(Change::Current);
        let known = self.known.insert(key, event.clone());
        let change = match &known {
            _ if !self.begun => return,
            Some(known) if *known == event => return,
            Some(_) => Change::Changed,
            None => Change::Added,
        };
        let mut event = event.with(change);
        if let (Event::Link(link), Some(Event::Link(before))) = (&mut event, &known)
            && link.name != before.name
        {
            link.renamed_from = Some(before.name.clone());
            // Who follows the old name's topic hears the end of it.
            events.push(Event::Link(before.clone()).with(Change::Removed));
        }
        events.push(event);
    }

    fn is_up(&self, key: &Key) -> bool {
        matches!(self.known.get(key), Some(Event::Link(link)) if link.up)
    }

    fn name(&self, index: u32) -> String {
        match self.known.get(&Key::Link(index)) {
            Some(Event::Link(link)) => link.name.clone(),
            _ => String::new(),
        }
    }

    fn read_address(&self, message: &AddressMessage) -> Option<(Key, Event)> {
        let (mut address, mut local) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Address(ip) => address = Some(*ip),
                AddressAttribute::Local(ip) => local = Some(*ip),
                _ => {}
            }
        }
        // On a point-to-point link the other one is the peer's (rtnetlink(7)).
        let address = local.or(address)?;
        let header = &message.header;
        let (index, prefix_len, scope) = (header.index, header.prefix_len, u8::from(header.scope));
        let value = Address { change: Change::Current, index, link: self.name(index), address, prefix_len, scope };
        Some((Key::Address(index, address, prefix_len), Event::Address(value)))
    }

    fn read_route(&self, message: &RouteMessage) -> Option<(Key, Event)> {
        let header = &message.header;
        let mut route = Route {
            change: Change::Current,
            destination: match header.address_family {
                AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
                AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
                _ => return None,
            },
            prefix_len: header.destination_prefix_length,
            gateway: None,
            index: None,
            link: String::new(),
            table: header.table.into(),
            priority: 0,
            protocol: header.protocol.into(),
            kind: header.kind.into(),
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => route.destination = ip(address)?,
                RouteAttribute::Gateway(address) => route.gateway = ip(address),
                RouteAttribute::Oif(index) => route.index = Some(*index),
                RouteAttribute::Priority(priority) => route.priority = *priority,
                RouteAttribute::Table(table) => route.table = *table,
                _ => {}
            }
        }
        route.link = route.index.map(|index| self.name(index)).unwrap_or_default();
        let Route { destination, prefix_len, gateway, index, table, priority, .. } = route;
        let key = Key::Route { table, destination, prefix_len, priority, index, gateway };
        Some((key, Event::Route(route)))
    }
}

fn is((key, event): (Key, Event)) -> News {
    News::Is(key, event)
}

fn gone((key, _): (Key, Event)) -> News {
    News::Gone(key)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

/// `None` for a message that doesn't name its link, or that is of one protocol's part in it: when a link leaves a bridge,
/// the bridge says `RTM_DELLINK` of it (`br_ifinfo_notify`), and IPv6 has news of its own (`inet6_ifinfo_notify`).
fn read_link(message: &LinkMessage) -> Option<(Key, Event)> {
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

#[cfg(test)]
mod tests;
