//! `nlbus-log --state`: what is in a log is cut off only where it comes again.

use crate::host::{Host, on_a_host};
use crate::log::{assert_each_once, heads, lines, publish, start, wait_for};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Runs it until it has written so many lines in all, and kills it before it keeps its position anew.
fn write_behind_the_position(host: &Host, folder: &Path, args: &[&str], topic: &str, count: usize) {
    let log = start(host, folder, &[args, &["--sync", "1h"]].concat());
    let bus = host.connect();
    let before = fs::read(folder.join("log")).unwrap().len();
    publish(&bus, topic, count as u64);
    wait_for(|| {
        let text = fs::read(folder.join("log")).unwrap();
        text[before..].iter().filter(|byte| **byte == b'\n').count() == count
    });
    log.signal("KILL");
    log.end();
}

fn events(folder: &Path) -> Vec<Value> {
    lines(folder).into_iter().filter(|line| line.get("topic").is_some()).collect()
}

#[test]
fn what_another_broker_sent_stays() {
    on_a_host(|host| {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state").display().to_string();
        let args = ["--state", &state, "x"];
        let broker = host.broker();
        write_behind_the_position(host, folder.path(), &args, "x", 50);
        broker.signal("TERM");
        broker.end();
        let _broker = host.broker();
        let log = start(host, folder.path(), &args);
        publish(&host.connect(), "x", 1);
        log.signal("TERM");
        let ended = log.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let numbers: Vec<u64> = events(folder.path()).iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=50).chain([1]).collect::<Vec<_>>(), "{ended:?}");
    });
}

#[test]
fn what_the_broker_keeps_no_more_stays() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state").display().to_string();
        let args = ["--state", &state, "x"];
        let bus = host.connect();
        write_behind_the_position(host, folder.path(), &args, "x", 50);
        // More than a topic's history holds.
        for _ in 0..100 {
            bus.publish_acked("x", &[b'x'; 60_000]).unwrap();
        }
        let log = start(host, folder.path(), &args);
        log.signal("TERM");
        log.succeeds();
        let numbers: Vec<u64> = events(folder.path()).iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        assert_eq!(numbers[..50], (1..=50).collect::<Vec<_>>(), "{numbers:?}");
    });
}

#[test]
fn what_other_filters_chose_stays() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state").display().to_string();
        write_behind_the_position(host, folder.path(), &["--state", &state, "x", "y"], "y", 50);
        let log = start(host, folder.path(), &["--state", &state, "x"]);
        publish(&host.connect(), "x", 1);
        log.signal("TERM");
        log.succeeds();
        assert_each_once(&events(folder.path()), &heads(&host.connect()));
    });
}

#[test]
fn what_was_written_without_a_position_is_cut_only_if_it_comes_again() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state").display().to_string();
        let (bus, with) = (host.connect(), ["--state", &state, "x"]);
        for (args, topic) in [(&with[..], "x"), (&["x"], "x"), (&with, "x"), (&["y"], "y"), (&with, "x")] {
            let log = start(host, folder.path(), args);
            publish(&bus, topic, 20);
            log.signal("TERM");
            log.succeeds();
        }
        let events = events(folder.path());
        assert_eq!(events.iter().filter(|event| event["topic"] == "y").count(), 20, "{events:#?}");
        assert_each_once(&events, &heads(&bus));
    });
}

#[test]
fn another_file_is_left_as_it_is() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state").display().to_string();
        let log = start(host, folder.path(), &["--state", &state, "x"]);
        log.signal("TERM");
        log.succeeds();
        let other = folder.path().join("other");
        let text = "{\"topic\":\"precious\",\"seq\":1}\n".repeat(100);
        fs::write(&other, &text).unwrap();
        fs::rename(&other, folder.path().join("log")).unwrap();
        let log = start(host, folder.path(), &["--state", &state, "x"]);
        log.signal("TERM");
        log.succeeds();
        assert_eq!(fs::read_to_string(folder.path().join("log")).unwrap(), text);
    });
}

#[test]
fn what_has_no_newline_at_its_end_is_left_alone_until_there_is_a_broker() {
    on_a_host(|host| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        for (text, mended) in [("words", "words\n"), ("{\"a\":1}", "{\"a\":1}\n"), ("a\n{\"topic\":\"x", "a\n")] {
            fs::write(&file, text).unwrap();
            let name = file.display().to_string();
            let args = ["--file", &name, "--wait", "0s"];
            let ended = crate::host::Running::start(host.command(crate::log::LOG).args(args), &args).end();
            assert_eq!(ended.code, Some(1), "{ended:?}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
            let _broker = host.broker();
            let log = start(host, folder.path(), &[]);
            log.signal("TERM");
            log.succeeds();
            assert_eq!(fs::read_to_string(&file).unwrap(), mended);
        }
    });
}
