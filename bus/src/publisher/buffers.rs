//! What buffered publishers hold, shared with the driver: it sends what nobody has sent in time, and never waits for room.

use super::error::{PublishError, PublishReason};
use super::{Pack, Publisher, Wait, lock};
use crate::sys::{Biased, BiasedGuard};
use nix::errno::Errno;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
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
pub(crate) struct Buffer {
    state: Biased<State>,
    due: Arc<Due>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) pack: Pack,
    /// How long an event may wait for others.
    delay: Duration,
    due: Arc<Due>,
    retry: Duration,
}

/// When the oldest event of a buffer has waited for long enough. It changes with the state; the driver, who only asks for it,
/// need not have that, which would stop the one who publishes, and is told what it was a moment ago.
#[derive(Debug)]
struct Due {
    /// What it is counted from.
    start: Instant,
    /// In nanoseconds; [`NEVER`] while no event waits, or for ever.
    after: AtomicU64,
    /// The driver knows that there is something, and looks at it by itself.
    watched: AtomicBool,
}

const NEVER: u64 = u64::MAX;

impl Due {
    fn never() -> Arc<Due> {
        Arc::new(Due { start: Instant::now(), after: AtomicU64::new(NEVER), watched: AtomicBool::new(false) })
    }

    fn get(&self) -> Option<Instant> {
        match self.after.load(Ordering::Relaxed) {
            NEVER => None,
            after => self.start.checked_add(Duration::from_nanos(after)),
        }
    }

    fn set(&self, due: Option<Instant>) {
        let after = due.map(|due| due.saturating_duration_since(self.start).as_nanos());
        self.after.store(after.and_then(|after| after.try_into().ok()).unwrap_or(NEVER), Ordering::Relaxed);
    }

    fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    fn set_watched(&self, watched: bool) {
        self.watched.store(watched, Ordering::Relaxed);
    }
}

impl Buffer {
    pub(crate) fn new(delay: Duration) -> Arc<Buffer> {
        let due = Due::never();
        let state = State { pack: Pack::new(), delay, due: Arc::clone(&due), retry: RETRY.0 };
        Arc::new(Buffer { state: Biased::new(state), due })
    }

    pub(crate) fn lock(&self) -> BiasedGuard<'_, State> {
        self.state.lock()
    }

    /// For who publishes.
    #[inline]
    pub(crate) fn lock_often(&self) -> BiasedGuard<'_, State> {
        self.state.lock_often()
    }

    /// Whoever has it in hand may sleep for room in the broker's queue for longer than the caller wants to.
    fn lock_until(&self, deadline: Option<Instant>) -> Option<BiasedGuard<'_, State>> {
        let Some(deadline) = deadline else { return Some(self.lock()) };
        loop {
            match self.state.try_lock() {
                Some(state) => return Some(state),
                None if deadline <= Instant::now() => return None,
                None => thread::sleep(RETRY.0),
            }
        }
    }
}

impl State {
    /// All of it was sent.
    pub(crate) fn sent(&mut self) {
        self.pack.clear();
        self.due.set(None);
        if self.retry > RETRY.0 {
            // The driver comes back when it would have tried again, which is too late for what comes next.
            self.due.set_watched(false);
            self.retry = RETRY.0;
        }
    }

    fn try_later(&mut self, now: Instant) -> Option<Instant> {
        self.due.set(now.checked_add(self.retry));
        self.retry = (self.retry * 2).min(RETRY.1);
        self.due.get()
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
        let mut state = buffer.lock();
        self.buffers.unsent.fetch_add(state.pack.len() as u64, Ordering::Relaxed);
        // A flush that has the list from before would send what is counted as lost.
        state.pack.clear();
    }

    /// From now on an event waits so long, and so do those that wait already.
    pub(crate) fn set_delay(&self, state: &mut State, delay: Duration) {
        state.delay = delay;
        // What the driver knows may be too late.
        state.due.set_watched(false);
        if !state.pack.is_empty() {
            self.begun(state);
        }
    }

    /// How many events couldn't be sent when their buffered publishers were dropped.
    pub(crate) fn unsent(&self) -> u64 {
        self.buffers.unsent.load(Ordering::Relaxed)
    }

    /// The first event is in a buffer: from now on its time runs.
    pub(crate) fn begun(&self, state: &mut State) {
        state.due.set(Instant::now().checked_add(state.delay));
        if state.due.get().is_some() && !state.due.is_watched() {
            state.due.set_watched(true);
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
                let sent = self.send_unasked("", state.pack.unasked(), Wait::Until(deadline));
                sent.map_err(|error| error.about(&state.pack.topic()))?;
                state.sent();
            }
        }
        Ok(())
    }

    /// Sends what has waited long enough, without waiting. Returns when there is something to do again.
    ///
    /// The module makes who publishes wait for room, or refuses, and the refusal is at the socket when the send returns.
    /// `read_replies`, where that is so, has [`Publisher::answer`] told of some of what is there, and says whether there may be
    /// more.
    pub(crate) fn send_due(&self, now: Instant, mut read_replies: Option<impl FnMut() -> bool>) -> Option<Instant> {
        let all = lock(&self.buffers.all);
        let due = |buffer: &Arc<Buffer>| {
            let later = || buffer.due.get().filter(|due| *due > now);
            // Mostly what was there has been sent, and another pack begun, or none: who begins one that isn't watched says so.
            if let Some(due) = later() {
                return Some(due);
            }
            if buffer.due.get().is_none() && !buffer.due.is_watched() {
                return None;
            }
            let Some(mut state) = buffer.state.try_lock() else {
                return now.checked_add(RETRY.0);
            };
            if let Some(due) = later() {
                return Some(due);
            }
            if state.due.get().is_some() {
                let sent = match &mut read_replies {
                    None => self.send_unasked("", state.pack.unasked(), Wait::Never),
                    Some(read_replies) => self.send_unless_refused(&mut state.pack, read_replies),
                };
                match sent {
                    Ok(()) => state.sent(),
                    Err(_) => return state.try_later(now),
                }
            }
            state.due.set_watched(false);
            None
        };
        all.iter().filter_map(due).min()
    }

    /// Sends a pack to the module, and keeps it where the queue was full, or the module is to be replaced.
    fn send_unless_refused(
        &self,
        pack: &mut Pack,
        read_replies: &mut impl FnMut() -> bool,
    ) -> Result<(), PublishError> {
        let (number, waits) = (self.number(), !pack.no_wait());
        pack.set_no_wait(true);
        let asked = self.send_asking(number, "", pack.asking(number, false), Wait::Never);
        pack.set_no_wait(!waits);
        let asked = asked?;
        let refusal = loop {
            let more = read_replies();
            match asked.verdict().try_recv() {
                Ok(verdict) => break verdict.err(),
                Err(_) if more => {}
                Err(_) => break None,
            }
        };
        let Some(refusal) = refusal else {
            self.unflushed.sent(asked.epoch());
            return Ok(());
        };
        if (waits && refusal.errno == Errno::EAGAIN) || refusal.errno == Errno::ESHUTDOWN {
            return Err(PublishError::new("", PublishReason::Refused(refusal)));
        }
        self.keep_refusal(refusal, pack.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Route, Verdict};
    use super::*;
    use crate::sys::NetlinkSocket;
    use crate::wire::uapi::NETLINK_USERSOCK;
    use crate::wire::{Content, Refusal};
    use nix::sys::eventfd::EventFd;

    /// A publisher to a broker that only listens.
    fn publisher() -> (Publisher, NetlinkSocket) {
        let [mut broker, mut client] = [(); 2].map(|()| NetlinkSocket::open(NETLINK_USERSOCK).unwrap());
        let port = broker.bind(0).unwrap();
        client.bind(0).unwrap();
        let route = Route { socket: Arc::new(client), port, epoch: 1, always_waits: true };
        (Publisher::new(route, Arc::new(EventFd::new().unwrap())), broker)
    }

    /// With one event, which is due.
    fn due_buffer(publisher: &Publisher) -> Arc<Buffer> {
        let buffer = publisher.open_buffer(Duration::ZERO);
        let mut state = buffer.lock();
        assert!(state.pack.push("a", Content::Opaque, b"").unwrap());
        publisher.begun(&mut state);
        drop(state);
        buffer
    }

    #[test]
    fn what_is_counted_as_unsent_is_left_to_no_flush() {
        let (publisher, _broker) = publisher();
        let buffer = due_buffer(&publisher);
        publisher.close_buffer(&buffer);
        assert_eq!((publisher.unsent(), buffer.lock().pack.len()), (1, 0));
    }

    /// The driver would have all threads stop for it, a thousand times a second for each buffer that there is.
    #[test]
    fn who_publishes_is_left_alone_until_something_is_due() {
        let (publisher, _broker) = publisher();
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        let buffer = publisher.open_buffer(hour);
        let look = |now| publisher.send_due(now, None::<fn() -> bool>);
        let mut state = buffer.lock_often();
        assert_eq!(look(now), None);
        assert!(state.pack.push("a", Content::Opaque, b"").unwrap());
        publisher.begun(&mut state);
        let due = look(now).unwrap();
        assert!((now + hour..now + 2 * hour).contains(&due));
        assert_eq!(look(due), Some(due + RETRY.0));
        drop(state);
        assert_eq!((look(due), buffer.lock().pack.len()), (None, 0));
        // And whoever begins again says so again.
        let mut state = buffer.lock();
        assert!(publisher.take_begun() && !publisher.take_begun());
        publisher.begun(&mut state);
        assert!(publisher.take_begun());
    }

    #[test]
    fn what_comes_after_a_full_queue_waits_no_longer_than_other_events() {
        let (publisher, _broker) = publisher();
        let buffer = due_buffer(&publisher);
        assert!(publisher.take_begun());
        let mut state = buffer.lock();
        state.try_later(Instant::now());
        // Whoever publishes comes through sooner than the driver, and goes on.
        state.sent();
        publisher.begun(&mut state);
        assert!(publisher.take_begun());
    }

    #[test]
    fn what_may_wait_for_ever_is_never_due() {
        let (publisher, _broker) = publisher();
        for (delay, is_due) in
            [(Duration::MAX, false), (Duration::from_secs(u64::MAX / 3), false), (Duration::ZERO, true)]
        {
            let buffer = publisher.open_buffer(Duration::ZERO);
            let mut state = buffer.lock();
            assert!(state.pack.push("a", Content::Opaque, b"").unwrap());
            publisher.set_delay(&mut state, delay);
            drop(state);
            publisher.send_due(Instant::now() + Duration::from_secs(3600), None::<fn() -> bool>);
            assert_eq!(buffer.lock().pack.is_empty(), is_due, "{delay:?}");
        }
    }

    /// Sends what is due to a broker whose verdict comes with the second look at its replies. How many events are left, and how
    /// many are told of as refused.
    fn refused(verdict: Verdict, no_wait: bool) -> (usize, u64) {
        let (publisher, _broker) = publisher();
        let buffer = due_buffer(&publisher);
        buffer.lock().pack.set_no_wait(no_wait);
        let mut looks = 0;
        let read_replies = || {
            looks += 1;
            if looks == 2 {
                publisher.answer(1, verdict.clone());
            }
            looks < 2
        };
        publisher.send_due(Instant::now(), Some(read_replies));
        assert_eq!(buffer.lock().pack.no_wait(), no_wait);
        (buffer.lock().pack.len(), publisher.refused())
    }

    #[test]
    fn what_the_module_has_no_room_for_stays_however_late_its_word_is_read() {
        let refusal = |errno| Err(Refusal::new(errno, "no"));
        assert_eq!(refused(Ok(None), false), (0, 0));
        assert_eq!(refused(refusal(Errno::EAGAIN), false), (1, 0));
        assert_eq!(refused(refusal(Errno::EAGAIN), true), (0, 1), "it wasn't to wait");
        assert_eq!(refused(refusal(Errno::ESHUTDOWN), false), (1, 0), "the next broker gets it");
        assert_eq!(refused(refusal(Errno::EACCES), false), (0, 1));
    }
}
