//! The caller drives: whoever waits for something takes the driver's turns himself, so there is no thread, and one
//! wake-up less on the way of an event. Where several threads wait, one of them drives for all.

use crate::driver::{Driver, Turn};
use nix::sys::epoll::{Epoll, EpollTimeout};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A driver that its callers share.
pub(crate) struct Direct {
    state: Mutex<State>,
    /// Signalled when whoever drives has brought the driver back.
    returned: Condvar,
    epoll: Arc<Epoll>,
}

struct State {
    place: Place,
    /// How many threads wait for `returned`.
    waiting: usize,
}

/// Where the driver is. It is taken out for a turn, so that no lock is held while one waits.
enum Place {
    Here(Box<Driver>),
    Out,
    /// It was told to stop.
    Gone,
}

/// What came of reaching for the driver.
enum Reached<'a> {
    Driver(Taken<'a>),
    /// Another thread has it.
    Out(MutexGuard<'a, State>),
    Gone,
}

impl Direct {
    pub(crate) fn new(driver: Driver) -> Direct {
        let epoll = driver.epoll();
        let state = State { place: Place::Here(Box::new(driver)), waiting: 0 };
        Direct { state: Mutex::new(state), returned: Condvar::new(), epoll }
    }

    /// The epoll descriptor: readable while a turn has something to do.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// Takes turns until `done` has something, or the time is over, or the driver has ended: then `None`.
    pub(crate) fn drive<T>(&self, deadline: Option<Instant>, mut done: impl FnMut() -> Option<T>) -> Option<T> {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match self.reach() {
                Reached::Driver(mut driver) => {
                    // Whoever had it before may have brought this, and the turn would wait for the next one.
                    if let Some(found) = done() {
                        return Some(found);
                    }
                    driver.turn(timeout(left));
                }
                Reached::Out(state) => {
                    // What another thread delivers, it delivers before it brings the driver back; but it may have done so,
                    // and taken it again, before this look. From this look on it can't: it needs the lock.
                    if let Some(found) = done() {
                        return Some(found);
                    }
                    self.wait(state, left);
                }
                Reached::Gone => return done(),
            }
            if let Some(found) = done() {
                return Some(found);
            }
            if left == Some(Duration::ZERO) {
                return None;
            }
        }
    }

    /// Does what there is to do now, at most so many turns of it, unless another thread is at it. Whether there may be more.
    pub(crate) fn turn(&self, rounds: usize) -> bool {
        match self.reach() {
            Reached::Driver(mut driver) => (0..rounds).all(|_| driver.turn(EpollTimeout::ZERO) == Turn::Busy),
            Reached::Out(_) | Reached::Gone => false,
        }
    }

    /// Lets the driver do what handles asked for; where another thread has it, that one was woken to.
    pub(crate) fn obey(&self) {
        if let Reached::Driver(mut driver) = self.reach() {
            driver.obey();
        }
    }

    fn reach(&self) -> Reached<'_> {
        let mut state = self.lock();
        match std::mem::replace(&mut state.place, Place::Out) {
            Place::Here(driver) => Reached::Driver(Taken { direct: self, driver: Some(driver) }),
            Place::Out => Reached::Out(state),
            Place::Gone => {
                state.place = Place::Gone;
                Reached::Gone
            }
        }
    }

    fn wait(&self, mut state: MutexGuard<'_, State>, left: Option<Duration>) {
        state.waiting += 1;
        let mut state = match left {
            Some(left) => {
                self.returned.wait_timeout(state, left).map_or_else(|poison| poison.into_inner().0, |(state, _)| state)
            }
            None => self.returned.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        state.waiting -= 1;
    }

    /// The state is whole whatever panicked while it was held.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The driver in the hands of one thread. It comes back when this is dropped, also by a panic.
struct Taken<'a> {
    direct: &'a Direct,
    /// `None` once it was told to stop.
    driver: Option<Box<Driver>>,
}

impl Taken<'_> {
    fn turn(&mut self, timeout: EpollTimeout) -> Turn {
        self.with(|driver| driver.turn(timeout))
    }

    fn obey(&mut self) {
        self.with(|driver| driver.obey(Instant::now()));
    }

    fn with(&mut self, act: impl FnOnce(&mut Driver) -> Turn) -> Turn {
        let turn = self.driver.as_mut().map_or(Turn::Stopped, |driver| act(driver));
        if turn == Turn::Stopped {
            self.driver = None;
        }
        turn
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut state = self.direct.lock();
        state.place = self.driver.take().map_or(Place::Gone, Place::Here);
        if state.waiting > 0 {
            self.direct.returned.notify_all();
        }
    }
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").field("epoll", &self.epoll).finish_non_exhaustive()
    }
}

/// Rounded up to epoll's milliseconds: a wait that ended early would be taken again and again.
fn timeout(left: Option<Duration>) -> EpollTimeout {
    match left {
        None => EpollTimeout::NONE,
        Some(Duration::ZERO) => EpollTimeout::ZERO,
        Some(left) => EpollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(EpollTimeout::MAX),
    }
}
