//! The sockets to one broker, as the driver waits at them.

use crate::sys::NetlinkSocket;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

/// What the epoll descriptor watches, and says what is ready of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ready(pub(crate) u64);

impl Ready {
    pub(crate) const EVENTS: u64 = 1;
    pub(crate) const REQUESTS: u64 = 2;
    pub(crate) const WAKER: u64 = 4;
    pub(crate) const TIMER: u64 = 8;
    /// An answer to the search for a broker.
    pub(crate) const BROKER: u64 = 16;

    pub(crate) fn has(self, what: u64) -> bool {
        self.0 & what != 0
    }
}

/// The sockets to one broker.
pub(crate) struct Sockets {
    pub(crate) events: NetlinkSocket,
    pub(crate) requests: Arc<NetlinkSocket>,
}

impl Sockets {
    pub(crate) fn watch(&self, epoll: &Epoll) -> nix::Result<()> {
        watch(epoll, &self.events, Ready::EVENTS)?;
        watch(epoll, &*self.requests, Ready::REQUESTS)
    }

    /// A publisher that is just sending holds a socket open; epoll must not report it.
    pub(crate) fn unwatch(&self, epoll: &Epoll) {
        let _ = epoll.delete(&*self.requests);
        let _ = epoll.delete(&self.events);
    }
}

pub(crate) fn error_of<T>(result: &io::Result<T>) -> Option<Errno> {
    result.as_ref().err().map(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))
}

pub(crate) fn watch(epoll: &Epoll, fd: impl AsFd, what: u64) -> nix::Result<()> {
    epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, what))
}
