//! To which broker the events went that no flush has asked about: a broker that takes over knows nothing of what waited
//! with the one before it, and its answer says nothing of it.

use std::sync::{Mutex, PoisonError};

/// What was sent since the last flush that succeeded.
#[derive(Debug, Default)]
pub(crate) struct Unflushed(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Epoch of the broker that the first of them went to.
    first: Option<u64>,
    /// How many were ever sent.
    sent: u64,
}

/// What a flush asks about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking {
    first: Option<u64>,
    sent: u64,
}

impl Unflushed {
    /// Something was sent to the broker of this epoch, as far as is known.
    pub(crate) fn sent(&self, epoch: u64) {
        self.with(|state| {
            state.first.get_or_insert(epoch);
            state.sent += 1;
        });
    }

    /// What a flush that begins now asks about.
    pub(crate) fn ask(&self) -> Asking {
        self.with(|state| Asking { first: state.first, sent: state.sent })
    }

    /// The broker of this epoch has answered. Whether it is the one that all of it went to.
    pub(crate) fn answered(&self, asking: Asking, epoch: u64) -> bool {
        let same = asking.first.is_none_or(|first| first == epoch);
        self.with(|state| {
            if state.sent == asking.sent {
                state.first = None;
            } else if !same {
                // What was sent meanwhile may have gone to either: the next flush asks, and this one has told of the rest.
                state.first = state.first.map(|_| epoch);
            }
        });
        same
    }

    /// The state is whole whatever panicked while it was held.
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_brokers_answer_says_nothing_of_what_went_to_the_first() {
        let unflushed = Unflushed::default();
        assert!(unflushed.answered(unflushed.ask(), 1), "nothing was sent");
        unflushed.sent(1);
        assert!(unflushed.answered(unflushed.ask(), 1));
        unflushed.sent(1);
        unflushed.sent(2);
        assert!(!unflushed.answered(unflushed.ask(), 2), "the first one is lost");
        assert!(unflushed.answered(unflushed.ask(), 2), "and told of once");
    }

    #[test]
    fn what_is_sent_during_a_flush_is_the_next_ones() {
        let unflushed = Unflushed::default();
        unflushed.sent(1);
        let asking = unflushed.ask();
        unflushed.sent(1);
        assert!(unflushed.answered(asking, 1));
        assert!(!unflushed.answered(unflushed.ask(), 2));
    }

    #[test]
    fn a_flush_without_answer_leaves_it_to_the_next() {
        let unflushed = Unflushed::default();
        unflushed.sent(1);
        let _ = unflushed.ask();
        assert!(!unflushed.answered(unflushed.ask(), 2));
    }
}
