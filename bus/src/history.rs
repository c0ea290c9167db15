//! What a broker keeps of each topic for replay: a log of records a topic, bounded by bytes, and a bound for all of
//! them together. Pure: a record is a netlink message, and its sequence number is its place, as numbers follow each
//! other where none were [skipped](History::skip).
//!
//! A topic's newest record is always kept, whatever the limits, so that a late joiner can have the last event.
//! Beyond that a topic gives up its own oldest records when it exceeds its own limit. When those of an account, which is a
//! user's, exceed its limit, one of them pays that keeps the most, to within a factor of two: topics are shelved by the power
//! of two of their bytes, and the topics of the highest shelf give up their oldest segment in turn. So it is with those of all
//! accounts but the exempt together, and with all that there are. So a flood evicts itself and what is small stays, and a user's
//! flood evicts what is his.
//!
//! What is appended stays where it is until [`History::settle`] enforces the limits, so that a broker may send it from
//! here: an event is written once.

mod account;
mod log;
mod shelves;

use crate::wire::align;
use crate::wire::uapi::NLMSG_ALIGNTO;
use account::{Accounts, charged};
pub use account::{EXEMPT, Overdraft, TOGETHER, together_of};
use log::{Log, Segment};
pub use log::{SEGMENT_MAX, is_segment};
use shelves::right_shelf;
use std::ops::Range;

/// Segments of the full size that are kept for the next ones: a megabyte.
const SPARE_SEGMENTS: usize = 16;

/// The records of all topics. Topics are numbered from 0, and a new one has the number of one that was removed, if there is any.
#[derive(Debug)]
pub struct History {
    logs: Vec<Log>,
    /// Numbers of topics that were removed.
    free: Vec<usize>,
    /// Topics that may exceed their limit, or stand on the wrong shelf.
    unsettled: Vec<usize>,
    accounts: Accounts,
    evicted: u64,
    spare: Vec<Vec<u8>>,
}

/// Where a record is, until the history is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its topic's number.
    pub topic: usize,
    /// The segment of its topic's log.
    pub segment: usize,
    /// Its first byte there.
    pub start: usize,
    /// Behind its last byte, padding included.
    pub end: usize,
}

/// Keeps a segment that is free for others, if it is one of those and they are too few.
fn keep_spare(spare: &mut Vec<Vec<u8>>, mut segment: Vec<u8>) {
    if segment.capacity() == SEGMENT_MAX && spare.len() < SPARE_SEGMENTS {
        segment.clear();
        spare.push(segment);
    }
}

impl History {
    /// Keeps at most `limit` bytes of records of all topics together, the newest of each topic apart.
    pub fn new(limit: u64) -> History {
        History {
            logs: Vec::new(),
            free: Vec::new(),
            unsettled: Vec::new(),
            accounts: Accounts::new(limit),
            evicted: 0,
            spare: Vec::with_capacity(SPARE_SEGMENTS),
        }
    }

    /// Opens an account for topics that keep at most `limit` bytes of records together, the newest of each apart. Returns its
    /// number. That of the [exempt](EXEMPT) is there from the start.
    pub fn open_account(&mut self, limit: u64) -> usize {
        self.accounts.open(limit)
    }

    /// How many topics an account has.
    ///
    /// # Panics
    /// If no such account was opened.
    pub fn topics_of(&self, account: usize) -> u32 {
        self.accounts[account].topics
    }

    /// How many topics all accounts but that of the exempt have.
    pub fn topics_together(&self) -> u32 {
        self.accounts.topics_together()
    }

    /// Adds a topic of an account that keeps at most `limit` bytes of records, the newest apart. Returns its number.
    ///
    /// # Panics
    /// If no such account was opened.
    pub fn add_topic(&mut self, limit: u64, account: usize) -> usize {
        self.accounts.begin_topic(account);
        let log = Log::new(limit, account);
        match self.free.pop() {
            Some(topic) => {
                self.logs[topic] = Log { is_unsettled: self.logs[topic].is_unsettled, ..log };
                topic
            }
            None => {
                self.logs.push(log);
                self.logs.len() - 1
            }
        }
    }

    /// Removes a topic with all its records. No place of it holds beyond this.
    ///
    /// # Panics
    /// If no such topic was added.
    pub fn remove_topic(&mut self, topic: usize) {
        let Log { account, bytes, is_unsettled, shelf, places, .. } = self.logs[topic];
        let gone = Log { is_unsettled, shelf, places, ..Log::new(0, account) };
        let old = std::mem::replace(&mut self.logs[topic], gone);
        old.segments.into_iter().for_each(|segment| keep_spare(&mut self.spare, segment.bytes));
        self.accounts.shrink(account, bytes);
        self.reshelve(topic);
        self.accounts.end_topic(account);
        self.free.push(topic);
    }

    /// The account of a topic.
    ///
    /// # Panics
    /// If no such topic was added.
    pub fn account_of(&self, topic: usize) -> usize {
        self.logs[topic].account
    }

    /// Whether any account is to keep nothing more.
    #[inline]
    pub fn is_any_overdrawn(&self) -> bool {
        self.accounts.is_any_overdrawn()
    }

    /// Why an account is to keep nothing more, if that is so. Whoever appends asks.
    ///
    /// # Panics
    /// If no such account was opened.
    pub fn overdraft(&self, account: usize) -> Option<Overdraft> {
        self.accounts.overdraft(account)
    }

    /// Appends a record, a netlink message, to a topic and pads it. Returns where it is, and its bytes, to be completed:
    /// its length must stay.
    ///
    /// # Panics
    /// If no such topic was added.
    #[inline]
    pub fn append(&mut self, topic: usize, record: &[u8]) -> (Place, &mut [u8]) {
        let len = align(record.len(), NLMSG_ALIGNTO);
        if !self.logs[topic].has_room(len) {
            self.add_segment(topic, len);
        }
        self.unsettle(topic);
        let log = &mut self.logs[topic];
        let segment = log.segments.len() - 1;
        let bytes = log.append(record, len);
        let end = bytes.len();
        (Place { topic, segment, start: end - len, end }, &mut bytes[end - len..])
    }

    /// Whether a topic's next segment will be one of the largest, so that it can [adopt](Self::adopt) one.
    ///
    /// # Panics
    /// If no such topic was added.
    pub fn adopts(&self, topic: usize) -> bool {
        self.logs[topic].is_large()
    }

    /// Appends so many records to a topic, which stand padded in what [is a segment](is_segment), and leaves memory for another
    /// one in its place, or none. Returns where they are.
    ///
    /// # Panics
    /// If no such topic was added.
    pub fn adopt(&mut self, topic: usize, segment: &mut Vec<u8>, records: u64) -> Place {
        self.unsettle(topic);
        self.close_segment(topic);
        let log = &mut self.logs[topic];
        let end = segment.len();
        let before = log.bytes;
        log.adopt(std::mem::replace(segment, self.spare.pop().unwrap_or_default()), records);
        self.accounts.grow(log.account, log.bytes - before);
        Place { topic, segment: log.segments.len() - 1, start: 0, end }
    }

    /// Has the numbers of so many records that a topic would have next be nobody's.
    ///
    /// # Panics
    /// If no such topic was added.
    pub fn skip(&mut self, topic: usize, count: u64) {
        self.logs[topic].next += count;
    }

    /// How many numbers behind a topic's newest record are nobody's.
    ///
    /// # Panics
    /// If no such topic was added.
    pub fn tail(&self, topic: usize) -> u64 {
        self.logs[topic].tail()
    }

    /// What was appended at a place, or between the beginning of one and the end of a later one of the same segment.
    pub fn at(&self, place: Place) -> &[u8] {
        &self.logs[place.topic].segments[place.segment].bytes[place.start..place.end]
    }

    /// The same, to be completed.
    pub fn at_mut(&mut self, place: Place) -> &mut [u8] {
        &mut self.logs[place.topic].segments[place.segment].bytes[place.start..place.end]
    }

    /// Lets go what is too much. No place holds beyond this.
    pub fn settle(&mut self) {
        while let Some(topic) = self.unsettled.pop() {
            self.logs[topic].is_unsettled = false;
            while self.logs[topic].bytes > self.logs[topic].limit && self.evict(topic) {}
            self.reshelve(topic);
            self.accounts.look_at(self.logs[topic].account);
        }
        let large = self.accounts.take_large();
        for account in &large {
            while self.accounts[*account].bytes > self.accounts[*account].limit && self.evict_from_largest(*account) {}
        }
        while self.accounts.bytes > self.accounts.limit && {
            let payer = self.accounts.payer();
            self.evict_from_largest(payer)
        } {}
        self.accounts.judge(large);
    }

    /// Sequence numbers that a topic keeps, but for those that are [nobody's](Self::skip). The end is the next one to come, also
    /// when none is kept.
    ///
    /// # Panics
    /// If no such topic was added.
    pub fn kept(&self, topic: usize) -> Range<u64> {
        self.logs[topic].first()..self.logs[topic].next
    }

    /// The sequence number of the first record that a topic keeps from a number on, or the next one to come.
    ///
    /// # Panics
    /// If no such topic was added.
    pub fn next_from(&self, topic: usize, seq: u64) -> u64 {
        self.logs[topic].next_from(seq)
    }

    /// Newest sequence number of a topic, 0 for none yet.
    ///
    /// # Panics
    /// If no such topic was added.
    pub fn head(&self, topic: usize) -> u64 {
        self.logs[topic].next - 1
    }

    /// The bodies of a topic's records from a sequence number on, oldest first; from the first kept one if that is later.
    ///
    /// # Panics
    /// If no such topic was added.
    pub fn from(&self, topic: usize, seq: u64) -> impl Iterator<Item = (u64, &[u8])> {
        // The first segment begins before it, where it isn't the first record of that.
        self.logs[topic].segments_from(seq).flat_map(Segment::records).skip_while(move |(at, _)| *at < seq)
    }

    /// Bytes of memory that a topic's records take, and may take.
    ///
    /// # Panics
    /// If no such topic was added.
    pub fn bytes_of(&self, topic: usize) -> (u64, u64) {
        (self.logs[topic].bytes, self.logs[topic].limit)
    }

    /// Says how much a topic may keep, from the next [`settle`](Self::settle) on.
    ///
    /// # Panics
    /// If no such topic was added.
    pub fn set_limit(&mut self, topic: usize, limit: u64) {
        self.logs[topic].limit = limit;
        self.unsettle(topic);
    }

    /// Bytes that all records take.
    pub fn bytes(&self) -> u64 {
        self.accounts.bytes
    }

    /// How many records were let go.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    #[inline]
    fn unsettle(&mut self, topic: usize) {
        if !self.logs[topic].is_unsettled {
            self.logs[topic].is_unsettled = true;
            self.unsettled.push(topic);
        }
    }

    /// Begins a segment with room for a record of `len` bytes.
    #[cold]
    fn add_segment(&mut self, topic: usize, len: usize) {
        let size = self.logs[topic].next_segment(len);
        self.close_segment(topic);
        let spare = if size == SEGMENT_MAX { self.spare.pop() } else { None };
        self.logs[topic].add_segment(spare.unwrap_or_else(|| Vec::with_capacity(size)));
        self.accounts.grow(self.logs[topic].account, size as u64);
    }

    /// Ends a topic's newest segment, which may be left without what it didn't use.
    fn close_segment(&mut self, topic: usize) {
        let log = &mut self.logs[topic];
        let before = log.bytes;
        if let Some(free) = log.close_segment() {
            keep_spare(&mut self.spare, free);
        }
        self.accounts.shrink(log.account, before - log.bytes);
    }

    /// Lets a topic's oldest records go. Returns whether it had any to give.
    fn evict(&mut self, topic: usize) -> bool {
        let log = &mut self.logs[topic];
        let bytes = log.bytes;
        let Some((free, gone)) = log.evict() else { return false };
        self.accounts.shrink(log.account, bytes - log.bytes);
        self.evicted += gone;
        keep_spare(&mut self.spare, free);
        true
    }

    /// The same of a topic that keeps the most of an account's.
    fn evict_from_largest(&mut self, account: usize) -> bool {
        let Some(topic) = self.accounts[account].shelves.next() else { return false };
        let evicted = self.evict(topic);
        debug_assert!(evicted, "only what can give stands on a shelf");
        self.reshelve(topic);
        evicted
    }

    /// Puts a topic where it now belongs.
    fn reshelve(&mut self, topic: usize) {
        let Log { account, shelf: old, places, .. } = self.logs[topic];
        let new = right_shelf(&self.logs[topic]);
        if new == old {
            return;
        }
        for (at, account) in charged(account).enumerate() {
            let shelves = &mut self.accounts[account].shelves;
            if let Some(moved) = shelves.take(old, places[at]) {
                self.logs[moved].places[at] = places[at];
            }
            self.logs[topic].places[at] = shelves.put(topic, new);
        }
        self.logs[topic].shelf = new;
    }
}

#[cfg(test)]
mod tests;
