//! A subscription's channel from the client to its consumer, and how the consumer is told that there is something in
//! it: the channel itself wakes threads, this wakes event loops and tasks.

use crate::batch::Batch;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The client's end. When it is dropped, the consumer is told that nothing more comes.
#[derive(Debug)]
pub(crate) struct Channel {
    /// `None` only while it is being dropped.
    sender: Option<Sender<Batch>>,
    arrivals: Arc<Arrivals>,
}

/// A new channel: the client's end, the consumer's, and how the consumer is told.
pub(crate) fn channel() -> (Channel, Receiver<Batch>, Arc<Arrivals>) {
    let (sender, batches) = unbounded();
    let arrivals = Arc::new(Arrivals::default());
    (Channel { sender: Some(sender), arrivals: Arc::clone(&arrivals) }, batches, arrivals)
}

impl Channel {
    /// Whether somebody can still receive it.
    pub(crate) fn send(&self, batch: Batch) -> bool {
        let sent = self.sender.as_ref().is_some_and(|sender| sender.send(batch).is_ok());
        self.arrivals.tell();
        sent
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // First: whoever is told looks into the channel, and has to find it closed.
        self.sender = None;
        self.arrivals.tell();
    }
}

/// Who wants to be told of what arrives. Costs next to nothing while nobody does.
#[derive(Default)]
pub(crate) struct Arrivals {
    anybody: AtomicBool,
    listeners: Mutex<Listeners>,
}

#[derive(Default)]
struct Listeners {
    /// Told each time.
    always: Option<Box<dyn Fn() + Send + Sync>>,
    /// Told once.
    task: Option<Waker>,
}

impl Arrivals {
    /// Tells `listener` of each arrival from now on.
    pub(crate) fn listen(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.lock().always = Some(Box::new(listener));
        self.somebody();
    }

    /// Wakes a task with the next arrival. It has to look into the channel after this.
    #[cfg_attr(not(feature = "stream"), expect(dead_code, reason = "tasks come with the feature"))]
    pub(crate) fn wake_once(&self, waker: &Waker) {
        self.lock().task = Some(waker.clone());
        self.somebody();
    }

    fn somebody(&self) {
        self.anybody.store(true, Ordering::Relaxed);
        // Either this is seen by whoever sends, or what he sent is seen by whoever now looks into the channel.
        fence(Ordering::SeqCst);
    }

    fn tell(&self) {
        fence(Ordering::SeqCst);
        if !self.anybody.load(Ordering::Relaxed) {
            return;
        }
        let task = {
            let mut listeners = self.lock();
            if let Some(listener) = &listeners.always {
                listener();
            }
            listeners.task.take()
        };
        // Not under the lock: a waker may run anything.
        if let Some(task) = task {
            task.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrivals").field("anybody", &self.anybody).finish_non_exhaustive()
    }
}
