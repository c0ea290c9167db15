//! One topic's records, in segments: memory is taken and given back by the segment, and within one records stand
//! as they were sent, one behind the other.

use super::shelves;
use crate::wire::Messages;
use std::collections::VecDeque;

/// Bytes of the largest segment that holds more than one record.
pub const SEGMENT_MAX: usize = 1 << 16;

/// A log gives up a segment at a time: this part of what it keeps, unless its records are larger.
const SEGMENTS: u64 = 16;

/// Places for segments that a log may hold on to.
const SPARE_PLACES: usize = 16;

#[derive(Debug)]
pub(super) struct Log {
    pub(super) segments: VecDeque<Segment>,
    /// Sequence number of the next record. Those behind the newest one that are nobody's are below it.
    pub(super) next: u64,
    /// What the segments take.
    pub(super) bytes: u64,
    pub(super) limit: u64,
    pub(super) is_unsettled: bool,
    /// Whose it is.
    pub(super) account: usize,
    /// The shelf that each of the accounts that it counts in has it on, and its places there.
    pub(super) shelf: usize,
    pub(super) places: [usize; 2],
}

#[derive(Debug)]
pub(super) struct Segment {
    /// Whole messages. They never outgrow the room that it was made with.
    pub(super) bytes: Vec<u8>,
    /// Sequence number of the first.
    first: u64,
    /// One more than that of the last. The next segment begins there, unless numbers between are nobody's.
    end: u64,
}

impl Segment {
    /// The bodies of its records, by number.
    pub(super) fn records(&self) -> impl Iterator<Item = (u64, &[u8])> {
        (self.first..).zip(Messages::new(&self.bytes).flatten().map(|message| message.body))
    }
}

impl Log {
    /// An empty one, on no shelf.
    pub(super) fn new(limit: u64, account: usize) -> Log {
        Log {
            segments: VecDeque::new(),
            next: 1,
            bytes: 0,
            limit,
            is_unsettled: false,
            account,
            shelf: shelves::NONE,
            places: [0; 2],
        }
    }

    /// Sequence number of the oldest record, or of the next one where there is none.
    pub(super) fn first(&self) -> u64 {
        self.segments.front().map_or(self.next, |segment| segment.first)
    }

    /// Whether there is more than its newest record takes.
    pub(super) fn can_give(&self) -> bool {
        let is_full = |segment: &Segment| segment.bytes.len() == segment.bytes.capacity();
        let is_more = |only: &Segment| only.end - only.first > 1 || !is_full(only);
        self.segments.len() > 1 || self.segments.front().is_some_and(is_more)
    }

    /// How many numbers behind the newest record are nobody's.
    pub(super) fn tail(&self) -> u64 {
        self.next - self.segments.back().map_or(1, |newest| newest.end)
    }

    /// The number of the first record from a number on, or of the next one to come.
    pub(super) fn next_from(&self, seq: u64) -> u64 {
        let at = self.segments.partition_point(|segment| segment.end <= seq);
        self.segments.get(at).map_or(self.next, |segment| segment.first.max(seq))
    }

    /// Whether the next record can stand in the newest segment, which has room for so many bytes more.
    #[inline]
    pub(super) fn has_room(&self, len: usize) -> bool {
        let takes = |newest: &Segment| newest.end == self.next && newest.bytes.capacity() - newest.bytes.len() >= len;
        self.segments.back().is_some_and(takes)
    }

    /// The size of the next segment if it begins with a record of `len` bytes.
    pub(super) fn next_segment(&self, len: usize) -> usize {
        // Below SEGMENT_MAX, so it fits.
        let size = ((self.bytes / SEGMENTS).min(SEGMENT_MAX as u64) as usize).max(len);
        // Where others of that length would leave much of it, it has room for whole ones only.
        if is_much(size % len, size) { size - size % len } else { size }
    }

    /// Whether its next segment will be one of the largest.
    pub(super) fn is_large(&self) -> bool {
        self.next_segment(1) == SEGMENT_MAX
    }

    /// Goes on in another segment.
    pub(super) fn add_segment(&mut self, bytes: Vec<u8>) {
        self.bytes += bytes.capacity() as u64;
        self.segments.push_back(Segment { bytes, first: self.next, end: self.next });
    }

    /// The same in one that has so many records.
    pub(super) fn adopt(&mut self, bytes: Vec<u8>, records: u64) {
        self.add_segment(bytes);
        self.next += records;
        if let Some(newest) = self.segments.back_mut() {
            newest.end = self.next;
        }
    }

    /// Gives up what the newest segment doesn't use, if that is much of it. Returns a segment that is free.
    pub(super) fn close_segment(&mut self) -> Option<Vec<u8>> {
        let size = self.segments.back()?.bytes.capacity();
        is_much(self.unused() as usize, size).then(|| self.trim())?
    }

    /// Bytes of the newest segment that wait for more records.
    fn unused(&self) -> u64 {
        self.segments.back().map_or(0, |newest| newest.bytes.capacity() - newest.bytes.len()) as u64
    }

    /// Gives those up. Returns a segment that is free.
    fn trim(&mut self) -> Option<Vec<u8>> {
        self.bytes -= self.unused();
        let newest = self.segments.back_mut()?;
        // Not by shrinking, which leaves the allocator a hole that is too small for the next segment.
        let held = newest.bytes.to_vec();
        Some(std::mem::replace(&mut newest.bytes, held))
    }

    /// Appends a record, with zeros up to `len` bytes, to the newest segment, which has room for it. Returns all of that.
    #[inline]
    pub(super) fn append(&mut self, record: &[u8], len: usize) -> &mut Vec<u8> {
        let segment = self.segments.back_mut().expect("a segment with room");
        let end = segment.bytes.len() + len;
        segment.bytes.extend_from_slice(record);
        segment.bytes.resize(end, 0);
        self.next += 1;
        segment.end = self.next;
        &mut segment.bytes
    }

    /// Gives up the oldest segment; where that is nearly all, rather the room that the newest doesn't use, or the older half
    /// of the oldest. Returns a segment that is free, and how many records are gone; `None` when there was nothing but the
    /// newest record.
    pub(super) fn evict(&mut self) -> Option<(Vec<u8>, u64)> {
        if !self.can_give() {
            return None;
        }
        let oldest = self.segments.front()?.bytes.capacity() as u64;
        let is_nearly_all = self.bytes - self.unused() < oldest + oldest / 2;
        if is_nearly_all && self.unused() >= oldest / 2 {
            return Some((self.trim()?, 0));
        }
        let oldest = self.segments.pop_front()?;
        let mut gone = oldest.end - oldest.first;
        self.bytes -= oldest.bytes.capacity() as u64;
        if is_nearly_all {
            let (skipped, at) = newer_half(&oldest.bytes);
            if skipped > 0 || self.segments.is_empty() {
                let rest = oldest.bytes[at..].to_vec();
                self.bytes += rest.capacity() as u64;
                self.segments.push_front(Segment { bytes: rest, first: oldest.first + skipped, end: oldest.end });
                gone = skipped;
            }
        }
        // Room that was made by the measure of what is gone: others, that keep more, would have to give up events for it.
        if self.unused() > self.bytes / 2 {
            self.trim();
        }
        // A deque never shrinks by itself, and the common limit counts segments, not places: a flood that went from topic
        // to topic would leave each of them its largest one.
        if self.segments.len() <= self.segments.capacity() / 4 && self.segments.capacity() > SPARE_PLACES {
            self.segments.shrink_to(self.segments.len() * 2);
        }
        Some((oldest.bytes, gone))
    }

    /// The segments from the one on that has a sequence number, or the first one behind it.
    pub(super) fn segments_from(&self, seq: u64) -> impl Iterator<Item = &Segment> {
        let at = self.segments.partition_point(|segment| segment.end <= seq);
        self.segments.range(at..)
    }
}

/// Whether messages fill the memory that they are in, and it is that of a segment of the largest size.
pub fn is_segment(messages: &Vec<u8>) -> bool {
    messages.capacity() == SEGMENT_MAX && !is_much(SEGMENT_MAX - messages.len(), SEGMENT_MAX)
}

/// Whether so much of a segment shouldn't stay unused.
fn is_much(unused: usize, size: usize) -> bool {
    unused > size / 16
}

/// Where the newest messages begin that take at most half of these bytes, at least the last one, and how many are before.
fn newer_half(bytes: &[u8]) -> (u64, usize) {
    let starts = Messages::new(bytes).flatten().map(|message| (message.offset, message.last));
    let newer = |(_, (offset, last)): &(usize, (usize, bool))| *last || *offset >= bytes.len().div_ceil(2);
    starts.enumerate().find(newer).map_or((0, 0), |(skipped, (offset, _))| (skipped as u64, offset))
}
