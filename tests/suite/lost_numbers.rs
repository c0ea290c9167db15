//! Promise 3 for who brings events from elsewhere and knows that some were lost on their way: he says so in line, and for every
//! subscriber delivered + lost = published + said to be lost, in order.

use nix::errno::Errno;
use nlbus::wire::uapi::{NLBUS_DATAGRAM_MAX, NLBUS_EVENT_F_LOST, NLBUS_LOST_HEAD_MAX, NLBUS_LOST_MAX};
use nlbus::wire::{Content, EventView, ReplayEnd, ReplayRequest, push_lost, push_publish};
use nlbus::{Bus, Delivery, PublishReason, Start, Subscription};
use nlbus_tests::{Datagram, Endpoint, Fixture, Tally, cases, collect, payload, quiet, value, wait_for};
use std::time::{Duration, Instant};

cases![
    everybody_sees_what_was_lost_in_its_place,
    who_resumes_before_and_within_a_gap_sees_the_rest_of_it,
    a_slow_subscriber_sees_gaps_as_well,
    gaps_take_their_place_among_many_events,
    a_gap_that_nothing_follows_is_told_of,
    a_topic_may_begin_with_lost_numbers,
    a_datagram_has_events_and_gaps_of_several_topics,
    gaps_that_touch_are_one_however_large,
    what_history_lets_go_around_a_gap_is_lost_with_it,
    a_replay_ends_at_a_gap_and_goes_on_behind_it,
    a_count_that_cannot_be_refuses_the_datagram,
    numbers_do_not_run_out,
    who_may_not_publish_loses_nothing,
    an_ack_tells_the_last_number,
    what_is_lost_is_counted_and_no_event,
    a_gap_alone_in_a_full_datagram_of_them,
];

/// An event, or so many that are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Event,
    Lost(u64),
}
use Step::{Event, Lost};

/// Events that follow each other, and gaps between them.
const STEPS: [Step; 6] = [Event, Lost(2), Event, Lost(3), Lost(4), Event];

fn publish(bus: &Bus, topic: &str, steps: &[Step]) {
    let mut batch = bus.batch();
    for step in steps {
        match step {
            Event => batch.push(topic, "x").unwrap(),
            Lost(count) => batch.push_lost(topic, *count).unwrap(),
        }
    }
    batch.send_acked().unwrap();
}

fn total(steps: &[Step]) -> u64 {
    steps.iter().map(|step| if let Lost(count) = step { *count } else { 1 }).sum()
}

/// What a subscriber of a topic is to be given from a number on: events by number, and all ranges that are lost. Ranges that touch
/// are one.
fn wanted(steps: &[Step], from: u64) -> Vec<(u64, u64, Step)> {
    let mut wanted: Vec<(u64, u64, Step)> = Vec::new();
    let mut next = 1;
    for step in steps {
        let last = next + if let Lost(count) = step { *count } else { 1 } - 1;
        let first = next.max(from);
        next = last + 1;
        match (step, wanted.last_mut()) {
            _ if last < first => {}
            (Lost(_), Some((_, to, Lost(_)))) => *to = last,
            (Lost(_), _) => wanted.push((first, last, Lost(0))),
            (Event, _) => wanted.push((first, last, Event)),
        }
    }
    wanted
}

/// The same of what he was given.
fn given(subscription: &mut Subscription, topic: &str, count: u64) -> Vec<(u64, u64, Step)> {
    let mut given: Vec<(u64, u64, Step)> = Vec::new();
    let mut total = 0;
    while total < count {
        match collect(subscription, |seen| !seen.is_empty()).remove(0) {
            Delivery::Event(event) if event.topic() == topic => given.push((event.seq(), event.seq(), Event)),
            Delivery::Lost(lost) if &*lost.topic == topic => match given.last_mut() {
                Some((_, to, Lost(_))) if *to + 1 == lost.from => *to = lost.to,
                _ => given.push((lost.from, lost.to, Lost(0))),
            },
            other => panic!("{other:?}"),
        }
        total = given.iter().map(|(from, to, _)| to - from + 1).sum();
    }
    given
}

fn all(bus: &Bus, topic: &str) -> Subscription {
    bus.subscriber(topic).start(Start::All).open().unwrap()
}

/// From the first number on, whether an event that is kept has it or not, which [`Start::All`] begins with.
fn from_one(bus: &Bus, topic: &str) -> Subscription {
    bus.subscriber(topic).start(Start::From(1)).open().unwrap()
}

fn everybody_sees_what_was_lost_in_its_place() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut live = bus.subscribe("far").unwrap();
    publish(&bus, "far", &STEPS);
    let want = wanted(&STEPS, 1);
    assert_eq!(want.len(), 5);
    assert_eq!(given(&mut live, "far", total(&STEPS)), want);
    quiet(&mut live);
    let mut late = all(&bus, "far");
    assert_eq!(given(&mut late, "far", total(&STEPS)), want);
    quiet(&mut late);
    // And so it goes on, each in a datagram of its own.
    let more = [Event, Lost(1), Lost(7), Event, Event];
    for step in more {
        match step {
            Event => bus.publish("far", "x").unwrap(),
            Lost(count) => bus.publish_lost("far", count).unwrap(),
        }
    }
    let steps = [&STEPS[..], &more].concat();
    let rest = wanted(&steps, total(&STEPS) + 1);
    for subscription in [&mut live, &mut late] {
        assert_eq!(given(subscription, "far", total(&more)), rest);
        quiet(subscription);
    }
    assert_eq!(given(&mut all(&bus, "far"), "far", total(&steps)), wanted(&steps, 1));
    let kept = bus.topic("far").unwrap().unwrap();
    assert_eq!((kept.first, kept.head), (1, total(&steps)));
}

fn who_resumes_before_and_within_a_gap_sees_the_rest_of_it() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("far").unwrap();
    let mut positions = subscription.positions().clone();
    bus.publish_lost_acked("far", 3).unwrap();
    bus.publish_acked("far", "x").unwrap();
    let mut taken = 0;
    while taken < 4 {
        let delivery = collect(&mut subscription, |seen| !seen.is_empty()).remove(0);
        taken += if let Delivery::Lost(lost) = &delivery { lost.count() } else { 1 };
        positions.advance(&delivery);
    }
    let steps = [Lost(3), Event, Lost(5), Event, Lost(6)];
    publish(&bus, "far", &steps[2..]);
    // He had dealt with the event before the gap.
    let mut resumed = bus.subscriber("far").resume(positions.clone()).open().unwrap();
    assert_eq!(given(&mut resumed, "far", 12), wanted(&steps, 5));
    quiet(&mut resumed);
    // Or with a part of one: the position is within it, as it is for who took it while it was shorter.
    let mut short = from_one(&bus, "far");
    let mut within = short.positions().clone();
    for delivery in collect(&mut short, |seen| seen.iter().map(count).sum::<u64>() == 16) {
        within.advance(&delivery);
    }
    publish(&bus, "far", &[Lost(2), Event]);
    let steps = [&steps[..], &[Lost(2), Event]].concat();
    let mut resumed = bus.subscriber("far").resume(within).open().unwrap();
    assert_eq!(given(&mut resumed, "far", 3), wanted(&steps, 17));
    for from in 1..=total(&steps) {
        let mut begun = bus.subscriber("far").start(Start::From(from)).open().unwrap();
        assert_eq!(given(&mut begun, "far", total(&steps) + 1 - from), wanted(&steps, from), "from {from}");
    }
}

fn count(delivery: &Delivery) -> u64 {
    if let Delivery::Lost(lost) = delivery { lost.count() } else { 1 }
}

/// And history keeps as many events as if there were none.
fn a_slow_subscriber_sees_gaps_as_well() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut slow = bus.subscriber("far").capacity(2).open().unwrap();
    let args = ["filter=far", "buffer=4096", "one=true", "capacity=2", "nap=50", "total=1600"].map(str::to_owned);
    let mut child = fixture.spawn("subscriber", &args);
    child.expect("subscribed");
    for number in 1..=400 {
        bus.publish("far", &payload(1, number, 64)).unwrap();
        bus.publish_lost("far", 1 + number % 5).unwrap();
    }
    bus.flush().unwrap();
    let mut tally = Tally::from_one();
    tally.take(&mut slow, 1600);
    assert_eq!((tally.delivered, tally.lost), (400, 1200), "{tally:?}");
    quiet(&mut slow);
    let line = child.line();
    assert_eq!((value(&line, "delivered"), value(&line, "lost")), (400, 1200), "{line}");
    child.end_well();
}

/// Runs, packs and segments of history are all left and begun in between.
fn gaps_take_their_place_among_many_events() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.topic_options("far").history(4 << 20).create().unwrap();
    let mut live = bus.subscribe("far").unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut events, mut lost, mut batch) = (0, 0, bus.batch());
    while events < 3000 {
        for _ in 0..random.u64(..40) {
            events += 1;
            batch.push("far", &payload(1, events, 16 + random.usize(..40))).unwrap();
        }
        for _ in 0..random.u64(..3) {
            let count = random.u64(1..100);
            lost += count;
            batch.push_lost("far", count).unwrap();
        }
        if random.bool() {
            batch.send().unwrap();
        }
    }
    assert_eq!(batch.send_acked().unwrap().unwrap_or(events + lost), events + lost);
    let mut late = all(&bus, "far");
    for subscription in [&mut live, &mut late] {
        let mut tally = Tally::from_one();
        tally.take(subscription, events + lost);
        assert_eq!((tally.delivered, tally.lost), (events, lost), "{tally:?}");
        quiet(subscription);
    }
}

fn a_gap_that_nothing_follows_is_told_of() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    for filter in ["far/#", "far/a"] {
        let mut live = bus.subscribe(filter).unwrap();
        let before = bus.topic("far/a").unwrap().map_or(0, |topic| topic.head);
        bus.publish("far/a", "x").unwrap();
        bus.publish_lost("far/a", 5).unwrap();
        let began = Instant::now();
        let seen = collect(&mut live, |seen| seen.iter().map(count).sum::<u64>() == 6);
        assert!(began.elapsed() < Duration::from_secs(2), "only after {:?}", began.elapsed());
        let Some(Delivery::Lost(lost)) = seen.last() else { panic!("{seen:?}") };
        assert_eq!((lost.from, lost.to), (before + 2, before + 6));
        // Of a datagram of its own, too, long after.
        bus.publish_lost("far/a", 1).unwrap();
        let seen = collect(&mut live, |seen| !seen.is_empty());
        assert!(
            matches!(&seen[..], [Delivery::Lost(lost)] if (lost.from, lost.to) == (before + 7, before + 7)),
            "{seen:?}"
        );
        quiet(&mut live);
    }
}

fn a_topic_may_begin_with_lost_numbers() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut subscriptions = ["new", "new/#"].map(|filter| bus.subscribe(filter).unwrap());
    assert_eq!(bus.publish_lost_acked("new", 4).unwrap(), 4);
    for subscription in &mut subscriptions {
        assert_eq!(given(subscription, "new", 4), [(1, 4, Lost(0))]);
    }
    let topic = bus.topic("new").unwrap().unwrap();
    assert_eq!((topic.first, topic.head, topic.bytes), (5, 4, 0));
    assert_eq!(given(&mut from_one(&bus, "new"), "new", 4), [(1, 4, Lost(0))]);
    let mut kept = all(&bus, "new");
    quiet(&mut kept);
    assert_eq!(bus.publish_acked("new", "x").unwrap(), 5);
    assert_eq!(given(&mut kept, "new", 1), [(5, 5, Event)]);
    for subscription in &mut subscriptions {
        assert_eq!(given(subscription, "new", 1), [(5, 5, Event)]);
        quiet(subscription);
    }
    assert_eq!(given(&mut from_one(&bus, "new"), "new", 5), [(1, 4, Lost(0)), (5, 5, Event)]);
    assert_eq!(given(&mut all(&bus, "new"), "new", 1), [(5, 5, Event)]);
    // It is a topic as any other: it ends, and begins anew.
    bus.delete_topic("new").unwrap();
    wait_for("no topic", || bus.topic("new").unwrap().is_none().then_some(()));
    assert_eq!(bus.publish_lost_acked("new", 2).unwrap(), 2);
}

fn a_datagram_has_events_and_gaps_of_several_topics() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.create_topic("far/a").unwrap();
    let mut live = ["far/a", "far/b"].map(|topic| bus.subscribe(topic).unwrap());
    let steps =
        [(0, Lost(2)), (1, Event), (0, Event), (1, Lost(1)), (1, Lost(1)), (0, Lost(9)), (1, Event), (0, Event)];
    let mut batch = bus.batch();
    for (topic, step) in steps {
        let topic = ["far/a", "far/b"][topic];
        match step {
            Event => batch.push(topic, "x").unwrap(),
            Lost(count) => batch.push_lost(topic, count).unwrap(),
        }
    }
    assert_eq!(batch.len(), steps.len());
    assert_eq!(batch.send_acked().unwrap(), Some(13));
    for (at, topic) in ["far/a", "far/b"].into_iter().enumerate() {
        let steps: Vec<_> = steps.iter().filter(|(of, _)| *of == at).map(|(_, step)| *step).collect();
        assert_eq!(given(&mut live[at], topic, total(&steps)), wanted(&steps, 1), "{topic}");
        assert_eq!(given(&mut from_one(&bus, topic), topic, total(&steps)), wanted(&steps, 1), "{topic}");
        quiet(&mut live[at]);
    }
}

fn gaps_that_touch_are_one_however_large() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut live = bus.subscribe("far").unwrap();
    let steps = [Event, Lost(NLBUS_LOST_MAX), Lost(NLBUS_LOST_MAX), Lost(7), Event];
    publish(&bus, "far", &steps);
    assert_eq!(given(&mut live, "far", total(&steps)), wanted(&steps, 1));
    assert_eq!(given(&mut all(&bus, "far"), "far", total(&steps)), wanted(&steps, 1));
}

fn what_history_lets_go_around_a_gap_is_lost_with_it() {
    const HISTORY: u64 = 64 << 10;
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.topic_options("far").history(HISTORY).create().unwrap();
    let evicted = bus.info().unwrap().counters.evicted;
    for number in 1..=100 {
        bus.publish("far", &payload(1, number, 4000)).unwrap();
        bus.publish_lost("far", 3).unwrap();
    }
    bus.flush().unwrap();
    let topic = bus.topic("far").unwrap().unwrap();
    assert_eq!(topic.head, 400);
    let mut tally = Tally::from_one();
    tally.take(&mut from_one(&bus, "far"), 400);
    assert!((4..=16).contains(&tally.delivered) && tally.delivered + tally.lost == 400, "{tally:?}");
    // What nobody ever had is nothing that history let go.
    let evicted = bus.info().unwrap().counters.evicted - evicted;
    assert!(evicted >= 100 - tally.delivered && evicted <= 100 - tally.delivered + 200, "{evicted} and {tally:?}");
    // All but the newest, behind which numbers are missing still.
    bus.topic_options("far").history(0).set().unwrap();
    let topic = wait_for("one event", || bus.topic("far").unwrap().filter(|topic| topic.first == 397));
    assert_eq!(topic.head, 400);
    assert_eq!(
        given(&mut from_one(&bus, "far"), "far", 400),
        [(1, 396, Lost(0)), (397, 397, Event), (398, 400, Lost(0))]
    );
}

fn a_replay_ends_at_a_gap_and_goes_on_behind_it() {
    let fixture = Fixture::new();
    let (bus, raw) = (fixture.connect(), fixture.raw());
    publish(&bus, "far", &[Event, Event, Lost(3), Event, Lost(2)]);
    let (epoch, id) = (bus.info().unwrap().epoch, bus.topic("far").unwrap().unwrap().id);
    let page = |from| {
        let mut request = Vec::new();
        ReplayRequest { epoch, topic_id: id, from, limit: None }.push(&mut request, 1);
        let answer = raw.ask(&request);
        let (end, events) =
            answer.messages().split_last().map(|(end, events)| (end.body.to_vec(), events.to_vec())).unwrap();
        let numbers: Vec<_> = events.iter().map(|event| EventView::parse(event.body).unwrap().header.seq).collect();
        let end = ReplayEnd::read(&end).unwrap();
        (numbers, end.first, end.next, end.head)
    };
    let wanted: [(Vec<u64>, u64, u64); 9] = [
        (vec![1, 2], 1, 3),
        (vec![2], 1, 3),
        (vec![6], 6, 7),
        (vec![6], 6, 7),
        (vec![6], 6, 7),
        (vec![6], 1, 7),
        (vec![], 9, 9),
        (vec![], 9, 9),
        (vec![], 1, 9),
    ];
    for (from, (numbers, first, next)) in (1..).zip(wanted) {
        assert_eq!(page(from), (numbers, first, next, 8), "from {from}");
    }
}

/// Sends a datagram of an event, this, and an event, and returns what it is refused with.
fn refused(fixture: &Fixture, push: impl Fn(&mut Vec<u8>)) -> (Errno, u32, String) {
    let raw = fixture.raw();
    let mut datagram = Vec::new();
    push_publish(&mut datagram, 1, false, 0, Content::Text, "far", b"x");
    push(&mut datagram);
    push_publish(&mut datagram, 3, true, 0, Content::Text, "far", b"x");
    raw.send(Endpoint::Publish, &datagram);
    let answer = Datagram::answer(&raw.receive());
    let refusal = answer.result.unwrap_err();
    (refusal.errno, answer.to.seq, refusal.message.into_owned())
}

fn a_count_that_cannot_be_refuses_the_datagram() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.publish_acked("far", "x").unwrap();
    for count in [0, NLBUS_LOST_MAX + 1, 1 << 63, u64::MAX] {
        let (errno, seq, why) = refused(&fixture, |datagram| push_lost(datagram, 2, false, 0, "far", count));
        assert_eq!((errno, seq), (Errno::ERANGE, 2), "{why}");
        assert!(why.contains("'far'") && why.contains(&count.to_string()) && why.contains("4294967295"), "{why}");
        // The library says so itself.
        let error = bus.publish_lost("far", count).unwrap_err();
        assert!(matches!(error.reason(), PublishReason::LostCount(refused) if *refused == count), "{error}");
        assert!(bus.batch().push_lost("far", count).is_err() && bus.publish_lost_acked("far", count).is_err());
    }
    for (content, bytes) in [(Content::Opaque, &[1; 4][..]), (Content::Opaque, &[1; 12]), (Content::Text, &[1; 8])] {
        let (errno, seq, why) =
            refused(&fixture, |datagram| push_publish(datagram, 2, false, NLBUS_EVENT_F_LOST, content, "far", bytes));
        assert_eq!((errno, seq), (Errno::EINVAL, 2), "{why}");
    }
    // Of a will nothing can be lost: it has no flags.
    assert_eq!(bus.topic("far").unwrap().unwrap().head, 1, "nothing of those datagrams counts");
    assert_eq!(bus.publish_acked("far", "x").unwrap(), 2);
}

/// A datagram takes a thousand times 2^32 numbers, so that a publisher who means harm could have them begin anew.
fn numbers_do_not_run_out() {
    let fixture = Fixture::new();
    let (bus, raw) = (fixture.connect(), fixture.raw());
    bus.publish_acked("f", "x").unwrap();
    let mut datagram = Vec::new();
    let mut each = 0;
    while datagram.len() + 144 <= NLBUS_DATAGRAM_MAX {
        push_lost(&mut datagram, 1, false, 0, "f", NLBUS_LOST_MAX);
        each += NLBUS_LOST_MAX;
    }
    push_lost(&mut datagram, 2, true, 0, "f", NLBUS_LOST_MAX);
    each += NLBUS_LOST_MAX;
    let mut head = 1;
    while head <= NLBUS_LOST_HEAD_MAX {
        raw.send(Endpoint::Publish, &datagram);
        head += each;
        assert_eq!(raw.receive().answer().result, Ok(Some(head)));
    }
    assert!(head < 1 << 51, "{head}");
    raw.send(Endpoint::Publish, &datagram);
    let answer = raw.receive().answer();
    let refusal = answer.result.unwrap_err();
    assert_eq!((refusal.errno, answer.to.seq), (Errno::ERANGE, 1), "{refusal}");
    assert!(refusal.message.contains("'f'") && refusal.message.contains(&head.to_string()), "{refusal}");
    // Events have theirs all the same, and their subscribers.
    let mut live = bus.subscribe("f").unwrap();
    assert_eq!(bus.publish_acked("f", "x").unwrap(), head + 1);
    assert_eq!(given(&mut live, "f", 1), [(head + 1, head + 1, Event)]);
    let all_of_it = [(1, 1, Event), (2, head, Lost(0)), (head + 1, head + 1, Event)];
    assert_eq!(given(&mut all(&bus, "f"), "f", head + 1), all_of_it);
    // And other topics don't notice.
    assert_eq!(bus.publish_lost_acked("g", NLBUS_LOST_MAX).unwrap(), NLBUS_LOST_MAX);
    assert_eq!(bus.publish_acked("g", "x").unwrap(), NLBUS_LOST_MAX + 1);
}

fn who_may_not_publish_loses_nothing() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.topic_options("far").mode(0o644).create().unwrap();
    bus.publish_acked("far", "x").unwrap();
    let mut other = fixture.socket_of(&["uid=4711"]);
    let mut datagram = Vec::new();
    push_lost(&mut datagram, 9, true, 0, "far", 3);
    let answer = other.ask(Endpoint::Publish, &datagram);
    let refusal = Datagram::answer(&answer).result.unwrap_err();
    assert_eq!(refusal.errno, Errno::EACCES, "{refusal}");
    for reserved in ["$SYS/heartbeat", "kernel/x"] {
        assert_eq!(bus.publish_lost_acked(reserved, 1).unwrap_err().errno(), Some(Errno::EACCES));
    }
    assert_eq!(bus.topic("far").unwrap().unwrap().head, 1);
}

fn an_ack_tells_the_last_number() {
    let fixture = Fixture::new();
    let (bus, raw) = (fixture.connect(), fixture.raw());
    assert_eq!(bus.publish_lost_acked("far", 10).unwrap(), 10);
    assert_eq!(bus.publish_acked("far", "x").unwrap(), 11);
    assert_eq!(bus.publish_lost_acked("far", 1).unwrap(), 12);
    let mut batch = bus.batch();
    batch.push("far", "x").unwrap();
    batch.push_lost("far", 5).unwrap();
    assert_eq!(batch.send_acked().unwrap(), Some(18));
    // The events before have been broadcast by then.
    let topic = bus.topic("far").unwrap().unwrap();
    raw.join(topic.group).unwrap();
    let mut datagram = Vec::new();
    push_publish(&mut datagram, 1, false, 0, Content::Text, "far", b"x");
    push_lost(&mut datagram, 2, true, 0, "far", 2);
    raw.send(Endpoint::Publish, &datagram);
    let event = raw.receive();
    assert_eq!((event.groups != 0, EventView::parse(event.messages()[0].body).unwrap().header.seq), (true, 19));
    assert_eq!(raw.receive().answer().result, Ok(Some(21)));
}

fn what_is_lost_is_counted_and_no_event() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.create_topic("far").unwrap();
    let _live = bus.subscribe("far").unwrap();
    let before = bus.info().unwrap().counters;
    publish(&bus, "far", &STEPS);
    let after = bus.info().unwrap().counters;
    assert_eq!((before.lost, after.lost), (0, 9));
    assert_eq!(after.kernel_dropped, before.kernel_dropped);
    let topic = wait_for("the events to be counted", || bus.topic("far").unwrap().filter(|topic| topic.broadcast == 3));
    assert_eq!((topic.head, topic.dropped), (total(&STEPS), 0));
    // Besides the broker's own, which are few.
    let published = after.published - before.published;
    assert!((3..9).contains(&published), "{published}");
}

fn a_gap_alone_in_a_full_datagram_of_them() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut live = bus.subscribe("far/#").unwrap();
    let mut batch = bus.batch();
    let mut topics = 0u64;
    while batch.push_lost(&format!("far/{topics:04}"), 1 + topics % 3).is_ok() {
        topics += 1;
    }
    assert!(topics > 700, "{topics}");
    batch.send_acked().unwrap();
    let total = (0..topics).map(|topic| 1 + topic % 3).sum();
    let mut tally = Tally::from_one();
    tally.take(&mut live, total);
    assert_eq!((tally.lost, tally.topics() as u64), (total, topics));
    quiet(&mut live);
}
