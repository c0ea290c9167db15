//! The module is replaced under its clients: retired, unloaded and loaded again.

use crate::kernel::{KernelLog, MODULE, NEXT, is_loaded, load, reload, unload, unload_at_last};
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::unistd::{Uid, seteuid, write};
use nlbus::wire::uapi::{NETLINK_GENERIC, NLBUS_GENL_NAME, NLMSG_DONE};
use nlbus::wire::{Answer, Messages, families_request, family_id, genl_retire_request};
use nlbus::{Bus, Choice, ConnectError, Delivery, PublishReason, retire_module};
use nlbus_tests::{Fixture, Place, Tally, cases, collect, events, in_new_namespace, payload, restarts, wait_for};
use std::fs;
use std::process::Command;

cases![
    what_was_accepted_comes_before_the_end module_only alone,
    a_retired_module_serves_nobody module_only alone,
    namespaces_are_told_too module_only alone,
    a_privileged_program_is_not_made_to_retire_it module_only alone,
    the_command_lists_who_holds_on_and_unloads_when_nobody_does module_only alone,
    an_upgrade_takes_wills_along module_only alone,
    a_module_replaced_twenty_times_under_traffic_confuses_nobody module_only alone,
];

/// What the loaded module says of itself (`modinfo -F version`).
fn version() -> String {
    fs::read_to_string("/sys/module/nlbus/version").unwrap().trim().to_owned()
}

/// Retires the module and has another build of it in its place as soon as everybody has let go.
fn replace() {
    let before = version();
    retire_module().unwrap();
    unload_at_last();
    load(if before.ends_with("next") { MODULE } else { NEXT }, "").unwrap();
    assert_ne!(version(), before);
}

fn what_was_accepted_comes_before_the_end() {
    const COUNT: u64 = 2000;
    reload("");
    let mut log = KernelLog::from_now();
    let (bus, watcher) = (Bus::connect().unwrap(), Bus::connect().unwrap());
    bus.create_topic("last/words").unwrap();
    let mut subscription = watcher.subscribe("last/words").unwrap();
    let mut sys = watcher.subscribe("$SYS/closing").unwrap();
    for number in 1..=COUNT {
        bus.publish("last/words", &payload(1, number, 64)).unwrap();
    }
    replace();
    let mut tally = Tally::from_one();
    let seen = collect(&mut subscription, |seen| matches!(seen.last(), Some(Delivery::Restarted(_))));
    seen.iter().filter(|delivery| delivery.event().is_some()).for_each(|delivery| tally.add(delivery));
    assert_eq!((tally.delivered, tally.lost), (COUNT, 0), "{tally:?}");
    assert_eq!(events(&mut sys, 1)[0].topic(), "$SYS/closing");
    // And on it goes, with numbers of its own.
    let next = wait_for("the publisher to find the new module", || bus.publish_acked("last/words", "x").ok());
    assert_eq!(next, 1);
    assert_eq!(events(&mut subscription, 1)[0].seq(), 1);
    assert_eq!(log.loud(), Vec::<String>::new());
}

fn a_retired_module_serves_nobody() {
    reload("");
    let mut log = KernelLog::from_now();
    let fixture = Fixture::new();
    let raw = fixture.raw();
    let idle = Bus::connect().unwrap();
    assert!(matches!(unload().unwrap_err(), Errno::EWOULDBLOCK | Errno::EBUSY));
    retire_module().unwrap();
    retire_module().unwrap();
    // This one follows nothing, and is told all the same; sooner or later than this.
    let error = idle.publish_acked("x", "x").unwrap_err();
    // In between, the socket that the refusal came to may have been let go of.
    let told = matches!(error.errno(), Some(Errno::ESHUTDOWN | Errno::ECONNREFUSED));
    assert!(told || matches!(error.reason(), PublishReason::Unknown), "{error}");
    match Bus::builder().broker(Choice::Module).connect().unwrap_err() {
        ConnectError::Refused(refusal) => assert_eq!(refusal.errno, Errno::ESHUTDOWN, "{refusal}"),
        other => panic!("not refused: {other}"),
    }
    // A socket that stays holds the module, whatever was said to it.
    assert!(matches!(unload().unwrap_err(), Errno::EWOULDBLOCK | Errno::EBUSY));
    drop(raw);
    unload_at_last();
    assert!(!is_loaded());
    let error = idle.publish_acked("x", "x").unwrap_err();
    assert!(matches!(error.reason(), PublishReason::NoBroker), "{error}");
    load(MODULE, "").unwrap();
    wait_for("it to find the next module", || idle.publish_acked("x", "x").ok());
    assert_eq!(log.loud(), Vec::<String>::new());
}

fn namespaces_are_told_too() {
    reload("");
    let mut log = KernelLog::from_now();
    let mut subscription = in_new_namespace(|| {
        let bus = Bus::connect().unwrap();
        bus.publish_acked("here", "x").unwrap();
        bus.subscribe("here").unwrap()
    });
    replace();
    let seen = collect(&mut subscription, |seen| matches!(seen.last(), Some(Delivery::Restarted(_))));
    assert_eq!(seen.len(), 1, "{seen:?}");
    drop(subscription);
    assert_eq!(log.loud(), Vec::<String>::new());
}

/// The id that the kernel gave the module's family.
fn family(socket: &Socket) -> u16 {
    socket.send_to(&families_request(1), &SocketAddr::new(0, 0), 0).unwrap();
    loop {
        let (datagram, _) = socket.recv_from_full().unwrap();
        for message in Messages::new(&datagram).map(Result::unwrap) {
            assert_ne!(message.header.kind, NLMSG_DONE, "the module's family isn't there");
            if let Some(id) = family_id(&message, NLBUS_GENL_NAME) {
                return id;
            }
        }
    }
}

/// Somebody without privileges opens a socket, and has root write to it, as a setuid program writes to its output.
fn a_privileged_program_is_not_made_to_retire_it() {
    reload("");
    seteuid(Uid::from_raw(65534)).unwrap();
    let socket = Socket::new(NETLINK_GENERIC as isize);
    seteuid(Uid::from_raw(0)).unwrap();
    let socket = socket.unwrap();
    let id = family(&Socket::new(NETLINK_GENERIC as isize).unwrap());
    socket.connect(&SocketAddr::new(0, 0)).unwrap();
    write(&socket, &genl_retire_request(id, 2)).unwrap();
    let (answer, _) = socket.recv_from_full().unwrap();
    let answer = Messages::new(&answer).next().unwrap().unwrap();
    assert_eq!(Answer::parse(&answer).unwrap().result.unwrap_err().errno, Errno::EPERM);
    Bus::connect().unwrap().publish_acked("still", "there").unwrap();
}

/// `nlbus` with these arguments: whether it succeeded, and what it said on standard error.
fn nlbus(args: &[&str]) -> (bool, String) {
    let output = Command::new("nlbus").args(args).output().expect("nlbus on the PATH");
    (output.status.success(), String::from_utf8(output.stderr).expect("UTF-8"))
}

fn the_command_lists_who_holds_on_and_unloads_when_nobody_does() {
    reload("");
    let mut log = KernelLog::from_now();
    let bus = Bus::connect().unwrap();
    bus.publish_acked("x", "x").unwrap();
    let (done, said) = nlbus(&["module", "unload"]);
    assert!(!done && said.contains("2 sockets are open"), "{said}");
    // One that doesn't listen, here, and another one elsewhere.
    let raw = Fixture::new().raw();
    let elsewhere = in_new_namespace(|| Fixture::new().raw());
    let me = format!("is held by process {} (", std::process::id());
    // Also of a module that is retired already.
    for _ in 0..2 {
        let (done, said) = nlbus(&["module", "retire", "--timeout", "1s"]);
        assert!(!done, "{said}");
        let listed = said.lines().filter(|line| line.contains(&me)).count();
        assert!(listed == 1 && said.contains("1 sockets in this network namespace and 1 in others"), "{said}");
    }
    let (done, said) = nlbus(&["module", "unload"]);
    assert!(!done && said.contains("2 sockets are open"), "{said}");
    let (done, said) = nlbus(&["module", "load"]);
    assert!(!done && said.contains("retired"), "{said}");
    drop((raw, elsewhere));
    let (done, said) = nlbus(&["module", "retire"]);
    assert!(done, "{said}");
    let (done, said) = nlbus(&["module", "unload"]);
    assert!(done && !is_loaded(), "{said}");
    let (done, said) = nlbus(&["module", "unload"]);
    assert!(!done && said.contains("it isn't loaded"), "{said}");
    drop(bus);
    load(MODULE, "").unwrap();
    assert!(nlbus(&["module", "load"]).0);
    let (done, said) = nlbus(&["module", "load", "heartbeat_ms=5"]);
    assert!(!done && said.contains("takes parameters only then"), "{said}");
    assert_eq!(log.loud(), Vec::<String>::new());
}

/// Who left a will, and does nothing else, finds the next module and leaves it there.
fn an_upgrade_takes_wills_along() {
    reload("");
    let mut log = KernelLog::from_now();
    let client = Bus::connect().unwrap();
    client.set_will("upgraded/will", "gone").unwrap();
    replace();
    let bus = wait_for("the next module", || Bus::connect().ok());
    wait_for("the will", || (bus.info().unwrap().counters.wills == 1).then_some(()));
    let mut subscription = bus.subscribe("upgraded/will").unwrap();
    drop(client);
    let will = &events(&mut subscription, 1)[0];
    assert!(will.is_will() && will.payload() == b"gone", "{will:?}");
    assert_eq!(log.loud(), Vec::<String>::new());
}

fn a_module_replaced_twenty_times_under_traffic_confuses_nobody() {
    reload("");
    let mut log = KernelLog::from_now();
    let fixture = Fixture::new();
    let place: Place = *fixture;
    restarts(&place, 20, replace);
    assert_eq!(log.loud(), Vec::<String>::new());
}
