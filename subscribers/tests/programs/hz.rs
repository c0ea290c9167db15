//! `nlbus hz`: how often events come.

use crate::command::json;
use crate::host::on_a_host;
use std::thread;
use std::time::Duration;

#[test]
fn rates_are_by_the_brokers_times() {
    on_a_host(|host| {
        let _broker = host.broker();
        let bus = host.connect();
        let mut hz = host.nlbus(&["hz", "t/+", "--exclude", "t/out", "--json", "--interval", "300ms", "--count", "2"]);
        assert_eq!(hz.next_note(), "subscribed");
        for number in 0..4 {
            bus.publish_acked("t/slow", "x").unwrap();
            bus.publish_acked("t/out", "x").unwrap();
            if number == 0 {
                bus.publish_acked("t/once", "x").unwrap();
            }
            thread::sleep(Duration::from_millis(20));
        }
        let lines: Vec<_> = hz.succeeds().iter().map(|line| json(line)).collect();
        // Of the last report; a first one may have come before the events did.
        let last = |topic: &str| lines.iter().rfind(|line| line["topic"] == topic).unwrap().clone();
        let slow = last("t/slow");
        let rate = slow["rate"].as_f64().unwrap();
        assert!(rate > 1.0 && rate <= 50.0, "{slow}");
        assert!(slow["min_ns"].as_u64().unwrap() >= 20_000_000 && slow["window"] == 4 && slow["lost"] == 0, "{slow}");
        let new: u64 =
            lines.iter().filter(|line| line["topic"] == "t/slow").map(|line| line["new"].as_u64().unwrap()).sum();
        assert_eq!(new, 4, "each is new once");
        assert!(last("t/once")["rate"].is_null(), "{lines:?}");
        assert!(!lines.iter().any(|line| line["topic"] == "t/out"), "{lines:?}");
    });
}

#[test]
fn text_says_when_nothing_comes() {
    on_a_host(|host| {
        let _broker = host.broker();
        let mut hz = host.nlbus(&["hz", "x", "--interval", "50ms"]);
        assert_eq!(hz.next_line(), "no events yet");
        let bus = host.connect();
        bus.publish_acked("x", "1").unwrap();
        bus.publish_acked("x", "2").unwrap();
        let seen = (0..100).map(|_| hz.next_line()).find(|line| line.starts_with("x  no new events  "));
        let line = seen.expect("a report without new events");
        assert!(line.contains("/s  min ") && line.ends_with("  window 2"), "{line}");
        hz.signal("INT");
        assert_eq!(hz.end().code, Some(130));
        assert_eq!(host.shell("nlbus hz x --interval 10ms | head -1 > /dev/null; echo done").succeeds(), ["done"]);
    });
}
