//! The handles that deliveries come out of.

use crate::arrivals::Arrivals;
use crate::batch::Batch;
use crate::client::{Opened, SubId};
use crate::connection::{Handle, Shared};
use crate::counts::{Counts, SubscriptionCounters};
use crate::delivery::Delivery;
use crate::driver::Command;
use crate::inlet::Outlet;
use crate::positions::Positions;
use crate::publisher::FORKED;
use crate::readable::Readable;
use crate::sys::Parental;
use crate::topic::Filter;
use crossbeam_channel::{Receiver, RecvError, RecvTimeoutError, TryRecvError};
#[cfg(feature = "stream")]
use futures_core::Stream;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(feature = "stream")]
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
#[cfg(feature = "stream")]
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Ends the subscription with its handle. Holds the bus, so that a subscription outlives the other handles.
#[derive(Debug)]
struct Guard {
    bus: Handle,
    id: SubId,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.bus.tell(Command::Close(self.id));
    }
}

/// A subscription: deliveries come out of it in the order of their topics. Dropping it unsubscribes.
///
/// It keeps its bus connected. A consumer that is slow fills its own channel only: nobody else waits for it.
#[derive(Debug)]
pub struct Subscription {
    end: Parental<End>,
    filter: Filter,
    positions: Positions,
}

/// The consumer's end of the subscription.
#[derive(Debug)]
struct End {
    batches: Receiver<Batch>,
    arrivals: Arc<Arrivals>,
    counts: Arc<Counts>,
    current: Option<Batch>,
    /// Readable while there may be something; made when it is first asked for.
    readable: OnceLock<Readable>,
    guard: Guard,
}

impl Subscription {
    pub(crate) fn new(bus: Handle, opened: Opened, filter: Filter, outlet: Outlet) -> Subscription {
        let Opened { id, positions } = opened;
        let Outlet { batches, arrivals, counts } = outlet;
        let (current, readable) = (None, OnceLock::new());
        let shared = Arc::clone(&bus);
        let end = End { batches, arrivals, counts, current, readable, guard: Guard { bus, id } };
        Subscription { end: shared.parental(end), filter, positions }
    }

    fn bus(&self) -> &Shared {
        &self.end.guard.bus
    }

    /// The filter.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// assert_eq!(subscription.filter().as_str(), "sensors/#");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Where this subscription began: before anything that it delivers. What [`Positions`] are for.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// let mut positions = subscription.positions().clone();
    /// for delivery in subscription.iter() {
    ///     positions.advance(&delivery);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// What it has counted since it began, over restarts of the broker.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// let counters = subscription.counters();
    /// println!("{} came, {} of them out of history; {} are lost", counters.received, counters.replayed, counters.lost);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn counters(&self) -> SubscriptionCounters {
        // Where the caller drives, what came in until now counts.
        self.bus().turn();
        self.end.counts.read()
    }

    /// Waits for the next delivery.
    ///
    /// # Errors
    /// When the bus was closed and everything delivered has been taken, and in a child of the process that subscribed.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// while let Ok(delivery) = subscription.recv() {
    ///     println!("{delivery:?}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv(&mut self) -> Result<Delivery, RecvError> {
        self.recv_until(None).map_err(|_| RecvError)
    }

    /// Waits for the next delivery, at most this long.
    ///
    /// # Errors
    /// `Timeout` when none came; `Disconnected` as [`recv`](Self::recv) fails.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// use nlbus::RecvTimeoutError;
    /// use std::time::Duration;
    ///
    /// match subscription.recv_timeout(Duration::from_secs(1)) {
    ///     Ok(delivery) => println!("{delivery:?}"),
    ///     Err(RecvTimeoutError::Timeout) => println!("nothing for a second"),
    ///     Err(RecvTimeoutError::Disconnected) => println!("the bus was closed"),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Delivery, RecvTimeoutError> {
        // No deadline: one that lies beyond all time (Duration::MAX).
        self.recv_until(Instant::now().checked_add(timeout))
    }

    /// Waits for the next delivery and lends it, until the next one is taken: for who looks at it and needs none of his own. It
    /// then costs next to nothing to take.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// let mut bytes = 0;
    /// while let Ok(delivery) = subscription.recv_ref() {
    ///     bytes += delivery.event().map_or(0, |event| event.payload().len());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_ref(&mut self) -> Result<&Delivery, RecvError> {
        if self.bus().is_forked() {
            return Err(RecvError);
        }
        while !self.end.current.as_mut().is_some_and(Batch::lend_next) {
            // Its room goes back before anybody waits.
            self.end.current = None;
            self.end.current = Some(self.bus().receive(&self.end.batches, None).map_err(|_| RecvError)?);
        }
        self.end.current.as_ref().and_then(Batch::lent).ok_or(RecvError)
    }

    fn recv_until(&mut self, deadline: Option<Instant>) -> Result<Delivery, RecvTimeoutError> {
        if self.bus().is_forked() {
            return Err(RecvTimeoutError::Disconnected);
        }
        loop {
            if let Some(delivery) = self.take_current() {
                return Ok(delivery);
            }
            self.end.current = Some(self.bus().receive(&self.end.batches, deadline)?);
        }
    }

    /// Takes the next delivery if there is one.
    ///
    /// # Errors
    /// `Empty` when there is none now; `Disconnected` as [`recv`](Self::recv) fails.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// while let Ok(delivery) = subscription.try_recv() {
    ///     println!("{delivery:?}"); // what is there already
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_recv(&mut self) -> Result<Delivery, TryRecvError> {
        if self.bus().is_forked() {
            return Err(TryRecvError::Disconnected);
        }
        loop {
            if let Some(delivery) = self.take_current() {
                return Ok(delivery);
            }
            self.end.current = Some(self.next_batch()?);
        }
    }

    fn next_batch(&self) -> Result<Batch, TryRecvError> {
        let batch = self.bus().try_receive(&self.end.batches);
        match self.end.readable.get() {
            Some(readable) if matches!(batch, Err(TryRecvError::Empty)) => {
                readable.clear();
                self.end.batches.try_recv()
            }
            _ => batch,
        }
    }

    /// Deliveries until the bus is closed.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// for event in subscription.iter().filter_map(nlbus::Delivery::into_event).take(10) {
    ///     println!("{} {}", event.topic(), event.seq());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(&mut self) -> impl Iterator<Item = Delivery> {
        std::iter::from_fn(|| self.recv().ok())
    }

    /// The channel itself, for `crossbeam_channel::select!`: a batch holds what came at once, or stands for what waits unread
    /// where the subscription drops ([`Batch`]). What [`recv`](Self::recv) and its like have begun to take is not in it
    /// any more. On a connection that the caller drives ([`Builder::direct`](crate::Builder::direct)) it is filled by
    /// [`Bus::turn`](crate::Bus::turn) and whatever waits.
    ///
    /// A child of the process that subscribed (fork(2)) keeps away from it and from clones of it: they are crossbeam's, which
    /// knows nothing of fork, and may have been copied while another thread was at them.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// let ticks = crossbeam_channel::tick(std::time::Duration::from_secs(1));
    /// loop {
    ///     crossbeam_channel::select! {
    ///         recv(subscription.batches()) -> batch => for delivery in batch? { println!("{delivery:?}") },
    ///         recv(ticks) -> _ => println!("a second went by"),
    ///     }
    /// }
    /// # #[allow(unreachable_code)]
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn batches(&self) -> &Receiver<Batch> {
        &self.end.batches
    }

    /// For an event loop: readable while there may be something to take. After that, [`try_recv`](Self::try_recv) until it
    /// says `Empty`, or the rest isn't told of. Nothing but waiting is to be done with it.
    ///
    /// On a connection that the caller drives, it is readable also while there is work to do for others:
    /// [`try_recv`](Self::try_recv) does it, and what it brings them makes theirs readable.
    ///
    /// # Errors
    /// What eventfd(2) and epoll(7) say, when it is first asked for; and in a child of the process that subscribed.
    ///
    /// # Example
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
    ///
    /// let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    /// epoll.add(subscription.fd()?, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    /// epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE)?;
    /// while let Ok(delivery) = subscription.try_recv() {
    ///     println!("{delivery:?}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        if self.bus().is_forked() {
            return Err(io::Error::other(FORKED));
        }
        if let Some(readable) = self.end.readable.get() {
            return Ok(readable.as_fd());
        }
        let readable = Readable::new(self.bus().fd())?;
        // Where two threads come at once, it is the first one's that stays and listens.
        let readable = self.end.readable.get_or_init(|| readable);
        readable.listen(&self.end.arrivals);
        Ok(readable.as_fd())
    }

    fn take_current(&mut self) -> Option<Delivery> {
        let delivery = self.end.current.as_mut()?.next();
        if self.end.current.as_ref().is_some_and(Batch::is_empty) {
            // Its room goes back before the consumer works on the last one of it.
            self.end.current = None;
        }
        delivery
    }
}

#[cfg(feature = "stream")]
impl Subscription {
    /// What the streams do.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        let mut registered = false;
        loop {
            match self.try_recv() {
                Ok(delivery) => return Poll::Ready(Some(delivery)),
                Err(TryRecvError::Disconnected) => return Poll::Ready(None),
                Err(TryRecvError::Empty) if registered => return Poll::Pending,
                Err(TryRecvError::Empty) => {
                    // What comes between the look and this shows at the second look.
                    self.end.arrivals.wake_once(context.waker());
                    registered = true;
                }
            }
        }
    }
}

/// Deliveries until the bus is closed, for any executor: no thread is needed for a subscription.
///
/// On a connection that the caller drives ([`Builder::direct`](crate::Builder::direct)), something has to drive it: a
/// task that waits at [`Bus::fd`](crate::Bus::fd) and calls [`Bus::turn`](crate::Bus::turn), say.
#[cfg(feature = "stream")]
impl Stream for Subscription {
    type Item = Delivery;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        self.get_mut().poll(context)
    }
}
