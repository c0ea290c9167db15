//! The client's end of a subscription's way to its consumer: what is put in here, the consumer finds in its channel.

use crate::arrivals::Arrivals;
use crate::batch::Batch;
use crate::counts::Counts;
use crate::delivery::{Delivery, Event};
use crate::flow::{Flow, Wake};
use crate::ring::{Drops, Ring};
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::sync::Arc;

/// Bytes that a subscription holds: of datagrams, or of events where it keeps those alone.
const CAPACITY_BYTES: usize = 16 << 20;

/// What happens when a subscription holds as many unread events as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// It keeps only its place in each topic, and is refilled from the broker's history when it has room: the one that
    /// loses nothing as long as history keeps it.
    #[default]
    CatchUp,
    /// The oldest unread event goes, and a [`Lost`](crate::Lost) range takes its place: for who wants what is new, and
    /// as much of it as there is room for.
    DropOldest,
    /// The event that comes goes, and a [`Lost`](crate::Lost) range takes its place: for who works off what he has.
    DropNewest,
    /// Of each topic only the newest event is kept unread, whatever the capacity; it says for how many it
    /// [stands](crate::Event::stands_for). For values that replace each other. Nothing is reported as lost, unless 16 MiB
    /// of names and payloads wait unread: then the topic that has waited longest goes, and a [`Lost`](crate::Lost) range takes
    /// the place of its event.
    Latest,
}

/// The consumer's end.
pub(crate) struct Outlet {
    pub(crate) batches: Receiver<Batch>,
    pub(crate) arrivals: Arc<Arrivals>,
    pub(crate) counts: Arc<Counts>,
}

/// The client's end. When it is dropped, the consumer is told that nothing more comes.
#[derive(Debug)]
pub(crate) struct Inlet {
    way: Way,
    /// `None` only while it is being dropped.
    sender: Option<Sender<Batch>>,
    arrivals: Arc<Arrivals>,
    begun: bool,
    counts: Arc<Counts>,
}

#[derive(Debug)]
enum Way {
    /// Deliveries travel in the channel, and events take room.
    Credit { flow: Arc<Flow>, batch: Option<Batch> },
    /// Deliveries wait where they can be dropped; the channel only says so.
    Ring {
        ring: Arc<Ring>,
        /// Something was put in that the consumer isn't told of yet.
        untold: bool,
    },
}

/// The two ends of a subscription that holds at most `capacity` events. `wake` is called when one that was full has
/// room again.
pub(crate) fn inlet(overflow: Overflow, capacity: usize, wake: Wake) -> (Inlet, Outlet) {
    let (sender, batches) = unbounded();
    let (arrivals, counts) = (Arc::new(Arrivals::default()), Arc::new(Counts::default()));
    let ring = |drops| Way::Ring { ring: Ring::new(drops, capacity, CAPACITY_BYTES), untold: false };
    let way = match overflow {
        Overflow::CatchUp => Way::Credit { flow: Flow::new(capacity, CAPACITY_BYTES, wake), batch: None },
        Overflow::DropOldest => ring(Drops::Oldest),
        Overflow::DropNewest => ring(Drops::Newest),
        Overflow::Latest => ring(Drops::AllButLatest),
    };
    let inlet =
        Inlet { way, sender: Some(sender), arrivals: Arc::clone(&arrivals), begun: false, counts: Arc::clone(&counts) };
    (inlet, Outlet { batches, arrivals, counts })
}

impl Inlet {
    /// How many more events it takes; one that drops takes any number, and for it this is how many it can keep.
    pub(crate) fn room(&self) -> usize {
        match &self.way {
            Way::Credit { flow, .. } => flow.room(),
            Way::Ring { ring, .. } => ring.capacity(),
        }
    }

    /// Asks to be woken when there is room again. Whether there is room already.
    pub(crate) fn starve(&self) -> bool {
        match &self.way {
            Way::Credit { flow, .. } => flow.starve(),
            Way::Ring { .. } => true,
        }
    }

    /// Whether it is worth a round trip to refill it: there is much room, or some and nothing to read meanwhile.
    pub(crate) fn is_worth_refilling(&self) -> bool {
        match &self.way {
            Way::Credit { flow, batch } => {
                let nothing_to_read = || batch.is_none() && self.sender.as_ref().is_some_and(Sender::is_empty);
                flow.is_roomy() || (flow.room() > 0 && nothing_to_read())
            }
            Way::Ring { .. } => true,
        }
    }

    /// Whether there is room for one of another page, while so many pages are on their way.
    pub(crate) fn admits(&self, pages: usize) -> bool {
        match &self.way {
            Way::Credit { flow, .. } => flow.room() > pages,
            Way::Ring { .. } => true,
        }
    }

    /// Whether an event stands for all before it that weren't read, so that none is missed.
    pub(crate) fn conflates(&self) -> bool {
        matches!(&self.way, Way::Ring { ring, .. } if ring.drops() == Drops::AllButLatest)
    }

    /// Whether it was given anything.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Gives what isn't an event.
    pub(crate) fn push(&mut self, delivery: Delivery) {
        self.begun = true;
        if let Delivery::Lost(lost) = &delivery {
            self.counts.lost(lost.count());
        }
        match &mut self.way {
            Way::Credit { flow, batch } => batch.get_or_insert_with(|| Batch::new(flow)).push(delivery),
            Way::Ring { ring, untold } => {
                *untold = true;
                ring.push(delivery);
            }
        }
    }

    /// Gives an event of this datagram.
    pub(crate) fn push_event(&mut self, event: Event, datagram: &Bytes) {
        self.begun = true;
        let stands_for = event.stands_for();
        self.counts.received(stands_for, event.is_replayed());
        match &mut self.way {
            Way::Credit { flow, batch } => {
                batch.get_or_insert_with(|| Batch::new(flow)).push_event(event, datagram.len());
            }
            Way::Ring { ring, untold } => {
                *untold = true;
                self.counts.dropped(ring.push_event(event, datagram) + stands_for - 1);
            }
        }
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_flushed(&self) -> bool {
        match &self.way {
            Way::Credit { batch, .. } => batch.is_none(),
            Way::Ring { untold, .. } => !untold,
        }
    }

    /// Sends what was given. Whether somebody can still receive it.
    pub(crate) fn flush(&mut self) -> bool {
        let Some(sender) = &self.sender else { return false };
        let batch = match &mut self.way {
            Way::Credit { batch, .. } => batch.take(),
            // One that is in the channel already is for all that waits.
            Way::Ring { ring, untold } => {
                (std::mem::take(untold) && sender.is_empty()).then(|| ring.share()).flatten().map(Batch::of)
            }
        };
        let Some(batch) = batch else { return true };
        let sent = sender.send(batch).is_ok();
        self.arrivals.tell();
        sent
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.flush();
        // First: whoever is told looks into the channel, and has to find it closed.
        self.sender = None;
        self.arrivals.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Cause, Lost, Restarted};
    use crate::wire::uapi::NLBUS_EVENT_F_REPLAYED;
    use crate::wire::{EventHeader, EventView, Header, Messages, push_event};

    /// Events of topics in one datagram: (topic, sequence number), with so many bytes each.
    fn give(inlet: &mut Inlet, events: &[(u32, u64)], bytes: usize) {
        let mut datagram = Vec::new();
        for (topic_id, seq) in events {
            let header = EventHeader { seq: *seq, topic_id: *topic_id, ..EventHeader::default() };
            push_event(&mut datagram, Header::default(), &header, &format!("t{topic_id}"), &vec![0; bytes]);
        }
        let datagram = Bytes::from(datagram);
        for message in Messages::new(&datagram) {
            let event = Event::new(1, &datagram, &EventView::parse(message.unwrap().body).unwrap());
            inlet.push_event(event, &datagram);
        }
        assert!(inlet.flush());
    }

    fn one_by_one(topic_id: u32, seqs: std::ops::RangeInclusive<u64>, inlet: &mut Inlet) {
        for seq in seqs {
            give(inlet, &[(topic_id, seq)], 1);
        }
    }

    fn shown(delivery: &Delivery) -> String {
        match delivery {
            Delivery::Event(event) if event.stands_for() > 1 => {
                format!("{}:{}({})", event.topic(), event.seq(), event.stands_for())
            }
            Delivery::Event(event) => format!("{}:{}", event.topic(), event.seq()),
            Delivery::Lost(Lost { topic, from, to, cause: Cause::Overflow, .. }) => format!("{topic}:lost {from}-{to}"),
            Delivery::Lost(lost) => format!("{}:lost {}-{} {}", lost.topic, lost.from, lost.to, lost.cause.as_str()),
            Delivery::Restarted(_) => "restarted".into(),
        }
    }

    fn read(outlet: &Outlet) -> Vec<String> {
        outlet.batches.try_iter().flatten().map(|delivery| shown(&delivery)).collect()
    }

    fn ends(overflow: Overflow, capacity: usize) -> (Inlet, Outlet) {
        inlet(overflow, capacity, Arc::new(|| ()))
    }

    #[test]
    fn drop_oldest_keeps_the_newest_and_says_what_went() {
        let (mut inlet, outlet) = ends(Overflow::DropOldest, 3);
        one_by_one(1, 1..=10, &mut inlet);
        one_by_one(2, 1..=1, &mut inlet);
        assert_eq!(read(&outlet), ["t1:lost 1-8", "t1:9", "t1:10", "t2:1"]);
        give(&mut inlet, &[(1, 11), (1, 12), (1, 13), (1, 14)], 1);
        assert_eq!(read(&outlet), ["t1:lost 11-11", "t1:12", "t1:13", "t1:14"]);
        assert_eq!(outlet.counts.read().dropped, 9);
        assert!(outlet.batches.is_empty());
    }

    #[test]
    fn drop_newest_keeps_the_oldest_and_says_what_went() {
        let (mut inlet, outlet) = ends(Overflow::DropNewest, 3);
        one_by_one(1, 1..=5, &mut inlet);
        give(&mut inlet, &[(2, 1), (1, 6), (2, 2)], 1);
        assert_eq!(read(&outlet), ["t1:1", "t1:2", "t1:3", "t1:lost 4-6", "t2:lost 1-2"]);
        one_by_one(1, 7..=7, &mut inlet);
        assert_eq!(read(&outlet), ["t1:7"]);
        assert_eq!(outlet.counts.read().dropped, 5);
    }

    #[test]
    fn latest_keeps_one_of_each_topic_whatever_the_capacity() {
        let (mut inlet, outlet) = ends(Overflow::Latest, 1);
        give(&mut inlet, &[(1, 1), (2, 1), (1, 2), (3, 1), (1, 3)], 1);
        assert_eq!(read(&outlet), ["t1:3(3)", "t2:1", "t3:1"]);
        one_by_one(2, 2..=5, &mut inlet);
        assert_eq!(read(&outlet), ["t2:5(4)"]);
        assert_eq!(outlet.counts.read().dropped, 5);
    }

    fn lost(from: u64, to: u64) -> Delivery {
        Delivery::Lost(Lost { epoch: 1, topic: "t1".into(), topic_id: 1, from, to, cause: Cause::Overrun })
    }

    #[test]
    fn what_an_event_out_of_history_stands_for_did_not_come_out_of_it() {
        let (mut inlet, outlet) = ends(Overflow::Latest, 1);
        let header = EventHeader { seq: 9, flags: NLBUS_EVENT_F_REPLAYED, ..EventHeader::default() };
        let mut datagram = Vec::new();
        push_event(&mut datagram, Header::default(), &header, "t1", b"");
        let datagram = Bytes::from(datagram);
        let message = Messages::new(&datagram).next().unwrap().unwrap();
        let event = Event::new(1, &datagram, &EventView::parse(message.body).unwrap());
        inlet.push_event(event.standing_for_more(8), &datagram);
        let counted = outlet.counts.read();
        assert_eq!((counted.received, counted.replayed, counted.dropped), (9, 1, 8));
    }

    #[test]
    fn bytes_bound_the_latest_of_many_topics() {
        let (mut inlet, outlet) = ends(Overflow::Latest, 1);
        // Of 16 KiB each, so that about 1000 of them fill it; and one that grows in its place.
        for topic in 1..=1500 {
            give(&mut inlet, &[(topic, 1), (topic, 2)], 16 << 10);
        }
        give(&mut inlet, &[(1500, 3)], 60_000);
        let seen = read(&outlet);
        let lost = seen.iter().take_while(|seen| seen.contains("lost")).count();
        assert!((470..500).contains(&lost), "{lost} lost of 1500");
        assert_eq!((&*seen[0], &*seen[lost - 1]), ("t1:lost 1-2", &*format!("t{lost}:lost 1-2")));
        assert_eq!((&*seen[lost], &*seen[1499]), (&*format!("t{}:2(2)", lost + 1), "t1500:3(3)"));
        let counted = outlet.counts.read();
        assert_eq!((counted.received, counted.dropped), (3001, 3001 - 1500 + lost as u64));
        // What was read is out of the count.
        give(&mut inlet, &[(1, 3), (2, 3)], 1);
        assert_eq!(read(&outlet), ["t1:3", "t2:3"]);
    }

    #[test]
    fn losses_of_different_causes_stay_apart_as_long_as_they_are_few() {
        for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
            let (mut inlet, outlet) = ends(overflow, 1);
            one_by_one(2, 1..=1, &mut inlet);
            one_by_one(2, 2..=2, &mut inlet);
            for seq in (1..100_000).step_by(4) {
                // What history lost, twice, and what there is no room for, twice.
                inlet.push(lost(seq, seq));
                inlet.push(lost(seq + 1, seq + 1));
                give(&mut inlet, &[(1, seq + 2), (1, seq + 3)], 1);
            }
            let seen: Vec<String> = read(&outlet).into_iter().filter(|seen| seen.starts_with("t1:lost")).collect();
            assert_eq!(seen[..3], ["t1:lost 1-2 overrun", "t1:lost 3-4", "t1:lost 5-6 overrun"], "{overflow:?}");
            assert!(seen.len() < 1100, "{} losses of {overflow:?}", seen.len());
        }
    }

    #[test]
    fn losses_merge_and_a_restart_keeps_its_place() {
        let restart = || Delivery::Restarted(Restarted::new(2));
        let (mut inlet, outlet) = ends(Overflow::DropOldest, 2);
        one_by_one(1, 1..=2, &mut inlet);
        inlet.push(lost(3, 9));
        one_by_one(1, 10..=11, &mut inlet);
        inlet.push(restart());
        one_by_one(1, 1..=3, &mut inlet);
        let seen = ["t1:lost 1-2", "t1:lost 3-9 overrun", "t1:lost 10-11", "restarted", "t1:lost 1-1", "t1:2", "t1:3"];
        assert_eq!(read(&outlet), seen);
        let (mut inlet, outlet) = ends(Overflow::Latest, 2);
        one_by_one(1, 1..=2, &mut inlet);
        inlet.push(restart());
        one_by_one(1, 1..=3, &mut inlet);
        assert_eq!(read(&outlet), ["t1:2(2)", "restarted", "t1:3(3)"]);
    }

    #[test]
    fn datagrams_bound_it_too_and_are_counted_once() {
        let large = 8000;
        let datagram = [(1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (1, 7), (1, 8)];
        for (overflow, first) in [(Overflow::DropOldest, "t1:lost"), (Overflow::DropNewest, "t1:1")] {
            let (mut inlet, outlet) = ends(overflow, usize::MAX);
            // Of 64 KiB each, so that a little over 256 of them fill it; many small events of one count once.
            for at in 0..300 {
                let events: Vec<_> = datagram.iter().map(|(topic, seq)| (*topic, at * 8 + seq)).collect();
                give(&mut inlet, &events, large);
            }
            let seen = read(&outlet);
            assert!(seen[0].starts_with(first), "{overflow:?}: {}", seen[0]);
            assert!((255 * 8..262 * 8).contains(&seen.len()), "{} of {overflow:?}", seen.len());
            // What was read is out of the count.
            one_by_one(1, 2401..=2410, &mut inlet);
            assert_eq!(read(&outlet).len(), 10);
        }
    }

    #[test]
    fn a_batch_comes_to_an_end_and_the_rest_is_in_the_next() {
        let (mut inlet, outlet) = ends(Overflow::DropOldest, 100);
        one_by_one(1, 1..=3, &mut inlet);
        let mut batch = outlet.batches.recv().unwrap();
        assert_eq!((batch.len(), batch.size_hint()), (3, (0, None)));
        for seq in 4..7 {
            assert!(batch.next().is_some());
            one_by_one(1, seq..=seq, &mut inlet);
        }
        assert!(batch.is_empty() && batch.next().is_none());
        drop(batch);
        assert_eq!(read(&outlet), ["t1:4", "t1:5", "t1:6"]);
    }

    #[test]
    fn a_batch_can_be_looked_at_and_thrown_away() {
        let (mut inlet, outlet) = ends(Overflow::DropOldest, 100);
        one_by_one(1, 1..=3, &mut inlet);
        let mut batch = outlet.batches.recv().unwrap();
        batch.next();
        assert_eq!(batch.iter().map(shown).collect::<Vec<_>>(), ["t1:2", "t1:3"]);
        one_by_one(1, 4..=4, &mut inlet);
        assert_eq!(batch.map(|delivery| shown(&delivery)).collect::<Vec<_>>(), ["t1:2", "t1:3"]);
        assert_eq!(read(&outlet), ["t1:4"]);
        one_by_one(1, 5..=8, &mut inlet);
        drop(outlet.batches.recv().unwrap());
        assert!(outlet.batches.is_empty());
        one_by_one(1, 9..=9, &mut inlet);
        assert_eq!(read(&outlet), ["t1:9"]);
    }

    const DROPPING: [Overflow; 3] = [Overflow::DropOldest, Overflow::DropNewest, Overflow::Latest];

    #[test]
    fn whoever_keeps_a_batch_gets_the_next_one_all_the_same() {
        for overflow in [DROPPING[0], DROPPING[1], DROPPING[2], Overflow::CatchUp] {
            let (mut inlet, outlet) = ends(overflow, 100);
            one_by_one(1, 1..=1, &mut inlet);
            let first = outlet.batches.try_recv().unwrap();
            one_by_one(2, 1..=1, &mut inlet);
            let mut second = outlet.batches.try_recv().unwrap_or_else(|_| panic!("{overflow:?}: told of nothing more"));
            one_by_one(3, 1..=1, &mut inlet);
            // Begun, and then kept.
            assert!(second.next().is_some());
            one_by_one(4, 1..=1, &mut inlet);
            let third = outlet.batches.try_recv().unwrap_or_else(|_| panic!("{overflow:?}: told of nothing more"));
            assert!(!first.is_empty() && !third.is_empty(), "{overflow:?}: each has something");
            drop((first, second, third));
            assert_eq!(read(&outlet).len(), usize::from(overflow == Overflow::CatchUp), "{overflow:?}: all of it went");
            one_by_one(1, 2..=2, &mut inlet);
            assert_eq!(read(&outlet), ["t1:2"], "{overflow:?}");
        }
    }

    #[test]
    fn a_batch_that_is_kept_unread_holds_up_nothing_when_there_is_no_room() {
        let (mut inlet, outlet) = ends(Overflow::DropOldest, 1);
        one_by_one(1, 1..=1, &mut inlet);
        let first = outlet.batches.try_recv().unwrap();
        one_by_one(1, 2..=9, &mut inlet);
        assert_eq!(read(&outlet), ["t1:lost 1-8"], "one is left to the other");
        assert_eq!(first.map(|delivery| shown(&delivery)).collect::<Vec<_>>(), ["t1:9"]);
        one_by_one(1, 10..=10, &mut inlet);
        assert_eq!(read(&outlet), ["t1:10"]);
    }

    #[test]
    fn the_end_comes_after_what_came_to_a_batch_that_was_begun() {
        for overflow in DROPPING {
            let (mut inlet, outlet) = ends(overflow, 10);
            give(&mut inlet, &[(1, 1), (2, 1)], 1);
            let mut begun = outlet.batches.try_recv().unwrap();
            let mut seen = vec![shown(&begun.next().unwrap())];
            give(&mut inlet, &[(3, 1), (4, 1)], 1);
            drop(inlet);
            seen.extend(begun.map(|delivery| shown(&delivery)));
            seen.extend(read(&outlet));
            assert_eq!(seen, ["t1:1", "t2:1", "t3:1", "t4:1"], "{overflow:?}");
            assert!(outlet.batches.recv().is_err(), "{overflow:?}");
        }
    }

    #[test]
    fn the_end_comes_after_what_is_unread() {
        for overflow in [Overflow::CatchUp, Overflow::DropOldest, Overflow::DropNewest, Overflow::Latest] {
            let (mut inlet, outlet) = ends(overflow, 10);
            one_by_one(1, 1..=1, &mut inlet);
            drop(inlet);
            assert_eq!(read(&outlet), ["t1:1"]);
            assert!(outlet.batches.recv().is_err(), "{overflow:?}");
            let (mut inlet, outlet) = ends(overflow, 10);
            drop(outlet);
            inlet.push(Delivery::Restarted(Restarted::new(2)));
            assert!(!inlet.flush(), "{overflow:?}");
        }
    }
}
