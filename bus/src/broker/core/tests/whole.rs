//! Datagrams that history keeps as they are: nobody can tell them from those that it copied.

use super::*;
use crate::history::{SEGMENT_MAX, is_segment};

/// Publishes of payloads so long, with garbage wherever a sender may leave it, and an ack for the last one.
fn datagram(topic: &str, lens: impl Iterator<Item = usize>, bytes: usize) -> Vec<u8> {
    let mut datagram = Vec::new();
    for len in lens {
        let start = datagram.len();
        let padded = wire::align(NLMSG_HDRLEN + wire::event_len(topic, len), NLMSG_ALIGNTO);
        if start > 0 && start + padded > bytes {
            break;
        }
        let payload: Vec<u8> = (0..len).map(|at| (start + at) as u8).collect();
        push_publish(&mut datagram, start as u32, false, 0, Content::Json, topic, &payload);
        let (end, name) = (start + NLMSG_HDRLEN + wire::event_len(topic, payload.len()), start + 56 + topic.len());
        datagram[end..].fill(0xaa);
        datagram[name..start + 56 + wire::align(topic.len(), NLBUS_TOPIC_ALIGNTO)].fill(0xbb);
    }
    let last = Messages::new(&datagram).map(Result::unwrap).last().unwrap();
    let (last, end) = (last.offset, last.offset + length(&last) as usize);
    datagram[last + 6] |= NLM_F_ACK as u8;
    // Nor need the last one be padded.
    datagram.truncate(end);
    datagram
}

/// A bus whose topics keep enough to have segments of the full size.
fn bus() -> Bus {
    let user_history = Some(3 << 20);
    let heartbeat = Duration::ZERO;
    Bus::new(Config { heartbeat, history: 3 << 20, topic_history: 2 << 20, user_history, ..Config::default() })
}

impl Bus {
    /// Takes a datagram out of memory that can become a segment. Whether it did.
    fn accept_whole(&mut self, datagram: &[u8]) -> bool {
        let mut memory = Vec::with_capacity(SEGMENT_MAX);
        memory.extend_from_slice(datagram);
        let at = memory.as_ptr();
        let sender = Sender { port: 50, pid: 51, uid: 52, gid: 53, to: Endpoint::Publish };
        self.core.clients.note_in_silence(sender);
        self.drive(|core, now, mut out| core.accept(&mut memory, sender, now, &mut out));
        let is_kept = memory.as_ptr() != at;
        assert!(!is_kept || memory.is_empty(), "memory for another one, or none");
        is_kept
    }
}

#[test]
fn what_fills_a_segment_becomes_one_as_soon_as_the_topic_keeps_much() {
    let mut bus = bus();
    let full = datagram("a", std::iter::repeat(64), NLBUS_DATAGRAM_MAX);
    let mut memory = Vec::with_capacity(SEGMENT_MAX);
    memory.extend_from_slice(&full);
    assert!(is_segment(&memory));
    let kept: Vec<bool> = (0..40).map(|_| bus.accept_whole(&full)).collect();
    let first = kept.iter().position(|kept| *kept).unwrap();
    assert!(first <= 17 && kept[first..].iter().all(|kept| *kept), "{kept:?}");
    assert!(!bus.accept_whole(&datagram("a", std::iter::repeat(64), 32 << 10)), "a half");
    assert!(
        !bus.accept_whole(&datagram("b", std::iter::repeat(64), NLBUS_DATAGRAM_MAX)),
        "of a topic that keeps little"
    );
    let mut mixed = datagram("a", std::iter::repeat(64), NLBUS_DATAGRAM_MAX - 200);
    mixed.truncate(mixed.len() - 128);
    mixed.extend(publish("b", b""));
    assert!(!bus.accept_whole(&mixed), "of two topics");
    bus.flush();
    assert!(bus.core.topics.history().bytes() <= 3 << 20);

    bus.core.config.pack = 32 << 10;
    assert!(!bus.accept_whole(&full), "more than a broadcast may have");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    /// Events, numbers, acks and replays are the same, whatever comes between and wherever history lets go.
    #[test]
    fn kept_or_copied_is_the_same(
        steps in prop::collection::vec((0usize..2, prop::collection::vec(0usize..3000, 1..40), 0usize..4, any::<bool>()), 1..60)
    ) {
        let (mut copies, mut keeps) = (bus(), bus());
        let mut kept = 0;
        let full = (0, vec![64], 0, true);
        for (topic, lens, size, flush) in std::iter::repeat_n(full, 20).chain(steps) {
            let bytes = [NLBUS_DATAGRAM_MAX, NLBUS_DATAGRAM_MAX, 40_000, 100][size];
            let datagram = datagram(["a", "bc/de/fgh"][topic], lens.iter().copied().cycle().take(2000), bytes);
            copies.accept(50, &datagram);
            kept += usize::from(keeps.accept_whole(&datagram));
            if flush {
                copies.flush();
                keeps.flush();
            }
        }
        copies.flush();
        keeps.flush();
        // Only of one group there is an order.
        let by_group = |mut events: Vec<Seen>| {
            events.sort_by_key(|event| event.group);
            events
        };
        prop_assert!(by_group(copies.events()) == by_group(keeps.events()));
        prop_assert!(copies.unicasts == keeps.unicasts);
        copies.unicasts.clear();
        keeps.unicasts.clear();
        for id in FIRST..=copies.core.topics.len() {
            // What one of them let go sooner, the other may have still.
            let (one, other) = (copies.replay(id, 1, None).1, keeps.replay(id, 1, None).1);
            prop_assert_eq!(one.head, other.head);
            let mut from = one.first.max(other.first);
            while from <= one.head {
                let (of_copies, of_keeps) = (copies.replay(id, from, Some(50)), keeps.replay(id, from, Some(50)));
                prop_assert!(of_copies.0 == of_keeps.0);
                prop_assert_eq!(of_copies.1.next, of_keeps.1.next);
                from = of_copies.1.next;
            }
        }
        let (of_copies, of_keeps) = (copies.core.info().counters, keeps.core.info().counters);
        prop_assert_eq!((of_copies.published, of_copies.refused), (of_keeps.published, of_keeps.refused));
        prop_assert!(of_keeps.history <= 3 << 20);
        prop_assert!(kept > 0);
    }
}
