//! The `nlbus` command. What scripts rely on, shown with the real command on a real broker: output, exit status, and when what happens.

use crate::host::on_a_host;
use serde_json::Value;

pub fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// Numbers from 1 to n as text.
pub fn numbers(n: u64) -> Vec<String> {
    (1..=n).map(|number| number.to_string()).collect()
}

#[test]
fn events_reach_a_subscriber_as_json() {
    on_a_host(|host| {
        let _broker = host.broker();
        let sub = host.sub(&["a/+", "--json", "--count", "3"]);
        assert!(host.nlbus(&["pub", "a/b", "hello", "--count", "3"]).succeeds().is_empty());
        let events = sub.succeeds();
        assert_eq!(events.len(), 3, "{events:?}");
        for (seq, event) in (1..).zip(events.iter().map(|line| json(line))) {
            let keys: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(keys, ["topic", "seq", "time_ns", "origin", "portid", "pid", "uid", "content", "payload"]);
            assert_eq!((&event["topic"], &event["seq"]), (&Value::from("a/b"), &Value::from(seq)), "{event}");
            assert_eq!((&event["payload"], &event["content"]), (&Value::from("hello"), &Value::from("text")));
            assert_eq!(event["origin"], "user");
        }
    });
}

#[test]
fn a_text_line_holds_one_event_whatever_is_in_it() {
    on_a_host(|host| {
        let _broker = host.broker();
        let sub = host.sub(&["#", "--count", "2"]);
        host.nlbus(&["pub", "a b/c", "two\nlines \x1b[1m"]).succeeds();
        host.nlbus_reads(&["pub", "x"], b"\xff\0".to_vec()).succeeds();
        assert_eq!(sub.succeeds(), ["a\\x20b/c 1 two\\nlines \\x1b[1m", "x 1 \\xff\\x00"]);
    });
}

#[test]
fn raw_is_the_payload_and_a_newline() {
    on_a_host(|host| {
        let _broker = host.broker();
        let sub = host.sub(&["x", "--raw", "--count", "2"]);
        host.nlbus_reads(&["pub", "x"], b"one\ntwo".to_vec()).succeeds();
        host.nlbus(&["pub", "x", "\x1b"]).succeeds();
        assert_eq!(sub.succeeds(), ["one", "two", "\x1b"]);
    });
}

#[test]
fn timestamps_are_the_time_of_day() {
    on_a_host(|host| {
        let _broker = host.broker();
        let sub = host.sub(&["x", "--timestamps", "--count", "1"]);
        let before = humantime::format_rfc3339_nanos(std::time::SystemTime::now()).to_string();
        host.nlbus(&["pub", "x", "hi"]).succeeds();
        let after = humantime::format_rfc3339_nanos(std::time::SystemTime::now()).to_string();
        let line = sub.succeeds().remove(0);
        let (time, event) = line.split_once(' ').unwrap();
        assert_eq!(event, "x 1 hi");
        assert!(before.as_str() < time && time < after.as_str(), "{before} {time} {after}");
    });
}

#[test]
fn an_event_that_several_filters_match_is_printed_once() {
    on_a_host(|host| {
        let _broker = host.broker();
        let sub = host.sub(&["a/#", "a/b", "+/b", "c", "--exclude", "a/x", "--exclude", "+/y", "--count", "4"]);
        for topic in ["a/b", "a/x", "d/b", "a/y", "b/y", "a/c", "c"] {
            host.nlbus(&["pub", topic, "hi"]).succeeds();
        }
        let mut events = sub.succeeds();
        events.sort();
        assert_eq!(events, ["a/b 1 hi", "a/c 1 hi", "c 1 hi", "d/b 1 hi"]);
    });
}

#[test]
fn history_is_where_one_starts() {
    on_a_host(|host| {
        let _broker = host.broker();
        let input = b"1\n2\n3\n4\n5\n".to_vec();
        host.nlbus_reads(&["pub", "x", "--lines"], input).succeeds();
        for (start, events) in [("all", 1..=5), ("last", 5..=5), ("last=2", 4..=5), ("seq=3", 3..=5)] {
            let count = events.clone().count().to_string();
            let printed = host.sub(&["x", "--start", start, "--count", &count, "--raw"]).succeeds();
            assert_eq!(printed, events.map(|n| n.to_string()).collect::<Vec<_>>(), "{start}");
        }
        let beyond = host.nlbus(&["sub", "x", "--start", "seq=9"]).fails(1);
        assert!(beyond.contains("beyond"), "{beyond}");
    });
}

#[test]
fn the_latest_event_says_for_how_many_it_stands() {
    on_a_host(|host| {
        let _broker = host.broker();
        host.nlbus_reads(&["pub", "x", "--lines"], b"1\n2\n3\n4\n5\n".to_vec()).succeeds();
        let args = ["x", "--start", "all", "--overflow", "latest", "--json", "--count", "1"];
        let event = json(&host.sub(&args).succeeds()[0]);
        assert_eq!((&event["payload"], &event["stands_for"]), (&Value::from("5"), &Value::from(5)), "{event}");
    });
}

#[test]
fn a_timeout_that_strikes_first_is_27() {
    on_a_host(|host| {
        let _broker = host.broker();
        let mut sub = host.sub(&["x", "--count", "2", "--timeout", "700ms"]);
        host.nlbus(&["pub", "x", "hi"]).succeeds();
        assert_eq!(sub.next_line(), "x 1 hi");
        assert_eq!(sub.fails(27), "nlbus: timed out after 1 of 2 events");
        assert_eq!(host.sub(&["x", "--timeout", "1ms"]).fails(27), "nlbus: timed out");
    });
}

#[test]
fn a_closed_pipe_is_success() {
    on_a_host(|host| {
        let _broker = host.broker();
        // While events come, and while none does.
        host.nlbus(&["topic", "create", "x", "--history", "32MiB"]).succeeds();
        let mut busy = host.shell("{ nlbus sub x; echo $? >&2; } | head -n 1");
        assert_eq!(busy.next_note(), "subscribed");
        host.nlbus(&["pub", "x", "hi", "--count", "100000"]).succeeds();
        assert_eq!((busy.next_line().as_str(), busy.next_note().as_str()), ("x 1 hi", "0"));
        let mut idle = host.shell("{ nlbus sub y; echo $? >&2; } | true");
        // The pipe may be closed before it has subscribed.
        let first = idle.next_note();
        assert_eq!(if first == "subscribed" { idle.next_note() } else { first }, "0");
    });
}

#[test]
fn an_interrupt_is_130_and_what_came_before_is_printed() {
    on_a_host(|host| {
        let _broker = host.broker();
        for signal in ["INT", "TERM"] {
            let sub = host.sub(&["x"]);
            host.nlbus(&["pub", "x", "hi"]).succeeds();
            let mut sub = sub;
            sub.next_line();
            sub.signal(signal);
            let ended = sub.end();
            assert_eq!((ended.code, ended.notes.len()), (Some(130), 0), "{ended:?}");
        }
        let mut publisher = host.nlbus(&["pub", "x", "hi", "--count", "2", "--interval", "1h", "--ack"]);
        publisher.next_line();
        publisher.signal("INT");
        assert_eq!(publisher.end().code, Some(130));
    });
}

#[test]
fn a_broker_ends_cleanly_and_has_its_port_alone() {
    on_a_host(|host| {
        for signal in ["INT", "TERM"] {
            let broker = host.broker();
            let second = host.nlbus(&["broker"]).fails(1);
            assert!(second.contains("another broker"), "{second}");
            broker.signal(signal);
            assert_eq!(broker.end().code, Some(0));
        }
    });
}

#[test]
fn without_a_broker_every_verb_fails_and_says_how_to_get_one() {
    on_a_host(|host| {
        for args in [&["pub", "x", "hi"][..], &["sub", "x"], &["topics"], &["info"]] {
            let line = host.nlbus_with(args, &[("NLBUS_BROKER", "auto")]).fails(1);
            assert!(line.starts_with("nlbus: no broker: "), "{line}");
            assert!(line.contains("modprobe nlbus") && line.contains("nlbus broker"), "{line}");
        }
    });
}

#[test]
fn waiting_for_a_broker_ends_with_it_or_with_the_timeout() {
    on_a_host(|host| {
        let timed_out = host.nlbus(&["sub", "x", "--wait", "--timeout", "300ms"]).fails(27);
        assert!(timed_out.contains("broker"), "{timed_out}");
        let mut sub = host.nlbus(&["sub", "x", "--wait", "--count", "1"]);
        let _broker = host.broker();
        assert_eq!(sub.next_note(), "subscribed");
        host.nlbus(&["pub", "x", "hi"]).succeeds();
        assert_eq!(sub.succeeds(), ["x 1 hi"]);
    });
}

#[test]
fn a_restart_is_told_in_line() {
    on_a_host(|host| {
        let broker = host.broker();
        let mut sub = host.sub(&["x", "y", "--json", "--count", "2"]);
        let mut strict = host.sub(&["x", "--fail-on-loss"]);
        host.nlbus(&["pub", "x", "before"]).succeeds();
        assert_eq!(json(&sub.next_line())["payload"], "before");
        broker.signal("KILL");
        broker.end();
        let _broker = host.broker();
        // Both subscriptions have one to tell; it is told once.
        let restarted = json(&sub.next_line());
        assert!(restarted["restarted"]["epoch"].is_u64(), "{restarted}");
        host.nlbus(&["pub", "x", "after"]).succeeds();
        assert_eq!(json(&sub.next_line())["payload"], "after");
        sub.succeeds();
        assert_eq!(strict.next_line(), "x 1 before");
        let ended = strict.end();
        assert_eq!((ended.code, ended.notes.len()), (Some(1), 2), "{ended:?}");
    });
}

#[test]
fn a_loss_is_told_in_line_and_can_be_a_failure() {
    on_a_host(|host| {
        let _broker = host.broker();
        // More than the 4 MiB that a topic keeps.
        host.nlbus(&["pub", "x", &"x".repeat(60_000), "--count", "100"]).succeeds();
        let sub = host.sub(&["x", "--start", "seq=1", "--json", "--count", "1"]);
        let lines = sub.succeeds();
        let (lost, next) = (&json(&lines[0])["lost"], json(&lines[1]));
        assert_eq!((&lost["topic"], &lost["from"], &lost["cause"]), (&"x".into(), &1.into(), &"late".into()));
        assert_eq!(next["seq"].as_u64().unwrap(), lost["to"].as_u64().unwrap() + 1);
        let ended = host.sub(&["x", "--start", "seq=1", "--count", "1", "--fail-on-loss"]).end();
        assert_eq!((ended.code, ended.output.len()), (Some(1), 0), "{:?}", ended.notes);
        assert!(ended.notes[0].starts_with("nlbus: lost "), "{:?}", ended.notes);
    });
}

#[test]
fn json_and_text_are_decoded() {
    on_a_host(|host| {
        let _broker = host.broker();
        let sub = host.sub(&["#", "--json", "--count", "4"]);
        for (content, payload) in [("json", "{\n\"on\": true}"), ("json", "{"), ("text", "1"), ("opaque", "1")] {
            host.nlbus(&["pub", "x", payload, "--content", content]).succeeds();
        }
        let seen: Vec<_> = sub.succeeds().iter().map(|line| json(line)).collect();
        assert_eq!(seen[0]["value"], json(r#"{"on":true}"#));
        assert_eq!(seen[0]["payload"], "{\n\"on\": true}", "as it is, too");
        assert!(seen[1..].iter().all(|event| event.get("value").is_none()), "{seen:?}");
        assert_eq!([1, 2, 3].map(|at| seen[at]["payload"].as_str().unwrap().to_owned()), ["{", "1", "1"]);
    });
}

#[test]
fn topics_and_info_describe_the_bus() {
    on_a_host(|host| {
        let _broker = host.broker();
        host.nlbus(&["pub", "a b/c", "hello", "--count", "2"]).succeeds();
        host.nlbus(&["pub", "a", "hello"]).succeeds();
        let listed = host.nlbus(&["topics", "+/#", "--json"]).succeeds();
        assert_eq!(listed.len(), 2, "{listed:?}");
        let topic = json(&listed[1]);
        assert_eq!((&topic["topic"], &topic["first"], &topic["head"]), (&"a b/c".into(), &1.into(), &2.into()));
        let table = host.nlbus(&["topics"]).succeeds();
        assert!(table[0].ends_with("TOPIC") && table.last().unwrap().ends_with(" a\\x20b/c"), "{table:?}");
        let info = json(&host.nlbus(&["info", "--json"]).succeeds()[0]);
        assert_eq!((&info["broker"], &info["version"], &info["protocol"]), (&"user".into(), &1.into(), &2.into()));
        assert!(info["counters"]["published"].as_u64().unwrap() >= 3, "{info}");
        assert!(host.nlbus(&["info"]).succeeds()[0].ends_with("user"));
    });
}

#[test]
fn info_lists_clients_with_what_waits_for_them() {
    on_a_host(|host| {
        let _broker = host.broker();
        let sub = host.sub(&["x"]);
        let info = json(&host.nlbus(&["info", "--clients", "--json"]).succeeds()[0]);
        let clients = info["clients"].as_array().expect("a list");
        let of = |pid: u32| clients.iter().filter(|client| client["pid"] == pid).count();
        assert_eq!(of(sub.pid()), 2, "the two sockets of a connection: {clients:?}");
        for key in ["portid", "queued", "drops", "pid", "command"] {
            assert!(clients[0].get(key).is_some(), "{key}: {clients:?}");
        }
        let text = host.nlbus(&["info", "--clients"]).succeeds().join("\n");
        assert!(text.contains("QUEUED") && text.contains(&format!("{} nlbus", sub.pid())), "{text}");
    });
}

#[test]
fn without_the_module_its_verbs_fail_and_say_how_to_get_it() {
    on_a_host(|host| {
        let retire = host.nlbus(&["module", "retire"]).fails(1);
        assert!(retire.contains("modprobe nlbus"), "{retire}");
        let unload = host.nlbus(&["module", "unload"]).fails(1);
        assert!(unload.contains("can't unload the module"), "{unload}");
    });
}
