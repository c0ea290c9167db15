//! A consumer's part of what waits in a ring.

use super::Ring;
use crate::delivery::Delivery;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

/// What one batch may take out of a ring: no more than waits when it is first looked into, so that a consumer comes to an
/// end of it however fast the ring is filled.
#[derive(Debug)]
pub(crate) struct Share {
    ring: Arc<Ring>,
    /// How many more; `None` until it is looked into.
    left: Option<usize>,
    /// All of them, once they were looked at without taking them.
    taken: OnceLock<VecDeque<Delivery>>,
}

impl Share {
    pub(crate) fn new(ring: &Arc<Ring>) -> Share {
        Share { ring: Arc::clone(ring), left: None, taken: OnceLock::new() }
    }

    /// It takes no more.
    pub(crate) fn end(&mut self) {
        self.left = Some(0);
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
        match self.left.get_or_insert_with(|| self.ring.len()) {
            0 => None,
            left => self.ring.take(left),
        }
    }

    /// How many it would give now.
    pub(crate) fn len(&self) -> usize {
        if self.is_inherited() {
            return 0;
        }
        self.taken.get().map_or_else(|| self.left.unwrap_or(usize::MAX).min(self.ring.len()), VecDeque::len)
    }

    /// No more than this, if that is known.
    pub(crate) fn bound(&self) -> Option<usize> {
        self.taken.get().map(VecDeque::len).or(self.left)
    }

    /// All of them. They are out of the ring then.
    pub(crate) fn deliveries(&self) -> &VecDeque<Delivery> {
        self.taken.get_or_init(|| match self.left {
            Some(0) => VecDeque::new(),
            _ if self.is_inherited() => VecDeque::new(),
            left => self.ring.take_all(left.unwrap_or(usize::MAX)),
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // What a batch held goes with it.
        self.deliveries();
    }
}
