//! Kernel code that publishes: the sample `nlbus_events.ko`, and `nlbus_contexts.ko`, which does nothing but publish, from
//! each context that may.

use crate::kernel::{KernelLog, load, reload, unload_named};
use nix::sched::{CloneFlags, setns};
use nlbus::kernel::{self, Cpu, Link, LinkAction, Module, ModuleAction, OutOfMemory};
use nlbus::{Bus, Delivery, PublishReason, Start, TypedDelivery, TypedSubscription};
use nlbus_tests::{Tally, cases, events, patience, wait_for};
use serde::de::DeserializeOwned;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

cases![
    links_are_told_of_as_typed_values module_only alone,
    modules_processors_and_memory_are_told_of module_only alone,
    what_all_contexts_publish_at_once_is_seen_or_counted module_only alone,
    what_is_dropped_is_a_gap_that_history_knows module_only alone,
    kernel_topics_are_kernel_codes_alone module_only alone,
    tracepoints_tell_what_becomes_of_events module_only alone needs_tracepoints,
];

/// A module that publishes, loaded for as long as this lives.
struct Publisher(&'static str);

impl Publisher {
    fn load(name: &'static str) -> Publisher {
        load(&format!("{name}.ko"), "").unwrap_or_else(|errno| panic!("load {name}: {errno}"));
        Publisher(name)
    }

    fn set(&self, parameter: &str, value: &str) {
        let path = format!("/sys/module/{}/parameters/{parameter}", self.0);
        fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    fn get(&self, parameter: &str) -> u64 {
        let path = format!("/sys/module/{}/parameters/{parameter}", self.0);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        text.trim().parse().unwrap_or_else(|error| panic!("{path}: {text}: {error}"))
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if let Err(errno) = unload_named(self.0) {
            eprintln!("unload {}: {errno}", self.0);
        }
    }
}

/// Goes to the namespace that the kernel means by the host.
fn enter_initial_namespace() {
    let file = fs::File::open("/proc/1/ns/net").expect("/proc/1/ns/net");
    setns(file, CloneFlags::CLONE_NEWNET).expect("setns");
}

fn ip(args: &str) {
    let status = Command::new("ip").args(args.split(' ')).status().expect("ip");
    assert!(status.success(), "ip {args}");
}

/// The next value that is wanted; others are passed over, but everything has to be a value of kernel code's.
fn next<T: DeserializeOwned + std::fmt::Debug>(
    subscription: &mut TypedSubscription<T>,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + patience();
    loop {
        match subscription.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(TypedDelivery::Value(value, event)) => {
                assert!(event.sender().kernel, "{:?}", event.sender());
                if wanted(&value) {
                    return value;
                }
            }
            other => panic!("no value: {other:?}"),
        }
    }
}

fn links_are_told_of_as_typed_values() {
    reload("");
    let _publisher = Publisher::load("nlbus_events");
    let bus = Bus::connect().unwrap();
    let mut links = bus.subscribe_as::<Link>(kernel::LINK).unwrap();
    ip("link add d0 type dummy");
    let added = next(&mut links, |link| link.action == LinkAction::Added);
    assert_eq!(added.name.to_string(), "d0");
    ip("link set d0 up");
    let up = next(&mut links, |link| link.action == LinkAction::Up);
    println!("    {up:?}");
    assert_eq!((up.name.to_string().as_str(), up.ifindex, up.flags & 1), ("d0", added.ifindex, 1));
    assert_eq!(up.mtu, 1500);
    ip("link set d0 down");
    assert_eq!(next(&mut links, |link| link.action == LinkAction::Down).flags & 1, 0);
    ip("link set d0 name d1");
    assert_eq!(next(&mut links, |link| link.action == LinkAction::Renamed).name.to_string(), "d1");
    ip("link del d1");
    assert_eq!(next(&mut links, |link| link.action == LinkAction::Removed).ifindex, added.ifindex);
    // A bus of the namespace that they are in: the host's has none of it.
    let here = bus.topic(kernel::LINK).unwrap().unwrap();
    assert_eq!((here.uid, here.gid, here.mode), (0, 0, 0o644));
}

fn modules_processors_and_memory_are_told_of() {
    reload("");
    enter_initial_namespace();
    let _publisher = Publisher::load("nlbus_events");
    let bus = Bus::connect().unwrap();
    let mut modules = bus.subscribe_as::<Module>(kernel::MODULE).unwrap();
    drop(Publisher::load("nlbus_contexts"));
    for action in [ModuleAction::Loaded, ModuleAction::Unloading] {
        let module = next(&mut modules, |module| module.name.to_string() == "nlbus_contexts");
        assert_eq!(module.action, action);
    }

    let mut processors = bus.subscribe_as::<Cpu>(kernel::CPU).unwrap();
    let switch = "/sys/devices/system/cpu/cpu1/online";
    if Path::new(switch).exists() {
        fs::write(switch, "0").unwrap();
        assert_eq!(next(&mut processors, |_| true), Cpu { cpu: 1, online: false });
        fs::write(switch, "1").unwrap();
        assert_eq!(next(&mut processors, |_| true), Cpu { cpu: 1, online: true });
    }

    // The kernel is asked to kill somebody, and this one offers himself.
    let mut memory = bus.subscribe_as::<OutOfMemory>(kernel::OOM).unwrap();
    let mut victim = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    fs::write(format!("/proc/{}/oom_score_adj", victim.id()), "1000").unwrap();
    // Who reads the console looks for what is wrong, and this is said with a stack.
    let level = fs::read_to_string("/proc/sys/kernel/printk").unwrap();
    fs::write("/proc/sys/kernel/printk", "1").unwrap();
    fs::write("/proc/sysrq-trigger", "f").unwrap();
    let state = next(&mut memory, |_| true);
    let killed = victim.wait().unwrap();
    fs::write("/proc/sys/kernel/printk", level).unwrap();
    println!("    {state:?}");
    assert!(state.free_bytes > 0 && state.total_bytes > state.free_bytes);
    assert!(!killed.success());
}

/// Runs all contexts at once until so many events were dropped, and waits until all is sequenced. Returns how many were
/// published, and how many dropped.
fn flood(publisher: &Publisher, bus: &Bus, published: u64, dropped: u64) -> (u64, u64) {
    publisher.set("run", "1");
    wait_for("enough events", || {
        (publisher.get("published") >= published && publisher.get("dropped") >= dropped).then_some(())
    });
    publisher.set("run", "0");
    let counted = (publisher.get("published"), publisher.get("dropped"));
    assert_eq!(publisher.get("failed"), 0);
    let topics = || bus.topics().unwrap().into_iter().filter(|topic| topic.name.starts_with("kernel/contexts/"));
    wait_for("all to have numbers", || {
        (topics().map(|topic| topic.head).sum::<u64>() == counted.0 + counted.1).then_some(())
    });
    assert_eq!(bus.info().unwrap().counters.kernel_dropped, counted.1);
    counted
}

/// Waits for each context's topic, so that what is dropped has numbers.
fn begin(bus: &Bus) {
    wait_for("a topic for each context", || {
        let topics = bus.topics().unwrap();
        (topics.iter().filter(|topic| topic.name.starts_with("kernel/contexts/")).count() == 3).then_some(())
    });
}

fn what_all_contexts_publish_at_once_is_seen_or_counted() {
    reload("queue=262144 topic_history=16384");
    enter_initial_namespace();
    let mut log = KernelLog::from_now();
    let publisher = Publisher::load("nlbus_contexts");
    let bus = Bus::connect().unwrap();
    begin(&bus);
    let mut subscription = bus.subscriber("kernel/contexts/#").start(Start::All).open().unwrap();
    publisher.set("burst", "400");
    let (published, dropped) = flood(&publisher, &bus, 100_000, 1000);
    let mut tally = Tally::from_one();
    tally.take(&mut subscription, published + dropped);
    println!(
        "    {published} published and {dropped} dropped: {} delivered, {} reported as lost",
        tally.delivered, tally.lost
    );
    assert_eq!((tally.topics(), tally.total()), (3, published + dropped));
    assert!(tally.lost >= dropped);
    assert_eq!(log.loud(), Vec::<String>::new());
}

/// Older events are still to be had, on both sides of the gap; and it is told of although nothing follows.
fn what_is_dropped_is_a_gap_that_history_knows() {
    reload("queue=262144 topic_history=67108864");
    enter_initial_namespace();
    let publisher = Publisher::load("nlbus_contexts");
    let bus = Bus::connect().unwrap();
    begin(&bus);
    // More than the queue holds at once, and less in all than history does.
    publisher.set("size", "1024");
    publisher.set("burst", "1000");
    publisher.set("limit", "20000");
    // Nobody follows meanwhile, so nobody knows but history.
    let (published, dropped) = flood(&publisher, &bus, 100, 100);
    for round in 0..2 {
        let mut late = bus.subscriber("kernel/contexts/#").start(Start::All).open().unwrap();
        let mut tally = Tally::from_one();
        tally.take(&mut late, published + dropped);
        println!("    {published} published, {dropped} dropped: {} replayed, {} lost", tally.delivered, tally.lost);
        assert_eq!((tally.delivered, tally.lost), (published, dropped), "in round {round}");
    }
}

fn kernel_topics_are_kernel_codes_alone() {
    reload("");
    let _publisher = Publisher::load("nlbus_events");
    let bus = Bus::connect().unwrap();
    ip("link set lo up");
    let topic = wait_for("the topic", || bus.topic(kernel::LINK).unwrap());
    for refused in ["kernel", kernel::LINK, "kernel/of/ones/own"] {
        let error = bus.publish_acked(refused, "x").unwrap_err();
        assert!(matches!(error.reason(), PublishReason::Topic(_) | PublishReason::Refused(_)), "{error}");
    }
    // But who may read it is the administrator's to say.
    bus.topic_options(kernel::LINK).mode(0o600).set().unwrap();
    assert_eq!(bus.topic(kernel::LINK).unwrap().unwrap().mode, 0o600);
    let mut links = bus.subscriber(kernel::LINK).start(Start::From(topic.head + 1)).open().unwrap();
    ip("link set lo down");
    assert!(events(&mut links, 1)[0].sender().kernel);
}

/// The tracepoints of the module, on while this lives; with what they said since.
struct Trace(String);

impl Trace {
    fn start() -> Trace {
        let folder = "/sys/kernel/tracing".to_owned();
        if !Path::new(&format!("{folder}/events")).exists() {
            nix::mount::mount(
                Some("tracefs"),
                folder.as_str(),
                Some("tracefs"),
                nix::mount::MsFlags::empty(),
                None::<&str>,
            )
            .expect("mount tracefs");
        }
        let trace = Trace(folder);
        trace.write("trace", "");
        trace.write("events/nlbus/enable", "1");
        trace
    }

    fn write(&self, file: &str, value: &str) {
        let path = format!("{}/{file}", self.0);
        fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// A line that has all these words.
    fn line(&self, words: &[&str]) -> String {
        let text = fs::read_to_string(format!("{}/trace", self.0)).unwrap();
        let line = text.lines().find(|line| words.iter().all(|word| line.contains(word)));
        line.unwrap_or_else(|| panic!("no line has {words:?} in:\n{text}")).trim().to_owned()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.write("events/nlbus/enable", "0");
    }
}

fn tracepoints_tell_what_becomes_of_events() {
    reload("queue=262144");
    enter_initial_namespace();
    let publisher = Publisher::load("nlbus_contexts");
    let bus = Bus::connect().unwrap();
    begin(&bus);
    let trace = Trace::start();
    let _here = bus.subscribe("traced").unwrap();
    bus.publish_acked("traced", "four").unwrap();
    bus.publish_acked("traced", "five5").unwrap();
    let mut late = bus.subscriber("traced").start(Start::From(1)).open().unwrap();
    assert!(matches!(late.recv().unwrap(), Delivery::Event(_)));
    publisher.set("size", "4096");
    publisher.set("burst", "200");
    let pid = format!("pid={}", std::process::id());
    println!("    {}", trace.line(&["nlbus_publish: ", "topic=traced", "seq=1 ", &pid, "len=4"]));
    println!("    {}", trace.line(&["nlbus_publish: ", "topic=traced", "seq=2 ", &pid, "len=5"]));
    println!("    {}", trace.line(&["nlbus_broadcast: ", "taken=1"]));
    println!("    {}", trace.line(&["nlbus_replay: ", "topic=traced", "from=1", "count=2"]));
    // Only these: what is published at full speed would be all that there is.
    trace.write("events/nlbus/enable", "0");
    trace.write("events/nlbus/nlbus_drop/enable", "1");
    flood(&publisher, &bus, 0, 10);
    println!("    {}", trace.line(&["nlbus_drop: ", "topic=kernel/contexts/", "count=1", "err=-105"]));
}
