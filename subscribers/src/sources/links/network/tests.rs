//! Messages as the kernel makes them, and what becomes of them.

use super::*;
use netlink_packet_core::{DefaultNla, DoneMessage, ErrorMessage, NLM_F_MULTIPART, NetlinkHeader};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteNextHop};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroI32;

const PORT: u32 = 4711;

fn bytes(message: impl Into<NetlinkPayload<RouteNetlinkMessage>>, header: NetlinkHeader) -> Vec<u8> {
    let mut message = NetlinkMessage::new(header, message.into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// What the kernel says unasked.
fn datagram(message: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    bytes(message, header)
}

/// What it answers to this request.
fn answer(to: Request, flags: u16, message: impl Into<NetlinkPayload<RouteNetlinkMessage>>) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    (header.flags, header.sequence_number, header.port_number) = (NLM_F_MULTIPART | flags, to.seq, PORT);
    bytes(message, header)
}

fn done() -> NetlinkPayload<RouteNetlinkMessage> {
    NetlinkPayload::Done(DoneMessage::default())
}

/// Lists it to the end, with these links.
fn list(network: &mut Network, links: &[LinkMessage]) -> Vec<Event> {
    let mut request = network.list().unwrap();
    let mut events = Vec::new();
    for link in links {
        let message = RouteNetlinkMessage::NewLink(link.clone());
        events.extend(network.hear(&answer(request, 0, message)).events);
    }
    loop {
        let heard = network.hear(&answer(request, 0, done()));
        events.extend(heard.events);
        match heard.next {
            Some(Step::Ask(next)) => request = next,
            Some(Step::Complete) => return events,
            other => panic!("{other:?}"),
        }
    }
}

fn link(index: u32, name: &str, up: bool) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    link.attributes = vec![LinkAttribute::IfName(name.into()), LinkAttribute::Mtu(1500)];
    link
}

fn new(index: u32, name: &str, up: bool) -> Vec<u8> {
    datagram(RouteNetlinkMessage::NewLink(link(index, name, up)), 0)
}

fn summary(events: &[Event]) -> Vec<(String, Change)> {
    let change = |event: &Event| match event {
        Event::Link(link) => link.change,
        Event::Address(address) => address.change,
        Event::Route(route) => route.change,
    };
    events.iter().map(|event| (event.topic(), change(event))).collect()
}

/// With one link that is up.
fn network() -> Network {
    let mut network = Network::new(PORT);
    assert_eq!(list(&mut network, &[link(1, "a", true)]), []);
    network
}

#[test]
fn only_what_is_other_than_before_is_an_event() {
    let mut network = network();
    assert_eq!(network.hear(&new(1, "a", true)).events, []);
    let heard = network.hear(&new(1, "a", false));
    assert_eq!(summary(&heard.events), [("links/link/a".into(), Change::Changed)]);
    assert!(heard.stale, "its routes went without a word");
    assert_eq!(summary(&network.hear(&new(2, "b+#%", true)).events), [("links/link/b%2B%23%25".into(), Change::Added)]);
    let gone = network.hear(&datagram(RouteNetlinkMessage::DelLink(link(1, "a", false)), 0)).events;
    assert_eq!(summary(&gone), [("links/link/a".into(), Change::Removed)]);
}

#[test]
fn a_rename_ends_the_old_name() {
    let events = network().hear(&new(1, "new", true)).events;
    let expected = [("links/link/a".into(), Change::Removed), ("links/link/new".into(), Change::Changed)];
    assert_eq!(summary(&events), expected);
    assert!(matches!(&events[1], Event::Link(link) if link.renamed_from.as_deref() == Some("a")));
}

#[test]
fn what_a_listing_does_not_show_is_gone() {
    let mut network = network();
    let expected = [("links/link/b".into(), Change::Added), ("links/link/a".into(), Change::Removed)];
    assert_eq!(summary(&list(&mut network, &[link(2, "b", true)])), expected);
    assert_eq!(summary(&network.current().collect::<Vec<_>>()), [("links/link/b".into(), Change::Current)]);
}

#[test]
fn a_listing_with_holes_is_heard_out_and_made_again() {
    let mut network = network();
    let first = network.list().unwrap();
    let part = RouteNetlinkMessage::NewLink(link(2, "b", true));
    assert_eq!(network.hear(&answer(first, NLM_F_DUMP_INTR, part)).next, None);
    assert!(network.list().is_none(), "the kernel would refuse it");
    let heard = network.hear(&answer(first, 0, done()));
    assert!(matches!(heard.next, Some(Step::Again(_))), "{heard:?}");
    assert_eq!(heard.events, [], "what it left out may be there");
    let second = network.list().unwrap();
    let late = network.hear(&answer(first, 0, done()));
    assert!(late.next.is_none() && late.events.is_empty(), "the end of another one: {late:?}");
    let part = RouteNetlinkMessage::NewLink(link(3, "c", true));
    assert_eq!(network.hear(&answer(first, 0, part)).events, [], "a part of another one");
    assert!(matches!(network.hear(&answer(second, 0, done())).next, Some(Step::Ask(_))));
}

#[test]
fn an_overrun_amid_a_listing_repeats_it() {
    let mut network = network();
    assert!(!network.overrun(), "one is to be begun");
    let first = network.list().unwrap();
    assert!(network.overrun());
    assert!(matches!(network.hear(&answer(first, 0, done())).next, Some(Step::Again(_))));
}

#[test]
fn a_refused_listing_is_no_empty_one() {
    let mut network = network();
    let first = network.list().unwrap();
    let mut error = ErrorMessage::default();
    error.code = NonZeroI32::new(-16);
    let heard = network.hear(&answer(first, 0, NetlinkPayload::Error(error)));
    assert_eq!((heard.refused, heard.events.len()), (Some(16), 0), "{heard:?}");
    assert!(matches!(heard.next, Some(Step::Again(_))), "{heard:?}");
}

#[test]
fn what_others_ask_is_not_our_answer() {
    let mut network = network();
    let request = network.list().unwrap();
    let mut header = NetlinkHeader::default();
    (header.sequence_number, header.port_number) = (request.seq, PORT + 1);
    assert_eq!(network.hear(&bytes(done(), header)).next, None);
}

#[test]
fn damaged_datagrams_are_counted() {
    let whole = new(3, "c", true);
    for cut in 1..whole.len() {
        let heard = network().hear(&whole[..cut]);
        assert_eq!(heard.events, [], "{cut}");
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        // Whatever it is then, it comes to an end.
        network().hear(&damaged);
    }
    assert_eq!(network().hear(&[0; 64]).unreadable, 1);
}

#[test]
fn what_a_protocol_says_of_a_link_is_not_of_the_link() {
    let mut network = network();
    for family in [AddressFamily::Bridge, AddressFamily::Inet6] {
        let mut link = link(1, "a", false);
        link.header.interface_family = family;
        for message in [RouteNetlinkMessage::DelLink(link.clone()), RouteNetlinkMessage::NewLink(link)] {
            let heard = network.hear(&datagram(message, 0));
            assert!(heard.events.is_empty() && !heard.stale, "{family:?}: {heard:?}");
        }
    }
}

#[test]
fn what_is_not_read_may_be_anything() {
    let mut message = link(2, "b", true);
    // A name that isn't text, and a driver's own attributes that nobody understands.
    let strange = [LinkAttribute::Other(DefaultNla::new(3, b"b\xff\0".to_vec()))];
    let odd = [20, 30, 53].map(|kind| LinkAttribute::Other(DefaultNla::new(kind, vec![0xff; 3])));
    message.attributes.retain(|attribute| !matches!(attribute, LinkAttribute::IfName(_)));
    message.attributes.extend(strange.into_iter().chain(odd));
    let heard = network().hear(&datagram(RouteNetlinkMessage::NewLink(message), 0));
    assert_eq!(heard.unreadable, 0);
    assert_eq!(summary(&heard.events), [("links/link/b%25FF".into(), Change::Added)]);
}

/// To 198.51.100.0/24 by these next hops, at links 1 and following.
fn route(hops: &[u8]) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = AddressFamily::Inet;
    route.header.destination_prefix_length = 24;
    let gateway = |hop: &u8| RouteAttribute::Gateway(RouteAddress::Inet(Ipv4Addr::new(192, 0, 2, *hop)));
    route.attributes = vec![RouteAttribute::Destination(RouteAddress::Inet(Ipv4Addr::new(198, 51, 100, 0)))];
    match hops {
        [hop] => route.attributes.extend([RouteAttribute::Oif(1), gateway(hop)]),
        hops => {
            let hops = hops.iter().zip(1..).map(|(hop, index)| {
                let mut next = RouteNextHop::default();
                (next.interface_index, next.attributes) = (index, vec![gateway(hop)]);
                next
            });
            route.attributes.push(RouteAttribute::MultiPath(hops.collect()));
        }
    }
    route
}

fn add_route(network: &mut Network, route: RouteMessage, flags: u16) -> Heard {
    network.hear(&datagram(RouteNetlinkMessage::NewRoute(route), flags))
}

fn gateways(events: &[Event]) -> Vec<(Option<IpAddr>, Change)> {
    let gateway = |event: &Event| match event {
        Event::Route(route) => Some((route.gateway, route.change)),
        _ => None,
    };
    events.iter().filter_map(gateway).collect()
}

fn via(hop: u8) -> Option<IpAddr> {
    Some(IpAddr::from([192, 0, 2, hop]))
}

#[test]
fn a_route_that_takes_anothers_place_ends_it() {
    let mut network = network();
    add_route(&mut network, route(&[1]), 0);
    let heard = add_route(&mut network, route(&[2]), NLM_F_REPLACE);
    assert_eq!(gateways(&heard.events), [(via(1), Change::Removed), (via(2), Change::Added)]);
    let same = add_route(&mut network, route(&[2]), NLM_F_REPLACE);
    assert!(same.events.is_empty() && !same.stale, "{same:?}");
    // One more beside it is none in its place.
    assert_eq!(gateways(&add_route(&mut network, route(&[3]), 0).events), [(via(3), Change::Added)]);
    let heard = add_route(&mut network, route(&[4]), NLM_F_REPLACE);
    assert!(heard.stale, "of two, one is gone: {heard:?}");
}

#[test]
fn each_next_hop_is_a_route() {
    let mut network = network();
    let heard = add_route(&mut network, route(&[1, 2]), 0);
    assert_eq!(gateways(&heard.events), [(via(1), Change::Added), (via(2), Change::Added)]);
    let heard = network.hear(&datagram(RouteNetlinkMessage::DelRoute(route(&[1, 2])), 0));
    assert_eq!(gateways(&heard.events), [(via(1), Change::Removed), (via(2), Change::Removed)]);
    assert!(!heard.stale);
}

#[test]
fn routes_that_differ_in_what_they_are_for_are_several() {
    let mut network = network();
    let (mut tos, mut kind) = (route(&[1]), route(&[1]));
    tos.header.tos = 0x10;
    kind.header.kind = 6.into();
    for route in [route(&[1]), tos.clone(), kind] {
        assert_eq!(gateways(&add_route(&mut network, route, 0).events), [(via(1), Change::Added)]);
    }
    // And none of them takes another's place.
    let mut other = tos;
    other.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::Gateway(_)));
    let expected = [(via(1), Change::Removed), (None, Change::Added)];
    assert_eq!(gateways(&add_route(&mut network, other, NLM_F_REPLACE).events), expected);
}

#[test]
fn an_address_with_two_peers_is_two() {
    let mut network = network();
    let address = |peer: u8| {
        let mut address = AddressMessage::default();
        (address.header.index, address.header.prefix_len) = (1, 32);
        let ip = |last: u8| IpAddr::from([192, 0, 2, last]);
        address.attributes = vec![AddressAttribute::Address(ip(peer)), AddressAttribute::Local(ip(1))];
        address
    };
    for peer in [2, 3] {
        let heard = network.hear(&datagram(RouteNetlinkMessage::NewAddress(address(peer)), 0));
        assert_eq!(summary(&heard.events), [("links/address/a".into(), Change::Added)]);
    }
    let heard = network.hear(&datagram(RouteNetlinkMessage::DelAddress(address(2)), 0));
    assert_eq!(summary(&heard.events), [("links/address/a".into(), Change::Removed)]);
    assert!(heard.stale, "routes may go with it, without a word");
    assert_eq!(network.current().count(), 2, "the link, and the other one");
}

#[test]
fn a_rename_takes_addresses_and_routes_along() {
    let mut network = network();
    let mut address = AddressMessage::default();
    address.header.index = 1;
    address.attributes = vec![AddressAttribute::Local(IpAddr::from([192, 0, 2, 1]))];
    network.hear(&datagram(RouteNetlinkMessage::NewAddress(address), 0));
    add_route(&mut network, route(&[1]), 0);
    let expected = ["link", "address", "route"].into_iter().flat_map(|kind| {
        [(format!("links/{kind}/a"), Change::Removed), (format!("links/{kind}/new"), Change::Changed)]
    });
    assert_eq!(summary(&network.hear(&new(1, "new", true)).events), expected.collect::<Vec<_>>());
    // And it is known by the new one.
    assert_eq!(add_route(&mut network, route(&[1]), 0).events, []);
}

#[test]
fn where_no_listing_is_whole_what_is_known_goes_out_all_the_same() {
    let mut network = Network::new(PORT);
    for _ in 0..20 {
        let mut request = network.list().unwrap();
        let part = RouteNetlinkMessage::NewLink(link(1, "a", true));
        network.hear(&answer(request, NLM_F_DUMP_INTR, part));
        while let Some(Step::Ask(next)) = network.hear(&answer(request, 0, done())).next {
            request = next;
        }
    }
    assert!(network.is_known());
    assert_eq!(summary(&network.hear(&new(2, "b", true)).events), [("links/link/b".into(), Change::Added)]);
}
