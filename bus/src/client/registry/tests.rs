use super::*;
use crate::client::{Opening, Start};
use crate::inlet::{Overflow, inlet};
use crate::run::{Part, Parts};
use crate::topic::Filter;
use crate::wire::uapi::NLBUS_MSG_EVENT;
use crate::wire::{EventHeader, Header, push_event};
use crossbeam_channel::bounded;
use proptest::prelude::*;
use std::sync::Arc;

/// A datagram of one run.
fn datagram(first: u64, count: u64) -> Bytes {
    let mut datagram = Vec::new();
    for seq in first..first + count {
        let header = EventHeader { seq, topic_id: 4, ..EventHeader::default() };
        let message = Header { kind: NLBUS_MSG_EVENT, seq: 1, ..Header::default() };
        push_event(&mut datagram, message, &header, "a", b"x");
    }
    datagram.into()
}

fn follow(after: u64) -> Follow {
    Follow { sub: SubId(0), cursor: Cursor::after(after), behind: None, queued: false }
}

/// What the rules of a single event say of a run: which are given, and how it ends.
fn one_by_one(cursor: &mut Cursor, run: impl Iterator<Item = u64>, mut room: usize) -> (Vec<u64>, Given) {
    let (mut given, mut end) = (Vec::new(), Given::default());
    for seq in run {
        match cursor.place(seq) {
            Place::Old => continue,
            Place::Gap => end.gap = true,
            Place::Next if room == 0 => end.refused = true,
            Place::Next => {
                room -= 1;
                cursor.move_to(seq);
                given.push(seq);
                continue;
            }
        }
        break;
    }
    end.events = given.len() as u64;
    (given, end)
}

proptest! {
    /// Wherever a run begins, and wherever the room ends within it: as if its events had come one by one.
    #[test]
    fn a_run_is_given_as_its_events_would_be(
        capacity in 1usize..30, after in 0u64..20, runs in prop::collection::vec((1u64..40, 1u64..20), 1..6)
    ) {
        let (mut inlet, outlet) = inlet(Overflow::CatchUp, capacity, Arc::new(|| ()));
        let (mut follow, mut cursor) = (follow(after), Cursor::after(after));
        let mut want = Vec::new();
        for (first, count) in runs {
            let (given, end) = one_by_one(&mut cursor, first..first + count, inlet.room());
            want.extend(given);
            let datagram = datagram(first, count);
            let Some(Part::Run(run)) = Parts::new(&datagram).next() else { panic!("a run") };
            prop_assert_eq!(run.count as u64, count);
            prop_assert_eq!(follow.give(&run, &mut inlet, 1, &datagram, &"a".into()), end);
            prop_assert_eq!(follow.cursor, cursor);
        }
        inlet.flush();
        let seen: Vec<_> = outlet.batches.try_iter().flatten().filter_map(|it| it.event().map(|it| it.seq())).collect();
        prop_assert_eq!(seen, want);
    }
}

#[test]
fn the_first_event_behind_a_gap_stands_for_what_went_by() {
    let (mut inlet, outlet) = inlet(Overflow::Latest, 1, Arc::new(|| ()));
    let mut follow = follow(2);
    let datagram = datagram(8, 3);
    let Some(Part::Run(run)) = Parts::new(&datagram).next() else { panic!("a run") };
    assert_eq!(follow.give(&run, &mut inlet, 1, &datagram, &"a".into()), Given { events: 3, ..Given::default() });
    inlet.flush();
    let event = outlet.batches.try_iter().flatten().find_map(|it| it.into_event()).unwrap();
    assert_eq!((event.seq(), event.stands_for()), (10, 8));
    assert_eq!(outlet.counts.read().received, 8);
}

/// Filters and names are looked at when a topic is found, and not for its events: here nothing would match any more.
#[test]
fn an_event_finds_who_follows_its_topic_by_the_topics_id_alone() {
    let (mut registry, mut outputs) = (Registry::default(), VecDeque::new());
    let (inlet, outlet) = inlet(Overflow::CatchUp, 100, Arc::new(|| ()));
    let filter = Filter::new("#").unwrap();
    let opening = Opening { filter, start: Start::Live, resume: None, type_name: None, inlet, opener: bounded(1).0 };
    let sub = registry.insert(Subscriber::new(opening, 1));
    for id in 1..=10 {
        let mut record = TopicRecord { mode: 0o666, ..TopicRecord::default() };
        (record.id, record.name, record.group, record.head) = (id, "a".into(), 3, 5);
        registry.track(&record, &mut outputs);
        registry.follow(sub, id, 5);
    }
    registry.subscribers.get_mut(&sub).unwrap().filter = Filter::new("nothing").unwrap();
    registry.topics.values_mut().for_each(|topic| topic.name = "renamed".into());
    let datagram = datagram(6, 3);
    let Some(Part::Run(run)) = Parts::new(&datagram).next() else { panic!("a run") };
    registry.live_run(1, &run, &datagram);
    assert!(registry.flush().is_empty());
    let seen: Vec<_> = outlet.batches.try_iter().flatten().filter_map(|it| it.event().map(|it| it.seq())).collect();
    assert_eq!(seen, [6, 7, 8]);
}
