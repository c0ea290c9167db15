//! A consumer's part of what waits in a ring.

use super::line::Entry;
use super::{Ring, State};
use crate::delivery::Delivery;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

/// What one batch may take out of a ring: no more than waits when it is first looked into, so that a consumer comes to an
/// end of it however fast the ring is filled; and all of that but one delivery for each share that nobody looked into.
#[derive(Debug)]
pub(crate) struct Share {
    ring: Arc<Ring>,
    /// How many more at most; `None` until it is looked into.
    left: Option<usize>,
    /// All of them, once they were looked at without taking them.
    #[expect(clippy::box_collection, reason = "the share travels by value, and few look")]
    taken: OnceLock<Box<VecDeque<Delivery>>>,
    /// The one that is lent.
    lent: Option<Delivery>,
}

/// The first look into a share counts it as read.
fn look(left: Option<usize>, state: &mut State) -> usize {
    if left.is_none() {
        state.unread -= 1;
    }
    left.unwrap_or(usize::MAX).min(state.free())
}

impl Share {
    /// One that the ring has counted as unread.
    pub(super) fn new(ring: &Arc<Ring>) -> Share {
        Share { ring: Arc::clone(ring), left: None, taken: OnceLock::new(), lent: None }
    }

    /// What is left of it is the parent process's, and the ring may have been copied while it was locked.
    fn is_inherited(&self) -> bool {
        self.ring.mark.is_child()
    }

    pub(crate) fn next(&mut self) -> Option<Delivery> {
        if self.is_inherited() {
            return None;
        }
        if let Some(taken) = self.taken.get_mut() {
            return taken.pop_front();
        }
        if self.left == Some(0) {
            return None;
        }
        let mut state = self.ring.lock();
        let left = look(self.left, &mut state);
        let delivery = if left > 0 { state.pop() } else { None };
        self.left = Some(left.saturating_sub(1).min(state.free()));
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

    /// How many it would give now.
    pub(crate) fn len(&self) -> usize {
        if self.is_inherited() {
            return 0;
        }
        if let Some(taken) = self.taken.get() {
            return taken.len();
        }
        let state = self.ring.lock();
        match self.left {
            Some(left) => left.min(state.free()),
            None => state.len().saturating_sub(state.unread - 1),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        // For one that is being read this is known without the ring's lock.
        self.left == Some(0) || self.len() == 0
    }

    /// No more than this, if that is known.
    pub(crate) fn bound(&self) -> Option<usize> {
        self.taken.get().map(|taken| taken.len()).or(self.left)
    }

    /// Takes all of them out of the ring. The lock is free again before any of them is touched.
    fn take_out(&self) -> impl Iterator<Item = Entry> + use<> {
        let over = self.left == Some(0) || self.is_inherited();
        (!over)
            .then(|| {
                let mut state = self.ring.lock();
                let left = look(self.left, &mut state);
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
