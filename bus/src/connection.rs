//! What the handles of one connection have in common: how they reach its driver, and how they wait.

use crate::direct::Direct;
use crate::driver::{Command, Remote};
use crate::publisher::{Asked, Buffer, PublishError, PublishReason, Publisher};
use crate::sys::Parental;
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Turns taken in a row for somebody who doesn't wait: he gets his time back however much comes in.
const ROUNDS: usize = 16;

/// What each handle has of its connection. In a child it holds on to it: nothing of it may be dropped there.
pub(crate) type Handle = Parental<Arc<Shared>>;

/// How long a publish waits before it looks again for a broker that is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What all handles of one connection share. The last one to go stops the driver, without waiting for it.
#[derive(Debug)]
pub(crate) struct Shared {
    publisher: Arc<Publisher>,
    pub(crate) remote: Remote,
    /// How long acks and answers may take.
    pub(crate) patience: Duration,
    /// How long publishes and requests wait for a broker that is gone.
    pub(crate) outage: Duration,
    /// `None` where a thread drives.
    pub(crate) direct: Option<Direct>,
    /// Whether the broker has a last will of this connection, or may have.
    will: AtomicBool,
}

impl Shared {
    pub(crate) fn new(
        publisher: Arc<Publisher>,
        remote: Remote,
        patience: Duration,
        outage: Duration,
        direct: Option<Direct>,
    ) -> Shared {
        Shared { publisher, remote, patience, outage, direct, will: AtomicBool::new(false) }
    }

    /// Whether there may be a last will to take back.
    pub(crate) fn has_will(&self) -> bool {
        self.will.load(Ordering::Relaxed)
    }

    pub(crate) fn note_will(&self, is_set: bool) {
        self.will.store(is_set, Ordering::Relaxed);
    }

    /// The first handle.
    pub(crate) fn into_handle(self) -> Handle {
        let mark = Arc::clone(self.remote.mark());
        Parental::new(Arc::new(self), &mark)
    }

    /// Something of the process that connected, which a child must not drop.
    pub(crate) fn parental<T>(&self, value: T) -> Parental<T> {
        Parental::new(value, self.remote.mark())
    }

    /// The publishing half, to publish to `topic` with. Where the caller drives, it knows of the refusals that are there.
    ///
    /// # Errors
    /// In a child of the process that connected.
    pub(crate) fn publisher(&self, topic: &str) -> Result<&Publisher, PublishError> {
        let publisher = self.publisher_at_rest(topic)?;
        if let Some(direct) = &self.direct {
            direct.turn(1);
        }
        Ok(publisher)
    }

    /// The publishing half, for what only collects events: nothing is done for it.
    ///
    /// # Errors
    /// In a child of the process that connected.
    #[inline]
    pub(crate) fn publisher_at_rest(&self, topic: &str) -> Result<&Publisher, PublishError> {
        match self.is_forked() {
            true => Err(PublishError::new(topic, PublishReason::Forked)),
            false => Ok(&self.publisher),
        }
    }

    /// A buffer that the driver watches; see [`Publisher::open_buffer`]. In a child it is of no use, and watched by nobody.
    pub(crate) fn open_buffer(&self, delay: Duration) -> Arc<Buffer> {
        match self.is_forked() {
            true => Buffer::new(delay),
            false => self.publisher.open_buffer(delay),
        }
    }

    /// The end of one.
    pub(crate) fn close_buffer(&self, buffer: &Arc<Buffer>) {
        self.publisher.close_buffer(buffer);
    }

    /// Publishes to `topic`; and once more, as long as there is no broker and publishes are to wait for one.
    ///
    /// # Errors
    /// As `publish`, and in a child of the process that connected.
    pub(crate) fn publishing<'a, T>(
        &'a self,
        topic: &str,
        mut publish: impl FnMut(&'a Publisher) -> Result<T, PublishError>,
    ) -> Result<T, PublishError> {
        let mut failed = None;
        loop {
            match publish(self.publisher(topic)?) {
                Err(error) if error.may_pass() && !self.outage.is_zero() => {
                    let first = *failed.get_or_insert_with(Instant::now);
                    if first.elapsed() >= self.outage {
                        return Err(error);
                    }
                }
                done => return done,
            }
            match &self.direct {
                Some(direct) => drop(direct.drive(Some(Instant::now() + LOOK_AGAIN), || None::<()>)),
                None => thread::sleep(LOOK_AGAIN),
            }
        }
    }

    /// How many publishes were refused without anybody waiting for their verdict.
    pub(crate) fn refused(&self) -> u64 {
        self.publisher.refused()
    }

    /// How many events couldn't be sent when their buffered publishers were dropped.
    pub(crate) fn unsent(&self) -> u64 {
        self.publisher.unsent()
    }

    /// Whether it is known that there is no broker.
    pub(crate) fn is_gone(&self) -> bool {
        self.publisher.is_gone()
    }

    /// Whether the caller is a child of the process that connected.
    pub(crate) fn is_forked(&self) -> bool {
        self.remote.is_forked()
    }

    /// Hands the driver a command.
    pub(crate) fn tell(&self, command: Command) {
        self.remote.tell(command);
        if let Some(direct) = &self.direct
            && !self.is_forked()
        {
            direct.obey();
        }
    }

    /// Where the caller drives, does what there is to do now. Whether there may be more.
    pub(crate) fn turn(&self) -> bool {
        self.direct.as_ref().is_some_and(|direct| !self.is_forked() && direct.turn(ROUNDS))
    }

    /// Where the caller drives, what is readable while there is something to do.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.direct.as_ref().filter(|_| !self.is_forked()).map(Direct::fd)
    }

    /// Waits for what the driver puts into a channel, or until it is over with it: that is `Disconnected`.
    pub(crate) fn receive<T>(&self, channel: &Receiver<T>, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        if self.is_forked() {
            // The channel may have been copied in the middle of a send.
            return Err(RecvTimeoutError::Disconnected);
        }
        match (&self.direct, deadline) {
            (None, Some(deadline)) => channel.recv_deadline(deadline),
            (None, None) => channel.recv().map_err(|_| RecvTimeoutError::Disconnected),
            (Some(direct), deadline) => {
                let done = || match channel.try_recv() {
                    Ok(found) => Some(Ok(found)),
                    Err(TryRecvError::Disconnected) => Some(Err(RecvTimeoutError::Disconnected)),
                    Err(TryRecvError::Empty) => None,
                };
                direct.drive(deadline, done).unwrap_or(Err(RecvTimeoutError::Timeout))
            }
        }
    }

    /// Takes what the driver has put into a channel.
    pub(crate) fn try_receive<T>(&self, channel: &Receiver<T>) -> Result<T, TryRecvError> {
        if self.is_forked() {
            return Err(TryRecvError::Disconnected);
        }
        match channel.try_recv() {
            Err(TryRecvError::Empty) if self.direct.is_some() => {
                let more = self.turn();
                let found = channel.try_recv();
                if more && found.is_err() {
                    // An event loop that is told of changes alone (EPOLLET) would not come back for the rest.
                    self.remote.wake();
                }
                found
            }
            found => found,
        }
    }

    /// Until when something that begins now may wait for its ack; `None` is for ever.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.patience)
    }

    /// Waits for the broker's verdict on what was sent to `topic`.
    pub(crate) fn verdict(
        &self,
        topic: &str,
        asked: &Asked<'_>,
        deadline: Option<Instant>,
    ) -> Result<Option<u64>, PublishError> {
        match self.receive(asked.verdict(), deadline) {
            Ok(verdict) => verdict.map_err(|refusal| PublishError::new(topic, PublishReason::Refused(refusal))),
            Err(_) => Err(PublishError::new(topic, PublishReason::Unknown)),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tell(Command::Stop);
    }
}
