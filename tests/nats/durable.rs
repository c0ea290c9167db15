//! What a stream carries arrives on each other host once and in order, whatever is killed meanwhile.

use crate::account::{Collector, Seen, publish};
use crate::bridge::Bridge;
use crate::host::Host;
use crate::servers::Servers;
use nlbus_tests::cases;
use std::thread;

cases![nothing_is_lost_and_nothing_repeated_whatever_is_killed patient];

/// Published in each phase.
const EVENTS: u32 = 100_000;

/// Of each publisher, all of them to all topics.
const PUBLISHERS: u32 = 4;

const TOPICS: &[&str] = &["load/a", "load/b", "load/c.d/", "load/e/f/g", "load/h"];

/// Bytes of history of each topic: far more than what isn't out yet.
const HISTORY: u64 = 32 << 20;

/// Events that may be under way before publishers wait.
const UNDER_WAY: u64 = 30_000;

const RULES: &str = r#"
[[out]]
topics = ["load/#"]
durable = "EVENTS"

[[in]]
subjects = ["load.>"]
durable = "EVENTS"

[streams.EVENTS]
replicas = 3
"#;

fn nothing_is_lost_and_nothing_repeated_whatever_is_killed() {
    let mut servers = Servers::with(3, "");
    servers.wait_for_jetstream();
    let hosts = [Host::new("a", 1), Host::new("b", 2), Host::new("c", 3)];
    for host in &hosts {
        let bus = host.connect();
        for topic in TOPICS {
            bus.topic_options(topic).history(HISTORY).create().expect("a topic");
        }
    }
    let mut bridges: Vec<_> = hosts.iter().map(|host| Bridge::start(host, &servers, RULES)).collect();
    let collectors: Vec<_> = hosts.iter().map(Collector::start).collect();
    let mut table = Table::new(&hosts);

    run_phase("calm", &hosts[0], &collectors, &mut table, |_| {});
    run_phase("a server killed", &hosts[0], &collectors, &mut table, |wait| {
        wait(EVENTS / 4);
        let leader = servers.leader_of("EVENTS");
        servers.kill(leader);
        wait(EVENTS / 2);
        servers.start(leader);
    });
    run_phase("the sender's bridge killed", &hosts[0], &collectors, &mut table, |wait| {
        wait(EVENTS / 4);
        bridges[0].kill();
        bridges[0].start_again(&hosts[0]);
        wait(EVENTS / 2);
        bridges[0].kill();
        bridges[0].start_again(&hosts[0]);
    });
    run_phase("a receiver's bridge killed", &hosts[0], &collectors, &mut table, |wait| {
        wait(EVENTS / 4);
        bridges[1].kill();
        bridges[1].start_again(&hosts[1]);
        wait(EVENTS / 2);
        bridges[1].kill();
        bridges[1].start_again(&hosts[1]);
    });
    table.print();
    let all: Vec<_> = collectors.iter().map(Collector::seen).collect();
    let published = u64::from(EVENTS) * 4;
    for (host, seen) in hosts.iter().zip(&all) {
        let result = (seen.count(), seen.lost(), seen.repeated(), seen.late());
        assert_eq!(result, (published, 0, 0, 0), "on {}: {seen:?}", host.name);
        // Of different publishers, too.
        assert!(seen.topics == all[0].topics, "another order on {}: {seen:?}", host.name);
    }
}

/// Publishes on the first host, with something going wrong meanwhile, and waits until all has arrived.
fn run_phase(name: &str, host: &Host, collectors: &[Collector], table: &mut Table, trouble: impl FnOnce(&dyn Fn(u32))) {
    let before: Vec<_> = collectors.iter().map(Collector::count).collect();
    // What the slowest one has of this phase.
    let arrived = || collectors.iter().zip(&before).map(|(collector, before)| collector.count() - before).min();
    let published = || collectors[0].count() - before[0];
    let is_full = || published() > arrived().unwrap_or(0) + UNDER_WAY;
    let first = table.phases() * (EVENTS / PUBLISHERS);
    thread::scope(|scope| {
        for publisher in 1..=PUBLISHERS {
            let bus = host.connect();
            let is_full = &is_full;
            scope.spawn(move || publish(&bus, publisher, TOPICS, first..first + EVENTS / PUBLISHERS, is_full));
        }
        let wait = |count: u32| collectors[2].wait(before[2] + u64::from(count));
        trouble(&wait);
    });
    for (collector, before) in collectors.iter().zip(&before) {
        collector.wait(before + u64::from(EVENTS));
    }
    table.add(name, collectors);
}

/// What came of each phase on each host.
struct Table {
    hosts: Vec<String>,
    rows: Vec<(String, Vec<Seen>)>,
}

impl Table {
    fn new(hosts: &[Host]) -> Table {
        Table { hosts: hosts.iter().map(|host| host.name.clone()).collect(), rows: Vec::new() }
    }

    fn phases(&self) -> u32 {
        self.rows.len() as u32
    }

    fn add(&mut self, phase: &str, collectors: &[Collector]) {
        self.rows.push((phase.into(), collectors.iter().map(Collector::seen).collect()));
    }

    fn print(&self) {
        println!(
            "\n    {:<28} {:>4} {:>10} {:>9} {:>5} {:>9}",
            "while", "host", "published", "received", "lost", "repeated"
        );
        let none = vec![Seen::default(); self.hosts.len()];
        let mut before = &none;
        for (phase, seen) in &self.rows {
            for ((host, seen), before) in self.hosts.iter().zip(seen).zip(before) {
                let (received, lost) = (seen.count() - before.count(), seen.lost() - before.lost());
                let repeated = seen.repeated() - before.repeated();
                println!("    {phase:<28} {host:>4} {EVENTS:>10} {received:>9} {lost:>5} {repeated:>9}");
            }
            before = seen;
        }
    }
}
