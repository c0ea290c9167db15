//! What a broker keeps of each topic for replay: a ring of records a topic, bounded by bytes, and a bound for all
//! of them together. Pure: a record is any bytes, and its sequence number is its place.
//!
//! A topic's newest record is always kept, whatever the limits, so that a late joiner can have the last event.
//! Beyond that a topic gives up its own oldest records when it exceeds its own limit. When all together exceed the
//! common one, a topic pays that keeps the most, to within a factor of two: topics are shelved by the power of two of
//! their bytes, the topics of the highest shelf give up their oldest record in turn, and a push pays at once, in constant
//! time. So a flood evicts itself and what is small stays.

use std::collections::VecDeque;
use std::ops::Range;

/// Shelf of the topics that have nothing to give: none or only the newest record.
const EMPTY_SHELF: usize = 0;
/// One for each power of two of a `u64`, and the empty one.
const SHELVES: usize = 65;

/// Places for records that a topic may hold on to.
const SPARE_PLACES: usize = 64;

/// The records of all topics. Topics are numbered from 0, in the order in which they were added.
#[derive(Debug)]
pub struct History {
    rings: Vec<Ring>,
    shelves: Vec<Vec<usize>>,
    /// No higher shelf has topics on it.
    highest: usize,
    /// Whose turn it is on the shelf that pays.
    turn: usize,
    bytes: u64,
    limit: u64,
    evicted: u64,
}

#[derive(Debug)]
struct Ring {
    records: VecDeque<Box<[u8]>>,
    /// Sequence number of the first record, or of the next one when there is none.
    first: u64,
    bytes: u64,
    limit: u64,
    shelf: usize,
    /// Its place on that shelf.
    place: usize,
}

impl Ring {
    fn right_shelf(&self) -> usize {
        match self.records.len() {
            0 | 1 => EMPTY_SHELF,
            // Empty records are records: they have a turn to go, too.
            _ => (u64::BITS - self.bytes.leading_zeros()).max(1) as usize,
        }
    }

    /// Lets the oldest record go, unless it is the newest, too. Returns its bytes.
    fn pop(&mut self) -> Option<u64> {
        if self.records.len() <= 1 {
            return None;
        }
        let record = self.records.pop_front()?;
        let len = record.len() as u64;
        self.first += 1;
        self.bytes -= len;
        // A ring never shrinks by itself, and the common limit counts records, not places: a flood that went from topic
        // to topic would leave each of them its largest ring.
        if self.records.len() <= self.records.capacity() / 4 && self.records.capacity() > SPARE_PLACES {
            self.records.shrink_to(self.records.len() * 2);
        }
        Some(len)
    }
}

impl History {
    /// Keeps at most `limit` bytes of records of all topics together, the newest of each topic apart.
    pub fn new(limit: u64) -> History {
        History {
            rings: Vec::new(),
            shelves: vec![Vec::new(); SHELVES],
            highest: EMPTY_SHELF,
            turn: 0,
            bytes: 0,
            limit,
            evicted: 0,
        }
    }

    /// Adds a topic that keeps at most `limit` bytes of records, the newest apart. Returns its number.
    pub fn add_topic(&mut self, limit: u64) -> usize {
        let topic = self.rings.len();
        let shelf = &mut self.shelves[EMPTY_SHELF];
        let place = shelf.len();
        shelf.push(topic);
        self.rings.push(Ring { records: VecDeque::new(), first: 1, bytes: 0, limit, shelf: EMPTY_SHELF, place });
        topic
    }

    /// Appends a record to a topic and lets go what is then too much. Returns the record's sequence number.
    ///
    /// # Panics
    /// If no such topic was added.
    pub fn push(&mut self, topic: usize, record: Box<[u8]>) -> u64 {
        let ring = &mut self.rings[topic];
        let len = record.len() as u64;
        ring.records.push_back(record);
        ring.bytes += len;
        self.bytes += len;
        let seq = ring.first + ring.records.len() as u64 - 1;
        self.cut(topic);
        self.reshelve(topic);
        while self.bytes > self.limit && self.evict_from_largest() {}
        seq
    }

    /// Sequence numbers that a topic keeps. The end is the next one to come, also when none is kept.
    ///
    /// # Panics
    /// If no such topic was added.
    pub fn kept(&self, topic: usize) -> Range<u64> {
        let ring = &self.rings[topic];
        ring.first..ring.first + ring.records.len() as u64
    }

    /// Newest sequence number of a topic, 0 for none yet.
    ///
    /// # Panics
    /// If no such topic was added.
    pub fn head(&self, topic: usize) -> u64 {
        self.kept(topic).end - 1
    }

    /// The records of a topic from a sequence number on, oldest first; from the first kept one if that is later.
    ///
    /// # Panics
    /// If no such topic was added.
    pub fn from(&self, topic: usize, seq: u64) -> impl Iterator<Item = (u64, &[u8])> {
        let ring = &self.rings[topic];
        let start = seq.max(ring.first);
        let skip = usize::try_from(start - ring.first).unwrap_or(usize::MAX).min(ring.records.len());
        (start..).zip(ring.records.range(skip..).map(|record| &**record))
    }

    /// Bytes that a topic keeps, and may keep.
    ///
    /// # Panics
    /// If no such topic was added.
    pub fn bytes_of(&self, topic: usize) -> (u64, u64) {
        (self.rings[topic].bytes, self.rings[topic].limit)
    }

    /// Says how much a topic may keep, and lets go what is then too much.
    ///
    /// # Panics
    /// If no such topic was added.
    pub fn set_limit(&mut self, topic: usize, limit: u64) {
        self.rings[topic].limit = limit;
        self.cut(topic);
        self.reshelve(topic);
    }

    /// Bytes kept of all topics.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many records were let go.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Brings a topic below its own limit.
    fn cut(&mut self, topic: usize) {
        let ring = &mut self.rings[topic];
        while ring.bytes > ring.limit {
            let Some(len) = ring.pop() else { break };
            self.bytes -= len;
            self.evicted += 1;
        }
    }

    /// Lets one record go, of a topic on the highest shelf. Returns whether there was one.
    fn evict_from_largest(&mut self) -> bool {
        while self.highest > EMPTY_SHELF && self.shelves[self.highest].is_empty() {
            self.highest -= 1;
        }
        if self.highest == EMPTY_SHELF {
            return false;
        }
        let shelf = &self.shelves[self.highest];
        self.turn = if self.turn + 1 < shelf.len() { self.turn + 1 } else { 0 };
        let topic = shelf[self.turn];
        // What stands on a shelf above the empty one has two records or more.
        let len = self.rings[topic].pop().unwrap_or_default();
        self.bytes -= len;
        self.evicted += 1;
        self.reshelve(topic);
        true
    }

    /// Puts a topic where it now belongs.
    fn reshelve(&mut self, topic: usize) {
        let Ring { shelf: old, place, .. } = self.rings[topic];
        let new = self.rings[topic].right_shelf();
        if new == old {
            return;
        }
        self.shelves[old].swap_remove(place);
        if let Some(&moved) = self.shelves[old].get(place) {
            self.rings[moved].place = place;
        }
        self.rings[topic].shelf = new;
        self.rings[topic].place = self.shelves[new].len();
        self.shelves[new].push(topic);
        self.highest = self.highest.max(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(len: usize) -> Box<[u8]> {
        vec![0; len].into()
    }

    #[test]
    fn the_newest_record_is_kept_also_with_limit_zero() {
        let mut history = History::new(0);
        let topic = history.add_topic(0);
        assert_eq!((history.kept(topic), history.head(topic)), (1..1, 0));
        for seq in 1..10 {
            assert_eq!(history.push(topic, record(100)), seq);
            assert_eq!((history.kept(topic), history.head(topic)), (seq..seq + 1, seq));
        }
        assert_eq!((history.bytes(), history.evicted()), (100, 8));
    }

    #[test]
    fn a_topic_keeps_what_its_limit_holds() {
        let mut history = History::new(u64::MAX);
        let topic = history.add_topic(100);
        for _ in 0..25 {
            history.push(topic, record(10));
        }
        assert_eq!((history.kept(topic), history.bytes_of(topic)), (16..26, (100, 100)));
        history.push(topic, record(95));
        assert_eq!(history.kept(topic), 26..27);
    }

    #[test]
    fn a_limit_that_is_lowered_holds_at_once() {
        let mut history = History::new(u64::MAX);
        let topic = history.add_topic(1000);
        for _ in 0..100 {
            history.push(topic, record(10));
        }
        history.set_limit(topic, 55);
        assert_eq!((history.kept(topic), history.bytes_of(topic)), (96..101, (50, 55)));
        history.set_limit(topic, 70);
        for _ in 0..5 {
            history.push(topic, record(10));
        }
        assert_eq!((history.kept(topic), history.bytes(), history.evicted()), (99..106, 70, 98));
        history.set_limit(topic, 0);
        assert_eq!(history.kept(topic), 105..106);
    }

    #[test]
    fn a_flood_evicts_itself_and_not_the_small_ones() {
        let mut history = History::new(10_000);
        let small: Vec<_> = (0..10).map(|_| history.add_topic(u64::MAX)).collect();
        let flood = history.add_topic(u64::MAX);
        for topic in &small {
            for _ in 0..10 {
                history.push(*topic, record(10));
            }
        }
        for _ in 0..10_000 {
            history.push(flood, record(10));
        }
        assert!(history.bytes() <= 10_000);
        assert!(small.iter().all(|topic| history.bytes_of(*topic).0 == 100));
        assert_eq!(history.bytes_of(flood).0, 9_000);
    }

    #[test]
    fn records_without_bytes_make_room_too() {
        let mut history = History::new(0);
        let (empty, other) = (history.add_topic(0), history.add_topic(0));
        history.push(empty, record(0));
        history.push(empty, record(0));
        history.push(other, record(1));
        assert_eq!((history.kept(empty), history.kept(other)), (2..3, 1..2));
    }

    #[test]
    fn two_floods_share_the_common_limit() {
        let mut history = History::new(10_000);
        let (one, two) = (history.add_topic(u64::MAX), history.add_topic(u64::MAX));
        for _ in 0..5_000 {
            history.push(one, record(10));
        }
        for _ in 0..5_000 {
            history.push(two, record(10));
        }
        let (one, two) = (history.bytes_of(one).0, history.bytes_of(two).0);
        assert!(one >= 2_500 && two >= 2_500, "{one} {two}");
    }

    #[test]
    fn a_ring_that_was_large_gives_its_places_back() {
        let mut history = History::new(100_000);
        let topics: Vec<_> = (0..50).map(|_| history.add_topic(u64::MAX)).collect();
        for topic in topics {
            for _ in 0..10_000 {
                history.push(topic, record(10));
            }
        }
        let places: usize = history.rings.iter().map(|ring| ring.records.capacity()).sum();
        assert!(places < 60_000, "{places} places for 10 000 records");
    }

    proptest! {
        #[test]
        fn bounds_and_numbers_hold(limit in 0u64..2000, limits in prop::collection::vec(0u64..800, 1..6),
                                   pushes in prop::collection::vec((0usize..6, 0usize..150), 0..200)) {
            let mut history = History::new(limit);
            for limit in &limits {
                history.add_topic(*limit);
            }
            let mut lens: Vec<Vec<usize>> = vec![Vec::new(); limits.len()];
            for (topic, len) in pushes {
                let topic = topic % limits.len();
                lens[topic].push(len);
                prop_assert_eq!(history.push(topic, record(len)), lens[topic].len() as u64);
                let mut total = 0;
                for (topic, lens) in lens.iter().enumerate() {
                    let kept = history.kept(topic);
                    prop_assert_eq!((history.head(topic), kept.end), (lens.len() as u64, lens.len() as u64 + 1));
                    prop_assert_eq!(kept.is_empty(), lens.is_empty());
                    // What it says to keep is there, and is what was pushed under that number.
                    let records: Vec<_> = history.from(topic, 0).map(|(seq, record)| (seq, record.len())).collect();
                    let want: Vec<_> = kept.clone().map(|seq| (seq, lens[seq as usize - 1])).collect();
                    prop_assert_eq!(&records, &want);
                    let bytes: u64 = want.iter().map(|(_, len)| *len as u64).sum();
                    prop_assert_eq!(history.bytes_of(topic), (bytes, limits[topic]));
                    prop_assert!(bytes <= limits[topic] || kept.end - kept.start == 1);
                    total += bytes;
                }
                prop_assert_eq!(history.bytes(), total);
                let all_newest_alone = (0..lens.len()).all(|topic| history.kept(topic).count() <= 1);
                prop_assert!(total <= limit || all_newest_alone);
                let pushed: usize = lens.iter().map(Vec::len).sum();
                let kept: usize = (0..lens.len()).map(|topic| history.kept(topic).count()).sum();
                prop_assert_eq!(history.evicted(), (pushed - kept) as u64);
                // Every topic stands on the shelf that its bytes say, at the place that it knows.
                for (topic, ring) in history.rings.iter().enumerate() {
                    prop_assert_eq!(ring.shelf, ring.right_shelf());
                    prop_assert_eq!(history.shelves[ring.shelf][ring.place], topic);
                }
            }
        }

        #[test]
        fn a_walk_starts_where_it_is_told(from in 0u64..30) {
            let mut history = History::new(u64::MAX);
            let topic = history.add_topic(70);
            for _ in 0..20 {
                history.push(topic, record(10));
            }
            let seen: Vec<_> = history.from(topic, from).map(|(seq, _)| seq).collect();
            prop_assert_eq!(seen, (from.max(14)..21).collect::<Vec<_>>());
        }
    }
}
