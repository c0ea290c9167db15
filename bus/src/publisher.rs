//! Publishing: frames sent by the calling thread. Verdicts come back over the same socket, which the client's driver
//! reads.

mod asked;
mod buffers;
mod error;
mod number;
mod pack;
mod route;
mod unflushed;

use crate::codec;
use crate::sys::NetlinkSocket;
use crate::topic::check_name;
use crate::wire::uapi::{NLBUS_LOST_MAX, NLBUS_PAYLOAD_MAX};
use crate::wire::{Content, Refusal, push_info_request, push_lost, push_publish};
pub(crate) use asked::{Asked, Barrier, Verdict};
use buffers::Buffers;
pub(crate) use buffers::{Buffer, State as BufferState};
use crossbeam_channel::{Sender, bounded};
pub(crate) use error::{CLOSED, FORKED, GONE};
pub use error::{PublishError, PublishReason};
use nix::errno::Errno;
use nix::sys::eventfd::EventFd;
pub(crate) use number::unasked;
pub(crate) use pack::Pack;
pub(crate) use route::{Route, Wait, Way};
use serde::Serialize;
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::LocalKey;
use unflushed::Unflushed;

/// Refusals kept for the next publish or flush, the oldest ones; those beyond are only counted.
const REFUSALS_KEPT: usize = 64;

thread_local! {
    /// Where a thread writes its frames, so that publishing allocates nothing.
    static FRAME: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// Where it encodes its values.
    static VALUE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The publishing half of a bus, shared by its handles and its driver.
#[derive(Debug)]
pub(crate) struct Publisher {
    way: RwLock<Way>,
    next: AtomicU32,
    unflushed: Unflushed,
    buffers: Buffers,
    waiting: Mutex<HashMap<u32, Sender<Verdict>>>,
    /// Each with the number of events that it is of.
    refusals: Mutex<VecDeque<(Refusal, u64)>>,
    any_refusal: AtomicBool,
    refused: AtomicU64,
    /// Nobody has the broker's port. The driver is told by its waker: without subscriptions nothing else makes it look.
    gone: AtomicBool,
    /// Somebody would publish if there were a broker.
    wanted: AtomicBool,
    waker: Arc<EventFd>,
}

impl Publisher {
    pub(crate) fn new(route: Route, waker: Arc<EventFd>) -> Publisher {
        Publisher {
            way: RwLock::new(Way::Open(route)),
            next: AtomicU32::new(1),
            unflushed: Unflushed::default(),
            buffers: Buffers::default(),
            waiting: Mutex::default(),
            refusals: Mutex::default(),
            any_refusal: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            waker,
        }
    }

    /// How many events were refused without anybody waiting for their verdict.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Acquire)
    }

    /// Whether somebody found nobody at the broker's port since this was last asked.
    pub(crate) fn take_gone(&self) -> bool {
        self.gone.swap(false, Ordering::AcqRel)
    }

    /// Whether somebody would have published since this was last asked, had there been a broker.
    pub(crate) fn take_wanted(&self) -> bool {
        self.wanted.swap(false, Ordering::AcqRel)
    }

    /// Whether it is known that there is no broker.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(&*self.way.read().unwrap_or_else(PoisonError::into_inner), Way::Gone)
    }

    /// The epoch of the broker that publishes go to, as far as is known.
    pub(crate) fn epoch(&self) -> Option<u64> {
        match &*self.way.read().unwrap_or_else(PoisonError::into_inner) {
            Way::Open(route) => Some(route.epoch),
            Way::Gone | Way::Closed => None,
        }
    }

    /// The broker moved, or went.
    pub(crate) fn reroute(&self, way: Way) {
        let mut present = self.way.write().unwrap_or_else(PoisonError::into_inner);
        // Whoever waits for an ack of the broker before this one waits in vain. Before the lock is let go: who finds the new
        // way doesn't.
        lock(&self.waiting).clear();
        *present = way;
        self.gone.store(false, Ordering::Release);
    }

    /// The broker is where it was, and the same one.
    pub(crate) fn find(&self, way: Way) {
        let mut present = self.way.write().unwrap_or_else(PoisonError::into_inner);
        *present = way;
        self.gone.store(false, Ordering::Release);
    }

    /// Nobody has the port that this socket sends to. Until the driver has found a broker nothing is sent: the next one at
    /// this port would take what counts as sent to the one before it.
    pub(crate) fn nobody_at(&self, socket: &Arc<NetlinkSocket>) {
        let mut way = self.way.write().unwrap_or_else(PoisonError::into_inner);
        // Otherwise the driver has found one meanwhile.
        if matches!(&*way, Way::Open(route) if Arc::ptr_eq(&route.socket, socket)) {
            *way = Way::Gone;
            self.gone.store(true, Ordering::Release);
        }
    }

    /// Has the driver look for a broker soon.
    fn want_broker(&self) {
        self.wanted.store(true, Ordering::Release);
        self.wake();
    }

    /// Wakes the driver. It can fail only when the counter is full, and then the driver is awake.
    fn wake(&self) {
        let _ = self.waker.write(1);
    }

    /// The broker's verdict on what was sent with this number.
    pub(crate) fn answer(&self, seq: u32, verdict: Verdict) {
        match (lock(&self.waiting).remove(&seq), verdict) {
            (Some(waiting), verdict) => drop(waiting.send(verdict)),
            (None, Err(refusal)) => self.keep_refusal(refusal, number::events(seq)),
            (None, Ok(_)) => {}
        }
    }

    /// A refusal of so many events that nobody waits for.
    fn keep_refusal(&self, refusal: Refusal, events: u64) {
        let mut refusals = lock(&self.refusals);
        if refusals.len() < REFUSALS_KEPT {
            refusals.push_back((refusal, events));
        }
        self.any_refusal.store(true, Ordering::Release);
        // Last: whoever sees it counted is told of it by the next publish.
        self.refused.fetch_add(events, Ordering::Release);
    }

    /// The oldest refusal that nobody has been told of.
    fn earlier_refusal(&self) -> Option<(Refusal, u64)> {
        if !self.any_refusal.load(Ordering::Acquire) {
            return None;
        }
        let mut refusals = lock(&self.refusals);
        let refusal = refusals.pop_front();
        self.any_refusal.store(!refusals.is_empty(), Ordering::Release);
        refusal
    }

    pub(crate) fn number(&self) -> u32 {
        loop {
            if let Some(number) = number::asked(self.next.fetch_add(1, Ordering::Relaxed)) {
                return number;
            }
        }
    }

    /// Sends events whose verdicts nobody waits for.
    pub(crate) fn send_unasked(&self, topic: &str, datagram: &[u8], wait: Wait) -> Result<(), PublishError> {
        let epoch = match self.send_at_once(datagram) {
            Some(epoch) => epoch,
            None => self.send(&self.route(topic, None)?, topic, datagram, wait)?,
        };
        self.unflushed.sent(epoch);
        Ok(())
    }

    /// Sends a datagram if nothing is in its way, as is the rule, without a clone of the route. The lock is held meanwhile, so
    /// this is not for sends that may sleep. Returns the epoch of the broker that it went to, as far as is known.
    fn send_at_once(&self, datagram: &[u8]) -> Option<u64> {
        match &*self.way.read().unwrap_or_else(PoisonError::into_inner) {
            Way::Open(route) if !route.always_waits => {
                route.socket.send_to(datagram, route.port, 0, true).is_ok().then_some(route.epoch)
            }
            _ => None,
        }
    }

    /// Where to publish. Who asks for a verdict waits for it from then on: if the broker goes, he is told.
    fn route(&self, topic: &str, asked: Option<(u32, Sender<Verdict>)>) -> Result<Route, PublishError> {
        let way = self.way.read().unwrap_or_else(PoisonError::into_inner);
        match &*way {
            Way::Open(route) => {
                if let Some((number, verdict)) = asked {
                    lock(&self.waiting).insert(number, verdict);
                }
                // A clone lets a publisher sleep for room without holding the lock.
                Ok(route.clone())
            }
            Way::Gone => {
                drop(way);
                self.want_broker();
                Err(PublishError::new(topic, PublishReason::NoBroker))
            }
            Way::Closed => Err(PublishError::new(topic, PublishReason::Closed)),
        }
    }

    /// Returns the epoch of the broker that it went to, as far as is known.
    fn send(&self, route: &Route, topic: &str, datagram: &[u8], wait: Wait) -> Result<u64, PublishError> {
        let fail = |reason| PublishError::new(topic, reason);
        loop {
            match route.socket.send_to(datagram, route.port, 0, wait == Wait::Never) {
                Ok(()) => return Ok(route.epoch),
                // A signal while waiting for room, or the socket's send timeout (netlink_attachskb): nothing was sent.
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {
                    if wait.is_over() {
                        return Err(fail(PublishReason::Send(Errno::EAGAIN.into())));
                    }
                }
                Err(error) if error.raw_os_error() == Some(Errno::ECONNREFUSED as i32) => {
                    self.nobody_at(&route.socket);
                    self.want_broker();
                    return Err(fail(PublishReason::NoBroker));
                }
                Err(error) => return Err(fail(PublishReason::Send(error))),
            }
        }
    }

    /// Sends a datagram whose verdict comes with this number.
    pub(crate) fn send_asking(
        &self,
        number: u32,
        topic: &str,
        datagram: &[u8],
        wait: Wait,
    ) -> Result<Asked<'_>, PublishError> {
        let (sender, verdict) = bounded(1);
        let route = self.route(topic, Some((number, sender)))?;
        // Forgotten also where sending fails.
        let asked = Asked::new(self, number, verdict, route.epoch);
        self.send(&route, topic, datagram, wait)?;
        Ok(asked)
    }

    pub(crate) fn publish(&self, topic: &str, content: Content, payload: &[u8]) -> Result<(), PublishError> {
        check(topic, payload)?;
        self.tell_of_earlier(topic)?;
        with_frame(|frame| {
            push_publish(frame, unasked(1), false, 0, content, topic, payload);
            self.send_unasked(topic, frame, Wait::EVER)
        })
    }

    /// Publishes an event, and asks for its sequence number.
    pub(crate) fn publish_asking(
        &self,
        topic: &str,
        content: Content,
        payload: &[u8],
        wait: Wait,
    ) -> Result<Asked<'_>, PublishError> {
        check(topic, payload)?;
        let number = self.number();
        with_frame(|frame| {
            push_publish(frame, number, true, 0, content, topic, payload);
            self.send_asking(number, topic, frame, wait)
        })
    }

    /// Uses up numbers of a topic.
    pub(crate) fn publish_lost(&self, topic: &str, count: u64) -> Result<(), PublishError> {
        check_lost(topic, count)?;
        self.tell_of_earlier(topic)?;
        with_frame(|frame| {
            push_lost(frame, unasked(1), false, 0, topic, count);
            self.send_unasked(topic, frame, Wait::EVER)
        })
    }

    /// The same, and asks for the last one.
    pub(crate) fn publish_lost_asking(&self, topic: &str, count: u64, wait: Wait) -> Result<Asked<'_>, PublishError> {
        check_lost(topic, count)?;
        let number = self.number();
        with_frame(|frame| {
            push_lost(frame, number, true, 0, topic, count);
            self.send_asking(number, topic, frame, wait)
        })
    }

    /// Asks the broker which one it is. It reads a socket's datagrams in order, so the answer comes after the verdicts on all
    /// that was published before: if it is the broker that it was published to.
    pub(crate) fn barrier(&self, wait: Wait) -> Result<Barrier<'_>, PublishError> {
        let unflushed = self.unflushed.ask();
        let number = self.number();
        let asked = with_frame(|frame| {
            push_info_request(frame, number);
            self.send_asking(number, "", frame, wait)
        })?;
        Ok(Barrier::new(asked, unflushed))
    }

    /// Fails with the oldest refusal that nobody was told of.
    #[inline]
    pub(crate) fn tell_of_earlier(&self, topic: &str) -> Result<(), PublishError> {
        match self.earlier_refusal() {
            Some((refusal, events)) => Err(PublishError::new(topic, PublishReason::EarlierRefused { refusal, events })),
            None => Ok(()),
        }
    }
}

/// Encodes a value for a topic, in the thread's own buffer.
pub(crate) fn with_encoded<V: Serialize + ?Sized, T>(
    topic: &str,
    value: &V,
    publish: impl FnOnce(&[u8]) -> Result<T, PublishError>,
) -> Result<T, PublishError> {
    with(&VALUE, |bytes| {
        codec::encode(value, bytes).map_err(|error| PublishError::new(topic, PublishReason::Encode(error)))?;
        publish(bytes)
    })
}

/// Finds what the broker would refuse anyway, where its caller stands.
pub(crate) fn check(topic: &str, payload: &[u8]) -> Result<(), PublishError> {
    check_name(topic.as_bytes()).map_err(|error| PublishError::new(topic, PublishReason::Topic(error)))?;
    check_len(topic, payload)
}

/// The same of numbers that no event has.
pub(crate) fn check_lost(topic: &str, count: u64) -> Result<(), PublishError> {
    check(topic, &[])?;
    if (1..=NLBUS_LOST_MAX).contains(&count) {
        return Ok(());
    }
    Err(PublishError::new(topic, PublishReason::LostCount(count)))
}

/// The part of it that the payload alone is to blame for.
fn check_len(topic: &str, payload: &[u8]) -> Result<(), PublishError> {
    if payload.len() > NLBUS_PAYLOAD_MAX {
        return Err(PublishError::new(topic, PublishReason::TooLarge(payload.len())));
    }
    Ok(())
}

/// Lends the thread's buffer for frames, empty.
fn with_frame<T>(write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    with(&FRAME, write)
}

/// Lends a buffer of the thread, empty; a new one in a thread that ends and has put its own away (a destructor of another
/// thread-local may publish), and where it is lent already (a value may publish while it is encoded).
fn with<T>(lent: &'static LocalKey<Cell<Vec<u8>>>, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut buffer = lent.try_with(Cell::take).unwrap_or_default();
    buffer.clear();
    let written = write(&mut buffer);
    let _ = lent.try_with(|kept| kept.set(buffer));
    written
}

/// The maps stay whole whatever panicked while one was held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
