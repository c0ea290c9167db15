//! Looking for a broker that is gone: now and then, and without waiting for it. One that is there and says nothing, since it
//! is stopped, must not hold up whoever drives the connection.

use crate::link::{self, ConnectError, Inquiry, Look, Sought};
use crate::wire::Info;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::time::{Duration, Instant};

/// How long to wait before looking again, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The search for a broker, and where it stands.
#[derive(Debug)]
pub(crate) struct Search {
    sought: Sought,
    /// The network namespace of the connection, where the kernel tells. Whoever drives may be in another one, and what he
    /// would find there is another bus.
    home: Option<u64>,
    state: State,
    /// How long to wait after a look in vain.
    wait: Duration,
    /// When the last look was.
    last: Instant,
}

/// What a look has found.
#[derive(Debug)]
pub(crate) enum Seen {
    /// Nothing yet.
    Nothing,
    /// That there is no broker.
    Nobody,
    /// This one.
    Broker(Box<Info>),
}

#[derive(Debug)]
enum State {
    /// Nothing is looked for.
    Off,
    /// The next look is due then.
    Due(Instant),
    /// Somebody is there and hasn't said which broker he is. If he hasn't until then, the next look is due: he may be a broker
    /// that was just about to close and took the question with it, and another one have his place.
    Asked(Inquiry, Instant),
}

impl Search {
    /// None yet; `home` is the connection's network namespace.
    pub(crate) fn new(sought: Sought, home: Option<u64>) -> Search {
        Search { sought, home, state: State::Off, wait: BACKOFF.0, last: Instant::now() }
    }

    /// Begins to look.
    pub(crate) fn begin(&mut self, now: Instant) {
        (self.state, self.wait) = (State::Due(now), BACKOFF.0);
    }

    /// Somebody waits for the broker: the next look is as soon as the second one was. (Whoever is there and silent isn't asked
    /// more often for that.)
    pub(crate) fn hasten(&mut self) {
        if let State::Due(at) = &mut self.state {
            *at = (*at).min(self.last + BACKOFF.0);
        }
    }

    /// The broker that was found will do.
    pub(crate) fn end(&mut self) {
        self.state = State::Off;
    }

    /// Whether a broker is looked for.
    pub(crate) fn is_on(&self) -> bool {
        !matches!(self.state, State::Off)
    }

    /// When [`look`](Self::look) wants to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Off => None,
            State::Due(at) | State::Asked(_, at) => Some(at),
        }
    }

    /// Whether a socket of this network namespace is one of the connection's.
    pub(crate) fn is_home(&self, namespace: Option<u64>) -> bool {
        self.home.is_none() || namespace.is_none() || self.home == namespace
    }

    /// Looks, if it is time, and reads an answer, if there is one. While one is awaited, `epoll` says `key` of it. The search
    /// goes on until it is told to end.
    pub(crate) fn look(&mut self, epoll: &Epoll, key: u64) -> Seen {
        match std::mem::replace(&mut self.state, State::Off) {
            State::Off => Seen::Nothing,
            State::Due(at) if at > Instant::now() => {
                self.state = State::Due(at);
                Seen::Nothing
            }
            State::Due(_) => self.look_now(epoll, key),
            State::Asked(inquiry, until) => match inquiry.answer() {
                Ok(None) if until > Instant::now() => {
                    self.state = State::Asked(inquiry, until);
                    Seen::Nothing
                }
                answer => {
                    // Closed it would stay in there for as long as a child of fork has it open, too.
                    let _ = epoll.delete(&inquiry);
                    match answer {
                        Ok(None) => self.look_now(epoll, key),
                        Ok(Some(info)) => self.later(Seen::Broker(Box::new(info))),
                        Err(_) => self.later(Seen::Nothing),
                    }
                }
            },
        }
    }

    fn look_now(&mut self, epoll: &Epoll, key: u64) -> Seen {
        if !self.is_home(link::namespace()) {
            return self.later(Seen::Nothing);
        }
        match link::look(self.sought) {
            Ok(Look::Found(info)) => self.later(Seen::Broker(info)),
            Ok(Look::Asked(inquiry)) if epoll.add(&inquiry, EpollEvent::new(EpollFlags::EPOLLIN, key)).is_ok() => {
                self.state = State::Asked(inquiry, self.next());
                Seen::Nothing
            }
            Err(ConnectError::NoBroker { .. }) => self.later(Seen::Nobody),
            // A broker of another kind, say, or one that is closing.
            Ok(Look::Asked(_)) | Err(_) => self.later(Seen::Nothing),
        }
    }

    /// The next look, unless what was found will do.
    fn later(&mut self, seen: Seen) -> Seen {
        self.state = State::Due(self.next());
        seen
    }

    /// When to look again. The time that a look took doesn't count.
    fn next(&mut self) -> Instant {
        self.last = Instant::now();
        let next = self.last + self.wait;
        self.wait = (self.wait * 2).min(BACKOFF.1);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Broker;
    use crate::link::{Choice, Trust};
    use crate::sys::NetlinkSocket;
    use crate::wire::uapi::NETLINK_USERSOCK;
    use nix::sys::epoll::{EpollCreateFlags, EpollTimeout};

    #[test]
    fn a_question_that_a_broker_took_with_it_is_soon_asked_again() {
        // Below 2^31 and above the process ids: the kernel gives it to nobody unasked.
        let port = 0x6100_0000 + std::process::id() % (1 << 22) * 2;
        let mut closing = NetlinkSocket::open(NETLINK_USERSOCK).unwrap();
        closing.bind(port + 1).unwrap();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let mut search = Search::new(Sought { choice: Choice::User, port, trust: Trust::new(None) }, None);
        search.begin(Instant::now());
        assert!(matches!(search.look(&epoll, 7), Seen::Nothing));
        assert!(closing.queued().unwrap() > 0, "not asked");
        assert!(search.deadline().unwrap() <= Instant::now() + BACKOFF.0);
        drop(closing);
        let next = Broker::builder().port(port).spawn().unwrap();
        let found = (0..100).find_map(|_| {
            let wait = search.deadline().unwrap().saturating_duration_since(Instant::now());
            let wait = EpollTimeout::try_from(wait + Duration::from_millis(1)).unwrap();
            epoll.wait(&mut [EpollEvent::empty()], wait).unwrap();
            match search.look(&epoll, 7) {
                Seen::Broker(info) => Some(info.epoch),
                Seen::Nothing | Seen::Nobody => None,
            }
        });
        assert_eq!(found, Some(next.epoch()));
    }
}
