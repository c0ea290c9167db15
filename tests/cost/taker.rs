//! The subscriber whose costs are counted: it takes events and does nothing else.

use nix::time::{ClockId, clock_gettime};
use nlbus::{Delivery, Overflow, Subscription};
use nlbus_tests::{Args, Place, say};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::io;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The policy of a name.
fn overflow(name: &str) -> Overflow {
    let all = [Overflow::CatchUp, Overflow::DropOldest, Overflow::DropNewest, Overflow::Latest];
    all.into_iter().find(|it| format!("{it:?}") == name).unwrap_or_else(|| panic!("no policy is called {name}"))
}

/// How many events a delivery is of, and how many of those are lost.
fn events(delivery: &Delivery) -> (u64, u64) {
    match delivery {
        Delivery::Event(event) => (event.stands_for(), 0),
        Delivery::Lost(lost) => (lost.count(), lost.count()),
        other => panic!("{other:?}"),
    }
}

/// Takes events of `filter`, given or `lent`, and says `window` after each so many. The first windows are to get warm; after
/// as many lost as `windows` says what all of its threads allocated and how long they worked.
pub(crate) fn taker(place: Place, args: &Args) {
    let lent = args.get("lent").unwrap_or(false);
    let next = |subscription: &mut Subscription| match lent {
        true => events(subscription.recv_ref().unwrap_or_else(|error| panic!("{error}"))),
        false => events(&subscription.recv().unwrap_or_else(|error| panic!("{error}"))),
    };
    let [window, warm, windows] = ["window", "warm", "windows"].map(|key| args.need::<u64>(key));
    let bus = place.builder_for(args.need("direct")).receive_buffer(16 << 20);
    let bus = bus.connect().unwrap_or_else(|error| panic!("{error}"));
    let subscriber =
        bus.subscriber(&args.need::<String>("filter")).overflow(overflow(&args.need::<String>("overflow")));
    let mut subscription = subscriber.capacity(args.need("capacity")).open().unwrap_or_else(|error| panic!("{error}"));
    say(format_args!("subscribed"));
    let mut take = |windows| {
        let mut lost = 0;
        for _ in 0..windows {
            let mut taken = 0;
            while taken < window {
                let (events, missed) = next(&mut subscription);
                (taken, lost) = (taken + events, lost + missed);
            }
            say(format_args!("window"));
        }
        lost
    };
    take(warm);
    let cpu_time = || Duration::from(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("a clock"));
    let (region, start) = (Region::new(ALLOCATOR), cpu_time());
    let lost = take(windows);
    let (took, counted) = (cpu_time() - start, region.change());
    let allocations = counted.allocations + counted.reallocations;
    say(format_args!("done allocations={allocations} lost={lost} cpu_us={}", took.as_micros()));
    let _ = io::stdin().read_line(&mut String::new());
}
