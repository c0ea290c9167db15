//! What is known of the network, kept up with what rtnetlink says. No I/O: messages in, changes out.

use super::listing::{Listings, Request, Step};
use super::prune::prune;
use super::read::{self, Hop, Key};
use super::{Address, Change, Event, Route};
use netlink_packet_core::{NLM_F_DUMP_INTR, NLM_F_REPLACE, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use std::collections::{BTreeMap, BTreeSet};

/// What a datagram came to.
#[derive(Debug, Default)]
pub struct Heard {
    /// What to publish, in this order.
    pub events: Vec<Event>,
    /// An answer came to its end: what to do next.
    pub next: Option<Step>,
    /// A listing was refused, with this errno.
    pub refused: Option<i32>,
    /// What is known may be wrong; list all anew. When a link goes down or an IPv4 address goes, routes go with it, and the
    /// kernel doesn't say so (`fib_sync_down_dev`, `fib_sync_down_addr`).
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
        let step = self.listings.ended(heard.refused.is_some());
        if step == Step::Complete {
            let seen = self.seen.take().unwrap_or_default();
            // What was not listed is gone, without anybody having said so.
            let gone: Vec<Key> = self.known.keys().filter(|key| !seen.contains(key)).cloned().collect();
            let gone = gone.iter().filter_map(|key| self.known.remove(key)).filter(|_| self.begun);
            heard.events.extend(gone.map(|event| event.with(Change::Removed)));
        }
        // Where no listing is ever whole, what is known goes out all the same.
        self.begun |= matches!(step, Step::Complete | Step::Torn(_));
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
        let replaces = !is_answer && message.header.flags & NLM_F_REPLACE != 0;
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
                    self.ended(heard);
                }
                return;
            }
            NetlinkPayload::InnerMessage(message) => message,
            _ => return,
        };
        match news {
            RouteNetlinkMessage::NewLink(link) => self.are(read::link(&link), heard),
            RouteNetlinkMessage::DelLink(link) => self.are_gone(read::link(&link), heard),
            RouteNetlinkMessage::NewAddress(address) => self.are(read::address(&address), heard),
            RouteNetlinkMessage::DelAddress(address) => self.are_gone(read::address(&address), heard),
            RouteNetlinkMessage::NewRoute(route) => {
                let routes = read::routes(&route);
                if replaces {
                    self.replaced(&routes, heard);
                }
                self.are(routes, heard);
            }
            RouteNetlinkMessage::DelRoute(route) => {
                let routes = read::routes(&route);
                // A next hop may be one of several routes', and the others stay.
                let shared = routes.first().is_some_and(|(key, _)| self.siblings(key).len() > routes.len());
                heard.stale |= shared;
                self.are_gone(routes, heard);
            }
            _ => {}
        }
    }

    fn are(&mut self, things: impl IntoIterator<Item = (Key, Event)>, heard: &mut Heard) {
        for (key, mut event) in things {
            if let Event::Address(Address { index, link, .. }) | Event::Route(Route { index: Some(index), link, .. }) =
                &mut event
            {
                *link = self.name(*index);
            }
            let was_up = self.is_up(&key);
            self.is(key.clone(), event, &mut heard.events);
            heard.stale |= was_up && !self.is_up(&key);
        }
    }

    fn are_gone(&mut self, things: impl IntoIterator<Item = (Key, Event)>, heard: &mut Heard) {
        for (key, _) in things {
            let Some(known) = self.known.remove(&key) else { continue };
            heard.stale |= match &known {
                Event::Link(_) => true,
                Event::Address(address) => address.address.is_ipv4(),
                Event::Route(_) => false,
            };
            if self.begun {
                heard.events.push(known.with(Change::Removed));
            }
        }
    }

    /// Routes took the place of another one, of which the kernel says nothing more. Which one, it doesn't say either:
    /// where there are several, they are listed anew.
    fn replaced(&mut self, by: &[(Key, Event)], heard: &mut Heard) {
        let Some((key, _)) = by.first() else { return };
        let mut others = self.siblings(key);
        others.retain(|other| by.iter().all(|(key, _)| key != other));
        match &others[..] {
            [] => {}
            [other] => {
                let replaced = self.known.remove(other).filter(|_| self.begun);
                heard.events.extend(replaced.map(|event| event.with(Change::Removed)));
            }
            _ => heard.stale = true,
        }
    }

    /// All known routes to the same destination, that differ in where they lead only.
    fn siblings(&self, key: &Key) -> Vec<Key> {
        let Key::Route(way, _) = key else { return Vec::new() };
        let from = self.known.range(Key::Route(way.clone(), Hop::default())..);
        let same = from.take_while(|(key, _)| matches!(key, Key::Route(other, _) if other == way));
        same.map(|(key, _)| key.clone()).collect()
    }

    /// The kernel says the same thing more than once: only what is other than before is an event.
    fn is(&mut self, key: Key, event: Event, events: &mut Vec<Event>) {
        if let Some(seen) = &mut self.seen {
            seen.insert(key.clone());
        }
        // Kept alike, whatever became of it, to be compared.
        let event = event.with(Change::Current);
        let known = self.known.insert(key, event.clone());
        let mut moved = Vec::new();
        if let Event::Link(link) = &event
            && !matches!(&known, Some(Event::Link(before)) if before.name == link.name)
        {
            // What was said of it before its own name was is below none.
            self.rename(link.index, &link.name, &mut moved);
        }
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
        events.append(&mut moved);
    }

    /// The addresses and routes of a link move to the topics of its new name.
    fn rename(&mut self, index: u32, name: &str, events: &mut Vec<Event>) {
        for event in self.known.values_mut() {
            let link = match &mut *event {
                Event::Address(address) if address.index == index => &mut address.link,
                Event::Route(route) if route.index == Some(index) => &mut route.link,
                _ => continue,
            };
            if link == name {
                continue;
            }
            let before = std::mem::replace(link, name.to_owned());
            let mut ended = event.clone().with(Change::Removed);
            if let Event::Address(Address { link, .. }) | Event::Route(Route { link, .. }) = &mut ended {
                *link = before;
            }
            events.extend([ended, event.clone().with(Change::Changed)]);
        }
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
}

#[cfg(test)]
mod tests;
