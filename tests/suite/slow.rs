//! Promise 5: a slow subscriber harms only itself: no publisher, no other process, no other subscription of its own.

use nix::sys::signal::Signal;
use nlbus::wire::push_info_request;
use nlbus_tests::{Endpoint, Fixture, Tally, cases, payload, quiet, value};
use std::time::{Duration, Instant};

cases![
    a_process_that_never_reads_stops_nobody,
    a_subscription_that_never_reads_stops_no_neighbour,
    a_client_that_takes_no_answers_stops_nobody,
];

fn a_process_that_never_reads_stops_nobody() {
    const COUNT: u64 = 3000;
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.create_topic("slow/x").unwrap();
    let args = ["filter=#", "buffer=8192", "one=true", &format!("total={COUNT}")];
    let mut stopped = fixture.spawn("subscriber", &args.map(str::to_owned));
    stopped.expect("subscribed");
    stopped.signal(Signal::SIGSTOP);
    let mut other = fixture.connect().subscribe("#").unwrap();
    let mut longest = Duration::ZERO;
    for number in 1..=COUNT {
        let payload = payload(1, number, 64);
        if number % 100 == 0 {
            let start = Instant::now();
            bus.publish_acked("slow/x", &payload).unwrap();
            longest = longest.max(start.elapsed());
        } else {
            bus.publish("slow/x", &payload).unwrap();
        }
    }
    let mut tally = Tally::from_one();
    tally.take(&mut other, COUNT);
    assert_eq!(tally.lost, 0);
    println!("    beside a process that doesn't read, the longest ack took {longest:?}");
    // It has harmed itself alone, and can account for it.
    stopped.signal(Signal::SIGCONT);
    let line = stopped.line();
    assert_eq!(value(&line, "delivered") + value(&line, "lost"), COUNT, "{line}");
}

fn a_subscription_that_never_reads_stops_no_neighbour() {
    const COUNT: u64 = 3000;
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.create_topic("slow/x").unwrap();
    let stuck = bus.subscriber("slow/#").capacity(1).open().unwrap();
    let mut reading = bus.subscribe("slow/#").unwrap();
    for number in 1..=COUNT {
        bus.publish("slow/x", &payload(1, number, 64)).unwrap();
    }
    let mut tally = Tally::from_one();
    tally.take(&mut reading, COUNT);
    assert_eq!(tally.lost, 0);
    // Nor requests, nor new subscriptions.
    assert_eq!(bus.topic("slow/x").unwrap().expect("a topic").head, COUNT);
    quiet(&mut bus.subscribe("slow/x").unwrap());
    assert_eq!(stuck.batches().len(), 1, "no more than its capacity waits for it");
}

/// The broker has answers for it, and it has no room for them.
fn a_client_that_takes_no_answers_stops_nobody() {
    let fixture = Fixture::new();
    let deaf = fixture.raw();
    deaf.set_buffer(2048);
    let mut request = Vec::new();
    push_info_request(&mut request, 1);
    let bus = fixture.connect();
    let mut subscription = bus.subscribe("x").unwrap();
    for round in 1..=50 {
        for _ in 0..40 {
            // The broker's own socket may be full for a moment; that is the sender's to wait for.
            deaf.send(Endpoint::Request, &request);
        }
        assert_eq!(bus.publish_acked("x", &payload(1, round, 64)).unwrap(), round);
        bus.info().unwrap();
    }
    Tally::from_one().take(&mut subscription, 50);
}
