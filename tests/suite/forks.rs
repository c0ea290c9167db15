//! What a child process (fork(2)) does with its parent's handles: it is told that they aren't its own, dropping them ends at
//! once, and the parent never notices.

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use nlbus::{Overflow, PublishReason, RecvError, RequestError, SubscribeReason, TryRecvError};
use nlbus_tests::{Args, Fixture, Place, Role, cases, events, patience, quiet, say, value, wait_for_head};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::{io, process};

cases![
    a_child_is_told_and_harms_nobody,
    a_child_that_drops_what_is_busy_comes_to_an_end,
    a_child_leaves_a_buffer_alone_that_is_being_sent user_only,
];

pub(crate) const ROLES: &[(&str, Role)] = &[("forker", forker), ("dropper", dropper), ("sender", sender)];

fn a_child_is_told_and_harms_nobody() {
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let mut forker = fixture.spawn("forker", &[]);
    forker.expect("subscribed");
    let mut batch = bus.batch();
    (0..3).for_each(|_| batch.push("fork/x", "x").unwrap());
    assert_eq!(batch.send_acked().unwrap(), Some(3));
    forker.expect("the child was told");
    forker.expect("the parent goes on");
    forker.end_well();
}

/// Subscribes, forks when it has taken the first of what came at once, lets the child try everything with what it has from its parent,
/// and then takes all that was published, as if nothing had been.
fn forker(place: Place, _: &Args) {
    let bus = place.connect();
    let mut subscription = bus.subscribe("fork/x").unwrap();
    say(format_args!("subscribed"));
    while bus.topic("fork/x").unwrap().is_none_or(|topic| topic.head < 3) {
        thread::yield_now();
    }
    assert_eq!(events(&mut subscription, 1)[0].seq(), 1);
    let buffered = bus.buffered().delay(Duration::MAX);
    buffered.publish("fork/buffered", "the parent's").unwrap();
    // SAFETY: the child uses what a copy of memory allows: its own, and the library's handles, which is what is tested;
    // glibc puts the allocator in order for it. It ends without running anything of its parent's.
    match unsafe { fork() }.expect("to fork") {
        ForkResult::Child => {
            let told = [
                matches!(buffered.publish("fork/x", "child").unwrap_err().reason(), PublishReason::Forked),
                matches!(buffered.flush().unwrap_err().reason(), PublishReason::Forked),
                buffered.is_empty(),
                matches!(bus.buffered().publish("fork/x", "child").unwrap_err().reason(), PublishReason::Forked),
                matches!(bus.publish("fork/x", "child").unwrap_err().reason(), PublishReason::Forked),
                matches!(bus.publish_acked("fork/x", "child").unwrap_err().reason(), PublishReason::Forked),
                matches!(bus.flush().unwrap_err().reason(), PublishReason::Forked),
                matches!(bus.subscribe("fork/x").unwrap_err().reason(), SubscribeReason::Forked),
                matches!(bus.info(), Err(RequestError::Forked)),
                matches!(bus.counters(), Err(RequestError::Forked)),
                subscription.recv().is_err_and(|RecvError| true),
                matches!(subscription.try_recv(), Err(TryRecvError::Disconnected)),
                subscription.iter().count() == 0,
                subscription.fd().is_err() && bus.fd().is_none(),
                !bus.turn(),
                place.connect().publish_acked("fork/x", "the child's own connection").is_ok(),
            ];
            drop((buffered, subscription, bus));
            process::exit(told.iter().position(|told| !told).map_or(0, |at| at as i32 + 1));
        }
        ForkResult::Parent { child } => {
            let status = waitpid(child, None).expect("to wait for the child");
            assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}: the number of what failed");
        }
    }
    buffered.flush().unwrap();
    bus.flush().unwrap();
    // Only the parent has sent it.
    wait_for_head(&bus, "fork/buffered", 1);
    say(format_args!("the child was told"));
    let seen: Vec<u64> = events(&mut subscription, 3).iter().map(|event| event.seq()).collect();
    assert_eq!(seen, [2, 3, 4]);
    assert_eq!(bus.publish_acked("fork/x", "parent").unwrap(), 5);
    assert_eq!(events(&mut subscription, 1)[0].seq(), 5);
    quiet(&mut subscription);
    say(format_args!("the parent goes on"));
}

fn a_child_that_drops_what_is_busy_comes_to_an_end() {
    let fixture = Fixture::new();
    let mut dropper = fixture.spawn("dropper", &[]);
    assert_eq!(value(&dropper.line(), "stuck"), 0);
    dropper.end_well();
}

/// Forks again and again while its subscriptions fill, with children that only drop them. Says how many didn't end.
fn dropper(place: Place, _: &Args) {
    const LONG_ENOUGH: Duration = Duration::from_secs(4);
    let (bus, publisher) = (place.connect(), place.connect());
    let policies = [Overflow::CatchUp, Overflow::DropOldest, Overflow::Latest];
    let subscriptions: Vec<_> = (0..9)
        .map(|at| bus.subscriber("fork/x").capacity(100_000).overflow(policies[at % 3]).open().unwrap())
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let flood = thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            publisher.publish("fork/x", "x").unwrap();
        }
    });
    // Where nothing drives by itself, something is to be at the channels all the same.
    let (driven, stopped) = (bus.clone(), Arc::clone(&stop));
    let driver = bus.fd().map(|_| {
        thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                driven.turn();
            }
        })
    });
    let mut stuck = 0;
    let begin = Instant::now();
    while stuck == 0 && begin.elapsed() < LONG_ENOUGH {
        let batch = subscriptions[1].batches().try_recv();
        // SAFETY: as in `forker`.
        match unsafe { fork() }.expect("to fork") {
            ForkResult::Child => {
                drop((subscriptions, batch, bus));
                process::exit(0);
            }
            ForkResult::Parent { child } => {
                let read = || subscriptions.iter().for_each(|it| it.batches().try_iter().take(200).for_each(drop));
                stuck += u32::from(!ends_well(child, read));
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    flood.join().expect("the flood");
    driver.into_iter().for_each(|driver| driver.join().expect("the driver"));
    say(format_args!("forked stuck={stuck}"));
}

/// Whether a child ends by itself, and well; does something over and over until then.
fn ends_well(child: Pid, mut meanwhile: impl FnMut()) -> bool {
    let deadline = Instant::now() + patience() / 6;
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)).expect("to wait") {
            WaitStatus::StillAlive if Instant::now() < deadline => meanwhile(),
            WaitStatus::StillAlive => {
                kill(child, Signal::SIGKILL).expect("to kill");
                waitpid(child, None).expect("to wait for the child");
                return false;
            }
            status => return status == WaitStatus::Exited(child, 0),
        }
    }
}

/// In `tests/module` the module's queue is full for moments only.
fn a_child_leaves_a_buffer_alone_that_is_being_sent() {
    let mut fixture = Fixture::quiet();
    let mut sender = fixture.spawn("sender", &[]);
    sender.expect("connected");
    fixture.broker().expect("a broker").signal(Signal::SIGSTOP);
    sender.say("stopped");
    assert_eq!(value(&sender.line(), "stuck"), 0);
    fixture.broker().expect("a broker").signal(Signal::SIGCONT);
    sender.end_well();
}

/// Forks again and again while a thread sleeps for room in the queue of a stopped broker and holds a buffer meanwhile, with children
/// that do with it what they can. Says how many didn't end well.
fn sender(place: Place, _: &Args) {
    const LONG_ENOUGH: Duration = Duration::from_secs(1);
    let bus = place.builder().patience(Duration::from_secs(60)).connect().expect("a broker");
    say(format_args!("connected"));
    io::stdin().read_line(&mut String::new()).expect("a test that speaks");
    let mut full = bus.batch().no_wait();
    full.push("fork/full", "").unwrap();
    while full.send().is_ok() {
        full.push("fork/full", &[0; 30_000]).unwrap();
    }
    let mut small = bus.batch().no_wait();
    small.push("fork/full", "").unwrap();
    while small.send().is_ok() {
        small.push("fork/full", "").unwrap();
    }
    let mut buffered = Some(bus.buffered().delay(Duration::MAX));
    buffered.as_ref().expect("it").publish("fork/x", "").unwrap();
    let flushing = bus.clone();
    thread::spawn(move || flushing.flush());
    let (mut stuck, begin) = (0, Instant::now());
    while stuck == 0 && begin.elapsed() < LONG_ENOUGH {
        // SAFETY: as in `forker`.
        match unsafe { fork() }.expect("to fork") {
            ForkResult::Child => {
                let buffered = buffered.take().expect("it").size(1).delay(Duration::ZERO).no_wait();
                let told = buffered.is_empty() && buffered.publish("fork/x", "").is_err() && buffered.flush().is_err();
                drop(buffered);
                process::exit(i32::from(!told));
            }
            ForkResult::Parent { child } => stuck += u32::from(!ends_well(child, thread::yield_now)),
        }
    }
    say(format_args!("forked stuck={stuck}"));
    io::stdin().read_line(&mut String::new()).expect("a test that ends");
}
