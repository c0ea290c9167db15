//! The module comes and goes cleanly: never under somebody's socket, a hundred times over, and with namespaces that come
//! and go under traffic.

use crate::kernel::{KernelLog, MODULE, absent, is_loaded, load, reload, unload, unload_at_last};
use nix::errno::Errno;
use nlbus::Bus;
use nlbus_tests::{Tally, cases, events, in_new_namespace, payload};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

cases![
    a_subscriber_keeps_the_module_and_is_not_disturbed module_only alone,
    the_module_loads_serves_and_unloads_a_hundred_times module_only alone,
    namespaces_come_and_go_under_traffic module_only alone,
    what_waits_unread_is_freed_with_the_module module_only alone,
];

fn a_subscriber_keeps_the_module_and_is_not_disturbed() {
    reload("");
    let mut log = KernelLog::from_now();
    let bus = Bus::connect().unwrap();
    let mut subscription = bus.subscribe("stay/#").unwrap();
    for seq in 1..=50 {
        let errno = unload().unwrap_err();
        assert!(matches!(errno, Errno::EWOULDBLOCK | Errno::EBUSY), "{errno}");
        assert_eq!(bus.publish_acked("stay/here", "x").unwrap(), seq);
        assert_eq!(events(&mut subscription, 1)[0].seq(), seq);
    }
    assert!(is_loaded());
    let counters = bus.counters().unwrap();
    assert_eq!((counters.refused, counters.client.lost, counters.client.overruns), (0, 0, 0), "{counters:?}");
    drop((bus, subscription));
    unload_at_last();
    assert_eq!(log.loud(), Vec::<String>::new());
}

fn the_module_loads_serves_and_unloads_a_hundred_times() {
    const TIMES: u64 = 100;
    absent();
    let mut log = KernelLog::from_now();
    let start = Instant::now();
    let mut epochs = Vec::new();
    for time in 1..=TIMES {
        load(MODULE, "").unwrap_or_else(|errno| panic!("the {time}th time: {errno}"));
        let (publisher, subscriber) = (Bus::connect().unwrap(), Bus::connect().unwrap());
        let mut subscription = subscriber.subscribe("cycle/+").unwrap();
        for number in 1..=5 {
            assert_eq!(publisher.publish_acked("cycle/x", &payload(1, number, 64)).unwrap(), number);
        }
        let mut tally = Tally::from_one();
        tally.take(&mut subscription, 5);
        assert_eq!(tally.lost, 0);
        epochs.push(publisher.info().unwrap().epoch);
        drop((publisher, subscriber, subscription));
        unload_at_last();
    }
    println!("    loaded, served two clients and unloaded {TIMES} times in {:.1?}", start.elapsed());
    epochs.sort_unstable();
    epochs.dedup();
    assert_eq!(epochs.len() as u64, TIMES, "an epoch of its own each time");
    let loud = log.loud();
    println!("    kernel messages above info: {}", loud.len());
    assert_eq!(loud, Vec::<String>::new());
}

fn namespaces_come_and_go_under_traffic() {
    const NAMESPACES: u32 = 200;
    const EACH: u64 = 40;
    reload("");
    let mut log = KernelLog::from_now();
    let stop = AtomicBool::new(false);
    let (bus, watcher) = (Bus::connect().unwrap(), Bus::connect().unwrap());
    let mut subscription = watcher.subscribe("traffic").unwrap();
    let mut tally = Tally::from_one();
    let published = thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                assert_eq!(bus.publish_acked("traffic", &payload(1, number, 64)).unwrap(), number);
                // At once: how many there will be depends on the machine, and history is bounded.
                tally.take(&mut subscription, number);
            }
            number
        });
        for namespace in 1..=NAMESPACES {
            in_new_namespace(|| {
                let bus = Bus::connect().unwrap();
                let mut subscription = bus.subscribe("#").unwrap();
                // Nobody is left to hear of it, and it must leave nothing.
                bus.set_will("last/will", &payload(namespace, 0, 64)).unwrap();
                for number in 1..=EACH {
                    bus.publish("traffic", &payload(namespace, number, 64)).unwrap();
                }
                // Half of them end with all that in the queue and in sockets.
                if namespace % 2 == 0 {
                    let mut tally = Tally::from_one();
                    tally.take(&mut subscription, EACH);
                    assert_eq!((tally.lost, tally.topics()), (0, 1));
                }
            });
        }
        stop.store(true, Ordering::Relaxed);
        traffic.join().unwrap()
    });
    assert_eq!((tally.lost, tally.topics()), (0, 1), "{tally:?}");
    println!("    {NAMESPACES} namespaces came and went while {published} events were published in another");
    drop((bus, watcher, subscription));
    unload_at_last();
    assert_eq!(log.loud(), Vec::<String>::new());
}

/// Topics, histories and a queue full of events when the last socket closes.
fn what_waits_unread_is_freed_with_the_module() {
    reload("");
    let mut log = KernelLog::from_now();
    for _ in 0..3 {
        let bus = Bus::connect().unwrap();
        let subscription = bus.subscriber("left/#").capacity(1).open().unwrap();
        for number in 1..=2000 {
            bus.publish(&format!("left/{}", number % 50), &payload(1, number, 1000)).unwrap();
        }
        drop((bus, subscription));
    }
    unload_at_last();
    load(MODULE, "").unwrap();
    let bus = Bus::connect().unwrap();
    assert_eq!(bus.topics().unwrap().len(), 4, "a new bus has the broker's topics only");
    drop(bus);
    unload_at_last();
    assert_eq!(log.loud(), Vec::<String>::new());
}
