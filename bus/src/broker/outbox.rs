//! Answers that a client has no room for. The broker never waits for a client: what doesn't fit is kept here, within
//! bounds, and tried again a little later, so that one who doesn't read stops nobody. Pure: sending is a function.

use super::core::Endpoint;
use crate::wire::uapi::NLBUS_DATAGRAM_MAX;
use std::collections::{HashMap, VecDeque};

/// Bytes that wait for one client: sixteen of the largest datagrams.
const CLIENT_MAX: usize = 1 << 20;
/// Bytes that wait for all clients of one user, and for all together: nobody's deafness leaves others without room.
const USER_MAX: usize = 8 << 20;
const TOTAL_MAX: usize = 32 << 20;
/// What one waiting datagram counts in addition: many empty ones are not free.
const OVERHEAD: usize = 64;
/// The first try again comes after this long, each further one after twice as long, up to the second number.
const DELAY_MIN_NS: u64 = 1_000_000;
const DELAY_MAX_NS: u64 = 50_000_000;
/// Who has taken nothing for so long gets nothing of what waits.
const PATIENCE_NS: u64 = 30_000_000_000;

/// What became of a try to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// The client's socket took it, or it is pointless to try again.
    Done,
    /// The client's socket has no room.
    Full,
    /// Nobody has that port id any more.
    Gone,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    clients: HashMap<u32, Waiting>,
    /// Bytes, by user id.
    users: HashMap<u32, usize>,
    bytes: usize,
    dropped: u64,
}

#[derive(Debug)]
struct Waiting {
    /// Whose it was when it began to wait.
    uid: u32,
    datagrams: VecDeque<(Endpoint, Box<[u8]>)>,
    bytes: usize,
    delay_ns: u64,
    retry_ns: u64,
    give_up_ns: u64,
}

impl Outbox {
    /// Sends a datagram to a client, behind what waits for it.
    pub(super) fn send(
        &mut self,
        port: u32,
        uid: u32,
        from: Endpoint,
        datagram: &[u8],
        now_ns: u64,
        mut transmit: impl FnMut(u32, Endpoint, &[u8]) -> Sent,
    ) {
        let waits = self.clients.contains_key(&port);
        if !waits && transmit(port, from, datagram) != Sent::Full {
            return;
        }
        let cost = datagram.len() + OVERHEAD;
        let (waiting, uid) = self.clients.get(&port).map_or((0, uid), |waiting| (waiting.bytes, waiting.uid));
        let of_user = self.users.get(&uid).copied().unwrap_or_default();
        if waiting + cost > CLIENT_MAX || of_user + cost > USER_MAX || self.bytes + cost > TOTAL_MAX {
            self.dropped += 1;
            return;
        }
        let waiting = self.clients.entry(port).or_insert_with(|| Waiting {
            uid,
            datagrams: VecDeque::new(),
            bytes: 0,
            delay_ns: DELAY_MIN_NS,
            retry_ns: now_ns + DELAY_MIN_NS,
            give_up_ns: now_ns + PATIENCE_NS,
        });
        waiting.datagrams.push_back((from, datagram.into()));
        waiting.bytes += cost;
        *self.users.entry(uid).or_default() += cost;
        self.bytes += cost;
    }

    /// Whether so much waits for a client that there may be no room for another datagram.
    pub(super) fn is_full(&self, port: u32) -> bool {
        let waiting = self.clients.get(&port).map_or(0, |waiting| waiting.bytes);
        waiting + NLBUS_DATAGRAM_MAX + OVERHEAD > CLIENT_MAX
    }

    /// Tries again what is due.
    pub(super) fn retry(&mut self, now_ns: u64, mut transmit: impl FnMut(u32, Endpoint, &[u8]) -> Sent) {
        let Outbox { clients, users, bytes, dropped } = self;
        let mut release = |uid: u32, cost: usize| {
            *bytes -= cost;
            let of_user = users.entry(uid).or_default();
            *of_user -= cost;
            if *of_user == 0 {
                users.remove(&uid);
            }
        };
        clients.retain(|port, waiting| {
            if now_ns < waiting.retry_ns {
                return true;
            }
            let before = waiting.datagrams.len();
            while let Some((from, datagram)) = waiting.datagrams.front() {
                match transmit(*port, *from, datagram) {
                    Sent::Done => {}
                    Sent::Full => break,
                    Sent::Gone => {
                        release(waiting.uid, waiting.bytes);
                        return false;
                    }
                }
                let cost = datagram.len() + OVERHEAD;
                waiting.bytes -= cost;
                release(waiting.uid, cost);
                waiting.datagrams.pop_front();
            }
            if waiting.datagrams.len() < before {
                waiting.delay_ns = DELAY_MIN_NS;
                waiting.give_up_ns = now_ns + PATIENCE_NS;
            } else {
                waiting.delay_ns = (waiting.delay_ns * 2).min(DELAY_MAX_NS);
            }
            waiting.retry_ns = now_ns + waiting.delay_ns;
            if now_ns >= waiting.give_up_ns {
                *dropped += waiting.datagrams.len() as u64;
                release(waiting.uid, waiting.bytes);
                return false;
            }
            !waiting.datagrams.is_empty()
        });
    }

    /// When [`retry`](Self::retry) has something to do.
    pub(super) fn next_retry(&self) -> Option<u64> {
        self.clients.values().map(|waiting| waiting.retry_ns).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const FROM: Endpoint = Endpoint::Request;

    /// Clients with room for so many datagrams, and what each of them got.
    #[derive(Default)]
    struct Clients {
        room: HashMap<u32, usize>,
        got: HashMap<u32, Vec<u8>>,
    }

    fn transmit(clients: &RefCell<Clients>) -> impl FnMut(u32, Endpoint, &[u8]) -> Sent + '_ {
        |port, _, datagram| {
            let clients = &mut *clients.borrow_mut();
            match clients.room.get_mut(&port) {
                None => Sent::Gone,
                Some(0) => Sent::Full,
                Some(room) => {
                    *room -= 1;
                    clients.got.entry(port).or_default().push(datagram[0]);
                    Sent::Done
                }
            }
        }
    }

    fn room(clients: &RefCell<Clients>, port: u32, room: usize) {
        clients.borrow_mut().room.insert(port, room);
    }

    #[test]
    fn what_waits_is_sent_in_order_and_stops_nobody() {
        let (clients, mut outbox) = (RefCell::default(), Outbox::default());
        room(&clients, 1, 1);
        room(&clients, 2, 9);
        for at in 0..4 {
            outbox.send(1, 1, FROM, &[at], 0, transmit(&clients));
            outbox.send(2, 2, FROM, &[at], 0, transmit(&clients));
        }
        assert_eq!(clients.borrow().got, HashMap::from([(1, vec![0]), (2, vec![0, 1, 2, 3])]));
        assert_eq!(outbox.next_retry(), Some(DELAY_MIN_NS));
        room(&clients, 1, 2);
        outbox.send(1, 1, FROM, &[4], 0, transmit(&clients));
        assert_eq!(clients.borrow().got[&1], [0], "nothing overtakes what waits");
        outbox.retry(DELAY_MIN_NS, transmit(&clients));
        assert_eq!(clients.borrow().got[&1], [0, 1, 2]);
        room(&clients, 1, 9);
        outbox.retry(3 * DELAY_MIN_NS, transmit(&clients));
        assert_eq!(clients.borrow().got[&1], [0, 1, 2, 3, 4]);
        assert_eq!((outbox.next_retry(), outbox.bytes, outbox.dropped), (None, 0, 0));
    }

    #[test]
    fn what_waits_is_bounded_per_client_and_together() {
        let (clients, mut outbox) = (RefCell::default(), Outbox::default());
        let datagram = vec![0; 60_000];
        for port in 0..100 {
            room(&clients, port, 0);
            for _ in 0..100 {
                outbox.send(port, port % 10, FROM, &datagram, 0, transmit(&clients));
                assert!(outbox.clients.get(&port).is_none_or(|waiting| waiting.bytes <= CLIENT_MAX));
            }
            assert!(port > 0 || (outbox.is_full(0) && !outbox.is_full(1)));
        }
        assert!(outbox.bytes <= TOTAL_MAX && outbox.bytes > TOTAL_MAX - CLIENT_MAX);
        assert!(outbox.dropped > 0);
        clients.borrow_mut().room.clear();
        outbox.retry(DELAY_MIN_NS, transmit(&clients));
        assert_eq!((outbox.bytes, outbox.clients.len()), (0, 0), "the clients are gone");
    }

    #[test]
    fn what_waits_for_one_user_leaves_room_for_others() {
        let (clients, mut outbox) = (RefCell::default(), Outbox::default());
        let datagram = vec![0; 60_000];
        for port in 0..100 {
            room(&clients, port, 0);
            for _ in 0..100 {
                outbox.send(port, 1, FROM, &datagram, 0, transmit(&clients));
            }
        }
        assert!(outbox.bytes <= USER_MAX && outbox.bytes > USER_MAX - datagram.len() - OVERHEAD);
        room(&clients, 200, 0);
        outbox.send(200, 2, FROM, &datagram, 0, transmit(&clients));
        assert!(outbox.clients.contains_key(&200));
        room(&clients, 200, 1);
        (0..100).for_each(|port| room(&clients, port, 20));
        outbox.retry(DELAY_MIN_NS, transmit(&clients));
        assert!(outbox.bytes == 0 && outbox.users.is_empty(), "{:?}", outbox.users);
    }

    #[test]
    fn tries_become_rare_and_end() {
        let (clients, mut outbox) = (RefCell::default(), Outbox::default());
        room(&clients, 1, 0);
        outbox.send(1, 1, FROM, &[0], 0, transmit(&clients));
        let mut tries = 0;
        while let Some(at) = outbox.next_retry() {
            outbox.retry(at, transmit(&clients));
            tries += 1;
        }
        assert!((500..700).contains(&tries), "{tries}");
        assert_eq!((outbox.dropped, outbox.bytes), (1, 0));
    }
}
