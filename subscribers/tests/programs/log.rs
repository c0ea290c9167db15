//! `nlbus-log`: its files hold each event once and in order, whatever happens to files, program and disk.

use crate::host::{Host, Running, on_a_host};
use nlbus::Bus;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

pub const LOG: &str = env!("CARGO_BIN_EXE_nlbus-log");

pub fn start(host: &Host, folder: &Path, args: &[&str]) -> Running {
    let file = folder.join("log").display().to_string();
    host.service(LOG, &[&["--file", &file], args].concat())
}

/// The log's files, the oldest first.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("log"));
    // The one without a number is the newest.
    files.sort_by_key(|path| (path.extension().is_none(), path.clone()));
    files
}

/// All lines of all files; each must be whole.
pub fn lines(folder: &Path) -> Vec<Value> {
    let mut lines = Vec::new();
    for file in files(folder) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{}: the last line isn't whole", file.display());
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        lines.extend(text.lines().map(parse));
    }
    lines
}

/// Asserts that each topic's numbers are there once, in order, up to its head, and returns how many events there are.
pub fn assert_each_once(lines: &[Value], heads: &BTreeMap<String, u64>) -> u64 {
    let mut next: BTreeMap<&str, u64> = BTreeMap::new();
    for line in lines {
        let topic = line["topic"].as_str().unwrap_or_else(|| panic!("not an event: {line}"));
        let expected = next.entry(topic).or_insert(1);
        assert_eq!(line["seq"].as_u64(), Some(*expected), "{line}");
        *expected += 1;
    }
    for (topic, head) in heads {
        assert_eq!(next.get(topic.as_str()).map_or(0, |next| next - 1), *head, "of '{topic}'");
    }
    next.values().map(|next| next - 1).sum()
}

pub fn heads(bus: &Bus) -> BTreeMap<String, u64> {
    let topics = bus.topics().unwrap().into_iter().filter(|topic| !topic.name.starts_with('$'));
    topics.map(|topic| (topic.name, topic.head)).collect()
}

pub fn publish(bus: &Bus, topic: &str, count: u64) {
    let mut batch = bus.batch();
    for number in 0..count {
        if batch.len() == 100 {
            batch.send().unwrap();
        }
        batch.push(topic, &format!("{number:064}")).unwrap();
    }
    batch.send_acked().unwrap();
}

pub fn wait_for(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it didn't come to that");
        thread::yield_now();
    }
}

#[test]
fn each_event_is_there_once_over_rotation_and_sigterm() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        // What a log that is behind has yet to read must still be there.
        for topic in ["a/x", "a/y", "b"] {
            host.nlbus(&["topic", "create", topic, "--history", "16MiB"]).succeeds();
        }
        let log = start(host, folder.path(), &["--max-size", "1MiB", "--keep", "1000"]);
        let publishers: Vec<_> = ["a/x", "a/y", "b"]
            .map(|topic| {
                let bus = host.connect();
                thread::spawn(move || publish(&bus, topic, if topic == "b" { 40_000 } else { 30_000 }))
            })
            .into();
        publishers.into_iter().for_each(|thread| thread.join().unwrap());
        // It may be far behind: what was published before the signal is written all the same.
        log.signal("TERM");
        log.succeeds();
        let rotated = files(folder.path());
        assert!(rotated.len() > 10, "{rotated:?}");
        assert!(rotated.iter().all(|file| fs::metadata(file).unwrap().len() <= 1 << 20));
        assert_eq!(assert_each_once(&lines(folder.path()), &heads(&host.connect())), 100_000);
    });
}

#[test]
fn sigterm_in_the_midst_leaves_no_hole() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let log = start(host, folder.path(), &["--max-size", "200k", "--keep", "1000"]);
        let bus = host.connect();
        publish(&bus, "x", 5000);
        let before = bus.topic("x").unwrap().unwrap().head;
        let publisher = thread::spawn(move || publish(&bus, "x", 20_000));
        log.signal("TERM");
        log.succeeds();
        publisher.join().unwrap();
        let lines = lines(folder.path());
        assert!(assert_each_once(&lines, &BTreeMap::new()) >= before, "{} lines, {before} published", lines.len());
    });
}

#[test]
fn with_a_state_file_nothing_is_missed_or_repeated_over_any_end() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state").display().to_string();
        let args = ["--state", &state, "--sync", "10ms", "--max-size", "100k", "--keep", "1000", "a/#", "+/x"];
        let bus = host.connect();
        bus.publish_acked("a/x", "before anybody listened").unwrap();
        for (round, signal) in ["KILL", "TERM", "KILL", "KILL", "INT", "KILL"].into_iter().enumerate() {
            let log = start(host, folder.path(), &args);
            // Some come while it runs, and some while it doesn't.
            for topic in ["a/x", "a/y", &format!("new{round}/x")] {
                publish(&bus, topic, 300);
            }
            log.signal(signal);
            let ended = log.end();
            assert_eq!(ended.code, (signal != "KILL").then_some(0), "{ended:?}");
            publish(&bus, "a/y", 100);
            publish(&bus, "between/x", 10);
        }
        let log = start(host, folder.path(), &args);
        log.signal("TERM");
        log.succeeds();
        let mut lines = lines(folder.path());
        // It began live, so the first one of all is not there.
        assert_eq!((&lines[0]["topic"], &lines[0]["seq"]), (&Value::from("a/x"), &Value::from(2)));
        lines.insert(0, serde_json::json!({ "topic": "a/x", "seq": 1 }));
        assert_each_once(&lines, &heads(&bus));
    });
}

#[test]
fn it_appends_and_cuts_off_a_line_that_was_never_finished() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("log"), "{\"topic\":\"x\",\"seq\":1}\n{\"topic\":\"x\",\"se").unwrap();
        let log = start(host, folder.path(), &["x"]);
        host.nlbus(&["pub", "x", "one"]).succeeds();
        log.signal("TERM");
        let ended = log.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let seen: Vec<Value> = lines(folder.path()).iter().map(|line| line["seq"].clone()).collect();
        assert_eq!(seen, [1, 1]);
    });
}

#[test]
fn sighup_opens_the_file_anew() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let mut log = start(host, folder.path(), &[]);
        host.nlbus(&["pub", "x", "one"]).succeeds();
        fs::rename(folder.path().join("log"), folder.path().join("log.moved")).unwrap();
        log.signal("HUP");
        while !log.next_note().contains("anew") {}
        host.nlbus(&["pub", "x", "two"]).succeeds();
        log.signal("TERM");
        log.succeeds();
        let payloads = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
        assert!(payloads("log.moved").contains("one") && !payloads("log.moved").contains("two"));
        assert!(payloads("log").contains("two") && !payloads("log").contains("one"));
    });
}

#[test]
fn an_old_file_is_rotated_and_the_oldest_are_removed() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let mut log = start(host, folder.path(), &["--max-age", "1ms", "--keep", "2"]);
        for number in 0..5 {
            host.nlbus(&["pub", "x", &number.to_string()]).succeeds();
            while !log.next_note().ends_with("rotated") {}
        }
        log.signal("TERM");
        log.succeeds();
        let names: Vec<_> =
            files(folder.path()).iter().map(|file| file.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(names, ["log.000000004", "log.000000005", "log"]);
    });
}

#[test]
fn what_overlapping_filters_match_is_written_once() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let log = start(host, folder.path(), &["a/#", "+/b", "#", "--exclude", "a/no"]);
        for topic in ["a/b", "c/b", "d", "a/no"] {
            host.nlbus(&["pub", topic, "x"]).succeeds();
        }
        log.signal("TERM");
        log.succeeds();
        let lines = lines(folder.path());
        let mut topics: Vec<_> = lines.iter().map(|line| line["topic"].as_str().unwrap()).collect();
        topics.sort_unstable();
        assert_eq!(topics, ["a/b", "c/b", "d"]);
    });
}

#[test]
fn a_full_disk_is_an_error_that_says_so() {
    on_a_host(|host| {
        let _broker = host.broker();
        let log = host.service(LOG, &["--file", "/dev/full"]);
        host.nlbus(&["pub", "x", "one"]).succeeds();
        let ended = log.end();
        let error = ended.notes.last().unwrap();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            error.starts_with("nlbus-log: can't write to /dev/full: ")
                && error.ends_with("make room on that file system"),
            "{error}"
        );
    });
}

#[test]
fn what_did_not_fit_on_a_full_disk_comes_again() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (log, state) = (path("log"), path("state"));
        let args = ["--file", &log, "--state", &state, "--start", "all", "--sync", "10ms", "x"];
        let bus = host.connect();
        bus.create_topic("x").unwrap();
        // A limit on the size of files stands for the disk: beyond it, write(2) writes a part, and then fails.
        let script = "trap '' XFSZ; ulimit -f 40; exec \"$0\" \"$@\"";
        let mut full = Running::start(host.command("sh").args(["-c", script, LOG]).args(args), &args);
        while !full.next_note().ends_with("ready") {}
        publish(&bus, "x", 400);
        let ended = full.end();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.notes.last().unwrap().contains("ulimit"), "{ended:?}");
        let again = host.service(LOG, &args);
        again.signal("TERM");
        again.succeeds();
        assert_eq!(assert_each_once(&lines(folder.path()), &heads(&bus)), 400);
    });
}

#[test]
fn what_cannot_be_opened_or_read_is_an_error_with_a_remedy() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(path("state"), "{").unwrap();
        for (args, remedy) in [
            (vec!["--file", "/no/such/folder/log"], "create its directory, or choose another --file"),
            (
                vec!["--file", &path("log"), "--state", &path("state")],
                "remove it to begin anew, or choose another --state",
            ),
        ] {
            let log = Running::start(host.command(LOG).args(&args), &args);
            let ended = log.end();
            assert_eq!(ended.code, Some(1), "{ended:?}");
            assert!(ended.notes.last().unwrap().ends_with(remedy), "{ended:?}");
        }
        let usage = ["--file", &path("log"), "--start", "seq=5", "a/+"];
        assert_eq!(Running::start(host.command(LOG).args(usage), &usage).end().code, Some(2));
    });
}
