use super::*;
use crate::run::{Part, Parts};
use crate::wire::uapi::NLBUS_MSG_EVENT;
use crate::wire::{EventHeader, Header, push_event};
use bytes::Bytes;
use proptest::prelude::*;

/// A datagram of events, each of a topic and with so many bytes; the numbers of each topic rise.
fn datagram(events: &[(u32, usize)]) -> Bytes {
    let mut datagram = Vec::new();
    for (at, (topic_id, bytes)) in events.iter().enumerate() {
        let seq = 1 + events[..at].iter().filter(|(other, _)| other == topic_id).count() as u64;
        let header = EventHeader { seq, topic_id: *topic_id, ..EventHeader::default() };
        let message = Header { kind: NLBUS_MSG_EVENT, ..Header::default() };
        push_event(&mut datagram, message, &header, "a", &vec![*topic_id as u8; *bytes]);
    }
    datagram.into()
}

fn push(batch: &mut Batch, datagram: &Bytes) {
    for part in Parts::new(datagram) {
        let Part::Run(run) = part else { panic!("{part:?}") };
        batch.push_run(Event::first_of(&run, 1, datagram), run.count);
    }
}

fn credit(capacity: usize, bytes: usize) -> Arc<Credit> {
    Credit::new(capacity, bytes, Arc::new(|| ()))
}

fn shown(delivery: &Delivery) -> (u32, u64, usize) {
    let event = delivery.event().unwrap();
    (event.topic_id(), event.seq(), event.payload().len())
}

#[test]
fn a_small_event_of_a_large_datagram_takes_the_room_that_it_pins() {
    let datagram = datagram(&[(1, 1), (2, 1), (1, 50_000)]);
    let credit = credit(10, (64 << 10) + 1);
    let mut batch = Batch::new(&credit);
    push(&mut batch, &datagram);
    assert_eq!(credit.flow().room(), 7, "the second one pins nothing more");
    // What pins it now is the rest.
    let kept: Vec<_> = batch.by_ref().take(2).collect();
    assert_eq!(credit.flow().room(), 9);
    let mut other = Batch::new(&credit);
    push(&mut other, &datagram);
    assert_eq!(credit.flow().room(), 0);
    drop((batch, other, kept));
    assert_eq!(credit.flow().room(), 10);
}

#[test]
fn room_goes_back_with_the_last_event_of_a_run_and_before_it_is_worked_on() {
    let credit = credit(10, 1 << 20);
    let mut batch = Batch::new(&credit);
    push(&mut batch, &datagram(&[(1, 0), (1, 0), (1, 0), (2, 0)]));
    let rooms: Vec<_> = std::iter::from_fn(|| batch.next().map(|_| credit.flow().room())).collect();
    assert_eq!(rooms, [6, 6, 9, 10]);
    let mut batch = Batch::new(&credit);
    push(&mut batch, &datagram(&[(1, 0), (1, 0)]));
    let lent = std::iter::from_fn(|| batch.next_ref().map(drop).map(|()| credit.flow().room()));
    assert_eq!(lent.collect::<Vec<_>>(), [8, 8]);
    assert_eq!(credit.flow().room(), 10, "the next call takes the last one back");
}

proptest! {
    /// However its deliveries are taken: each one once, in order, and what is left is what is shown.
    #[test]
    fn taking_lending_and_looking_agree(
        datagrams in prop::collection::vec(prop::collection::vec((1u32..4, 0usize..9), 1..8), 0..5),
        ways in prop::collection::vec(0u8..4, 60),
    ) {
        let credit = credit(1000, 1 << 20);
        let mut batch = Batch::new(&credit);
        let mut want = VecDeque::new();
        for events in &datagrams {
            let datagram = datagram(events);
            push(&mut batch, &datagram);
            batch.push(Delivery::Restarted(crate::delivery::Restarted::new(9)));
            for (at, (topic, bytes)) in events.iter().enumerate() {
                let seq = 1 + events[..at].iter().filter(|(other, _)| other == topic).count() as u64;
                want.push_back(Some((*topic, seq, *bytes)));
            }
            want.push_back(None);
        }
        let see = |delivery: &Delivery| delivery.event().map(|_| shown(delivery));
        for way in ways {
            prop_assert_eq!((batch.len(), batch.is_empty(), batch.size_hint().1), (want.len(), want.is_empty(), Some(want.len())));
            match way {
                0 => prop_assert_eq!(batch.next().as_ref().map(see), want.pop_front()),
                1 | 2 => prop_assert_eq!(batch.next_ref().map(see), want.pop_front()),
                _ => prop_assert_eq!(batch.iter().map(see).collect::<VecDeque<_>>(), want.clone()),
            }
        }
        drop(batch);
        prop_assert_eq!(credit.flow().room(), 1000);
    }
}
