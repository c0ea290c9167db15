//! How the instructions of an event are counted, whatever carries it.
//!
//! One CPU: a publisher, and subscribers that sleep in a call until there is something. The publisher sends an event, or
//! 64, and yields until all subscribers have them; so what is counted is the whole way, with all wake-ups and both
//! system calls, and nothing else runs.

use std::env;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

pub const PAYLOAD: [u8; 64] = [7; 64];
/// Events that are sent at once.
const BATCH: usize = 64;
/// Sent before what counts, and what counts.
const ROUNDS: [u32; 2] = [300, 1000];

/// A subscriber: waits for something, and returns how many events it was.
pub type Receive = Box<dyn FnMut() -> u64 + Send>;
/// Sends so many events at once.
pub type Publish = Box<dyn FnMut(usize)>;
/// Makes a publisher, and so many subscribers that miss nothing of it.
pub type System = fn(usize) -> (Publish, Vec<Receive>);

/// Prints one line a figure: its name, and instructions for each delivered event; only figures whose names begin with what
/// `NLBUS_COUNT` says.
pub fn print(systems: &[(&str, System)]) -> ExitCode {
    let Ok(wanted) = env::var("NLBUS_COUNT") else {
        println!("only where time is the number of instructions: make bench-vm");
        return ExitCode::SUCCESS;
    };
    for (name, system) in systems {
        for (what, events) in [("lone", 1), ("batch", BATCH)] {
            for subscribers in [1, 8] {
                let row = format!("{name}-{what}-{subscribers}");
                if row.starts_with(&wanted) {
                    let (publish, receivers) = system(subscribers);
                    println!("{row} {}", count(events, publish, receivers));
                }
            }
        }
    }
    ExitCode::SUCCESS
}

/// Instructions for each delivered event.
fn count(events: usize, mut publish: Publish, subscribers: Vec<Receive>) -> u64 {
    let delivered: Vec<AtomicU64> = subscribers.iter().map(|_| AtomicU64::new(0)).collect();
    let total = u64::from(ROUNDS.iter().sum::<u32>()) * events as u64;
    thread::scope(|scope| {
        for (mut receive, delivered) in subscribers.into_iter().zip(&delivered) {
            scope.spawn(move || {
                let mut sum = 0;
                while sum < total {
                    sum += receive();
                    delivered.store(sum, Ordering::Release);
                }
            });
        }
        let mut published = 0;
        let mut took = 0;
        for rounds in ROUNDS {
            let start = Instant::now();
            for _ in 0..rounds {
                publish(events);
                published += events as u64;
                while delivered.iter().any(|delivered| delivered.load(Ordering::Acquire) < published) {
                    // sched_yield(2): the subscribers' turn, on the one CPU.
                    thread::yield_now();
                }
            }
            took = start.elapsed().as_nanos() as u64 / (u64::from(rounds) * events as u64 * delivered.len() as u64);
        }
        took
    })
}
