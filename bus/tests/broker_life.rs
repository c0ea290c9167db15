//! A broker's beginning and end.

mod broker_common;

use broker_common::{Client, PATIENCE, port, publish, quiet, start};
use nix::sys::eventfd::EventFd;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use nlbus::wire::uapi::*;
use nlbus::{Broker, BrokerError, Bus, Choice};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Instant;

#[test]
fn a_port_that_is_taken_is_a_clear_error() {
    let broker = start(quiet());
    let error = quiet().port(broker.port()).spawn().unwrap_err();
    assert!(matches!(error, BrokerError::PortTaken { port } if port == broker.port()), "{error:?}");
    assert!(error.to_string().contains(&format!("another broker runs with port {}", broker.port())), "{error}");
    // Its request port is as good as its publish port.
    assert!(matches!(quiet().port(broker.port() + 1).spawn(), Err(BrokerError::PortTaken { .. })));
    assert!(matches!(quiet().port(0).spawn(), Err(BrokerError::BadPort { port: 0 })));
    assert!(matches!(quiet().port(u32::MAX).spawn(), Err(BrokerError::BadPort { .. })));
    let port = broker.port();
    broker.stop().unwrap();
    assert_eq!(start(quiet().port(port)).port(), port);
}

#[test]
fn a_new_broker_has_a_new_epoch() {
    let port = port();
    let epochs: Vec<_> = (0..3).map(|_| start(quiet().port(port)).epoch()).collect();
    assert!(epochs.iter().all(|epoch| *epoch != 0));
    assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
}

#[test]
fn a_broker_that_stops_finishes_its_work_and_says_so() {
    let broker = start(quiet());
    let client = Client::new(&broker);
    let group = client.create("a").group;
    let (member, system) = (Client::member(&broker, group), Client::member(&broker, NLBUS_GROUP_SYS));
    for _ in 0..1000 {
        client.publish("a", &[0; 100]);
    }
    let port = broker.port();
    broker.stop().unwrap();
    assert_eq!(member.events(1000).len(), 1000);
    while system.broadcast().iter().all(|event| event.topic != NLBUS_SYS_CLOSING) {}
    let error = client.send_to(port, &publish("a", b"")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::ECONNREFUSED as i32));
}

#[test]
fn a_dropped_handle_stops_its_broker() {
    let broker = start(quiet());
    let port = broker.port();
    assert!(!broker.is_finished());
    drop(broker);
    assert!(Client::at(port).send_to(port, &publish("a", b"")).is_err());
}

#[test]
fn a_child_leaves_its_parents_broker_alone() {
    let broker = start(quiet());
    let client = Client::new(&broker);
    // SAFETY: the child uses the handle, which is what is tested, and memory of its own, and ends at once.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let panicked = catch_unwind(AssertUnwindSafe(move || drop(broker))).is_err();
            // SAFETY: it ends the process, and nothing of the parent's runs before that.
            unsafe { libc::_exit(panicked.into()) }
        }
        ForkResult::Parent { child } => {
            let begin = Instant::now();
            let status = loop {
                match waitpid(child, Some(WaitPidFlag::WNOHANG)).unwrap() {
                    WaitStatus::StillAlive if begin.elapsed() < PATIENCE => thread::yield_now(),
                    status => break status,
                }
            };
            assert_eq!(status, WaitStatus::Exited(child, 0));
        }
    }
    assert_eq!(client.info().epoch, broker.epoch());
    assert!(!broker.is_finished());
    broker.stop().unwrap();
}

#[test]
fn in_the_foreground_it_serves_until_told_to_stop() {
    let broker = Broker::builder().port(port()).bind().unwrap();
    let (port, epoch) = (broker.port(), broker.epoch());
    // Bound is ready: what is sent now is served later.
    let client = Client::at(port);
    client.publish("early", b"x");
    let stop = EventFd::new().unwrap();
    thread::scope(|scope| {
        let thread = scope.spawn(|| broker.run(&stop));
        let info = client.info();
        assert_eq!(info.epoch, epoch);
        let begin = Instant::now();
        while client.info().counters.published == 0 {
            assert!(begin.elapsed() < PATIENCE);
        }
        stop.write(1).unwrap();
        thread.join().unwrap().unwrap();
    });
}

/// Of all threads of this process but the calling one: those of the library's names, and the signals that they block.
fn threads_of_the_library() -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        // One of another test's may end just now.
        let Ok(status) = fs::read_to_string(task.unwrap().path().join("status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        let name = field("Name:");
        if name.starts_with("nlbus") {
            found.push((name, u64::from_str_radix(&field("SigBlk:"), 16).unwrap()));
        }
    }
    found
}

#[test]
fn background_threads_take_no_signals_but_those_of_faults() {
    let broker = start(quiet());
    let _bus = Bus::builder().broker(Choice::User).port(broker.port()).connect().unwrap();
    let mask = |signals: &[Signal]| signals.iter().fold(0, |mask, signal| mask | 1u64 << (*signal as u32 - 1));
    let begin = Instant::now();
    // A thread has its name only some time after it began.
    let threads = loop {
        let threads = threads_of_the_library();
        if ["nlbus", "nlbus-broker"].iter().all(|name| threads.iter().any(|thread| thread.0 == *name)) {
            break threads;
        }
        assert!(begin.elapsed() < PATIENCE, "{threads:?}");
    };
    for (name, blocked) in threads {
        let theirs = mask(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGCHLD, Signal::SIGALRM]);
        assert_eq!(blocked & theirs, theirs, "{name} takes signals: {blocked:x}");
        assert_eq!(blocked & mask(&[Signal::SIGSEGV, Signal::SIGBUS]), 0, "{name} hides faults: {blocked:x}");
    }
    assert!(!SigSet::thread_get_mask().unwrap().contains(Signal::SIGTERM), "the caller's mask is as it was");
}
