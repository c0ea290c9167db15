//! Publishing allocates nothing once it has begun, and neither does the broker for what is published: counted by an allocator
//! of this binary's own.

mod broker_common;

use broker_common::quiet;
use nlbus::{Bus, Choice};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

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

#[test]
fn publishing_allocates_nothing() {
    let broker = quiet().spawn().unwrap();
    let bus = Bus::builder().broker(Choice::User).port(broker.port()).connect().unwrap();
    let plain = allocations(|| (0..1000).for_each(|_| bus.publish("plain", &[0; 64]).unwrap()));
    let value = allocations(|| (0..1000).for_each(|n| bus.publish_value("value", &(n, 21.5f32)).unwrap()));
    let buffered = bus.buffered();
    let topics = ["buffered/1", "buffered/2"];
    // Some of them send a full datagram.
    let many = allocations(|| {
        for number in 0..10_000usize {
            buffered.publish(topics[number / 100 % 2], &[0; 64]).unwrap();
            buffered.publish_value(topics[number / 100 % 2], &number).unwrap();
        }
    });
    assert_eq!((plain, value, many), (0, 0, 0));
    bus.flush().unwrap();
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
