//! What only the module has of access: user namespaces, and topics that go while others use them.

use crate::kernel::{KernelLog, reload};
use nix::errno::Errno;
use nlbus::wire::uapi::NLMSG_ERROR;
use nlbus::wire::{Content, Counters, TopicKey, TopicRequest, push_publish};
use nlbus::{Bus, Start};
use nlbus_tests::{Datagram, Endpoint, Fixture, cases, wait_for};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

cases![
    capabilities_in_a_foreign_user_namespace_override_nothing module_only alone,
    topics_come_and_go_under_traffic_and_leave_nothing module_only alone,
    what_is_published_after_a_deletion_never_reaches_what_was_deleted module_only alone,
    deleting_more_than_can_be_announced_at_once_only_takes_longer module_only alone,
];

fn errno(answer: &Datagram) -> Option<Errno> {
    let message = answer.messages()[0];
    (message.header.kind == NLMSG_ERROR).then(|| answer.answer().result.err().map(|refusal| refusal.errno)).flatten()
}

/// Whoever makes a user namespace has `CAP_NET_ADMIN` there, and the bus belongs to another one.
fn capabilities_in_a_foreign_user_namespace_override_nothing() {
    reload("");
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let topic = bus.topic_options("x").mode(0o600).create().unwrap();
    let mut publish = Vec::new();
    push_publish(&mut publish, 1, true, 0, Content::Opaque, "x", b"x");
    let mut look = Vec::new();
    TopicRequest::Get(TopicKey::Name("x")).push(&mut look, 2);
    let mut delete = Vec::new();
    TopicRequest::Delete(TopicKey::Name("x")).push(&mut delete, 3);
    let mut mighty = fixture.socket_of(&["uid=65534", "userns=true"]);
    assert_eq!(mighty.join(topic.group), Err(Errno::EACCES));
    for (what, to, frame) in [
        ("publish", Endpoint::Publish, &publish),
        ("look", Endpoint::Request, &look),
        ("delete", Endpoint::Request, &delete),
    ] {
        assert_eq!(errno(&mighty.ask(to, frame)), Some(Errno::EACCES), "{what}");
    }
    // Root without a user namespace of his own may all of it.
    let mut root = fixture.socket_of(&[]);
    assert_eq!(root.join(topic.group), Ok(()));
    assert_eq!(errno(&root.ask(Endpoint::Request, &delete)), None);
}

/// Publishers go on publishing to names that are created and deleted under them, and a replayer reads what there is. In
/// the end all is as it was. That nothing of it stays in memory, `tests/vm/leaks` asks the kernel.
fn topics_come_and_go_under_traffic_and_leave_nothing() {
    const ROUNDS: usize = 200;
    const NAMES: usize = 3;
    reload("");
    let mut log = KernelLog::from_now();
    let bus = Bus::connect().unwrap();
    bus.publish_acked("stays", "x").unwrap();
    let settled = || bus.info().unwrap().counters;
    let before = settled();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for publisher in 0..3 {
            let over = &over;
            scope.spawn(move || {
                let bus = Bus::connect().unwrap();
                let mut number = publisher;
                while !over.load(Ordering::Relaxed) {
                    number += 1;
                    let name = format!("c/{}", number % NAMES);
                    // Alone, acknowledged, and several at once: each has a way of its own.
                    match number % 5 {
                        0 => drop(bus.publish_acked(&name, &[7; 300]).unwrap()),
                        1 => {
                            let mut batch = bus.batch();
                            for at in 0..40 {
                                batch.push(&format!("c/{}", at / 7 % NAMES), &[7; 200]).unwrap();
                            }
                            batch.send().unwrap();
                        }
                        _ => bus.publish(&name, &[7; 50]).unwrap(),
                    }
                }
                bus.flush().unwrap();
            });
        }
        let reader = Bus::connect().unwrap();
        let mut subscription = reader.subscriber("c/#").start(Start::All).open().unwrap();
        for round in 0..ROUNDS {
            let name = format!("c/{}", round % NAMES);
            wait_for("somebody to publish", || bus.topic(&name).unwrap().filter(|topic| topic.head > 0));
            if round % 2 == 0 {
                let mode = if round % 4 == 0 { 0o600 } else { 0o640 };
                bus.topic_options(&name).mode(mode).set().unwrap();
            }
            bus.delete_topic(&name).unwrap();
            while subscription.try_recv().is_ok() {}
        }
        over.store(true, Ordering::Relaxed);
    });
    for at in 0..NAMES {
        if bus.topic(&format!("c/{at}")).unwrap().is_some() {
            bus.delete_topic(&format!("c/{at}")).unwrap();
        }
    }
    let after = wait_for("what is over to be given back", || {
        // The last ends are announced, and counted, a little later.
        let is_over = |after: &Counters| after.queue == 0 && after.moved >= ROUNDS as u64;
        Some(settled()).filter(|after| after.history <= before.history + 8192 && is_over(after))
    });
    assert_eq!(after.topics, before.topics);
    assert_eq!(log.loud(), Vec::<String>::new());
}

/// A publisher that found a topic keeps it in mind for the next one: which must not outlive the topic.
fn what_is_published_after_a_deletion_never_reaches_what_was_deleted() {
    const ROUNDS: u32 = 500;
    reload("");
    let bus = Bus::connect().unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (topic, over) = ("r/x", &over);
        // Another one all the time looks it up, and remembers what it found.
        scope.spawn(move || {
            let bus = Bus::connect().unwrap();
            while !over.load(Ordering::Relaxed) {
                bus.publish_acked(topic, "noise").unwrap();
            }
        });
        let mut last = 0;
        for round in 0..ROUNDS {
            bus.publish_acked(topic, "mine").unwrap();
            let id = bus.topic(topic).unwrap().expect("a topic").id;
            assert!(id > last, "round {round}: {id} after {last}");
            bus.delete_topic(topic).unwrap();
            last = id;
            // What is acknowledged now is in a topic that can be found.
            let seq = bus.publish_acked(topic, "after").unwrap();
            let found = bus.topic(topic).unwrap().expect("another topic");
            assert!(found.id > id && found.head >= seq, "round {round}: {seq} of {found:?} after {id}");
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// As many deleted topics as there may be living ones wait for their announcement at most.
fn deleting_more_than_can_be_announced_at_once_only_takes_longer() {
    const TOPICS: usize = 5;
    const ROUNDS: usize = 60;
    reload("topics=9 heartbeat_ms=0");
    let bus = Bus::connect().unwrap();
    for round in 0..ROUNDS {
        for at in 0..TOPICS {
            bus.create_topic(&format!("d/{at}")).unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
        for at in 0..TOPICS {
            bus.delete_topic(&format!("d/{at}")).unwrap();
        }
    }
    wait_for("all to be announced", || {
        Some(bus.info().unwrap().counters.moved).filter(|moved| *moved == (ROUNDS * TOPICS) as u64)
    });
    assert_eq!(bus.topics().unwrap().len(), 4, "the broker's own");
}
