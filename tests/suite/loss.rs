//! Promise 3: whatever a subscriber misses is repaired from history, and what history no longer holds is reported in
//! line: delivered + reported lost = published, for every subscriber.

use nix::sys::signal::Signal;
use nlbus::{BrokerKind, Cause, Delivery};
use nlbus_tests::{Child, Fixture, Tally, broker_kind, burst, cases, collect, payload, quiet, value};

cases![
    an_overrun_is_repaired_from_history,
    what_history_no_longer_holds_is_reported,
    every_subscriber_can_account_for_a_burst,
    a_million_events_are_accounted_for,
    a_million_events_all_arrive_where_history_holds_them user_only,
    an_overrun_of_many_topics_is_repaired,
    a_full_channel_is_refilled_from_history,
    a_full_channel_says_what_history_let_go,
];

/// Bytes of a topic's history in these tests: the module's default.
const HISTORY: u64 = 256 << 10;

fn small_history() -> Fixture {
    match broker_kind() {
        BrokerKind::Module => Fixture::new(),
        _ => Fixture::with(&[&format!("topic_history={HISTORY}")]),
    }
}

/// A process that is stopped and so reads nothing, whatever comes.
fn stopped(fixture: &Fixture, args: &[&str]) -> Child {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let mut child = fixture.spawn("subscriber", &args);
    child.expect("subscribed");
    child.signal(Signal::SIGSTOP);
    child
}

fn an_overrun_is_repaired_from_history() {
    const COUNT: u64 = 1000;
    let fixture = small_history();
    let bus = fixture.connect();
    bus.create_topic("burst").unwrap();
    let mut child = stopped(&fixture, &["filter=burst", "buffer=4096", "one=true", &format!("total={COUNT}")]);
    for number in 1..=COUNT {
        bus.publish("burst", &payload(1, number, 64)).unwrap();
    }
    bus.flush().unwrap();
    child.signal(Signal::SIGCONT);
    // Nothing is published any more: what is missing is at the tail, where no later number shows the gap.
    let line = child.line();
    assert!(value(&line, "overruns") > 0, "not overrun: {line}");
    assert_eq!((value(&line, "delivered"), value(&line, "lost")), (COUNT, 0), "{line}");
    child.end_well();
}

fn what_history_no_longer_holds_is_reported() {
    const COUNT: u64 = 40;
    let fixture = small_history();
    let bus = fixture.connect();
    bus.create_topic("flood").unwrap();
    let mut child = stopped(&fixture, &["filter=flood", "buffer=4096", "one=true", &format!("total={COUNT}")]);
    for number in 1..=COUNT {
        bus.publish_acked("flood", &payload(1, number, 30_000)).unwrap();
    }
    child.signal(Signal::SIGCONT);
    let line = child.line();
    let (delivered, lost) = (value(&line, "delivered"), value(&line, "lost"));
    assert_eq!(delivered + lost, COUNT, "{line}");
    // Of forty times 30 000 bytes eight are kept, and one or two were in the socket.
    assert!(lost > 25 && delivered >= 8, "{line}");
    child.end_well();
}

fn every_subscriber_can_account_for_a_burst() {
    const COUNT: u64 = 6000;
    let fixture = small_history();
    let bus = fixture.connect();
    let buffers = ["buffer=4096", "buffer=65536", "buffer=8388608"];
    let subscribe = |buffer: &&str| {
        let args = ["filter=burst/#", buffer, "one=true", "capacity=100", &format!("total={COUNT}")];
        let mut child = fixture.spawn("subscriber", &args.map(str::to_owned));
        child.expect("subscribed");
        child
    };
    let mut children: Vec<_> = buffers.iter().map(subscribe).collect();
    for number in 1..=COUNT / 3 {
        for topic in ["burst/a", "burst/b", "burst/c"] {
            bus.publish(topic, &payload(1, number, 200)).unwrap();
        }
    }
    bus.flush().unwrap();
    for (buffer, child) in buffers.iter().zip(&mut children) {
        let line = child.line();
        assert_eq!(value(&line, "delivered") + value(&line, "lost"), COUNT, "{buffer}: {line}");
        println!("    a burst of {COUNT} events at once, {buffer}: {line}");
    }
    children.into_iter().for_each(Child::end_well);
}

fn a_million_events_are_accounted_for() {
    let fixture = Fixture::new();
    burst(&fixture, 4 << 20);
}

/// For the module in `tests/module`: its bound of all histories is set when it is loaded.
fn a_million_events_all_arrive_where_history_holds_them() {
    let fixture = Fixture::with(&["history=400000000"]);
    let account = burst(&fixture, 400_000_000);
    assert!(account.iter().all(|(lost, _)| *lost == 0), "{account:?}");
    assert!(account.iter().any(|(_, overruns)| *overruns > 0), "no socket was overrun: {account:?}");
}

fn an_overrun_of_many_topics_is_repaired() {
    const TOPICS: u64 = 100;
    const EACH: u64 = 10;
    let fixture = Fixture::new();
    let bus = fixture.connect();
    for topic in 0..TOPICS {
        bus.create_topic(&format!("many/{topic}")).unwrap();
    }
    let mut child =
        stopped(&fixture, &["filter=many/+", "buffer=4096", "one=true", &format!("total={}", TOPICS * EACH)]);
    for number in 1..=EACH {
        for topic in 0..TOPICS {
            bus.publish(&format!("many/{topic}"), &payload(topic as u32, number, 64)).unwrap();
        }
    }
    bus.flush().unwrap();
    child.signal(Signal::SIGCONT);
    let line = child.line();
    assert!(value(&line, "overruns") > 0, "not overrun: {line}");
    assert_eq!((value(&line, "delivered"), value(&line, "lost")), (TOPICS * EACH, 0), "{line}");
    child.end_well();
}

fn a_full_channel_is_refilled_from_history() {
    const COUNT: u64 = 1000;
    let fixture = small_history();
    let bus = fixture.connect();
    let mut subscription = bus.subscriber("slow").capacity(4).open().unwrap();
    for number in 1..=COUNT {
        bus.publish("slow", &payload(1, number, 64)).unwrap();
    }
    bus.flush().unwrap();
    let mut tally = Tally::from_one();
    tally.take(&mut subscription, COUNT);
    assert_eq!(tally.lost, 0, "{tally:?}");
    assert!(tally.replayed > 0, "{tally:?}");
    quiet(&mut subscription);
}

fn a_full_channel_says_what_history_let_go() {
    const COUNT: u64 = 40;
    let fixture = small_history();
    let bus = fixture.connect();
    let mut subscription = bus.subscriber("slow").capacity(2).open().unwrap();
    let mut other = bus.subscribe("slow").unwrap();
    for number in 1..=COUNT {
        bus.publish_acked("slow", &payload(1, number, 30_000)).unwrap();
    }
    let mut tally = Tally::from_one();
    let seen = collect(&mut subscription, |seen| {
        seen.last().into_iter().for_each(|delivery| tally.add(delivery));
        tally.total() == COUNT
    });
    assert!(tally.lost > 20, "{tally:?}");
    let lost: Vec<_> =
        seen.iter().filter_map(|d| if let Delivery::Lost(lost) = d { Some(lost) } else { None }).collect();
    assert!(lost.iter().all(|lost| lost.cause == Cause::Overflow && &*lost.topic == "slow"), "{lost:?}");
    // Its own loss: the neighbour of the same connection has all.
    let mut tally = Tally::from_one();
    tally.take(&mut other, COUNT);
    assert_eq!(tally.lost, 0);
}
