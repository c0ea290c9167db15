//! The subscriber whose costs are counted: it takes events and does nothing else.

use nix::time::{ClockId, clock_gettime};
use nlbus::Delivery;
use nlbus_tests::{Args, Place, say};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::io;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Takes events of `topic`, given or `lent`, and says `window` after each so many. The first windows are to get warm; after
/// as many others as `windows` says what all of its threads allocated and how long they worked.
pub(crate) fn taker(place: Place, args: &Args) {
    let lent = args.get("lent").unwrap_or(false);
    let [window, warm, windows] = ["window", "warm", "windows"].map(|key| args.need::<u64>(key));
    let bus = place.builder_for(args.need("direct")).receive_buffer(16 << 20);
    let bus = bus.connect().unwrap_or_else(|error| panic!("{error}"));
    let mut subscription = bus.subscribe(&args.need::<String>("topic")).unwrap_or_else(|error| panic!("{error}"));
    say(format_args!("subscribed"));
    let mut take = |windows| {
        let mut others = 0u64;
        for _ in 0..windows {
            let mut taken = 0;
            while taken < window {
                let is_event = match lent {
                    true => subscription.recv_ref().is_ok_and(|delivery| delivery.event().is_some()),
                    false => matches!(subscription.recv(), Ok(Delivery::Event(_))),
                };
                taken += u64::from(is_event);
                others += u64::from(!is_event);
            }
            say(format_args!("window"));
        }
        others
    };
    take(warm);
    let cpu_time = || Duration::from(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("a clock"));
    let (region, start) = (Region::new(ALLOCATOR), cpu_time());
    let others = take(windows);
    let (took, counted) = (cpu_time() - start, region.change());
    let allocations = counted.allocations + counted.reallocations;
    say(format_args!("done allocations={allocations} others={others} cpu_us={}", took.as_micros()));
    let _ = io::stdin().read_line(&mut String::new());
}
