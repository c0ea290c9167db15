//! What buffered publishers hold, shared with the driver: it sends what nobody has sent in time, and never waits for room.

use super::error::{PublishError, PublishReason};
use super::{Pack, Publisher, Wait, lock};
use nix::errno::Errno;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// Where the queue is full, or there is no broker, the driver tries again after this long, then twice as long, up to the
/// second. The first is also when it comes back to a buffer that somebody has in hand.
const RETRY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(32));

/// The buffers of a connection.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    all: Mutex<Vec<Arc<Buffer>>>,
    /// One has begun to collect that the driver doesn't watch.
    begun: AtomicBool,
    /// Events that couldn't be sent when their publisher was dropped.
    unsent: AtomicU64,
}

/// What one buffered publisher holds. The driver looks at it as well, and so the lock is held while somebody waits for room:
/// what comes later has to wait then, too, or it would overtake.
#[derive(Debug)]
pub(crate) struct Buffer(Mutex<State>);

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) pack: Pack,
    /// How long an event may wait for others.
    delay: Duration,
    /// When the oldest one has.
    due: Option<Instant>,
    /// The driver knows that there is something, and looks at it by itself.
    watched: bool,
    retry: Duration,
}

impl Buffer {
    pub(crate) fn new(delay: Duration) -> Arc<Buffer> {
        let state = State { pack: Pack::new(), delay, due: None, watched: false, retry: RETRY.0 };
        Arc::new(Buffer(Mutex::new(state)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, State>> {
        match self.0.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poison)) => Some(poison.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whoever has it in hand may sleep for room in the broker's queue for longer than the caller wants to.
    fn lock_until(&self, deadline: Option<Instant>) -> Option<MutexGuard<'_, State>> {
        loop {
            match (self.try_lock(), deadline) {
                (Some(state), _) => return Some(state),
                (None, Some(deadline)) if deadline <= Instant::now() => return None,
                (None, _) => thread::sleep(RETRY.0),
            }
        }
    }
}

impl State {
    /// The driver looks at it anew: what it knows may be too late now.
    pub(crate) fn set_delay(&mut self, delay: Duration) {
        self.delay = delay;
        self.watched = false;
    }

    /// All of it was sent.
    pub(crate) fn sent(&mut self) {
        self.pack.clear();
        self.due = None;
        self.retry = RETRY.0;
    }

    fn try_later(&mut self, now: Instant) -> Option<Instant> {
        self.due = now.checked_add(self.retry);
        self.retry = (self.retry * 2).min(RETRY.1);
        self.due
    }
}

impl Publisher {
    /// A new buffer, of which the driver knows.
    pub(crate) fn open_buffer(&self, delay: Duration) -> Arc<Buffer> {
        let buffer = Buffer::new(delay);
        lock(&self.buffers.all).push(Arc::clone(&buffer));
        buffer
    }

    /// The end of a buffer. What it still holds is lost, and counted.
    pub(crate) fn close_buffer(&self, buffer: &Arc<Buffer>) {
        lock(&self.buffers.all).retain(|other| !Arc::ptr_eq(other, buffer));
        self.buffers.unsent.fetch_add(buffer.lock().pack.len() as u64, Ordering::Relaxed);
    }

    /// How many events couldn't be sent when their buffered publishers were dropped.
    pub(crate) fn unsent(&self) -> u64 {
        self.buffers.unsent.load(Ordering::Relaxed)
    }

    /// The first event is in a buffer: from now on its time runs.
    pub(crate) fn begun(&self, state: &mut State) {
        state.due = Instant::now().checked_add(state.delay);
        if state.due.is_some() && !state.watched {
            state.watched = true;
            self.buffers.begun.store(true, Ordering::Release);
            self.wake();
        }
    }

    /// Whether a buffer has begun to collect since this was last asked.
    pub(crate) fn take_begun(&self) -> bool {
        self.buffers.begun.load(Ordering::Acquire) && self.buffers.begun.swap(false, Ordering::AcqRel)
    }

    /// Sends what buffers hold, where that may wait until `deadline`.
    pub(crate) fn send_buffers(&self, deadline: Option<Instant>) -> Result<(), PublishError> {
        let all = lock(&self.buffers.all).clone();
        for buffer in all {
            let full = || PublishError::new("", PublishReason::Send(Errno::EAGAIN.into()));
            let mut state = buffer.lock_until(deadline).ok_or_else(full)?;
            if !state.pack.is_empty() {
                self.send_unasked(&state.pack.topic(), state.pack.datagram(), Wait::Until(deadline))?;
                state.sent();
            }
        }
        Ok(())
    }

    /// Sends what has waited long enough, without waiting. Returns when there is something to do again.
    ///
    /// The module makes who publishes wait for room, or refuses, and the refusal is at the socket when the send returns.
    /// `read_replies`, where that is so, has [`Publisher::answer`] told what is there.
    pub(crate) fn send_due(&self, now: Instant, mut read_replies: Option<impl FnMut()>) -> Option<Instant> {
        let all = lock(&self.buffers.all);
        let due = |buffer: &Arc<Buffer>| {
            let Some(mut state) = buffer.try_lock() else {
                return now.checked_add(RETRY.0);
            };
            if let Some(due) = state.due.filter(|due| *due > now) {
                return Some(due);
            }
            if state.due.is_some() {
                let sent = match &mut read_replies {
                    None => self.send_unasked(&state.pack.topic(), state.pack.datagram(), Wait::Never),
                    Some(read_replies) => self.send_unless_refused(&mut state.pack, read_replies),
                };
                match sent {
                    Ok(()) => state.sent(),
                    // Whoever owns it will be told.
                    Err(error) if matches!(error.reason(), PublishReason::Closed) => {}
                    Err(_) => return state.try_later(now),
                }
            }
            state.watched = false;
            None
        };
        all.iter().filter_map(due).min()
    }

    /// Sends a pack to the module, and keeps it where the queue was full.
    fn send_unless_refused(&self, pack: &mut Pack, read_replies: &mut impl FnMut()) -> Result<(), PublishError> {
        let (number, waits) = (self.number(), !pack.no_wait());
        pack.set_no_wait(true);
        pack.address(number, false);
        let asked = self.send_asking(number, &pack.topic(), pack.datagram(), Wait::Never).and_then(|asked| {
            read_replies();
            match asked.verdict().try_recv() {
                Ok(Err(refusal)) if waits && refusal.errno == Errno::EAGAIN => {
                    Err(PublishError::new(&pack.topic(), PublishReason::Refused(refusal)))
                }
                Ok(Err(refusal)) => Ok(Some(refusal)),
                _ => {
                    self.unflushed.sent(asked.epoch());
                    Ok(None)
                }
            }
        });
        pack.set_no_wait(!waits);
        if let Some(refusal) = asked? {
            self.keep_refusal(refusal);
        }
        Ok(())
    }
}
