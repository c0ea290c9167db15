//! Looking for a broker that is gone: now and then, and without waiting for it. One that is there and says nothing, since it
//! is stopped, must not hold up whoever drives the connection.

use crate::link::{self, Choice, Inquiry, Look};
use crate::wire::Info;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::time::{Duration, Instant};

/// How long to wait before looking again, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The search for a broker, and where it stands.
#[derive(Debug)]
pub(crate) struct Search {
    choice: Choice,
    port: u32,
    /// The network namespace of the connection, where the kernel tells. Whoever drives may be in another one, and what he
    /// would find there is another bus.
    home: Option<u64>,
    state: State,
    /// How long to wait after a look in vain.
    wait: Duration,
}

#[derive(Debug)]
enum State {
    /// Nothing is looked for.
    Off,
    /// The next look is due then.
    Due(Instant),
    /// Somebody is there and hasn't said which broker he is. If he doesn't until then, he is asked again later.
    Asked(Inquiry, Instant),
}

impl Search {
    /// None yet; `home` is the connection's network namespace.
    pub(crate) fn new(choice: Choice, port: u32, home: Option<u64>) -> Search {
        Search { choice, port, home, state: State::Off, wait: BACKOFF.0 }
    }

    /// Begins to look.
    pub(crate) fn begin(&mut self, now: Instant) {
        (self.state, self.wait) = (State::Due(now), BACKOFF.0);
    }

    /// The broker that was found will do.
    pub(crate) fn end(&mut self) {
        self.state = State::Off;
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
    pub(crate) fn look(&mut self, epoll: &Epoll, key: u64) -> Option<Info> {
        match std::mem::replace(&mut self.state, State::Off) {
            State::Off => None,
            State::Due(at) if at > Instant::now() => {
                self.state = State::Due(at);
                None
            }
            State::Due(_) => {
                let look = if self.is_home(link::namespace()) { link::look(self.choice, self.port).ok() } else { None };
                match look {
                    Some(Look::Asked(inquiry))
                        if epoll.add(&inquiry, EpollEvent::new(EpollFlags::EPOLLIN, key)).is_ok() =>
                    {
                        self.state = State::Asked(inquiry, Instant::now() + link::PATIENCE);
                        None
                    }
                    Some(Look::Found(info)) => self.later(Some(info)),
                    Some(Look::Asked(_)) | None => self.later(None),
                }
            }
            State::Asked(inquiry, until) => match inquiry.answer() {
                Ok(None) if until > Instant::now() => {
                    self.state = State::Asked(inquiry, until);
                    None
                }
                answer => {
                    // Closed it would stay in there for as long as a child of fork has it open, too.
                    let _ = epoll.delete(&inquiry);
                    self.later(answer.ok().flatten())
                }
            },
        }
    }

    /// The next look, unless what was found will do. The time that this one took doesn't count.
    fn later(&mut self, found: Option<Info>) -> Option<Info> {
        self.state = State::Due(Instant::now() + self.wait);
        self.wait = (self.wait * 2).min(BACKOFF.1);
        found
    }
}
