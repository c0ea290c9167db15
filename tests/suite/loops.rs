//! Event loops on a connection that other calls and other threads do the work of, too: whoever did it, the loop of the
//! subscription that has got something by it is told. Without heartbeats, each of which would tell anyone.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nlbus::{Bus, Subscription};
use nlbus_tests::{Fixture, cases, patience, wait_for};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

cases![
    what_other_calls_take_is_told_of user_only,
    what_another_thread_takes_is_told_of user_only,
    without_anything_it_is_quiet user_only,
];

/// Sooner than a timer that makes the connection look round by itself.
const SOON: Duration = Duration::from_secs(1);

fn readable(fd: impl AsFd, wait: Duration) -> bool {
    let timeout = PollTimeout::try_from(wait).expect("a timeout");
    poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout).expect("to poll") == 1
}

fn drained(subscription: &mut Subscription) {
    while readable(subscription.fd().unwrap(), Duration::ZERO) {
        while subscription.try_recv().is_ok() {}
    }
}

type Call = fn(&Bus);

fn what_other_calls_take_is_told_of() {
    let fixture = Fixture::quiet();
    let (bus, publisher) = (fixture.connect(), fixture.connect());
    let mut subscription = bus.subscribe("loop/a").unwrap();
    let calls: [(&str, Call); 6] = [
        ("publish", |bus| bus.publish("loop/b", "x").unwrap()),
        ("publish_acked", |bus| assert!(bus.publish_acked("loop/b", "x").is_ok())),
        ("flush", |bus| bus.flush().unwrap()),
        ("info", |bus| assert!(bus.info().is_ok())),
        ("counters", |bus| assert!(bus.counters().is_ok())),
        ("subscribe", |bus| assert!(bus.subscribe("loop/c").is_ok())),
    ];
    for (name, call) in calls {
        for _ in 0..3 {
            drained(&mut subscription);
            publisher.publish_acked("loop/a", "x").unwrap();
            call(&bus);
            assert!(readable(subscription.fd().unwrap(), SOON), "not told of what {name} took");
            wait_for("the event", || subscription.try_recv().ok());
        }
    }
}

fn what_another_thread_takes_is_told_of() {
    let fixture = Fixture::quiet();
    let (bus, publisher) = (fixture.connect(), fixture.connect());
    let mut theirs = bus.subscribe("loop/other").unwrap();
    let mut subscription = bus.subscribe("loop/a").unwrap();
    let other = thread::spawn(move || while theirs.recv().is_ok() {});
    for round in 0..500 {
        drained(&mut subscription);
        publisher.publish_acked("loop/a", "x").unwrap();
        wait_for("the event", || {
            assert!(readable(subscription.fd().unwrap(), SOON), "not told in round {round}");
            subscription.try_recv().ok()
        });
    }
    bus.close().unwrap();
    other.join().unwrap();
    wait_for("the end", || {
        assert!(readable(subscription.fd().unwrap(), patience()), "not told of the end");
        subscription.try_recv().is_err_and(|error| error == nlbus::TryRecvError::Disconnected).then_some(())
    });
}

fn without_anything_it_is_quiet() {
    let fixture = Fixture::quiet();
    let (bus, publisher) = (fixture.connect(), fixture.connect());
    let mut subscription = bus.subscribe("loop/a").unwrap();
    publisher.publish_acked("loop/a", "x").unwrap();
    wait_for("the event", || subscription.try_recv().ok());
    drained(&mut subscription);
    assert!(!readable(subscription.fd().unwrap(), Duration::from_millis(50)));
}
