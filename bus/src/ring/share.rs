//! A consumer's part of what waits in a ring.

use super::line::Entry;
use super::{Ring, State};
use crate::delivery::Delivery;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Not looked into yet: it takes what there is.
const UNREAD: usize = usize::MAX;

/// What one batch may take out of a ring: no more than waits when it is first looked into, so that a consumer comes to an
/// end of it however fast the ring is filled; and all of that but one delivery for each share that nobody looked into.
#[derive(Debug)]
pub(crate) struct Share {
    ring: Arc<Ring>,
    /// How many more at most. It changes only while the ring is locked.
    left: AtomicUsize,
    /// All of them, once they were looked at without taking them.
    #[expect(clippy::box_collection, reason = "the share travels by value, and few look")]
    taken: OnceLock<Box<VecDeque<Delivery>>>,
    /// The one that is lent.
    lent: Option<Delivery>,
}

impl Share {
    /// One that the ring has counted as unread.
    pub(super) fn new(ring: &Arc<Ring>) -> Share {
        Share { ring: Arc::clone(ring), left: AtomicUsize::new(UNREAD), taken: OnceLock::new(), lent: None }
    }

    /// What is left of it is the parent process's, and the ring may have been copied while it was locked.
    fn is_inherited(&self) -> bool {
        self.ring.mark.is_child()
    }

    fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }

    /// How many it may take, and no more from now on. The first look counts it as read.
    fn look(&self, state: &mut State) -> usize {
        if self.left() == UNREAD {
            state.unread -= 1;
        }
        let left = self.left().min(state.free());
        self.left.store(left, Ordering::Relaxed);
        left
    }

    pub(crate) fn next(&mut self) -> Option<Delivery> {
        if self.is_inherited() {
            return None;
        }
        if let Some(taken) = self.taken.get_mut() {
            return taken.pop_front();
        }
        if self.left() == 0 {
            return None;
        }
        let mut state = self.ring.lock();
        let left = self.look(&mut state).checked_sub(1)?;
        let delivery = state.pop();
        self.left.store(left, Ordering::Relaxed);
        delivery
    }

    /// Takes the next one out and keeps it, to be lent. Whether there is one.
    pub(crate) fn lend_next(&mut self) -> bool {
        self.lent = self.next();
        self.lent.is_some()
    }

    pub(crate) fn lent(&self) -> Option<&Delivery> {
        self.lent.as_ref()
    }

    /// How many it would give now. Who finds nothing left will drop it, and must not drop with it what comes meanwhile: it
    /// stays empty.
    pub(crate) fn len(&self) -> usize {
        if self.is_inherited() {
            return 0;
        }
        if let Some(taken) = self.taken.get() {
            return taken.len();
        }
        let mut state = self.ring.lock();
        if self.left() == UNREAD {
            let len = state.len().saturating_sub(state.unread - 1);
            if len > 0 {
                return len;
            }
        }
        self.look(&mut state)
    }

    pub(crate) fn is_empty(&self) -> bool {
        // For one that is being read this is known without the ring's lock.
        self.left() == 0 || self.len() == 0
    }

    /// No more than this, if that is known.
    pub(crate) fn bound(&self) -> Option<usize> {
        let left = || Some(self.left()).filter(|left| *left != UNREAD);
        self.taken.get().map(|taken| taken.len()).or_else(left)
    }

    /// Takes all of them out of the ring. The lock is free again before any of them is touched.
    fn take_out(&self) -> impl Iterator<Item = Entry> + use<> {
        let over = self.left() == 0 || self.is_inherited();
        (!over)
            .then(|| {
                let mut state = self.ring.lock();
                let left = self.look(&mut state);
                state.take_front(left)
            })
            .into_iter()
            .flatten()
    }

    /// All of them. They are out of the ring then.
    pub(crate) fn deliveries(&self) -> &VecDeque<Delivery> {
        self.taken.get_or_init(|| Box::new(self.take_out().flat_map(|entry| entry.unread).collect()))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // What a batch held goes with it.
        if self.taken.get().is_none() {
            drop(self.take_out());
        }
    }
}
