//! What an event costs its subscriber, in counts that are the same on any machine: allocations and system calls. Each test
//! has a subscriber process and a real broker, and on either driver of the library.

mod taker;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nlbus::{Bus, Overflow};
use nlbus_tests::{Case, Child, Fixture, Place, value, wait_for};
use std::process::{Command, ExitCode};
use std::{env, fs};

/// Events of a datagram, and how many are under way at most: fewer than a channel holds.
const BATCH: u64 = 64;
const WINDOW: u64 = 8192;
const TOPIC: &str = "cost/of/an/event";
const FILTERS: [&str; 2] = [TOPIC, "cost/+/an/#"];

/// How a subscriber takes events.
#[derive(Debug, Clone, Copy)]
struct Take {
    direct: bool,
    lent: bool,
    filter: &'static str,
    overflow: Overflow,
    capacity: usize,
}

/// One that misses nothing.
const fn all(direct: bool, lent: bool) -> Take {
    Take { direct, lent, filter: TOPIC, overflow: Overflow::CatchUp, capacity: 16_384 }
}

/// Events that are under way at a time, how many times as many make warm, and how many times as many count.
#[derive(Debug, Clone, Copy)]
struct Load {
    window: u64,
    warm: u64,
    windows: u64,
}

const MANY: Load = Load { window: WINDOW, warm: 40, windows: 60 };
/// Allocations that some hundred thousand events may do, in some thousand batches and more datagrams: a dozen lists that
/// double, and as many buffers as the pool keeps of 16 KiB, twice.
const LATE: u64 = 600;
const LONE: Load = Load { window: 1, warm: 300, windows: 2000 };

/// A subscriber and who publishes to it.
struct Pair {
    bus: Bus,
    child: Child,
    load: Load,
}

impl Pair {
    /// A pair that is warm: what is made once is made.
    fn new(place: &Place, take: Take, load: Load) -> Pair {
        let (Load { window, warm, windows }, Take { direct, lent, filter, overflow, capacity }) = (load, take);
        let load = format!("window={window} warm={warm} windows={windows}");
        let take = format!("direct={direct} lent={lent} filter={filter} overflow={overflow:?} capacity={capacity}");
        let args = format!("{load} {take}");
        let mut child = place.spawn("taker", &args.split(' ').map(str::to_owned).collect::<Vec<_>>());
        child.expect("subscribed");
        let mut pair = Pair { bus: place.connect(), child, load: Load { window, warm, windows } };
        pair.publish(warm);
        pair
    }

    /// Publishes so many windows, each when the subscriber has the one before.
    fn publish(&mut self, windows: u64) {
        let mut batch = self.bus.batch();
        for _ in 0..windows {
            for number in 1..=self.load.window {
                batch.push(TOPIC, &[7; 64]).expect("room");
                if number % BATCH == 0 || number == self.load.window {
                    batch.send().expect("publish");
                }
            }
            self.child.expect("window");
        }
    }

    /// Publishes what counts. Returns what the subscriber says of it.
    fn count(&mut self) -> String {
        self.publish(self.load.windows);
        let line = self.child.line();
        println!("    {line}, {} events", self.events());
        line
    }

    fn events(&self) -> f64 {
        (self.load.window * self.load.windows) as f64
    }
}

/// What all events cost: allocations, and how many were lost.
fn allocations(take: Take, load: Load) -> (u64, u64) {
    println!("    {take:?}, {load:?}");
    let bus = Fixture::new();
    let mut pair = Pair::new(&bus, take, load);
    let line = pair.count();
    pair.child.end_well();
    (value(&line, "allocations"), value(&line, "lost"))
}

fn an_event_costs_no_allocation() {
    for direct in [true, false] {
        for lent in [true, false] {
            let take = Take { filter: FILTERS[usize::from(lent)], ..all(direct, lent) };
            let (counted, lost) = allocations(take, MANY);
            let each = counted as f64 / (MANY.window * MANY.windows) as f64;
            assert!(lost == 0 && each < 0.004, "{each} allocations an event, {lost} lost; {take:?}");
        }
    }
}

/// What is made once may be made late: room for more losses or datagrams than there ever were before. Besides that it is none,
/// however many events there are.
fn what_drops_or_conflates_allocates_nothing() {
    for direct in [true, false] {
        for (overflow, capacity) in [
            (Overflow::DropOldest, 500),
            (Overflow::DropNewest, 500),
            (Overflow::Latest, 1),
            (Overflow::DropOldest, 16_384),
        ] {
            let take =
                Take { filter: FILTERS[usize::from(direct)], overflow, capacity, ..all(direct, capacity == 500) };
            let (counted, lost) = allocations(take, MANY);
            assert!(counted <= LATE, "{counted} allocations; {take:?}");
            println!("    {lost} lost");
        }
    }
}

/// The channel allocates once for each 31 batches, and here each event is a batch.
fn a_lone_event_costs_a_part_of_an_allocation() {
    for direct in [true, false] {
        let (counted, lost) = allocations(all(direct, false), LONE);
        let each = counted as f64 / LONE.windows as f64;
        assert!(lost == 0 && each < 0.05, "{each} allocations an event, {lost} lost; direct: {direct}");
    }
}

/// System calls of a subscriber for each event.
fn system_calls(direct: bool, load: Load) -> f64 {
    let bus = Fixture::new();
    let mut pair = Pair::new(&bus, all(direct, false), load);
    let pid = pair.child.pid();
    let summary = env::temp_dir().join(format!("nlbus-cost-{pid}"));
    let mut strace = Command::new("strace")
        .args(["-f", "-q", "-c", "-p", &pid.to_string(), "-o"])
        .arg(&summary)
        .spawn()
        .unwrap_or_else(|error| panic!("strace: {error}; install it with scripts/need programs"));
    let is_traced = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
    };
    wait_for("strace to follow all threads", || {
        fs::read_dir(format!("/proc/{pid}/task")).expect("tasks").flatten().all(is_traced).then_some(())
    });
    assert_eq!(value(&pair.count(), "lost"), 0);
    kill(Pid::from_raw(strace.id() as i32), Signal::SIGINT).expect("strace is there");
    strace.wait().expect("strace ends");
    let table = fs::read_to_string(&summary).expect("what strace counted");
    let _ = fs::remove_file(&summary);
    println!("{table}");
    let total = table.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        (words.last() == Some(&"total")).then(|| words[3].parse::<f64>().expect("a count"))
    });
    let each = total.expect("a total") / pair.events();
    pair.child.end_well();
    each
}

fn many_events_share_a_system_call() {
    for direct in [true, false] {
        let each = system_calls(direct, MANY);
        assert!(each <= 0.05, "{each} system calls an event; direct: {direct}");
    }
}

/// One that waits for it, one that takes it; and the third tells the test that it came.
fn a_lone_event_costs_two_system_calls() {
    let each = system_calls(true, LONE);
    assert!(each < 3.05, "{each} system calls an event");
}

const CASES: &[Case] = &[
    Case::new("an_event_costs_no_allocation", an_event_costs_no_allocation).alone(),
    Case::new("what_drops_or_conflates_allocates_nothing", what_drops_or_conflates_allocates_nothing).alone(),
    Case::new("a_lone_event_costs_a_part_of_an_allocation", a_lone_event_costs_a_part_of_an_allocation).alone(),
    Case::new("many_events_share_a_system_call", many_events_share_a_system_call).alone(),
    Case::new("a_lone_event_costs_two_system_calls", a_lone_event_costs_two_system_calls).alone(),
];

fn main() -> ExitCode {
    nlbus_tests::main(&[CASES], &[("taker", taker::taker)])
}
