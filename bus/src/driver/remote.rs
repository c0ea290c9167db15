//! What handles have of the driver, on whatever thread they are: a channel for what they ask of it, and what wakes it.

use crate::client::{ClientCounters, Opening, Reply, SubId, Will};
use crate::sys::ForkMark;
use crossbeam_channel::Sender;
use nix::sys::eventfd::EventFd;
use std::sync::Arc;
use std::time::Instant;

/// What handles ask of the driver.
pub(crate) enum Command {
    /// A new subscription.
    Open(Box<Opening>),
    /// The end of one.
    Close(SubId),
    /// A request.
    Ask(Ask),
    /// What the client has counted.
    Counters(Sender<ClientCounters>),
    /// The end.
    Stop,
}

/// What a request asks for.
pub(crate) enum What {
    /// What is written with the number it gets.
    Frame(Box<dyn FnOnce(u32) -> Vec<u8> + Send>),
    /// To leave a last will, or to take it back: of that the client knows.
    Will(Option<Will>),
}

/// A request that a handle waits for.
pub(crate) struct Ask {
    pub(crate) what: What,
    pub(crate) reply: Sender<Reply>,
    /// Until when an answer is of use.
    pub(crate) deadline: Instant,
}

/// How the driver is reached from any thread: commands first, then a wake-up.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    commands: Sender<Command>,
    waker: Arc<EventFd>,
    mark: Arc<ForkMark>,
}

impl Remote {
    /// For the process that calls this, whose driver reads the other end of `commands` and waits at `waker`.
    pub(super) fn new(commands: Sender<Command>, waker: Arc<EventFd>) -> Remote {
        Remote { commands, waker, mark: Arc::new(ForkMark::new()) }
    }

    /// The mark of the process that has the driver.
    pub(crate) fn mark(&self) -> &Arc<ForkMark> {
        &self.mark
    }

    /// Whether the caller is a child of the process that has the driver: then there is none to reach.
    pub(crate) fn is_forked(&self) -> bool {
        self.mark.is_child()
    }

    /// Hands a command over. The driver may have ended; then nobody answers, and the command's channels close.
    pub(crate) fn tell(&self, command: Command) {
        if !self.is_forked() {
            let _ = self.commands.send(command);
            self.wake();
        }
    }

    /// Wakes the driver. It can fail only when the counter is full, and then the driver is awake.
    pub(crate) fn wake(&self) {
        // The counter of a child is its parent's.
        if !self.is_forked() {
            let _ = self.waker.write(1);
        }
    }
}
