//! Numbers that are nobody's.

use super::*;

#[test]
fn a_gap_stands_between_records_and_before_the_first() {
    let mut history = History::new(u64::MAX);
    let topic = history.add_topic(u64::MAX, EXEMPT);
    history.skip(topic, 3);
    assert_eq!((history.kept(topic), history.head(topic), history.tail(topic)), (4..4, 3, 3));
    assert_eq!(history.next_from(topic, 2), 4);
    assert_eq!(push(&mut history, topic, 100), 4);
    assert_eq!((history.kept(topic), history.tail(topic)), (4..5, 0));
    history.skip(topic, 1);
    history.skip(topic, u64::from(u32::MAX));
    history.skip(topic, u64::from(u32::MAX));
    let next = 6 + 2 * u64::from(u32::MAX);
    assert_eq!(push(&mut history, topic, 100), next);
    assert_eq!(
        [1, 4, 5, 100, next, next + 1].map(|seq| history.next_from(topic, seq)),
        [4, 4, next, next, next, next + 1]
    );
    assert_eq!(history.from(topic, 5).map(|(seq, _)| seq).collect::<Vec<_>>(), [next]);
    assert_eq!((history.kept(topic), history.evicted()), (4..next + 1, 0));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Push(usize),
    Skip(u64),
    /// A whole segment of records of this length, padded.
    Adopt(usize),
    Settle,
    Limit(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (16usize..3000).prop_map(Step::Push),
        3 => (1u64..50).prop_map(Step::Skip),
        1 => (75usize..2000).prop_map(|len| Step::Adopt(align(len, NLMSG_ALIGNTO))),
        4 => Just(Step::Settle),
        1 => prop::sample::select(vec![0, 5000, 100_000, 2 << 20]).prop_map(Step::Limit),
    ]
}

proptest! {
    #[test]
    fn every_number_is_a_records_or_nobodys(steps in prop::collection::vec(step(), 0..150), large: bool) {
        let mut history = History::new(u64::MAX);
        let topic = history.add_topic(if large { 2 << 20 } else { 20_000 }, EXEMPT);
        if large {
            // So much that segments are of the full size, and are taken over.
            (0..400).for_each(|_| _ = push(&mut history, topic, 4000));
        }
        let mut pushed: Vec<u64> = history.from(topic, 0).map(|(seq, _)| seq).collect();
        let (mut next, before) = (history.head(topic) + 1, history.evicted());
        let kept_before = pushed.len() as u64;
        let mut count = kept_before;
        for step in steps {
            match step {
                Step::Push(len) => {
                    history.append(topic, &record(len));
                    pushed.push(next);
                    (next, count) = (next + 1, count + 1);
                }
                Step::Skip(numbers) => {
                    history.skip(topic, numbers);
                    next += numbers;
                }
                Step::Adopt(len) => {
                    let records = (SEGMENT_MAX - 320) / len;
                    let mut segment = Vec::with_capacity(SEGMENT_MAX);
                    (0..records).for_each(|_| segment.extend_from_slice(&record(len)));
                    if history.adopts(topic) && is_segment(&segment) {
                        history.adopt(topic, &mut segment, records as u64);
                        pushed.extend(next..next + records as u64);
                        (next, count) = (next + records as u64, count + records as u64);
                    }
                }
                Step::Settle => history.settle(),
                Step::Limit(limit) => history.set_limit(topic, limit),
            }
            let kept = history.kept(topic);
            prop_assert_eq!((kept.end, history.head(topic)), (next, next - 1));
            let records: Vec<u64> = history.from(topic, 0).map(|(seq, _)| seq).collect();
            pushed.retain(|seq| *seq >= kept.start);
            prop_assert_eq!(&records, &pushed, "kept from {}", kept.start);
            prop_assert_eq!(history.tail(topic), next - 1 - records.last().copied().unwrap_or(0));
            prop_assert!(records.is_empty() == (count == 0), "the newest is kept");
            prop_assert_eq!(history.evicted() - before, count - records.len() as u64);
            for seq in [kept.start.saturating_sub(2), kept.start, (kept.start + next) / 2, next - 1, next] {
                let first = records.iter().copied().find(|at| *at >= seq).unwrap_or(next);
                prop_assert_eq!(history.next_from(topic, seq), first);
                prop_assert_eq!(history.from(topic, seq).next().map(|(at, _)| at), (first < next).then_some(first));
            }
        }
        history.settle();
        let (bytes, limit) = history.bytes_of(topic);
        prop_assert!(bytes <= limit || !history.logs[topic].can_give(), "{} of {}", bytes, limit);
    }
}
