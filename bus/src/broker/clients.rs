//! Clients and their last wills. A client is a socket that sent something: the kernel's list of sockets, which the driver asks for
//! now and then, says which of them are gone. Their wills are published once all is taken that they sent before.

use super::core::{Action, Core, Now, Sender, named};
use super::topics::{SYS_CLIENTS, Slot};
use super::users::Charged;
use crate::history::together_of;
use crate::wire::uapi::NLBUS_EVENT_F_WILL;
use crate::wire::{self, ClientNews, ClientsAnnouncement, EventHeader, Header, Refusal, WillRequest};
use nix::errno::Errno;
use std::collections::HashMap;

/// Between looks at who is there: where there is a will, and where there is none.
const LOOK_NS: u64 = 250_000_000;
const LOOK_SELDOM_NS: u64 = 1_000_000_000;
/// The least between two looks, whoever came meanwhile and isn't known by his cookie.
const LOOK_SOON_NS: u64 = 5_000_000;
/// How long a will waits at most for what its client sent to be taken, where others send without end.
const DYING_NS: u64 = 1_000_000_000;

/// Announcements are at least this far apart, name so many at most, and are so many at a time.
const INTERVAL_NS: u64 = 20_000_000;
const NAMED_MAX: usize = 256;
const TURN: usize = 16;

/// An event that a client leaves.
#[derive(Debug)]
struct Will {
    /// Who left it: whether he may publish it is asked again when it is due.
    sender: Sender,
    charged: Charged,
    topic: Box<str>,
    content: u16,
    payload: Box<[u8]>,
}

#[derive(Debug)]
struct Client {
    pid: u32,
    uid: u32,
    /// What tells its socket from others with that port id, once that was seen.
    cookie: Option<u64>,
    will: Option<Will>,
}

/// All clients of a bus.
#[derive(Debug)]
pub(super) struct Clients {
    by_port: HashMap<u32, Client>,
    /// Who sent last: mostly the next datagram is his as well.
    recent: Option<u32>,
    /// How many have no cookie yet.
    unseen: usize,
    wills: u32,
    /// Of these, the ones that count for ordinary users.
    wills_of: HashMap<u32, u32>,
    /// Wills of those who are gone, and since when that is known.
    dying: Vec<Will>,
    dying_since_ns: u64,
    news: Vec<ClientNews>,
    joined: u64,
    left: u64,
    next_news_ns: u64,
    last_look_ns: u64,
    /// Whether the kernel says who is there.
    pub(super) can_look: bool,
}

impl Default for Clients {
    fn default() -> Clients {
        Clients {
            by_port: HashMap::new(),
            recent: None,
            unseen: 0,
            wills: 0,
            wills_of: HashMap::new(),
            dying: Vec::new(),
            dying_since_ns: 0,
            news: Vec::new(),
            joined: 0,
            left: 0,
            next_news_ns: 0,
            last_look_ns: 0,
            can_look: true,
        }
    }
}

impl Clients {
    /// Remembers who sends.
    #[inline]
    pub(super) fn note(&mut self, sender: Sender) {
        if self.recent != Some(sender.port) {
            self.note_other(sender);
        }
    }

    fn note_other(&mut self, sender: Sender) {
        let Sender { port, pid, uid, .. } = sender;
        self.recent = Some(port);
        let Clients { by_port, unseen, news, .. } = self;
        by_port.entry(port).or_insert_with(|| {
            *unseen += 1;
            news.push(ClientNews { portid: port, pid, uid, left: false });
            Client { pid, uid, cookie: None, will: None }
        });
    }

    /// Whether somebody would be told apart from others with his port id.
    pub(super) fn knows(&self, port: u32) -> bool {
        self.by_port.get(&port).is_some_and(|client| client.cookie.is_some())
    }

    /// Remembers somebody without telling of him.
    #[cfg(test)]
    pub(super) fn note_in_silence(&mut self, sender: Sender) {
        let told = self.news.len();
        self.note(sender);
        self.news.truncate(told);
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.by_port.len() as u64
    }

    /// How many wills were left.
    pub(super) fn wills(&self) -> u64 {
        self.wills.into()
    }

    /// Whether wills wait for what their clients sent before.
    pub(super) fn any_dying(&self) -> bool {
        !self.dying.is_empty()
    }

    /// When to look who is there.
    pub(super) fn look_at(&self) -> Option<u64> {
        let wait = match () {
            () if self.by_port.is_empty() || !self.can_look => return None,
            () if self.unseen > 0 => LOOK_SOON_NS,
            () if self.wills > 0 => LOOK_NS,
            () => LOOK_SELDOM_NS,
        };
        Some(self.last_look_ns.saturating_add(wait))
    }

    /// Who is there couldn't be seen.
    pub(super) fn look_later(&mut self, now_ns: u64) {
        self.last_look_ns = now_ns;
    }

    /// Who is there now, by port id, each with his socket's cookie. Of those who aren't in the list, `is_there` says whether
    /// somebody has their port ids; if not, they are gone.
    fn looked(&mut self, there: &HashMap<u32, u64>, is_there: impl Fn(u32) -> bool, now_ns: u64) {
        self.last_look_ns = now_ns;
        self.unseen = 0;
        let gone = |(port, client): (&u32, &mut Client)| {
            let is_same = match (there.get(port), client.cookie) {
                (None, cookie) => {
                    let is_same = is_there(*port);
                    self.unseen += usize::from(is_same && cookie.is_none());
                    is_same
                }
                (Some(cookie), None) => {
                    client.cookie = Some(*cookie);
                    true
                }
                (Some(cookie), Some(known)) => *cookie == known,
            };
            (!is_same).then_some(*port)
        };
        let gone: Vec<u32> = self.by_port.iter_mut().filter_map(gone).collect();
        for portid in gone {
            let Some(Client { pid, uid, will, .. }) = self.by_port.remove(&portid) else { continue };
            // Who has its port now is to be noted.
            self.recent = None;
            self.news.push(ClientNews { portid, pid, uid, left: true });
            if let Some(will) = will {
                if self.dying.is_empty() {
                    self.dying_since_ns = now_ns;
                }
                self.dying.push(will);
            }
        }
    }

    /// When there is something to say.
    pub(super) fn news_at(&self) -> Option<u64> {
        (!self.news.is_empty()).then_some(self.next_news_ns)
    }

    /// The announcements whose time has come.
    fn announce(&mut self, now_ns: u64) -> Vec<ClientsAnnouncement> {
        if self.news_at().is_none_or(|due| due > now_ns) {
            return Vec::new();
        }
        self.next_news_ns = now_ns + INTERVAL_NS;
        let rest = self.news.split_off(self.news.len().min(NAMED_MAX * TURN));
        let news = std::mem::replace(&mut self.news, rest);
        let said = news.chunks(NAMED_MAX).map(|clients| {
            let left = clients.iter().filter(|client| client.left).count() as u64;
            self.left += left;
            self.joined += clients.len() as u64 - left;
            ClientsAnnouncement { joined: self.joined, left: self.left, clients: clients.to_vec() }
        });
        said.collect()
    }

    /// Gives a client another will, or none. Returns the one before.
    fn set_will(&mut self, port: u32, will: Option<Will>) -> Option<Will> {
        if let Some(will) = &will {
            self.wills += 1;
            if let Some(uid) = will.charged {
                *self.wills_of.entry(uid).or_default() += 1;
            }
        }
        let before = self.by_port.get_mut(&port).and_then(|client| std::mem::replace(&mut client.will, will));
        if let Some(before) = &before {
            self.uncount(before);
        }
        before
    }

    fn uncount(&mut self, will: &Will) {
        self.wills -= 1;
        if let Some(uid) = will.charged
            && let Some(count) = self.wills_of.get_mut(&uid)
        {
            *count -= 1;
            if *count == 0 {
                self.wills_of.remove(&uid);
            }
        }
    }

    /// Of whom a client's will counts, if it has one.
    fn charged(&self, port: u32) -> Option<Charged> {
        Some(self.by_port.get(&port)?.will.as_ref()?.charged)
    }
}

impl Core {
    /// Leaves a will for a client, or takes it back.
    pub(super) fn answer_will(&mut self, request: &WillRequest<'_>, sender: Sender) -> Result<(), Refusal> {
        let WillRequest::Set { topic, content, payload } = *request else {
            self.clients.set_will(sender.port, None);
            return Ok(());
        };
        if !self.clients.can_look {
            let text = "this kernel doesn't say which sockets are closed, so wills can't be served: it lacks netlink_diag \
                        (modprobe netlink_diag, or CONFIG_NETLINK_DIAG)";
            return Err(Refusal::new(Errno::EOPNOTSUPP, text));
        }
        let charged = self.charged(sender);
        self.check_wills(sender.port, charged)?;
        self.will_topic(topic, sender, charged)?;
        let will = Will { sender, charged, topic: topic.into(), content, payload: payload.into() };
        self.clients.set_will(sender.port, Some(will));
        Ok(())
    }

    /// Whether there is room for another will; the one that it takes the place of isn't held against it.
    fn check_wills(&self, port: u32, charged: Charged) -> Result<(), Refusal> {
        let max = self.config.wills;
        let old = self.clients.charged(port);
        let all = if charged.is_none() { max } else { together_of(max.into()) as u32 };
        if self.clients.wills - u32::from(old.is_some()) >= all {
            let text = format!("there are {all} wills, as many as there may be (option --wills)");
            return Err(Refusal::new(Errno::ENOSPC, text));
        }
        let Some(uid) = charged else { return Ok(()) };
        let (own, most) = (self.clients.wills_of.get(&uid).copied().unwrap_or_default(), self.config.user_wills());
        if own - u32::from(old == Some(charged)) >= most {
            let text = format!("user {uid} left {most} wills, as many as one user may (option --user-wills)");
            return Err(Refusal::new(Errno::EDQUOT, text));
        }
        Ok(())
    }

    /// The topic of a will, created if it isn't there, if who leaves it may publish there.
    fn will_topic(&mut self, name: &str, sender: Sender, charged: Charged) -> Result<Slot, Refusal> {
        let found = self.topics.find(name);
        let access = found.map_or_else(|| self.new_access(sender), |slot| self.topics.get(slot).access);
        if !access.may_write(sender) {
            return Err(access.denied(&named(name), "publish to", sender));
        }
        if let Some(refusal) = self.overdrawn(name, found, charged) {
            return Err(refusal);
        }
        match found {
            Some(slot) => Ok(slot),
            None if self.room_for_topics(charged).0 == 0 => Err(self.one_topic_too_many(name, charged)),
            None => Ok(self.create(name, access, charged)),
        }
    }

    /// Who is there: see [`Clients::looked`]. Nothing may have been taken since the list was made.
    pub(super) fn looked(&mut self, there: &HashMap<u32, u64>, is_there: impl Fn(u32) -> bool, now: Now) {
        self.clients.looked(there, is_there, now.boot_ns);
    }

    /// Publishes the wills of those who are gone, if all is taken that they sent before; `drained` says that nothing waits that was
    /// there when that was seen.
    pub(super) fn bury(&mut self, drained: bool, now: Now, out: &mut impl FnMut(Action<'_>) -> bool) {
        if !drained && now.boot_ns < self.clients.dying_since_ns.saturating_add(DYING_NS) {
            return;
        }
        for will in std::mem::take(&mut self.clients.dying) {
            self.clients.uncount(&will);
            if self.closing {
                continue;
            }
            match self.will_topic(&will.topic, will.sender, will.charged) {
                Ok(slot) => self.publish_will(slot, &will, out),
                Err(_) => self.count_refused(),
            }
        }
    }

    fn publish_will(&mut self, slot: Slot, will: &Will, out: &mut impl FnMut(Action<'_>) -> bool) {
        let Sender { port: portid, pid, uid, .. } = will.sender;
        let (flags, content) = (NLBUS_EVENT_F_WILL, will.content);
        let event = EventHeader { portid, pid, uid, flags, content, ..EventHeader::default() };
        let mut message = Vec::new();
        wire::push_event(&mut message, Header::default(), &event, &will.topic, &will.payload);
        self.sequence(slot, [&message[..]].into_iter(), event, out);
    }

    /// Says who came and went.
    pub(super) fn say_who_is_there(&mut self, out: &mut impl FnMut(Action<'_>) -> bool) {
        for announcement in self.clients.announce(self.now.boot_ns) {
            self.publish_own(SYS_CLIENTS, &announcement.to_bytes(), out);
        }
    }
}
