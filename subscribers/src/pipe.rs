//! Standard output as a pipe: noticing that nobody reads it any more, also while there is nothing to write, as tail(1) does.

use crate::end::End;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd;
use std::thread;

/// Does something when it is closed at the other end.
///
/// # Errors
/// When no thread can be started.
pub fn when_closed(act: impl FnOnce() + Send + 'static) -> Result<(), End> {
    let watch = move || {
        let stdout = io::stdout();
        // No events asked for: errors and hang-ups are reported in any case (poll(2)).
        let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        while matches!(poll(&mut fds, PollTimeout::NONE), Err(Errno::EINTR)) {}
        if fds[0].revents().is_some_and(|events| events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP)) {
            act();
        }
    };
    match thread::Builder::new().name("output".into()).spawn(watch) {
        Ok(_) => Ok(()),
        Err(error) => Err(End::Failed(format!("can't start a thread: {error}"))),
    }
}
