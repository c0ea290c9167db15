use super::*;
use crate::delivery::{Cause, EndReason, Ended, Lost, Restarted};
use crate::run::{Part, Parts};
use crate::wire::uapi::{NLBUS_EVENT_F_REPLAYED, NLBUS_MSG_EVENT};
use crate::wire::{EventHeader, Header, push_event};
use proptest::prelude::*;

const MESSAGE: Header = Header { kind: NLBUS_MSG_EVENT, flags: 0, seq: 1, portid: 0 };

/// Gives what is in a datagram; the first event stands for so many before it.
fn give_datagram(inlet: &mut Inlet, datagram: Vec<u8>, before: u64) {
    let datagram = Bytes::from(datagram);
    for part in Parts::new(&datagram) {
        let Part::Run(run) = part else { panic!("{part:?}") };
        inlet.push_run(&run, before, 1, &datagram, &run.topic.into());
    }
}

/// Events of topics in one datagram: (topic, sequence number), with so many bytes each.
fn give(inlet: &mut Inlet, events: &[(u32, u64)], bytes: usize) {
    let mut datagram = Vec::new();
    for (topic_id, seq) in events {
        let header = EventHeader { seq: *seq, topic_id: *topic_id, ..EventHeader::default() };
        push_event(&mut datagram, MESSAGE, &header, &format!("t{topic_id}"), &vec![0; bytes]);
    }
    give_datagram(inlet, datagram, 0);
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
        Delivery::Ended(ended) => format!("{}:ended {}", ended.topic, ended.last),
    }
}

fn read(outlet: &Outlet) -> Vec<String> {
    outlet.batches.try_iter().flatten().map(|delivery| shown(&delivery)).collect()
}

fn ends(overflow: Overflow, capacity: usize) -> (Inlet, Outlet) {
    inlet(overflow, capacity, Arc::new(|| ()))
}

/// A topic can be denied and then be readable again: what comes then comes behind its end.
#[test]
fn what_ended_takes_no_room_and_merges_with_nothing() {
    for overflow in [Overflow::CatchUp, Overflow::DropOldest, Overflow::DropNewest, Overflow::Latest] {
        let (mut inlet, outlet) = ends(overflow, 2);
        one_by_one(1, 1..=2, &mut inlet);
        for _ in 0..3 {
            let reason = EndReason::Denied;
            inlet.push(Delivery::Ended(Ended { epoch: 1, topic: "t1".into(), topic_id: 1, last: 2, reason }));
            inlet.flush();
        }
        let ends = ["t1:ended 2", "t1:ended 2", "t1:ended 2"].map(str::to_owned);
        if overflow == Overflow::CatchUp {
            assert_eq!(inlet.room(), 0);
            assert_eq!(read(&outlet)[2..], ends);
            continue;
        }
        one_by_one(1, 5..=7, &mut inlet);
        let seen = read(&outlet);
        let at = seen.iter().rposition(|line| line == "t1:ended 2").unwrap();
        assert_eq!(seen.iter().filter(|line| **line == ends[0]).count(), 3, "{overflow:?}: {seen:?}");
        assert!(
            seen[..at].iter().all(|line| !["5", "6", "7"].iter().any(|seq| line.contains(seq))),
            "{overflow:?}: {seen:?}"
        );
        assert!(seen[at + 1..].iter().any(|line| line.contains('7')), "{overflow:?}: {seen:?}");
    }
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
    push_event(&mut datagram, MESSAGE, &header, "t1", b"");
    give_datagram(&mut inlet, datagram, 8);
    let counted = outlet.counts.read();
    assert_eq!((counted.received, counted.replayed, counted.dropped), (9, 1, 8));
}

#[test]
fn bytes_bound_the_latest_of_many_topics() {
    let (mut inlet, outlet) = ends(Overflow::Latest, 1);
    // Of 16 KiB each and a little, so that 512 of them fill it; and one that grows in its place.
    for topic in 1..=1500 {
        give(&mut inlet, &[(topic, 1), (topic, 2)], 16 << 10);
    }
    give(&mut inlet, &[(1500, 3)], 60_000);
    let seen = read(&outlet);
    let lost = seen.iter().take_while(|seen| seen.contains("lost")).count();
    assert!((985..995).contains(&lost), "{lost} lost of 1500");
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

proptest! {
    /// Whatever the policy: what a consumer gets, and what is counted, is the same whether events come as runs or one by one.
    #[test]
    fn a_run_is_what_its_events_are_one_by_one(
        policy in 0usize..4, capacity in 1usize..12,
        steps in prop::collection::vec((prop::collection::vec((1u32..4, 1u64..6), 1..6), 0usize..3), 1..20),
    ) {
        let overflow = [Overflow::CatchUp, Overflow::DropOldest, Overflow::DropNewest, Overflow::Latest][policy];
        let ((mut runs, of_runs), (mut each, of_each)) = (ends(overflow, capacity), ends(overflow, capacity));
        let mut heads = [0u64; 4];
        for (pieces, read_after) in steps {
            let mut events = Vec::new();
            for (topic, count) in pieces {
                events.extend((1..=count).map(|seq| (topic, heads[topic as usize] + seq)));
                heads[topic as usize] += count;
            }
            give(&mut runs, &events, 3);
            events.iter().for_each(|event| give(&mut each, &[*event], 3));
            if read_after == 0 {
                prop_assert_eq!(read(&of_runs), read(&of_each));
            }
        }
        prop_assert_eq!(read(&of_runs), read(&of_each));
        prop_assert_eq!(of_runs.counts.read(), of_each.counts.read());
        prop_assert_eq!(runs.room(), each.room());
    }
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

/// Who finds a batch empty drops it, and the client doesn't wait between the two.
#[test]
fn a_batch_that_was_seen_empty_takes_nothing_along() {
    for overflow in DROPPING {
        let (mut inlet, outlet) = ends(overflow, 100);
        one_by_one(1, 1..=1, &mut inlet);
        let mut begun = outlet.batches.try_recv().unwrap();
        // The consumer is faster than the client, which is about to tell him of the second.
        let mut second = Vec::new();
        let header = EventHeader { seq: 1, topic_id: 2, ..EventHeader::default() };
        push_event(&mut second, MESSAGE, &header, "t2", b"");
        give_datagram(&mut inlet, second, 0);
        assert_eq!(shown(&begun.next().unwrap()), "t1:1");
        assert!(!begun.is_empty());
        assert!(inlet.flush());
        assert!(begun.is_empty(), "{overflow:?}: the second is left to the next batch");
        one_by_one(3, 1..=1, &mut inlet);
        assert!(begun.is_empty());
        drop(begun);
        assert_eq!(read(&outlet), ["t2:1", "t3:1"], "{overflow:?}");
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
