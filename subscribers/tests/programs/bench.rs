//! `nlbus bench`: figures that can be, and nothing left behind.

use crate::command::json;
use crate::host::on_a_host;
use std::time::{Duration, Instant};

#[test]
fn it_measures_real_subscribers_and_cleans_up() {
    on_a_host(|host| {
        let _broker = host.broker();
        for how in [&["--subs", "2"][..], &["--unbuffered", "--size", "1KiB"]] {
            let args = [&["bench", "--count", "3000", "--rate", "100", "--json"], how].concat();
            let seen = json(&host.nlbus(&args).succeeds()[0]);
            let subscribers = if how.contains(&"--subs") { 2 } else { 1 };
            assert_eq!((&seen["events"], &seen["lost"]), (&3000.into(), &0.into()), "{seen}");
            assert_eq!(seen["subscribers"], subscribers, "{seen}");
            assert_eq!(seen["buffered"], subscribers == 2, "{seen}");
            let number = |key: &str| seen.pointer(key).and_then(|value| value.as_f64()).unwrap();
            assert!(
                number("/deliveries_per_second") > 0.0 && number("/cpu_seconds_per_million_deliveries") > 0.0,
                "{seen}"
            );
            let latency = ["p50", "p99", "p99.9", "max"].map(|key| number(&format!("/latency_us/{key}")));
            assert!(latency[0] > 0.0 && latency.is_sorted(), "{seen}");
        }
        let left = host.nlbus(&["topics", "bench/#"]).succeeds();
        assert_eq!(left.len(), 1, "a heading alone: {left:?}");
    });
}

#[test]
fn interrupted_it_cleans_up_as_well() {
    on_a_host(|host| {
        let _broker = host.broker();
        let bench = host.nlbus(&["bench", "--count", "1000000000"]);
        let start = Instant::now();
        while host.nlbus(&["topics", "bench/#"]).succeeds().len() < 2 {
            assert!(start.elapsed() < Duration::from_secs(30), "it makes no topic");
        }
        bench.signal("INT");
        assert_eq!(bench.end().code, Some(130));
        assert_eq!(host.nlbus(&["topics", "bench/#"]).succeeds().len(), 1);
        for bad in [&["--size", "7"][..], &["--size", "1MiB"], &["--subs", "0"], &["--rate", "0"]] {
            assert_eq!(host.nlbus(&[&["bench"], bad].concat()).end().code, Some(2), "{bad:?}");
        }
    });
}
