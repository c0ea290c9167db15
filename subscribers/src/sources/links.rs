//! Network links, their addresses and routes, as `nlbus-links` publishes them. How that is read out of what rtnetlink says
//! is in `read`, what is known in `network`, and how all of it is listed in `listing`.

mod listing;
mod network;
mod prune;
mod read;

pub use listing::{Listing, Request, Step};
pub use network::{Heard, Network};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What became of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It was there when the source began, or when another broker took over.
    Current,
    /// It is new.
    Added,
    /// Something about it is other than before.
    Changed,
    /// It is gone; the rest tells what it was.
    Removed,
}

/// A network link, published to `links/link/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What became of it.
    pub change: Change,
    /// Interface index, from 1.
    pub index: u32,
    /// Its name, like eth0; a byte of it that isn't UTF-8 is written %XX.
    pub name: String,
    /// What it was called before, if this is what changed.
    pub renamed_from: Option<String>,
    /// What kind of virtual link it is, like dummy or bridge; `None` for others.
    pub kind: Option<String>,
    /// Set up by the administrator (`IFF_UP`).
    pub up: bool,
    /// Able to carry packets (`IFF_RUNNING`).
    pub running: bool,
    /// Whether it is a loopback interface.
    pub loopback: bool,
    /// Largest packet, bytes.
    pub mtu: u32,
    /// Hardware address, like 02:00:00:00:00:01; empty for none.
    pub address: String,
    /// Index of the bridge or bond that it belongs to.
    pub master: Option<u32>,
}

/// An address of a link, published to `links/address/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// What became of it.
    pub change: Change,
    /// Index of its link.
    pub index: u32,
    /// Name of its link; empty where the link was gone first.
    pub link: String,
    /// The address.
    pub address: IpAddr,
    /// Bits of it that name the network, 0 to 128.
    pub prefix_len: u8,
    /// `RT_SCOPE_*`: 0 everywhere, 253 this link, 254 this host.
    pub scope: u8,
}

/// A route, published to `links/route/NAME` of the link that it leads to, or to `links/route` where it leads to none. A
/// route with several next hops is as many routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// What became of it.
    pub change: Change,
    /// Where to; 0.0.0.0 or :: with a length of 0 is the default route.
    pub destination: IpAddr,
    /// Bits of it that name the network, 0 to 128.
    pub prefix_len: u8,
    /// The next hop, where there is one.
    pub gateway: Option<IpAddr>,
    /// Index of the link, where there is one.
    pub index: Option<u32>,
    /// Name of the link; empty where there is none, or where it was gone first.
    pub link: String,
    /// Routing table: 254 main, 255 local.
    pub table: u32,
    /// The lower, the better.
    pub priority: u32,
    /// Who made it: `RTPROT_*`, 2 the kernel, 3 the administrator at boot or 4 later on.
    pub protocol: u8,
    /// `RTN_*`: 1 unicast, 2 local, 3 broadcast, 6 blackhole.
    pub kind: u8,
}

/// Something to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Of a link.
    Link(Link),
    /// Of an address.
    Address(Address),
    /// Of a route.
    Route(Route),
}

/// A link's name as a topic's level. The kernel allows all but '/', ':' and white space; a topic allows no wildcards.
fn level(name: &str) -> String {
    name.replace('%', "%25").replace('+', "%2B").replace('#', "%23")
}

impl Event {
    /// Its topic.
    pub fn topic(&self) -> String {
        let (kind, link) = match self {
            Event::Link(link) => ("link", &link.name),
            Event::Address(address) => ("address", &address.link),
            Event::Route(route) => ("route", &route.link),
        };
        if link.is_empty() { format!("links/{kind}") } else { format!("links/{kind}/{}", level(link)) }
    }

    fn with(mut self, change: Change) -> Event {
        match &mut self {
            Event::Link(link) => (link.change, link.renamed_from) = (change, None),
            Event::Address(address) => address.change = change,
            Event::Route(route) => route.change = change,
        }
        self
    }
}
