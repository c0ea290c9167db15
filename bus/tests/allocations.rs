//! Once it has begun, an event allocates nothing on its way, neither where it is published nor at the broker nor where it is
//! taken: counted by an allocator of this binary's own, in the calling thread, which on a connection that the caller drives
//! does all of it, and in the broker's. What a connection's own thread does, the test `cost` of the package nlbus-tests counts.

mod broker_common;

use broker_common::quiet;
use nlbus::{BrokerHandle, Bus, Choice, Delivery, Overflow, PublishBatch, Subscription, TypedDelivery};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

thread_local!(static ALLOCATIONS: Cell<u64> = const { Cell::new(0) });

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: all of it is the system's allocator; the counting touches a thread-local without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's duty is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's duty is the same.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller's duty is the same.
        unsafe { System.dealloc(old, layout) }
    }
}

/// How many allocations this thread does meanwhile, once it has done it before.
fn allocations(mut act: impl FnMut()) -> u64 {
    act();
    let before = ALLOCATIONS.get();
    act();
    ALLOCATIONS.get() - before
}

fn connect(broker: &BrokerHandle, direct: bool) -> Bus {
    let bus = Bus::builder().broker(Choice::User).port(broker.port());
    if direct { bus.direct() } else { bus }.connect().unwrap()
}

#[test]
fn publishing_allocates_nothing() {
    let broker = quiet().spawn().unwrap();
    for direct in [false, true] {
        let bus = connect(&broker, direct);
        let plain = allocations(|| (0..1000).for_each(|_| bus.publish("plain", &[0; 64]).unwrap()));
        let value = allocations(|| (0..1000).for_each(|n| bus.publish_value("value", &(n, 21.5f32)).unwrap()));
        let mut batch = bus.batch();
        let batched = allocations(|| {
            for _ in 0..100 {
                (0..50).for_each(|number| batch.push_value("batched", &number).unwrap());
                batch.send().unwrap();
            }
        });
        let buffered = bus.buffered();
        let topics = ["buffered/1", "buffered/2"];
        // Some of them send a full datagram, and some flush.
        let many = allocations(|| {
            for number in 0..10_000usize {
                buffered.publish(topics[number / 100 % 2], &[0; 64]).unwrap();
                buffered.publish_value(topics[number / 100 % 2], &number).unwrap();
                if number % 1000 == 0 {
                    buffered.flush().unwrap();
                }
            }
        });
        assert_eq!((plain, value, batched, many), (0, 0, 0, 0), "direct: {direct}");
        bus.flush().unwrap();
    }
}

/// How an event is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Take {
    Given,
    Lent,
}

/// How many events a delivery is of.
fn events(delivery: &Delivery) -> u64 {
    match delivery {
        Delivery::Event(event) => event.stands_for(),
        Delivery::Lost(lost) => lost.count(),
        other => panic!("{other:?}"),
    }
}

/// Takes deliveries of so many events.
fn take(subscription: &mut Subscription, take: Take, count: u64) {
    let mut taken = 0;
    while taken < count {
        taken += match take {
            Take::Given => events(&subscription.recv().unwrap()),
            Take::Lent => events(subscription.recv_ref().unwrap()),
        };
    }
    assert_eq!(taken, count);
}

const ROUNDS: u64 = 200;
/// Events of a datagram, of two topics in turns of three.
const DATAGRAM: u64 = 90;

/// Publishes a datagram, again and again, and has what comes of it taken.
fn rounds(batch: &mut PublishBatch<'_>, mut take: impl FnMut(u64)) {
    for _ in 0..ROUNDS {
        for number in 0..DATAGRAM {
            batch.push(["taken/1", "taken/2"][number as usize / 3 % 2], &number.to_le_bytes()).unwrap();
        }
        batch.send().unwrap();
        take(DATAGRAM);
    }
}

/// What a channel that is as long as it needs to be allocates: room for 31 batches at a time (crossbeam's list). There may
/// be one for each topic's datagram.
const CHANNEL: u64 = 2 * ROUNDS / 31 + 1;

#[test]
fn taking_allocates_nothing() {
    let broker = quiet().spawn().unwrap();
    let publisher = connect(&broker, false);
    let mut batch = publisher.batch();
    // With room for all of a datagram, and for a part of it, so that what has no room is dropped.
    for (overflow, capacity, bound) in [
        (Overflow::CatchUp, 1000, CHANNEL),
        (Overflow::DropOldest, 1000, 0),
        (Overflow::DropOldest, 20, 0),
        (Overflow::DropNewest, 1000, 0),
        (Overflow::DropNewest, 20, 0),
        (Overflow::Latest, 1, 0),
    ] {
        for how in [Take::Given, Take::Lent] {
            for filters in [&["taken/#"][..], &["taken/1", "taken/2"]] {
                let bus = connect(&broker, true);
                let open = |filter| bus.subscriber(filter).capacity(capacity).overflow(overflow).open().unwrap();
                let mut subscriptions: Vec<_> = filters.iter().copied().map(open).collect();
                let each = |subscription: &mut Subscription, count| take(subscription, how, count);
                let count = filters.len() as u64;
                let counted = allocations(|| {
                    rounds(&mut batch, |events| subscriptions.iter_mut().for_each(|it| each(it, events / count)));
                });
                let what = format!("{counted} allocations: {overflow:?}, {capacity}, {how:?}, {filters:?}");
                assert!(counted <= bound * count, "{what}");
            }
        }
    }
}

/// Besides what the type needs: an integer needs nothing.
#[test]
fn taking_values_allocates_nothing() {
    let broker = quiet().spawn().unwrap();
    let (publisher, bus) = (connect(&broker, false), connect(&broker, true));
    let mut batch = publisher.batch();
    let mut values = bus.subscribe_as::<u64>("taken/#").unwrap();
    let counted = allocations(|| {
        rounds(&mut batch, |count| {
            for _ in 0..count {
                let taken = values.recv_timeout(Duration::from_secs(10)).unwrap();
                assert!(matches!(taken, TypedDelivery::Value(..)), "{taken:?}");
            }
        });
    });
    assert!(counted <= CHANNEL, "{counted} allocations");
}

/// How many allocations a broker's thread does in all, while so many events are published one by one and as many in packs.
fn allocations_of_a_broker(events: u64) -> u64 {
    let broker = quiet().bind().unwrap();
    let port = broker.port();
    let (end, stop) = std::io::pipe().unwrap();
    let thread = std::thread::spawn(move || {
        let before = ALLOCATIONS.get();
        broker.run(end).unwrap();
        ALLOCATIONS.get() - before
    });
    let bus = Bus::builder().broker(Choice::User).port(port).connect().unwrap();
    let mut subscription = bus.subscribe("one/+").unwrap();
    let buffered = bus.buffered();
    for _ in 0..events / 500 {
        for number in 0..500 {
            bus.publish(["one/1", "one/2"][number % 2], &[0; 64]).unwrap();
            buffered.publish("many", &[0; 64]).unwrap();
        }
        buffered.flush().unwrap();
        bus.flush().unwrap();
        for _ in 0..500 {
            assert!(subscription.recv_ref().unwrap().event().is_some());
        }
    }
    drop(stop);
    thread.join().unwrap()
}

#[test]
fn a_broker_allocates_nothing_for_an_event() {
    // Some fifty segments of history each, after which it goes on in those that it has.
    let few = allocations_of_a_broker(50_000);
    let many = allocations_of_a_broker(200_000);
    // Where its thread was late it takes more at a time, and acks wait.
    assert!(many < few + 200, "{many} allocations for 400 000 events, {few} for 100 000");
}
