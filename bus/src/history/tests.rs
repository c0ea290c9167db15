mod gaps;

use super::*;
use crate::wire::uapi::NLMSG_HDRLEN;
use crate::wire::{Header, push_message};
use proptest::prelude::*;

/// A message of `len` bytes, header included.
fn record(len: usize) -> Vec<u8> {
    let mut message = Vec::new();
    push_message(&mut message, Header::default(), |body| body.raw(&vec![7; len - NLMSG_HDRLEN]));
    message
}

/// Appends such a message, settles, and returns its sequence number.
fn push(history: &mut History, topic: usize, len: usize) -> u64 {
    history.append(topic, &record(len));
    history.settle();
    history.head(topic)
}

#[test]
fn the_newest_record_is_kept_also_with_limit_zero() {
    let mut history = History::new(0);
    let topic = history.add_topic(0, EXEMPT);
    assert_eq!((history.kept(topic), history.head(topic)), (1..1, 0));
    for seq in 1..10 {
        assert_eq!(push(&mut history, topic, 100), seq);
        assert_eq!((history.kept(topic), history.head(topic)), (seq..seq + 1, seq));
    }
    assert_eq!((history.bytes(), history.evicted()), (100, 8));
}

#[test]
fn a_topic_keeps_nearly_what_its_limit_holds() {
    let mut history = History::new(u64::MAX);
    let topic = history.add_topic(100_000, EXEMPT);
    for seq in 1..=5000 {
        push(&mut history, topic, 100);
        let kept = history.kept(topic).count();
        assert!(kept <= 1000 && kept as u64 >= seq.min(850), "{kept} after {seq}");
    }
    push(&mut history, topic, 99_900);
    assert_eq!(history.kept(topic), 5001..5002, "the others had to go");
}

/// Of any size, also one of which a little more than half of a segment is left unused.
#[test]
fn a_topic_of_large_records_keeps_nearly_what_its_limit_holds() {
    for len in [1000, 6000, 12_000, 22_000, 33_000, 40_000, 64_824] {
        let mut history = History::new(u64::MAX);
        let topic = history.add_topic(4 << 20, EXEMPT);
        for _ in 0..2 * (4 << 20) / len {
            push(&mut history, topic, len);
        }
        let (kept, most) = (history.kept(topic).count(), (4 << 20) / len);
        assert!(kept <= most && kept >= most * 9 / 10, "{kept} of {most} records of {len} bytes");
    }
}

#[test]
fn a_topic_of_records_of_all_sizes_uses_nearly_all_that_it_takes() {
    let mut history = History::new(4 << 20);
    let topic = history.add_topic(u64::MAX, EXEMPT);
    let lens = [33_000, 64, 5000, 200, 20_000, 64_824, 9000];
    for len in lens.into_iter().cycle().take(2000) {
        push(&mut history, topic, len);
        assert_eq!(history.bytes(), history.bytes_of(topic).0);
    }
    // In room that others had before.
    let kept: Vec<_> = history.from(topic, 0).map(|(seq, body)| (seq, NLMSG_HDRLEN + body.len())).collect();
    let want: Vec<_> = history.kept(topic).map(|seq| (seq, lens[(seq as usize - 1) % lens.len()])).collect();
    assert_eq!(kept, want);
    let used: usize = kept.iter().map(|(_, len)| len).sum();
    assert!(used >= (4 << 20) * 9 / 10, "{used}");
}

/// What is small has no room by the measure of the large record that it came behind.
#[test]
fn room_goes_with_what_it_was_made_for() {
    let mut history = History::new(1 << 20);
    for topic in 0..1000 {
        history.add_topic(u64::MAX, EXEMPT);
        push(&mut history, topic, 60_000);
        push(&mut history, topic, 64);
    }
    // The small ones, and of the large ones what is left for them.
    let large = (0..1000).filter(|topic| history.kept(*topic).count() == 2).count();
    assert!(large >= 14, "{large}");
    assert!(history.bytes() <= 1 << 20);
}

#[test]
fn what_was_appended_stays_where_it_is_until_the_history_is_settled() {
    let mut history = History::new(500);
    let topics = [history.add_topic(300, EXEMPT), history.add_topic(0, EXEMPT)];
    let mut places = Vec::new();
    for at in 0..100u8 {
        let (place, bytes) = history.append(topics[usize::from(at % 2)], &record(16 + usize::from(at)));
        bytes[NLMSG_HDRLEN..].fill(at);
        places.push(place);
    }
    history.set_limit(topics[0], 0);
    for (at, place) in (0..100u8).zip(places) {
        assert!(history.at(place)[NLMSG_HDRLEN..].iter().all(|byte| *byte == at));
        assert_eq!(place.end - place.start, align(16 + usize::from(at), NLMSG_ALIGNTO));
    }
    history.settle();
    assert_eq!((history.kept(topics[0]), history.kept(topics[1])), (50..51, 50..51));
    assert_eq!(history.bytes(), 116 + 116);
}

#[test]
fn a_limit_that_is_lowered_takes_the_oldest() {
    let mut history = History::new(u64::MAX);
    let topic = history.add_topic(10_000, EXEMPT);
    for _ in 0..100 {
        push(&mut history, topic, 100);
    }
    let all = history.kept(topic).start;
    history.set_limit(topic, 5500);
    history.settle();
    let (bytes, kept) = (history.bytes_of(topic), history.kept(topic));
    assert!(bytes.0 <= 5500 && bytes.0 > 3000 && bytes.1 == 5500, "{bytes:?}");
    assert!(kept.start > all && kept.end == 101, "{kept:?}");
    history.set_limit(topic, 0);
    history.settle();
    assert_eq!((history.kept(topic), history.bytes_of(topic), history.evicted()), (100..101, (100, 0), 99));
}

#[test]
fn a_flood_evicts_itself_and_not_the_small_ones() {
    let mut history = History::new(100_000);
    let small: Vec<_> = (0..10).map(|_| history.add_topic(u64::MAX, EXEMPT)).collect();
    let flood = history.add_topic(u64::MAX, EXEMPT);
    for topic in &small {
        for _ in 0..10 {
            push(&mut history, *topic, 100);
        }
    }
    for _ in 0..10_000 {
        push(&mut history, flood, 100);
    }
    assert!(history.bytes() <= 100_000);
    assert!(small.iter().all(|topic| history.kept(*topic) == (1..11)));
    assert!(history.bytes_of(flood).0 > 75_000, "{}", history.bytes_of(flood).0);
}

#[test]
fn two_floods_share_the_common_limit() {
    let mut history = History::new(10_000);
    let (one, two) = (history.add_topic(u64::MAX, EXEMPT), history.add_topic(u64::MAX, EXEMPT));
    for topic in [one, two] {
        for _ in 0..500 {
            push(&mut history, topic, 100);
        }
    }
    let (one, two) = (history.bytes_of(one).0, history.bytes_of(two).0);
    assert!(one >= 2_500 && two >= 2_500, "{one} {two}");
}

/// A topic that had segments of the full size, and has to give most of it to many others.
#[test]
fn a_log_with_few_large_segments_gives_up_part_of_one() {
    let mut history = History::new(1 << 20);
    let topics: Vec<_> = (0..64).map(|_| history.add_topic(u64::MAX, EXEMPT)).collect();
    for topic in &topics {
        for _ in 0..20_000 {
            push(&mut history, *topic, 100);
        }
    }
    let least = topics.iter().map(|topic| history.bytes_of(*topic).0).min().unwrap();
    assert!(least >= 1 << 12, "{least} of {}", (1 << 20) / 64);
}

#[test]
fn a_log_that_was_large_gives_its_places_back() {
    let mut history = History::new(10 << 20);
    let topics: Vec<_> = (0..20).map(|_| history.add_topic(u64::MAX, EXEMPT)).collect();
    for topic in topics {
        for _ in 0..2_000 {
            push(&mut history, topic, 30_000);
        }
    }
    let places: usize = history.logs.iter().map(|log| log.segments.capacity()).sum();
    assert!(places < 1000, "{places} places for 350 records");
}

#[test]
fn a_users_flood_evicts_his_own() {
    let mut history = History::new(100_000);
    let [his, other] = [(); 2].map(|()| history.open_account(25_000));
    let kept = [his, other, EXEMPT].map(|account| {
        let topic = history.add_topic(u64::MAX, account);
        (0..200).for_each(|_| _ = push(&mut history, topic, 100));
        topic
    });
    let floods: Vec<_> = (0..10).map(|_| history.add_topic(u64::MAX, his)).collect();
    for _ in 0..2000 {
        floods.iter().for_each(|topic| _ = push(&mut history, *topic, 100));
    }
    let bytes = |account: usize| history.accounts[account].bytes;
    assert!(bytes(his) <= 25_000 && bytes(his) > 20_000, "{}", bytes(his));
    assert_eq!(kept[1..].iter().map(|topic| history.kept(*topic)).collect::<Vec<_>>(), [1..201, 1..201]);
    assert!(history.kept(kept[0]).count() < 50, "his own was the largest");
    assert_eq!(history.topics_of(his), 11);
}

/// All but the exempt share what those leave, and who has more than his share of that gives it back.
#[test]
fn the_exempt_find_an_eighth_whatever_all_others_keep() {
    let mut history = History::new(80_000);
    let root = history.add_topic(u64::MAX, EXEMPT);
    let users: Vec<_> = (0..10).map(|_| history.open_account(20_000)).collect();
    let topics: Vec<_> = users.iter().map(|account| history.add_topic(u64::MAX, *account)).collect();
    // There is room, so root has more than that.
    (0..300).for_each(|_| _ = push(&mut history, root, 100));
    for _ in 0..300 {
        topics.iter().for_each(|topic| _ = push(&mut history, *topic, 100));
    }
    assert!(history.bytes() <= 80_000);
    assert!(history.bytes_of(root).0 > 9_000, "{}", history.bytes_of(root).0);
    (0..300).for_each(|_| _ = push(&mut history, root, 100));
    let shares: Vec<_> = topics.iter().map(|topic| history.bytes_of(*topic).0).collect();
    assert!(shares.iter().sum::<u64>() <= 70_000 && shares.iter().all(|bytes| *bytes > 3000), "{shares:?}");
    // Even where the others can give nothing.
    for _ in 0..100 {
        let topic = history.add_topic(u64::MAX, users[0]);
        push(&mut history, topic, 3000);
    }
    assert!(history.bytes() > 80_000 && history.bytes_of(root).0 > 9_000, "{}", history.bytes_of(root).0);
}

#[test]
fn newest_records_that_are_too_much_alone_are_an_overdraft() {
    const LEN: usize = 40_000;
    let mut history = History::new(8 << 20);
    let [his, other] = [(); 2].map(|()| history.open_account(1 << 20));
    let least = history.add_topic(u64::MAX, other);
    let mut topics = Vec::new();
    while !history.is_any_overdrawn() {
        topics.push(history.add_topic(u64::MAX, his));
        let topic = *topics.last().unwrap();
        // One to give, each time.
        (0..2).for_each(|_| _ = push(&mut history, topic, LEN));
    }
    let bytes = (topics.len() * LEN) as u64;
    assert!(bytes > 2 << 20 && bytes - (LEN as u64) <= 2 << 20, "{bytes}");
    assert_eq!(history.overdraft(his), Some(Overdraft { bytes, limit: 1 << 20, together: false }));
    assert_eq!((history.overdraft(other), history.overdraft(EXEMPT), history.overdraft(TOGETHER)), (None, None, None));
    // What is deleted counts at once, and it isn't forgotten when somebody else keeps something.
    push(&mut history, least, LEN);
    assert!(history.overdraft(his).is_some());
    history.remove_topic(topics.pop().unwrap());
    assert_eq!(history.overdraft(his), None);
    push(&mut history, least, LEN);
    assert!(!history.is_any_overdrawn());
    // A turn's worth may be too much for a moment.
    (0..100).for_each(|_| _ = history.append(topics[0], &record(LEN)));
    assert_eq!(history.overdraft(his), None);
    history.settle();
    assert_eq!(history.overdraft(his), None);
}

#[test]
fn so_it_is_of_all_ordinary_users_together() {
    let mut history = History::new(4 << 20);
    let users: Vec<_> = (0..200).map(|_| history.open_account(1 << 20)).collect();
    for account in &users {
        let topic = history.add_topic(u64::MAX, *account);
        push(&mut history, topic, 40_000);
    }
    let overdraft = Overdraft { bytes: 8_000_000, limit: 7 << 19, together: true };
    assert_eq!(users.iter().map(|account| history.overdraft(*account)).collect::<Vec<_>>(), [Some(overdraft); 200]);
    assert_eq!((history.overdraft(TOGETHER), history.overdraft(EXEMPT)), (Some(overdraft), None));
}

#[test]
fn a_bus_without_history_takes_the_newest_of_some_topics() {
    let mut history = History::new(0);
    let account = history.open_account(0);
    for _ in 0..10 {
        let topic = history.add_topic(0, account);
        push(&mut history, topic, 60_000);
    }
    assert!(!history.is_any_overdrawn());
}

proptest! {
    #[test]
    fn bounds_and_numbers_hold(limit in 0u64..2000, accounts in prop::collection::vec(0u64..1500, 1..4), limits in prop::collection::vec(0u64..800, 1..6),
                               pushes in prop::collection::vec((0usize..6, 16usize..150, prop::bool::weighted(0.7)), 0..200)) {
        let mut history = History::new(limit);
        let mut accounts: Vec<_> = accounts.iter().map(|limit| (history.open_account(*limit), *limit)).collect();
        accounts.push((EXEMPT, u64::MAX));
        for (limit, (account, _)) in limits.iter().zip(accounts.iter().cycle()) {
            history.add_topic(*limit, *account);
        }
        let mut lens: Vec<Vec<usize>> = vec![Vec::new(); limits.len()];
        for (topic, len, settle) in pushes {
            let topic = topic % limits.len();
            history.append(topic, &record(len));
            lens[topic].push(len);
            if settle {
                history.settle();
            }
            let mut total = 0;
            for (topic, lens) in lens.iter().enumerate() {
                let kept = history.kept(topic);
                prop_assert_eq!((history.head(topic), kept.end), (lens.len() as u64, lens.len() as u64 + 1));
                prop_assert_eq!(kept.is_empty(), lens.is_empty());
                // What it says to keep is there, and is what was pushed under that number.
                let records: Vec<_> = history.from(topic, 0).map(|(seq, body)| (seq, NLMSG_HDRLEN + body.len())).collect();
                let want: Vec<_> = kept.clone().map(|seq| (seq, lens[seq as usize - 1])).collect();
                prop_assert_eq!(&records, &want);
                let used: u64 = want.iter().map(|(_, len)| align(*len, NLMSG_ALIGNTO) as u64).sum();
                let (bytes, _) = history.bytes_of(topic);
                prop_assert!(bytes >= used, "{} of {}", bytes, used);
                if settle {
                    prop_assert!(bytes <= limits[topic] || (kept.end - kept.start == 1 && bytes == used));
                }
                total += bytes;
            }
            prop_assert_eq!(history.bytes(), total);
            for (account, limit) in accounts.iter().copied() {
                let logs: Vec<_> = history.logs.iter().filter(|log| log.account == account).collect();
                let bytes: u64 = logs.iter().map(|log| log.bytes).sum();
                prop_assert_eq!((history.accounts[account].bytes, history.topics_of(account)), (bytes, logs.len() as u32));
                prop_assert!(!settle || bytes <= limit || !logs.iter().any(|log| log.can_give()));
            }
            let together = &history.accounts[TOGETHER];
            prop_assert_eq!(together.bytes, total - history.accounts[EXEMPT].bytes);
            let can_give = |log: &Log| log.account != EXEMPT && log.can_give();
            prop_assert!(!settle || together.bytes <= limit - limit / 8 || !history.logs.iter().any(can_give));
            let pushed: usize = lens.iter().map(Vec::len).sum();
            let kept: usize = (0..lens.len()).map(|topic| history.kept(topic).count()).sum();
            prop_assert_eq!(history.evicted(), (pushed - kept) as u64);
            if settle {
                // The exempt needn't give what is reserved for them.
                let is_reserved = history.accounts[EXEMPT].bytes <= limit / 8;
                let gives = |topic: usize| history.logs[topic].account != EXEMPT || !is_reserved;
                prop_assert!(total <= limit || (0..lens.len()).all(|topic| history.kept(topic).count() <= 1 || !gives(topic)));
                // Every topic stands on the shelf that its bytes say, at the place that it knows.
                for (topic, log) in history.logs.iter().enumerate() {
                    prop_assert_eq!(log.shelf, right_shelf(log));
                    for (at, account) in charged(log.account).enumerate() {
                        let shelves = &history.accounts[account].shelves;
                        prop_assert!(log.shelf == shelves::NONE || shelves.at(log.shelf, log.places[at]) == Some(topic));
                    }
                }
            }
        }
    }

    #[test]
    fn a_walk_starts_where_it_is_told(from in 0u64..30) {
        let mut history = History::new(u64::MAX);
        let topic = history.add_topic(700, EXEMPT);
        for _ in 0..20 {
            push(&mut history, topic, 100);
        }
        let kept = history.kept(topic);
        prop_assert!(kept.start > 10, "the oldest are gone");
        let seen: Vec<_> = history.from(topic, from).map(|(seq, _)| seq).collect();
        prop_assert_eq!(seen, (from.max(kept.start)..21).collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    /// Whatever is taken over as it is, between records that are copied: what counts is the memory that is held.
    #[test]
    fn bounds_and_numbers_hold_with_what_was_adopted(
        limits in prop::collection::vec(prop::sample::select(vec![0, 70_000, 1 << 20, 3 << 20, u64::MAX]), 1..4),
        steps in prop::collection::vec((0usize..4, prop::bool::weighted(0.8), 300usize..8000, prop::bool::weighted(0.1)), 100..200),
    ) {
        const LIMIT: u64 = 4 << 20;
        let mut history = History::new(LIMIT);
        for limit in &limits {
            history.add_topic(*limit, EXEMPT);
        }
        for (topic, full, len, settle) in steps {
            let (topic, record) = (topic % limits.len(), record(align(len, NLMSG_ALIGNTO)));
            let records = if full { (SEGMENT_MAX - 320) / record.len() } else { 1 };
            let mut segment = Vec::with_capacity(SEGMENT_MAX);
            (0..records).for_each(|_| segment.extend_from_slice(&record));
            if history.adopts(topic) && is_segment(&segment) {
                history.adopt(topic, &mut segment, records as u64);
                prop_assert!(segment.is_empty() && [0, SEGMENT_MAX].contains(&segment.capacity()));
            } else {
                for _ in 0..records {
                    history.append(topic, &record);
                }
            }
            if settle {
                history.settle();
                prop_assert!(history.bytes() <= LIMIT && history.spare.len() <= SPARE_SEGMENTS);
                prop_assert!(history.logs.iter().all(|log| log.bytes <= log.limit || !log.can_give()));
            }
            let held = |log: &Log| log.segments.iter().map(|segment| segment.bytes.capacity() as u64).sum::<u64>();
            prop_assert!(history.logs.iter().all(|log| log.bytes == held(log)));
            prop_assert_eq!(history.bytes(), history.logs.iter().map(held).sum::<u64>());
        }
        for topic in 0..limits.len() {
            prop_assert!(history.from(topic, 0).map(|(seq, _)| seq).eq(history.kept(topic)));
        }
    }
}
