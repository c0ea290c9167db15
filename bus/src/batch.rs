//! What travels in a subscription's channel: deliveries that the consumer takes at once.

use crate::credit::{Credit, Held};
use crate::delivery::Delivery;
use crate::event::Event;
use crate::ring::Share;
use std::collections::VecDeque;
use std::collections::vec_deque;
use std::sync::{Arc, OnceLock};

/// Deliveries that came together, in order: those of up to 64 datagrams that were read at once, so at least 1 and at most some
/// ten thousand. What is taken out gives its room in the channel back, a topic's events of one datagram at a time; dropping the
/// batch, or the iterator over it, gives back the rest. Until then the subscription counts its events as unread.
///
/// Of a subscription that drops rather than catches up ([`Overflow`](crate::Overflow)), those that are unread when it is
/// first looked into. Until then it may lie: what comes and what is dropped meanwhile changes what it will hold, and the next
/// batch comes all the same. Of several that lie unread, the one that is looked into first has all but one delivery for each
/// other one; so an event takes another batch along only if it waits apart, and not if under [`Overflow::Latest`] it takes
/// the place of one that waits. Where losses of theirs merged since, the last of such batches can be empty.
///
/// [`Overflow::Latest`]: crate::Overflow::Latest
#[derive(Debug)]
pub struct Batch(Source);

#[derive(Debug)]
enum Source {
    /// Its events take room of the channel.
    Own(Own),
    /// They wait in a ring.
    Ring(Share),
}

/// What holds its deliveries itself.
#[derive(Debug)]
struct Own {
    /// Runs of events, and what isn't events.
    held: VecDeque<Held>,
    /// How many deliveries are left.
    len: usize,
    /// The next one was lent, and is over with the next look.
    lent: bool,
    /// All of them, for who looks without taking them.
    #[expect(clippy::box_collection, reason = "the batch travels by value, and few look")]
    shown: OnceLock<Box<VecDeque<Delivery>>>,
    credit: Arc<Credit>,
}

impl Own {
    /// Takes the next one.
    fn next(&mut self) -> Option<Delivery> {
        self.end_loan();
        let first = self.held.front_mut()?;
        self.len -= 1;
        match first.unread.take_one() {
            Some(delivery) => Some(delivery),
            None => self.release().map(|held| held.unread.delivery),
        }
    }

    /// Makes the next one the one that is lent. Whether there is one.
    fn lend_next(&mut self) -> bool {
        self.end_loan();
        self.lent = !self.held.is_empty();
        self.lent
    }

    fn lent(&self) -> Option<&Delivery> {
        self.held.front().filter(|_| self.lent).map(|first| &first.unread.delivery)
    }

    fn end_loan(&mut self) {
        // What was shown is no longer all that is left.
        self.shown.take();
        if std::mem::take(&mut self.lent)
            && let Some(first) = self.held.front_mut()
        {
            self.len -= 1;
            match first.unread.len() {
                1 => drop(self.release()),
                _ => first.unread.skip(1),
            }
        }
    }

    /// Takes out the first run, of which at most one event is left, and gives back its room.
    fn release(&mut self) -> Option<Held> {
        let mut first = self.held.pop_front()?;
        match self.held.front_mut() {
            // That goes on to hold their datagram.
            Some(next) if next.shares(&first) => next.bytes += std::mem::take(&mut first.bytes),
            _ => {}
        }
        self.credit.give_back(&first);
        Some(first)
    }

    /// How many are left: not the one that is lent.
    fn left(&self) -> usize {
        self.len - usize::from(self.lent)
    }

    fn show(&self) -> VecDeque<Delivery> {
        let all = self.held.iter().flat_map(|held| held.unread.clone());
        all.skip(usize::from(self.lent)).collect()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.credit.give_back_all(std::mem::take(&mut self.held));
    }
}

impl Batch {
    /// An empty batch that takes its room of `credit`.
    pub(crate) fn new(credit: &Arc<Credit>) -> Batch {
        let (held, credit) = (credit.spare(), Arc::clone(credit));
        Batch(Source::Own(Own { held, len: 0, lent: false, shown: OnceLock::new(), credit }))
    }

    /// A batch of what waits in a ring.
    pub(crate) fn of(share: Share) -> Batch {
        Batch(Source::Ring(share))
    }

    /// Adds what isn't an event, and so takes no room. Not to a batch of a ring.
    pub(crate) fn push(&mut self, delivery: Delivery) {
        debug_assert!(delivery.event().is_none(), "an event takes room");
        if let Source::Own(own) = &mut self.0 {
            own.len += 1;
            own.held.push_back(Held::one(delivery));
        }
    }

    /// Adds a run of so many events, the first of which is this. One event pins all of its datagram, however small it is, and
    /// the others of the same datagram no more. Not to a batch of a ring.
    pub(crate) fn push_run(&mut self, first: Event, count: usize) {
        if let Source::Own(own) = &mut self.0 {
            let run = Held::run(first, count, own.held.back());
            own.credit.take(&run);
            own.len += count;
            own.held.push_back(run);
        }
    }

    /// Whether nothing is left in it.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// let batch = subscription.batches().recv()?;
    /// assert!(!batch.is_empty()); // as it comes out of the channel
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Source::Own(own) => own.left() == 0,
            Source::Ring(share) => share.is_empty(),
        }
    }

    /// How many deliveries are left in it.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// let batch = subscription.batches().recv()?;
    /// println!("{} at once", batch.len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn len(&self) -> usize {
        match &self.0 {
            Source::Own(own) => own.left(),
            Source::Ring(share) => share.len(),
        }
    }

    /// Takes the next delivery, and lends it until the next one is taken: what has no use for a delivery of its own need not
    /// pay for it. It no longer counts as left in the batch; the room of the last of a run goes back with the next call.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// let (mut batch, mut bytes) = (subscription.batches().recv()?, 0);
    /// while let Some(delivery) = batch.next_ref() {
    ///     bytes += delivery.event().map_or(0, |event| event.payload().len());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_ref(&mut self) -> Option<&Delivery> {
        self.lend_next();
        self.lent()
    }

    /// Takes the next delivery as the one that is lent. Whether there is one.
    pub(crate) fn lend_next(&mut self) -> bool {
        match &mut self.0 {
            Source::Own(own) => own.lend_next(),
            Source::Ring(share) => share.lend_next(),
        }
    }

    /// The delivery that is lent.
    pub(crate) fn lent(&self) -> Option<&Delivery> {
        match &self.0 {
            Source::Own(own) => own.lent(),
            Source::Ring(share) => share.lent(),
        }
    }

    /// Looks at the deliveries without taking them. It makes a list of them; [`next_ref`](Self::next_ref) doesn't.
    ///
    /// ```no_run
    /// # let bus = nlbus::Bus::connect()?;
    /// # let mut subscription = bus.subscribe("sensors/#")?;
    /// let batch = subscription.batches().recv()?;
    /// let bytes: usize = batch.iter().filter_map(|delivery| delivery.event()).map(|event| event.payload().len()).sum();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(&self) -> vec_deque::Iter<'_, Delivery> {
        match &self.0 {
            Source::Own(own) => own.shown.get_or_init(|| Box::new(own.show())).iter(),
            Source::Ring(share) => share.deliveries().iter(),
        }
    }
}

impl Iterator for Batch {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        match &mut self.0 {
            Source::Own(own) => own.next(),
            Source::Ring(share) => share.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Source::Own(own) => (own.left(), Some(own.left())),
            // What waits can merge before it is taken.
            Source::Ring(share) => (0, share.bound()),
        }
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = &'a Delivery;
    type IntoIter = vec_deque::Iter<'a, Delivery>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests;
