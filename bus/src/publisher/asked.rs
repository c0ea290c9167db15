//! Questions to the broker that somebody waits for.

use super::error::{PublishError, PublishReason};
use super::unflushed::Asking;
use super::{Publisher, lock};
use crate::wire::Refusal;
use crossbeam_channel::Receiver;

/// The broker's word: an event's sequence number; of a barrier, the broker's epoch.
pub(crate) type Verdict = Result<Option<u64>, Refusal>;

/// A question to the broker that is under way. Dropped, its answer is nobody's.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    publisher: &'a Publisher,
    number: u32,
    verdict: Receiver<Verdict>,
    epoch: u64,
}

/// The question of a flush that is under way.
#[derive(Debug)]
pub(crate) struct Barrier<'a> {
    pub(crate) asked: Asked<'a>,
    unflushed: Asking,
}

impl<'a> Barrier<'a> {
    pub(super) fn new(asked: Asked<'a>, unflushed: Asking) -> Barrier<'a> {
        Barrier { asked, unflushed }
    }

    /// The broker of this epoch has answered.
    ///
    /// # Errors
    /// When it isn't the one that the events before went to: what became of them nobody knows.
    pub(crate) fn answered(&self, epoch: Option<u64>) -> Result<(), PublishError> {
        let publisher = self.asked.publisher;
        if epoch.is_some_and(|epoch| publisher.unflushed.answered(self.unflushed, epoch)) {
            return Ok(());
        }
        Err(PublishError::new("", PublishReason::Unknown))
    }
}

impl<'a> Asked<'a> {
    pub(super) fn new(publisher: &'a Publisher, number: u32, verdict: Receiver<Verdict>, epoch: u64) -> Asked<'a> {
        Asked { publisher, number, verdict, epoch }
    }

    /// Of the broker that it went to, as far as is known.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Where the verdict will be; closed if the broker goes away.
    pub(crate) fn verdict(&self) -> &Receiver<Verdict> {
        &self.verdict
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        lock(&self.publisher.waiting).remove(&self.number);
    }
}
