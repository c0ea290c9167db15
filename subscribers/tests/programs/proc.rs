//! `nlbus-proc`: the host's load and memory come out typed at a subscriber, again and again.

use crate::host::{Running, in_a_network_of_its_own, on_a_host};
use crate::links::find;
use nlbus_subscribers::sources::proc::{Load, Memory};
use std::fs;

const PROC: &str = env!("CARGO_BIN_EXE_nlbus-proc");

#[test]
fn readings_come_typed_at_an_interval() {
    on_a_host(|host| {
        let _broker = host.broker();
        for content in ["json", "bincode"] {
            let bus = host.connect();
            let proc = host.service(PROC, &["--interval", "10ms", "--content", content, "--prefix", content]);
            let mut memory = bus.subscribe_as::<Memory>(&format!("{content}/proc/memory")).unwrap();
            let mut load = bus.subscribe_as::<Load>(&format!("{content}/proc/loadavg")).unwrap();
            let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
            let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
            let total = total.unwrap().parse::<u64>().unwrap() * 1024;
            for _ in 0..3 {
                assert_eq!(find(&mut memory, |_| true).total, total);
                assert!(find(&mut load, |_| true).threads > 0);
            }
            proc.signal("TERM");
            proc.succeeds();
        }
        let args = ["--interval", "0s"];
        assert_eq!(Running::start(host.command(PROC).args(args), &args).end().code, Some(2));
    });
}

#[test]
fn sources_stop_without_a_broker_and_do_not_start_below_what_is_reserved() {
    in_a_network_of_its_own(|host| {
        for program in [PROC, env!("CARGO_BIN_EXE_nlbus-links"), env!("CARGO_BIN_EXE_nlbus-uevent")] {
            let broker = host.broker();
            let source = host.service(program, &[]);
            drop(broker);
            source.signal("TERM");
            let ended = source.end();
            assert_eq!(ended.code, Some(0), "{program}: {ended:?}");
            assert!(ended.notes.iter().any(|note| note.contains("the broker is gone")), "{program}: {ended:?}");
            for prefix in ["$SYS", "kernel/a", &"a".repeat(200)] {
                let args = ["--prefix", prefix];
                assert_eq!(Running::start(host.command(program).args(args), &args).end().code, Some(2), "{prefix}");
            }
        }
    });
}
