//! Frames of all kinds, in any order, from many at once: whatever they are, the broker goes on and serves the others, and the
//! kernel has nothing to complain of (the VM looks into its log).
//!
//! `NLBUS_FRAMES_SECONDS` says for how long (3 unless set), `NLBUS_FRAMES_SEED` begins where another run began: what the
//! workers do is the same then, in what order the broker sees it is not.

mod grammar;
mod worker;

use nix::unistd::getpid;
use nlbus::Delivery;
use nlbus_tests::{Child, Fixture, Place, cases, other_users, payload, value};
use std::collections::BTreeMap;
use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

cases![any_frames_in_any_order_break_nothing alone];

/// Topics of those who want to be left in peace.
const OURS: &str = "peace";

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is '{text}', not a number")))
}

fn start(place: &Place, seed: u64, duration: Duration) -> Vec<Child> {
    let users: &[Option<u32>] = if other_users() { &[None, Some(65534), None, Some(65534)] } else { &[None, None] };
    let worker = |(at, uid): (u64, &Option<u32>)| {
        let mut args = vec![format!("seed={}", seed + at), format!("ms={}", duration.as_millis())];
        args.extend(uid.map(|uid| format!("uid={uid}")));
        place.spawn("worker", &args)
    };
    (0..).zip(users).map(worker).collect()
}

fn any_frames_in_any_order_break_nothing() {
    let seconds = number("NLBUS_FRAMES_SECONDS").unwrap_or(3);
    let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_nanos() as u64);
    let seed = number("NLBUS_FRAMES_SEED").unwrap_or(now ^ u64::from(getpid().as_raw() as u32));
    println!("    NLBUS_FRAMES_SEED={seed} NLBUS_FRAMES_SECONDS={seconds}");
    let fixture = Fixture::new();
    let (bus, watcher) = (fixture.connect(), fixture.connect());
    let mut subscription = watcher.subscribe(OURS).unwrap();
    let (end, mut published) = (Instant::now() + Duration::from_secs(seconds), 0);
    let workers = start(&fixture, seed, Duration::from_secs(seconds));
    while Instant::now() < end {
        published += 1;
        assert_eq!(bus.publish_acked(OURS, &payload(1, published, 64)).unwrap(), published);
        match subscription.recv_timeout(nlbus_tests::patience()).unwrap() {
            Delivery::Event(event) => assert_eq!(event.seq(), published),
            other => panic!("{other:?}"),
        }
    }
    let (mut totals, mut answers) = (BTreeMap::<&str, u64>::new(), BTreeMap::<String, u64>::new());
    for mut worker in workers {
        let line = worker.line();
        for key in ["steps", "datagrams", "messages", "received"] {
            *totals.entry(key).or_default() += value(&line, key);
        }
        for (errno, count) in line.split_whitespace().filter_map(|word| word.split_once(':')) {
            *answers.entry(errno_name(errno)).or_default() += count.parse::<u64>().expect("a count");
        }
        worker.end_well();
    }
    println!("    {totals:?}, {published} events in peace; answers: {answers:?}");
    assert!(totals["messages"] > 1000 && answers.len() > 8, "that isn't much");
}

fn errno_name(number: &str) -> String {
    match number.parse().expect("an errno") {
        0 => "ack".into(),
        number => format!("{:?}", nix::errno::Errno::from_raw(number)),
    }
}

fn main() -> ExitCode {
    nlbus_tests::main(&[CASES], &[("worker", worker::work)])
}
