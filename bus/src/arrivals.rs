//! How a consumer is told that there is something in its channel: the channel itself wakes threads, this wakes event
//! loops and tasks.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

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

    pub(crate) fn tell(&self) {
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
