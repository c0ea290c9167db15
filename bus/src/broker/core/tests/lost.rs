//! Numbers that a publisher says are lost.

use super::*;

fn lost(topic: &str, count: u64) -> Vec<u8> {
    let mut datagram = Vec::new();
    push_lost(&mut datagram, 1, true, 0, topic, count);
    datagram
}

/// The numbers of a topic's events that were sent.
fn sent(bus: &mut Bus, topic: &str) -> Vec<u64> {
    bus.events().into_iter().filter(|event| event.topic == topic).map(|event| event.header.seq).collect()
}

/// The ids that `$SYS/topics` named as moved.
fn moved(bus: &mut Bus) -> Vec<u32> {
    bus.ms += 20;
    bus.flush();
    let said = bus.events().into_iter().filter(|event| event.topic == "$SYS/topics");
    said.flat_map(|event| TopicsAnnouncement::read(&event.payload).unwrap().topics).map(|moved| moved.id).collect()
}

#[test]
fn events_and_gaps_keep_their_order() {
    let mut bus = Bus::quiet();
    let mut datagram = publish("a", b"1");
    datagram.extend(lost("a", 2).into_iter().enumerate().map(|(at, byte)| if at == 6 { byte & !4 } else { byte }));
    datagram.extend(publish("a", b"2"));
    datagram.extend(lost("a", 3));
    bus.accept(50, &datagram);
    bus.flush();
    assert_eq!(sent(&mut bus, "a"), [1, 4]);
    assert_eq!(read_answer(&bus.unicasts.pop().unwrap().2).result, Ok(Some(7)));
    let (events, end) = bus.replay(FIRST, 1, None);
    assert_eq!((events.len(), end.first, end.next, end.head), (1, 1, 2, 7));
    let counters = bus.core.info().counters;
    assert_eq!((counters.lost, bus.topic(TopicRequest::Get(TopicKey::Name("a"))).broadcast), (5, 2));
}

/// Where an event follows before that is looked at, it shows the gap.
#[test]
fn only_a_gap_at_the_end_is_told_of() {
    let mut bus = Bus::quiet();
    bus.accept(50, &publish("a", b""));
    assert_eq!(moved(&mut bus), []);
    bus.accept(50, &lost("a", 2));
    bus.accept(50, &publish("a", b""));
    assert_eq!(moved(&mut bus), []);
    bus.accept(50, &lost("a", 2));
    bus.accept(50, &lost("b", 2));
    bus.accept(50, &lost("a", 2));
    bus.flush();
    assert_eq!(moved(&mut bus), [FIRST, FIRST + 1]);
    // One that is deleted meanwhile is told of as that, and what has its place not at all.
    bus.accept(50, &lost("b", 2));
    bus.core.clients.can_look = false;
    let mut delete = Vec::new();
    TopicRequest::Delete(TopicKey::Name("b")).push(&mut delete, 1);
    bus.accept(50, &delete);
    bus.accept(50, &publish("c", b""));
    bus.flush();
    bus.ms += 20;
    bus.flush();
    let said = bus.events().into_iter().filter(|event| event.topic == "$SYS/topics");
    let said: Vec<_> = said.flat_map(|event| TopicsAnnouncement::read(&event.payload).unwrap().topics).collect();
    assert_eq!(said, [MovedTopic { id: FIRST + 1, end: 5 }]);
}

#[test]
fn numbers_do_not_run_out() {
    let mut bus = Bus::quiet();
    bus.accept(50, &publish("a", b""));
    let slot = bus.core.topics.find("a").unwrap();
    bus.core.topics.lose(slot, NLBUS_LOST_HEAD_MAX - 1);
    bus.accept(50, &lost("a", NLBUS_LOST_MAX));
    let head = NLBUS_LOST_HEAD_MAX + NLBUS_LOST_MAX;
    assert_eq!(bus.core.topics.head(slot), head);
    let mut datagram = publish("b", b"");
    datagram.extend(lost("a", 1));
    bus.unicasts.clear();
    assert_eq!(bus.refusal(&datagram), (Errno::ERANGE, 1));
    assert_eq!((bus.core.topics.find("b"), bus.core.topics.head(slot)), (None, head));
    bus.accept(50, &publish("a", b""));
    assert_eq!(bus.core.topics.head(slot), head + 1);
}
