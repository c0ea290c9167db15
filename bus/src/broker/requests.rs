//! Requests that were received and wait to be answered: users take turns, and so do the clients of each. The socket that they
//! come by is one for all, so it is emptied as fast as can be, and who asks faster than he is answered fills his own place
//! here and nobody else's. Pure.

use super::core::Sender;
use std::collections::{HashMap, VecDeque};

/// Bytes that wait of one client, of all of one user's, and together. What is beyond them is dropped, as any datagram may be.
const CLIENT_MAX: usize = 1 << 20;
const USER_MAX: usize = 4 << 20;
const TOTAL_MAX: usize = 32 << 20;
/// What one datagram counts in addition: many empty ones are not free.
const OVERHEAD: usize = 64;

/// Those who take turns, by user id or port id.
#[derive(Debug)]
struct Line<T> {
    order: VecDeque<u32>,
    turns: HashMap<u32, T>,
}

/// The clients of a user.
#[derive(Debug, Default)]
struct User {
    clients: Line<Client>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Client {
    datagrams: VecDeque<(Sender, Vec<u8>)>,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Requests {
    users: Line<User>,
    bytes: usize,
}

impl<T> Default for Line<T> {
    fn default() -> Line<T> {
        Line { order: VecDeque::new(), turns: HashMap::new() }
    }
}

impl<T: Default> Line<T> {
    /// Somebody's place; behind all others if he has none yet.
    fn place(&mut self, id: u32) -> &mut T {
        let Line { order, turns } = self;
        turns.entry(id).or_insert_with(|| {
            order.push_back(id);
            T::default()
        })
    }

    /// Has the next one take his turn, and stand behind all others then if he says that something of him waits.
    fn take_turn<R>(&mut self, take: impl FnOnce(&mut T) -> Option<(R, bool)>) -> Option<R> {
        let id = self.order.pop_front()?;
        let (taken, waits) = take(self.turns.get_mut(&id)?)?;
        if waits {
            self.order.push_back(id);
        } else {
            self.turns.remove(&id);
        }
        Some(taken)
    }
}

impl Requests {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Has a datagram wait for its turn. Returns whether there is room for it.
    pub(super) fn push(&mut self, sender: Sender, datagram: &[u8]) -> bool {
        let cost = datagram.len() + OVERHEAD;
        let user = self.users.turns.get(&sender.uid);
        let client = user.and_then(|user| user.clients.turns.get(&sender.port));
        let taken = [self.bytes, user.map_or(0, |user| user.bytes), client.map_or(0, |client| client.bytes)];
        if taken.iter().zip([TOTAL_MAX, USER_MAX, CLIENT_MAX]).any(|(bytes, max)| bytes + cost > max) {
            return false;
        }
        let user = self.users.place(sender.uid);
        let client = user.clients.place(sender.port);
        client.datagrams.push_back((sender, datagram.into()));
        client.bytes += cost;
        user.bytes += cost;
        self.bytes += cost;
        true
    }

    /// The datagram whose turn it is.
    pub(super) fn pop(&mut self) -> Option<(Sender, Vec<u8>)> {
        let next = self.users.take_turn(|user| {
            let next = user.clients.take_turn(|client| {
                let next = client.datagrams.pop_front()?;
                client.bytes -= next.1.len() + OVERHEAD;
                Some((next, !client.datagrams.is_empty()))
            })?;
            user.bytes -= next.1.len() + OVERHEAD;
            Some((next, !user.clients.order.is_empty()))
        })?;
        self.bytes -= next.1.len() + OVERHEAD;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::sender::Endpoint;

    fn sender(uid: u32, port: u32) -> Sender {
        Sender { port, pid: 1, uid, gid: uid, to: Endpoint::Request }
    }

    fn push(requests: &mut Requests, uid: u32, port: u32, numbers: std::ops::Range<u8>) {
        numbers.for_each(|number| assert!(requests.push(sender(uid, port), &[number])));
    }

    #[test]
    fn users_take_turns_and_so_do_the_clients_of_each() {
        let mut requests = Requests::default();
        push(&mut requests, 1, 10, 0..4);
        push(&mut requests, 1, 11, 0..2);
        push(&mut requests, 2, 20, 0..3);
        let order: Vec<_> = std::iter::from_fn(|| requests.pop()).map(|(who, bytes)| (who.port, bytes[0])).collect();
        let (first, second) = ([(10, 0), (20, 0), (11, 0), (20, 1), (10, 1), (20, 2)], [(11, 1), (10, 2), (10, 3)]);
        assert_eq!(order, [&first[..], &second].concat());
        assert!(requests.is_empty() && requests.bytes == 0);
    }

    #[test]
    fn who_asks_for_too_much_fills_his_own_place() {
        let mut requests = Requests::default();
        let large = vec![0; 60_000];
        for port in 0..100 {
            let taken = (0..100).filter(|_| requests.push(sender(1, port), &large)).count();
            assert!(taken < 20, "{taken} by {port}");
        }
        assert!(requests.bytes <= USER_MAX && requests.bytes > USER_MAX - large.len() - OVERHEAD);
        let kept = requests.users.turns[&1].clients.turns[&0].bytes;
        assert!(kept <= CLIENT_MAX && kept > CLIENT_MAX - large.len() - OVERHEAD, "{kept}");
        push(&mut requests, 2, 1000, 0..1);
        assert_eq!((requests.pop().unwrap().0.port, requests.pop().unwrap().0.port), (0, 1000));
        for uid in 3..20 {
            let taken = (0..100).filter(|_| requests.push(sender(uid, uid * 100), &large)).count();
            assert!(taken < 20, "{taken} by {uid}");
        }
        let taken = (20..9000).filter(|uid| requests.push(sender(*uid, *uid), &large)).count();
        assert!(taken < 600, "{taken} by everybody");
        assert!(requests.bytes <= TOTAL_MAX && requests.bytes > TOTAL_MAX - large.len() - OVERHEAD);
        while requests.pop().is_some() {}
        assert!(requests.is_empty() && requests.users.turns.is_empty(), "who has nothing waiting has no turn");
    }
}
