//! The descriptor that tells an event loop of a subscription. It is made when it is first asked for, so that who waits
//! otherwise pays nothing.

use crate::arrivals::Arrivals;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// Readable from an arrival until it is cleared.
#[derive(Debug)]
pub(crate) struct Readable {
    arrived: Arc<EventFd>,
    /// Where the caller drives: `arrived`, or that there is work to do, which may bring an arrival. Neither will do alone:
    /// turns are taken for other reasons, too, and then what was in the sockets is in the channel.
    either: Option<Epoll>,
}

impl Readable {
    /// Readable to begin with. `work` is readable while the caller, who drives, has something to do.
    ///
    /// # Errors
    /// What eventfd(2) and epoll(7) say.
    pub(crate) fn new(work: Option<BorrowedFd<'_>>) -> io::Result<Readable> {
        // Set to begin with: there may be something already.
        let arrived = EventFd::from_value_and_flags(1, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let either = work.map(|work| either(work, arrived.as_fd())).transpose()?;
        Ok(Readable { arrived: Arc::new(arrived), either })
    }

    /// Is told of arrivals from now on.
    pub(crate) fn listen(&self, arrivals: &Arrivals) {
        let arrived = Arc::clone(&self.arrived);
        // It can fail only when the counter is full, and then it is readable.
        arrivals.listen(move || {
            let _ = arrived.write(1);
        });
    }

    /// What arrives after this makes it readable again; what arrived before is in the channel.
    pub(crate) fn clear(&self) {
        let _ = self.arrived.read();
    }
}

/// Readable while one of the two is. Both stay in it until they are closed: nobody takes events out of it.
fn either(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> nix::Result<Epoll> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for fd in [one, other] {
        epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    }
    Ok(epoll)
}

impl AsFd for Readable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.either.as_ref().map_or_else(|| self.arrived.as_fd(), |either| either.0.as_fd())
    }
}
