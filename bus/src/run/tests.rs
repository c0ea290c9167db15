use super::*;
use crate::event::Event;
use crate::wire::uapi::NLMSG_HDRLEN;
use crate::wire::{EventHeader, Header, end_multi, push_event};
use bytes::Bytes;
use proptest::prelude::*;

/// An event of one of a few topics, whose number continues or not, of this broker or not, out of history or not.
#[derive(Debug, Clone)]
struct Sent {
    topic: u32,
    step: u64,
    message_seq: u32,
    replayed: bool,
    bytes: usize,
}

fn sent() -> impl Strategy<Value = Sent> {
    let often = |other: Range<u64>| prop_oneof![9 => Just(1u64), 1 => other];
    (1u32..3, often(0..3), 1u32..3, prop::bool::weighted(0.1), 0usize..30).prop_map(
        |(topic, step, message_seq, replayed, bytes)| Sent {
            topic,
            step,
            message_seq: if bytes < 25 { 1 } else { message_seq },
            replayed,
            bytes,
        },
    )
}

/// The datagram, as a pack is: all but the last say that more follows.
fn datagram(events: &[Sent]) -> Vec<u8> {
    let (mut datagram, mut seqs, mut last) = (Vec::new(), [5u64; 3], 0);
    for event in events {
        last = datagram.len();
        let seq = &mut seqs[event.topic as usize];
        *seq += event.step;
        let flags = if event.replayed { NLBUS_EVENT_F_REPLAYED } else { 0 };
        let header = EventHeader { seq: *seq, topic_id: event.topic, flags, ..EventHeader::default() };
        let message = Header { kind: NLBUS_MSG_EVENT, flags: NLM_F_MULTI, seq: event.message_seq, portid: 0 };
        push_event(&mut datagram, message, &header, &format!("t{}", event.topic), &vec![7; event.bytes]);
    }
    end_multi(&mut datagram, last);
    datagram
}

/// What the runs consist of, event by event.
fn unrolled(datagram: &Bytes) -> Vec<(u32, u64, String, Vec<u8>)> {
    let mut events = Vec::new();
    for part in Parts::new(datagram) {
        let Part::Run(run) = part else { continue };
        let mut event = Event::first_of(&run, 1, datagram);
        for left in (0..run.count).rev() {
            assert_eq!((event.topic(), event.is_replayed()), (run.topic, run.replayed));
            events.push((event.topic_id(), event.seq(), event.topic().to_owned(), event.payload().to_vec()));
            if left > 0 {
                event.advance();
            }
        }
        assert_eq!(events.last().map(|(topic, seq, ..)| (*topic, *seq)), Some((run.topic_id, run.last())));
    }
    events
}

/// The same, message by message.
fn walked(datagram: &[u8]) -> Vec<(u32, u64, String, Vec<u8>)> {
    let events = Messages::new(datagram).flatten().filter(|message| message.header.kind == NLBUS_MSG_EVENT);
    let views = events.filter_map(|message| EventView::parse(message.body).ok());
    views.map(|it| (it.header.topic_id, it.header.seq, it.topic.to_owned(), it.payload.to_vec())).collect()
}

fn is_cut(datagram: &[u8]) -> bool {
    let mut parts = Parts::new(datagram);
    parts.by_ref().for_each(drop);
    parts.is_cut()
}

#[test]
fn a_run_is_as_long_as_numbers_rise_by_one() {
    let event = |topic, step| Sent { topic, step, message_seq: 1, replayed: false, bytes: 3 };
    let datagram =
        datagram(&[event(1, 1), event(1, 1), event(1, 2), event(2, 1), event(2, 1), event(2, 0), event(1, 1)]);
    let runs: Vec<_> = Parts::new(&datagram)
        .map(|part| match part {
            Part::Run(run) => (run.topic, run.first, run.count),
            Part::Foreign => panic!("all are events"),
        })
        .collect();
    assert_eq!(runs, [("t1", 6, 2), ("t1", 9, 1), ("t2", 6, 2), ("t2", 7, 1), ("t1", 10, 1)]);
}

proptest! {
    /// Runs are the datagram's events, each once and in order, wherever it was cut, and the cut is seen.
    #[test]
    fn runs_are_the_events_of_a_datagram(events in prop::collection::vec(sent(), 1..30), cut in 0usize..4000) {
        let whole = datagram(&events);
        prop_assert!(!is_cut(&whole));
        prop_assert_eq!(unrolled(&Bytes::from(whole.clone())).len(), events.len());
        let cut = cut.min(whole.len());
        let part = whole[..cut].to_vec();
        let end = Messages::new(&whole).flatten().find(|message| message.last).unwrap();
        let least = end.offset + NLMSG_HDRLEN + end.body.len();
        prop_assert!(part.is_empty() || is_cut(&part) == (cut < least));
        prop_assert_eq!(unrolled(&Bytes::from(part.clone())), walked(&part));
    }

    /// Whatever the bytes are: what is read is what reading message by message finds.
    #[test]
    fn changed_bytes_are_read_as_ever(
        events in prop::collection::vec(sent(), 1..6), changes in prop::collection::vec((0usize..1000, any::<u8>()), 0..4)
    ) {
        let mut datagram = datagram(&events);
        let len = datagram.len();
        changes.iter().for_each(|(at, byte)| datagram[at % len] = *byte);
        prop_assert_eq!(unrolled(&Bytes::from(datagram.clone())), walked(&datagram));
    }

    /// What is skipped is what is before the rest.
    #[test]
    fn a_run_without_its_beginning_is_its_end(count in 1usize..20, skip in 0usize..20) {
        let skip = skip.min(count - 1);
        let event = |bytes| Sent { topic: 1, step: 1, message_seq: 1, replayed: false, bytes };
        let datagram = Bytes::from(datagram(&(0..count).map(event).collect::<Vec<_>>()));
        let Some(Part::Run(run)) = Parts::new(&datagram).next() else { panic!("a run") };
        let rest = run.skip(&datagram, skip);
        prop_assert_eq!((rest.first, rest.count, rest.last()), (run.first + skip as u64, count - skip, run.last()));
        prop_assert_eq!(Event::first_of(&rest, 1, &datagram).payload().len(), skip);
    }
}
