//! Allocations that fail, one after the other: the first one of an operation, then its second one, until none is left.
//! Whatever fails, the answer is an error or none at all, the bus goes on, and nothing is lost without a word.
//!
//! The kernel has to be built for that (`CONFIG_FAILSLAB`, `fail-nth`): the debug kernel of tests/vm is.

use crate::faults::{Faults, OWN, answers, as_user, be_root, bus_thread, outcome, publishes, request};
use crate::kernel::reload;
use nlbus::wire::{ReplayRequest, TopicKey, TopicRequest, TopicSettings, push_info_request};
use nlbus::{Bus, Delivery};
use nlbus_tests::{Endpoint, Fixture, Tally, cases, in_new_namespace, payload, wait_for};
use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

cases![
    each_allocation_of_a_datagram_may_fail module_only alone needs_fault_injection,
    each_allocation_for_a_new_user_may_fail module_only alone needs_fault_injection,
    each_allocation_of_a_bus_that_starts_may_fail module_only alone needs_fault_injection,
    each_allocation_of_the_bus_thread_may_fail module_only alone needs_fault_injection,
    all_allocations_from_some_moment_on_may_fail module_only alone needs_fault_injection,
    tables_may_have_no_memory_to_grow module_only alone needs_fault_injection,
    the_bus_thread_may_have_no_memory_for_a_while module_only alone needs_fault_injection,
];

/// Bytes by which the moment moves from which on all allocations fail: nearly the smallest one; and more than any operation takes.
const STEP: usize = 32;
const MOST: u32 = 1 << 17;

const PRIVATE: TopicSettings =
    TopicSettings { mode: Some(0o600), uid: None, gid: None, history: None, type_name: None };

/// More allocations than any operation makes: what fails so often isn't injected.
const MANY: u32 = 200;

/// Times that all allocations of an operation are gone through, until one was the module's.
const ROUNDS: u32 = 5;

/// What to send, to which endpoint: the n-th time.
type Write = Box<dyn Fn(u32) -> (Endpoint, Vec<u8>)>;

/// One of everything, for a bus of this epoch, whose topic `old` has this id.
fn operations(epoch: u64, id: u32) -> Vec<(&'static str, Write)> {
    vec![
        ("publish", Box::new(|_| (Endpoint::Publish, publishes("old", 1, 64)))),
        ("publish 8 to a new topic", Box::new(|n| (Endpoint::Publish, publishes(&format!("new/{n}"), 8, 64)))),
        ("publish 60 000 bytes", Box::new(|_| (Endpoint::Publish, publishes("old", 1, 60_000)))),
        ("info", Box::new(|_| (Endpoint::Request, request(|to| push_info_request(to, 7))))),
        (
            "create",
            Box::new(|n| {
                let name = &format!("created/{n}");
                (Endpoint::Request, request(|to| TopicRequest::create(name).push(to, 7)))
            }),
        ),
        (
            "create for few",
            Box::new(|n| {
                let name = &format!("few/{n}");
                let create = TopicRequest::Create { name, exclusive: false, settings: PRIVATE };
                (Endpoint::Request, request(|to| create.push(to, 7)))
            }),
        ),
        (
            "set",
            Box::new(move |n| {
                let settings = TopicSettings { history: Some(100_000 + u64::from(n)), ..TopicSettings::default() };
                let change = TopicRequest::Change { key: TopicKey::Id(id), settings };
                (Endpoint::Request, request(|to| change.push(to, 7)))
            }),
        ),
        (
            "list",
            Box::new(|_| (Endpoint::Request, request(|to| TopicRequest::List { cursor: 0, since: None }.push(to, 7)))),
        ),
        (
            "replay",
            Box::new(move |_| {
                let replay = ReplayRequest { epoch, topic_id: id, from: 1, limit: None };
                (Endpoint::Request, request(|to| replay.push(to, 7)))
            }),
        ),
        ("nonsense", Box::new(|_| (Endpoint::Request, vec![16, 0, 0, 0, 0x99, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0]))),
    ]
}

/// Each is either done or refused for want of memory, if that can be said, and never half or otherwise.
fn check(name: &str, outcomes: &BTreeMap<String, usize>) {
    let fits = |outcome: &String| {
        let (sent, got) = outcome.split_once(", answer: ").expect("both");
        match sent {
            "sent" if name == "nonsense" => got.is_empty() || got.starts_with("EOPNOTSUPP: "),
            "sent" => got.is_empty() || ["ack", "0x", "ENOMEM: "].iter().any(|word| got.starts_with(word)),
            // Of netlink, or of becoming another user.
            other => ["ENOBUFS", "ENOMEM", "EAGAIN", "Cannot", "Resource"].iter().any(|word| other.starts_with(word)),
        }
    };
    assert_eq!(outcomes.keys().find(|outcome| !fits(outcome)), None, "{name}: {outcomes:?}");
}

fn each_allocation_of_a_datagram_may_fail() {
    reload("");
    let mut faults = Faults::new();
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.publish_acked("old", "x").unwrap();
    let (id, epoch) = (bus.topic("old").unwrap().unwrap().id, bus.info().unwrap().epoch);
    let operations = operations(epoch, id);
    let mut tries = 0;
    for (name, write) in &operations {
        let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
        // A lone event takes no memory but for its ack, nonsense but for its refusal: without, there is none.
        let is_told = |outcomes: &BTreeMap<String, usize>| {
            ["publish", "nonsense"].contains(name) || outcomes.keys().any(|outcome| outcome.contains("ENOMEM"))
        };
        // The kernel's own that it can do without, as for a new slab, come now and then: then the n-th was that one.
        for _round in 0..ROUNDS {
            for n in 1..=MANY {
                assert!(n < MANY, "{name}: the {n}th allocation fails, and still it isn't the last one");
                // A client of its own each time: remembering it takes memory, too.
                let raw = fixture.raw();
                tries += 1;
                let (endpoint, datagram) = write(tries);
                let (sent, injected) = faults.inject(OWN, n, || outcome(&raw, endpoint, &datagram));
                let got = answers(&raw).join(" ");
                *outcomes.entry(format!("{sent}, answer: {got}")).or_default() += 1;
                bus.publish_acked("alive", "x").unwrap();
                if !injected {
                    break;
                }
            }
            if is_told(&outcomes) {
                break;
            }
        }
        println!("    {name}: {outcomes:?}");
        check(name, &outcomes);
        assert!(is_told(&outcomes), "{name}: no failure was one of the module's");
    }
    println!("    failed allocations by the function that asked:\n{}", faults.table());
}

/// Who has a quota is known by memory of his own, on all buses and on this one.
fn each_allocation_for_a_new_user_may_fail() {
    type Write = fn(&str) -> (Endpoint, Vec<u8>);
    reload("");
    let mut faults = Faults::new();
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.create_topic("old").unwrap();
    let operations: [(&str, Write); 6] = [
        ("publish 8 to a new topic", |_| (Endpoint::Publish, publishes("new", 8, 64))),
        ("publish", |_| (Endpoint::Publish, publishes("old", 1, 64))),
        ("publish 20 of 3000 bytes", |_| (Endpoint::Publish, publishes("old", 20, 3000))),
        ("create for few", |_| {
            let create = TopicRequest::Create { name: "few", exclusive: false, settings: PRIVATE };
            (Endpoint::Request, request(|to| create.push(to, 7)))
        }),
        ("let fewer read", |his| {
            let change = TopicRequest::Change { key: TopicKey::Name(his), settings: PRIVATE };
            (Endpoint::Request, request(|to| change.push(to, 7)))
        }),
        ("delete", |his| (Endpoint::Request, request(|to| TopicRequest::Delete(TopicKey::Name(his)).push(to, 7)))),
    ];
    let mut uid = 50_000;
    for (name, write) in operations {
        let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
        for n in 1..=MANY {
            assert!(n < MANY, "{name}: the {n}th allocation fails, and still it isn't the last one");
            let raw = fixture.raw();
            uid += 1;
            let his = format!("his/{uid}");
            bus.topic_options(&his).owner(uid).create_new().unwrap();
            let (endpoint, datagram) = write(&his);
            let (sent, injected) = faults.inject(OWN, n, || as_user(uid, || outcome(&raw, endpoint, &datagram)));
            be_root();
            *outcomes.entry(format!("{sent}, answer: {}", answers(&raw).join(" "))).or_default() += 1;
            // What he made is gone, and with it what is known of him, but for used private groups.
            for topic in bus.topics().unwrap().iter().filter(|topic| ["new", "few", &his].contains(&&*topic.name)) {
                bus.delete_topic(&topic.name).unwrap();
            }
            if !injected {
                break;
            }
        }
        println!("    {name}: {outcomes:?}");
        check(name, &outcomes);
    }
    println!("    failed allocations by the function that asked:\n{}", faults.table());
    for function in ["nlbus_account_get", "nlbus_share_get"] {
        assert!(faults.hit.keys().any(|hit| hit.starts_with(function)), "none of {function}: {:?}", faults.hit);
    }
    assert_eq!(bus.info().unwrap().counters.queue, 0);
    // Whoever was refused for want of memory has all that he may have.
    let mut client = fixture.spawn("client", &["uid=50001".to_owned()]);
    client.expect("ready");
    client.say("publish another");
    let said = client.line();
    assert!(said.starts_with("published "), "{said}");
}

fn each_allocation_of_a_bus_that_starts_may_fail() {
    reload("");
    let mut faults = Faults::new();
    for n in 1..=MANY {
        assert!(n < MANY, "the {n}th allocation fails, and still it isn't the last one");
        let injected = in_new_namespace(|| {
            let raw = Fixture::new().raw();
            let (_, injected) = faults.inject(OWN, n, || outcome(&raw, Endpoint::Publish, &publishes("first", 1, 64)));
            // Whatever failed, the next one gets its bus.
            let bus = Bus::connect().unwrap();
            bus.publish_acked("first", "x").unwrap();
            injected
        });
        if !injected {
            break;
        }
    }
    println!("    failed allocations by the function that asked:\n{}", faults.table());
    assert!(faults.hit.keys().any(|hit| hit.starts_with("nlbus_topic_prepare")), "none of the first topic");
}

fn each_allocation_of_the_bus_thread_may_fail() {
    const EACH: usize = 20;
    reload("topic_history=16777216");
    let mut faults = Faults::new();
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let watcher = fixture.connect();
    bus.create_topic("t/small").unwrap();
    let mut subscription = watcher.subscribe("t/#").unwrap();
    let thread = bus_thread().unwrap();
    let raw = fixture.raw();
    let (mut published, mut failed) = (0, 0);
    for n in 1..=12 {
        let (_, injected) = faults.inject(&thread, n, || {
            for size in [1000, 3000] {
                // More than a pack at once is the thread's.
                raw.send(Endpoint::Publish, &publishes("t/small", EACH, size));
                published += EACH as u64;
            }
            answers(&raw)
        });
        println!("    the {n}th allocation: {}", if injected { "failed" } else { "there was none" });
        failed += u32::from(injected);
    }
    assert!(failed > 2, "the thread hardly asked for memory");
    bus.publish_acked("t/small", &payload(1, 1, 16)).unwrap();
    published += 1;
    let mut tally = Tally::from_one();
    wait_for("all events or word of their loss", || {
        while let Ok(delivery) = subscription.try_recv() {
            assert!(!matches!(delivery, Delivery::Restarted(_)));
            tally.add(&delivery);
        }
        (tally.total() == published).then_some(())
    });
    println!("    {published} published: {} delivered, {} lost", tally.delivered, tally.lost);
    println!("    failed allocations by the function that asked:\n{}", faults.table());
    assert_eq!(tally.lost, 0, "history had room for all");
}

/// Not one allocation, but this and all that come behind it: what the kernel tries a second time fails then, too. For the answer
/// there is no memory, either.
fn all_allocations_from_some_moment_on_may_fail() {
    reload("");
    let _faults = Faults::new();
    let fixture = Fixture::new();
    let bus = fixture.connect();
    for _ in 0..4 {
        bus.publish_acked("old", &[7; 3000]).unwrap();
    }
    let (id, epoch) = (bus.topic("old").unwrap().unwrap().id, bus.info().unwrap().epoch);
    for (name, write) in &operations(epoch, id) {
        let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
        for spared in (0..=MOST).step_by(STEP) {
            assert!(spared < MOST, "{name}: {spared} bytes, and still there is more");
            let raw = fixture.raw();
            let (endpoint, datagram) = write(spared);
            let (sent, starved) = Faults::starve(OWN, spared, || outcome(&raw, endpoint, &datagram));
            *outcomes.entry(format!("{sent}, answer: {}", answers(&raw).join(" "))).or_default() += 1;
            bus.publish_acked("alive", "x").unwrap();
            if !starved {
                break;
            }
        }
        println!("    {name}: {outcomes:?}");
        check(name, &outcomes);
    }
}

/// Those of topics and of a bus's users grow by many entries at once, so most new ones take no memory: this topic and this user do.
fn tables_may_have_no_memory_to_grow() {
    /// Entries of an xarray's node (`XA_CHUNK_SIZE`).
    const CHUNK: u32 = 64;
    const UID: u32 = 50_000;
    reload("");
    let _faults = Faults::new();
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut id = bus.create_topic("first").unwrap().id;
    while !(id + 1).is_multiple_of(CHUNK) {
        id = bus.create_topic(&format!("t/{id}")).unwrap().id;
    }
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for spared in (0..=MOST).step_by(STEP) {
        assert!(spared < MOST, "{spared} bytes, and still there is more");
        let raw = fixture.raw();
        let create = TopicRequest::Create { name: "his", exclusive: false, settings: PRIVATE };
        let create = request(|to| create.push(to, 7));
        let (sent, starved) =
            Faults::starve(OWN, spared, || as_user(UID, || outcome(&raw, Endpoint::Request, &create)));
        *outcomes.entry(format!("{sent}, answer: {}", answers(&raw).join(" "))).or_default() += 1;
        // What the answer takes behind that may fail as well.
        if !starved || bus.topic("his").unwrap().is_some() {
            break;
        }
    }
    println!("    {outcomes:?}");
    check("create", &outcomes);
    let his = bus.topic("his").unwrap().expect("a topic");
    assert_eq!((his.id, his.uid), (id + 1, UID), "no number was used up");
}

/// Long enough for heartbeats and announcements to be due. Nothing that was accepted is lost without a word.
fn the_bus_thread_may_have_no_memory_for_a_while() {
    const EACH: usize = 20;
    reload("heartbeat_ms=100");
    let _faults = Faults::new();
    let fixture = Fixture::new();
    let (bus, watcher) = (fixture.connect(), fixture.connect());
    bus.create_topic("t/old").unwrap();
    let mut subscription = watcher.subscribe("t/#").unwrap();
    let raw = fixture.raw();
    let mut published = 0;
    Faults::starve(&bus_thread().unwrap(), 0, || {
        for round in 0..10 {
            for (topic, size) in [("t/old".to_owned(), 3000), (format!("t/{round}"), 1000)] {
                // More than a pack at once is the thread's.
                raw.send(Endpoint::Publish, &publishes(&topic, EACH, size));
                published += EACH as u64;
            }
            thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(answers(&raw), ["ack"; 20]);
    bus.publish_acked("t/old", &payload(1, 1, 16)).unwrap();
    published += 1;
    let mut tally = Tally::from_one();
    wait_for("all events or word of their loss", || {
        while let Ok(delivery) = subscription.try_recv() {
            assert!(!matches!(delivery, Delivery::Restarted(_)));
            tally.add(&delivery);
        }
        (tally.total() == published).then_some(())
    });
    println!("    {published} published: {} delivered, {} lost", tally.delivered, tally.lost);
    assert_eq!(tally.topics(), 11, "new ones were announced in the end");
    assert!(tally.delivered >= 11, "of each topic the newest event at least");
}
