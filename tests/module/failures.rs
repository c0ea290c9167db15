//! Allocations that fail, one after the other: the first one of an operation, then its second one, until none is left.
//! Whatever fails, the answer is an error or none at all, the bus goes on, and nothing is lost without a word.
//!
//! The kernel has to be built for that (`CONFIG_FAILSLAB`, `fail-nth`): the debug kernel of tests/vm is.

use crate::kernel::{KernelLog, reload};
use nix::errno::Errno;
use nlbus::wire::uapi::NLMSG_ERROR;
use nlbus::wire::{
    Answer, Content, ReplayRequest, TopicKey, TopicRequest, TopicSettings, push_info_request, push_publish,
};
use nlbus::{Bus, Delivery};
use nlbus_tests::{Endpoint, Fixture, RawClient, Tally, cases, in_new_namespace, payload, wait_for};
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

cases![
    each_allocation_of_a_datagram_may_fail module_only alone needs_fault_injection,
    each_allocation_for_a_new_user_may_fail module_only alone needs_fault_injection,
    each_allocation_of_a_bus_that_starts_may_fail module_only alone needs_fault_injection,
    each_allocation_of_the_bus_thread_may_fail module_only alone needs_fault_injection,
];

/// More allocations than any operation makes: what fails so often isn't injected.
const MANY: u32 = 200;

/// The events of `topic`, published by the raw client; the last one asks for an ack.
fn publishes(topic: &str, count: usize, size: usize) -> Vec<u8> {
    let mut datagram = Vec::new();
    for number in 1..=count {
        push_publish(&mut datagram, 7, number == count, 0, Content::Opaque, topic, &vec![0; size]);
    }
    datagram
}

fn request(push: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut datagram = Vec::new();
    push(&mut datagram);
    datagram
}

/// Lets also allocations fail that may sleep, for as long as it lives, and collects who was hit.
struct Faults {
    log: KernelLog,
    /// The module's function that asked for memory, or that netlink asked on behalf of. Who asked without warnings
    /// (`__GFP_NOWARN`) was hit without a word.
    hit: BTreeMap<String, usize>,
    /// A fault was told of, and who was hit wasn't yet: a stack that another processor prints comes bit by bit.
    open: bool,
}

impl Faults {
    fn new() -> Faults {
        for kind in ["failslab", "fail_page_alloc"] {
            let folder = format!("/sys/kernel/debug/{kind}");
            fs::write(format!("{folder}/ignore-gfp-wait"), "N").expect("debugfs");
            let _ = fs::write(format!("{folder}/min-order"), "0");
        }
        Faults { log: KernelLog::from_now(), hit: BTreeMap::new(), open: false }
    }

    /// Has the n-th allocation of a task from now on fail while `run` runs. Returns what it returned, and whether there
    /// was such an allocation.
    fn inject<T>(&mut self, path: &str, n: u32, run: impl FnOnce() -> T) -> (T, bool) {
        // Open before: that takes memory, too.
        let file = OpenOptions::new().read(true).write(true).open(path).expect(path);
        let n = n.to_string();
        let mut left = [0; 16];
        file.write_all_at(n.as_bytes(), 0).expect(path);
        let result = run();
        let len = file.read_at(&mut left, 0).expect(path);
        file.write_all_at(b"0", 0).expect(path);
        self.read();
        (result, left[..len].trim_ascii() == b"0")
    }

    /// Reads the stacks that the kernel prints with each fault.
    fn read(&mut self) {
        for line in self.log.all() {
            if line.contains("FAULT_INJECTION: forcing a failure") {
                self.open = true;
            } else if self.open && line.contains("[nlbus]") && !line.contains(" ? ") {
                let name = line.trim().split('+').next().unwrap_or_default().to_owned();
                *self.hit.entry(name).or_default() += 1;
                self.open = false;
            }
        }
    }

    fn table(&mut self) -> String {
        self.read();
        self.hit.iter().map(|(name, times)| format!("      {name}: {times}\n")).collect()
    }
}

/// The file by which the calling thread's allocations are made to fail.
const OWN: &str = "/proc/thread-self/fail-nth";

/// What came of a datagram: how sending it failed, or what was answered, in short.
fn outcome(raw: &RawClient, endpoint: Endpoint, datagram: &[u8]) -> String {
    match raw.try_send(endpoint, datagram) {
        Ok(()) => "sent".to_owned(),
        Err(error) => Errno::from_raw(error.raw_os_error().unwrap_or(0)).to_string(),
    }
}

/// All that the broker has answered until now.
fn answers(raw: &RawClient) -> Vec<String> {
    let mut barrier = Vec::new();
    push_info_request(&mut barrier, 99);
    raw.send(Endpoint::Request, &barrier);
    let mut answers = Vec::new();
    loop {
        for message in raw.receive().messages() {
            match message.header {
                header if header.seq == 99 => return answers,
                header if header.kind == NLMSG_ERROR => match Answer::parse(&message).expect("an answer").result {
                    Ok(_) => answers.push("ack".to_owned()),
                    Err(refusal) => answers.push(refusal.errno.to_string()),
                },
                header => answers.push(format!("{:#x}", header.kind)),
            }
        }
    }
}

fn each_allocation_of_a_datagram_may_fail() {
    reload("");
    let mut faults = Faults::new();
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.publish_acked("old", "x").unwrap();
    let (id, epoch) = (bus.topic("old").unwrap().unwrap().id, bus.info().unwrap().epoch);
    type Write = Box<dyn Fn(u32) -> (Endpoint, Vec<u8>)>;
    let operations: Vec<(&str, Write)> = vec![
        ("publish", Box::new(|_| (Endpoint::Publish, publishes("old", 1, 64)))),
        ("publish 8 to a new topic", Box::new(|n| (Endpoint::Publish, publishes(&format!("new/{n}"), 8, 64)))),
        ("publish 60 000 bytes", Box::new(|_| (Endpoint::Publish, publishes("old", 1, 60_000)))),
        ("info", Box::new(|_| (Endpoint::Request, request(|to| push_info_request(to, 7))))),
        (
            "create",
            Box::new(|n| {
                let name = &format!("created/{n}");
                (Endpoint::Request, request(|to| TopicRequest::create(name).push(to, 7)))
            }),
        ),
        (
            "set",
            Box::new(move |n| {
                let settings = TopicSettings { history: Some(100_000 + u64::from(n)), ..TopicSettings::default() };
                let change = TopicRequest::Change { key: TopicKey::Id(id), settings };
                (Endpoint::Request, request(|to| change.push(to, 7)))
            }),
        ),
        (
            "list",
            Box::new(|_| (Endpoint::Request, request(|to| TopicRequest::List { cursor: 0, since: None }.push(to, 7)))),
        ),
        (
            "replay",
            Box::new(move |_| {
                let replay = ReplayRequest { epoch, topic_id: id, from: 1, limit: None };
                (Endpoint::Request, request(|to| replay.push(to, 7)))
            }),
        ),
        ("nonsense", Box::new(|_| (Endpoint::Request, vec![16, 0, 0, 0, 0x99, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0]))),
    ];
    for (name, write) in &operations {
        let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
        for n in 1..=MANY {
            assert!(n < MANY, "{name}: the {n}th allocation fails, and still it isn't the last one");
            // A client of its own each time: remembering it takes memory, too.
            let raw = fixture.raw();
            let (endpoint, datagram) = write(n);
            let (sent, injected) = faults.inject(OWN, n, || outcome(&raw, endpoint, &datagram));
            let got = answers(&raw).join(" ");
            *outcomes.entry(format!("{sent}, answer: {}", if got.is_empty() { "none" } else { &got })).or_default() +=
                1;
            bus.publish_acked("alive", "x").unwrap();
            if !injected {
                break;
            }
        }
        println!("    {name}: {outcomes:?}");
        // Each is either done or refused for want of memory, never half or otherwise.
        let odd = outcomes.keys().find(|outcome| {
            let (sent, got) = outcome.split_once(", answer: ").unwrap_or_default();
            let fits = match sent {
                "sent" => got.split(' ').all(|word| word != "EINVAL") || *name == "nonsense",
                other => [Errno::ENOBUFS, Errno::ENOMEM].iter().any(|errno| errno.to_string() == other),
            };
            !fits
        });
        assert_eq!(odd, None, "{name}");
        // A lone event takes no memory but for its ack, nonsense but for its refusal: without, there is none.
        let is_told = outcomes.keys().any(|outcome| outcome.contains("ENOMEM"));
        assert!(is_told || ["publish", "nonsense"].contains(name), "{name}: no failure was one of the module's");
    }
    println!("    failed allocations by the function that asked:\n{}", faults.table());
}

/// Makes the calling thread, and it alone, another user's for as long as this runs. That takes memory: without, it isn't run.
fn as_user(uid: u32, run: impl FnOnce() -> String) -> String {
    let uid = Uid::from_raw(uid);
    match set_thread_res_uid(uid, uid, Uid::ROOT) {
        Ok(()) => run(),
        Err(error) => error.to_string(),
    }
}

/// Who has a quota is known by memory of his own, on all buses and on this one.
fn each_allocation_for_a_new_user_may_fail() {
    reload("");
    let mut faults = Faults::new();
    let fixture = Fixture::new();
    let bus = fixture.connect();
    bus.create_topic("old").unwrap();
    let mut uid = 50_000;
    for (name, topic, count, size) in
        [("a new topic", "new", 8, 64), ("one after the other", "other", 1, 64), ("a full datagram", "old", 20, 3000)]
    {
        let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
        for n in 1..=MANY {
            assert!(n < MANY, "{name}: the {n}th allocation fails, and still it isn't the last one");
            let raw = fixture.raw();
            uid += 1;
            let datagram = publishes(&if topic == "old" { topic.into() } else { format!("{topic}/{n}") }, count, size);
            let (sent, injected) =
                faults.inject(OWN, n, || as_user(uid, || outcome(&raw, Endpoint::Publish, &datagram)));
            set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).expect("to be root again");
            let got = answers(&raw).join(" ");
            *outcomes.entry(format!("{sent}, answer: {got}")).or_default() += 1;
            assert!(got.is_empty() || got == "ack" || got.starts_with("ENOMEM"), "{name}: {outcomes:?}");
            bus.publish_acked("alive", "x").unwrap();
            if !injected {
                break;
            }
        }
        println!("    {name}: {outcomes:?}");
    }
    println!("    failed allocations by the function that asked:\n{}", faults.table());
    for function in ["nlbus_account_get", "nlbus_share_get"] {
        assert!(faults.hit.keys().any(|hit| hit.starts_with(function)), "none of {function}: {:?}", faults.hit);
    }
    assert_eq!(bus.info().unwrap().counters.queue, 0);
    // Whoever was refused for want of memory has all that he may have.
    let mut client = fixture.spawn("client", &["uid=50001".to_owned()]);
    client.expect("ready");
    client.say("publish another");
    let said = client.line();
    assert!(said.starts_with("published "), "{said}");
}

fn each_allocation_of_a_bus_that_starts_may_fail() {
    reload("");
    let mut faults = Faults::new();
    for n in 1..=MANY {
        assert!(n < MANY, "the {n}th allocation fails, and still it isn't the last one");
        let injected = in_new_namespace(|| {
            let raw = Fixture::new().raw();
            let (_, injected) = faults.inject(OWN, n, || outcome(&raw, Endpoint::Publish, &publishes("first", 1, 64)));
            // Whatever failed, the next one gets its bus.
            let bus = Bus::connect().unwrap();
            bus.publish_acked("first", "x").unwrap();
            injected
        });
        if !injected {
            break;
        }
    }
    println!("    failed allocations by the function that asked:\n{}", faults.table());
    assert!(faults.hit.keys().any(|hit| hit.starts_with("nlbus_topic_prepare")), "none of the first topic");
}

/// The file by which the bus thread's allocations are made to fail; it is the one of this namespace's bus, which was
/// started last.
fn thread_file() -> io::Result<String> {
    let mut newest = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let cmdline = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if comm.trim() == "nlbus" && cmdline.is_empty() {
            newest = newest.max(pid);
        }
    }
    Ok(format!("/proc/{newest}/task/{newest}/fail-nth"))
}

fn each_allocation_of_the_bus_thread_may_fail() {
    const EACH: usize = 20;
    reload("topic_history=16777216");
    let mut faults = Faults::new();
    let fixture = Fixture::new();
    let bus = fixture.connect();
    let watcher = fixture.connect();
    bus.create_topic("t/small").unwrap();
    let mut subscription = watcher.subscribe("t/#").unwrap();
    let thread = thread_file().unwrap();
    let raw = fixture.raw();
    let (mut published, mut failed) = (0, 0);
    for n in 1..=12 {
        let (_, injected) = faults.inject(&thread, n, || {
            for size in [1000, 3000] {
                // More than a pack at once is the thread's.
                raw.send(Endpoint::Publish, &publishes("t/small", EACH, size));
                published += EACH as u64;
            }
            answers(&raw)
        });
        println!("    the {n}th allocation: {}", if injected { "failed" } else { "there was none" });
        failed += u32::from(injected);
    }
    assert!(failed > 2, "the thread hardly asked for memory");
    bus.publish_acked("t/small", &payload(1, 1, 16)).unwrap();
    published += 1;
    let mut tally = Tally::from_one();
    wait_for("all events or word of their loss", || {
        while let Ok(delivery) = subscription.try_recv() {
            assert!(!matches!(delivery, Delivery::Restarted(_)));
            tally.add(&delivery);
        }
        (tally.total() == published).then_some(())
    });
    println!("    {published} published: {} delivered, {} lost", tally.delivered, tally.lost);
    println!("    failed allocations by the function that asked:\n{}", faults.table());
    assert_eq!(tally.lost, 0, "history had room for all");
}
