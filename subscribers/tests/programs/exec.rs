//! `nlbus-exec`: a command for each event, within its bounds, whatever the commands do.

use crate::host::{Host, Running, on_a_host};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

pub const EXEC: &str = env!("CARGO_BIN_EXE_nlbus-exec");

pub fn start(host: &Host, args: &[&str], script: &str, folder: &Path) -> Running {
    let folder = folder.display().to_string();
    host.service(EXEC, &[args, &["--", "sh", "-c", script, &folder]].concat())
}

/// The lines of a file, once there are so many.
pub fn lines(path: &Path, count: usize) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if text.lines().count() >= count {
            return text.lines().map(str::to_owned).collect();
        }
        assert!(Instant::now() < deadline, "{}: {text}", path.display());
        std::thread::yield_now();
    }
}

#[test]
fn the_command_has_payload_and_fields() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let script = "echo \"$NLBUS_TOPIC $NLBUS_SEQ $NLBUS_ORIGIN $NLBUS_UID $NLBUS_CONTENT $(cat)\" >> $0/out";
        let exec = start(host, &["a/+", "a/#", "--jobs", "1"], script, folder.path());
        host.nlbus(&["pub", "a/b", "hello"]).succeeds();
        host.nlbus(&["pub", "a/b/c", "two words", "--content", "opaque"]).succeeds();
        host.nlbus(&["pub", "other", "x"]).succeeds();
        let uid = nix::unistd::getuid();
        let expected = [format!("a/b 1 user {uid} text hello"), format!("a/b/c 1 user {uid} opaque two words")];
        let mut seen = lines(&folder.path().join("out"), 2);
        seen.sort();
        assert_eq!(seen, expected);
        exec.signal("TERM");
        exec.succeeds();
    });
}

#[test]
fn no_more_than_so_many_run_at_a_time_and_none_is_missed() {
    const EVENTS: usize = 40;
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        // Each takes a place; where there is none, it says so.
        let script = "mkdir $0/1 2>/dev/null && p=1 || { mkdir $0/2 2>/dev/null && p=2; } || echo too many >> $0/out
            sleep 0.02; rmdir $0/$p; echo $NLBUS_SEQ >> $0/out";
        let _exec = start(host, &["x", "--jobs", "2"], script, folder.path());
        let bus = host.connect();
        for _ in 0..EVENTS {
            bus.publish_acked("x", "").unwrap();
        }
        let mut numbers: Vec<usize> =
            lines(&folder.path().join("out"), EVENTS).iter().map(|line| line.parse().expect("a number")).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=EVENTS).collect::<Vec<_>>());
    });
}

#[test]
fn with_one_job_a_topics_order_is_kept_and_large_payloads_stop_nobody() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        // It never reads its input.
        let _exec = start(host, &["x", "--jobs", "1"], "echo $NLBUS_SEQ >> $0/out", folder.path());
        let bus = host.connect();
        for _ in 0..20 {
            bus.publish_acked("x", &vec![b'x'; 60_000]).unwrap();
        }
        let expected: Vec<String> = (1..=20).map(|number: u32| number.to_string()).collect();
        assert_eq!(lines(&folder.path().join("out"), 20), expected);
    });
}

#[test]
fn a_filters_rate_is_its_own() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let args = ["slow/#", "fast/#", "--rate", "slow/#=2/day", "--jobs", "1"];
        let exec = start(host, &args, "echo $NLBUS_TOPIC >> $0/out", folder.path());
        let bus = host.connect();
        for _ in 0..5 {
            bus.publish_acked("slow/x", "").unwrap();
        }
        for _ in 0..5 {
            bus.publish_acked("fast/x", "").unwrap();
        }
        let seen = lines(&folder.path().join("out"), 7);
        exec.signal("TERM");
        let ended = exec.end();
        assert_eq!(seen.iter().filter(|topic| *topic == "slow/x").count(), 2, "{seen:?}");
        assert_eq!(lines(&folder.path().join("out"), 7).len(), 7, "{ended:?}");
        assert!(ended.notes.iter().any(|note| note.contains("dropped")), "{ended:?}");
    });
}

#[test]
fn a_command_that_fails_or_hangs_is_told_of() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let script =
            "case $NLBUS_SEQ in 1) exit 7;; 2) trap '' TERM; while :; do sleep 1; done;; esac; echo ok >> $0/out";
        let mut exec = start(host, &["x", "--timeout", "100ms", "--jobs", "1"], script, folder.path());
        let bus = host.connect();
        for _ in 0..3 {
            bus.publish_acked("x", "").unwrap();
        }
        assert!(exec.next_note().ends_with("the command for 'x' #1 failed with status 7"));
        assert!(exec.next_note().ends_with("the command for 'x' #2 took longer than 100ms and was ended"));
        lines(&folder.path().join("out"), 1);
    });
}

#[test]
fn at_the_end_running_commands_are_waited_for_and_then_ended() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let script = "echo $$ >> $0/began; if [ $NLBUS_TOPIC = long ]; then exec sleep 1000; fi
            until [ -e $0/go ]; do sleep 0.01; done; echo done >> $0/done";
        for (topic, grace, done) in [("short", "20s", true), ("long", "10ms", false)] {
            let exec = start(host, &[topic, "--grace", grace], script, folder.path());
            fs::write(folder.path().join("began"), "").unwrap();
            host.nlbus(&["pub", topic, "x"]).succeeds();
            let pid = lines(&folder.path().join("began"), 1).remove(0);
            exec.signal("TERM");
            fs::write(folder.path().join("go"), "").unwrap();
            exec.succeeds();
            assert_eq!(fs::read_to_string(folder.path().join("done")).is_ok(), done || topic == "long", "{topic}");
            assert!(!Path::new("/proc").join(&pid).exists(), "the command for {topic} was left behind");
        }
    });
}

#[test]
fn what_cannot_be_run_is_an_error_with_a_remedy() {
    on_a_host(|host| {
        let _broker = host.broker();
        for (command, remedy) in
            [("/no/such/command", "give its path"), ("no-such-command", "give its path"), ("/etc/passwd", "executable")]
        {
            let args = ["x", "--", command];
            // Not when the first event comes.
            let error = Running::start(host.command(EXEC).args(args), &args).fails(1);
            let begin = format!("nlbus-exec: can't run {command}: ");
            assert!(error.starts_with(&begin) && error.ends_with(remedy), "{error}");
        }
        let exec = host.service(EXEC, &["x", "--fail", "--", "false"]);
        host.nlbus(&["pub", "x", "1"]).succeeds();
        assert_eq!(exec.end().code, Some(1));
        for args in [
            &["x"][..],
            &["x", "--rate", "x", "--", "true"],
            &["x", "--grace", "584542046090years", "--", "true"],
            &["x", "--rate", "x=0/s", "--", "true"],
            &["x", "--rate", "y=1/s", "--", "true"],
            &["a/#/b", "--", "true"],
        ] {
            assert_eq!(Running::start(host.command(EXEC).args(args), args).end().code, Some(2), "{args:?}");
        }
    });
}

#[test]
fn a_topic_may_look_like_a_rate() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let args = ["room=12", "x=1/day", "--rate", "room=12=1/day", "--jobs", "1"];
        let _exec = start(host, &args, "echo $NLBUS_TOPIC >> $0/out", folder.path());
        for topic in ["room=12", "room=12", "x=1/day", "x=1/day"] {
            host.nlbus(&["pub", topic, "x"]).succeeds();
        }
        assert_eq!(lines(&folder.path().join("out"), 3), ["room=12", "x=1/day", "x=1/day"]);
    });
}

#[test]
fn with_no_room_for_another_command_events_wait() {
    const EVENTS: usize = 40;
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        // A command takes a descriptor to watch it with.
        let script = "ulimit -n 24; exec \"$0\" x --jobs 64 -- sh -c 'echo $NLBUS_SEQ >> $0/out; sleep 0.1' \"$1\"";
        let args = ["-c", script, EXEC, folder.path().to_str().unwrap()];
        let mut exec = Running::start(host.command("sh").args(args), &args);
        while !exec.next_note().ends_with("ready") {}
        let bus = host.connect();
        for _ in 0..EVENTS {
            bus.publish_acked("x", "").unwrap();
        }
        assert!(exec.next_note().contains("Too many open files"));
        let mut numbers: Vec<usize> =
            lines(&folder.path().join("out"), EVENTS).iter().map(|line| line.parse().expect("a number")).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=EVENTS).collect::<Vec<_>>());
        exec.signal("TERM");
        exec.succeeds();
    });
}

#[test]
fn a_command_that_vanishes_is_a_command_that_fails() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let command = folder.path().join("command");
        for fail in [false, true] {
            fs::copy("/bin/true", &command).unwrap();
            let args = [&["x"][..], if fail { &["--fail"] } else { &[] }, &["--", command.to_str().unwrap()]].concat();
            let mut exec = host.service(EXEC, &args);
            fs::remove_file(&command).unwrap();
            for _ in 0..2 {
                host.nlbus(&["pub", "x", "1"]).succeeds();
                assert!(exec.next_note().contains("can't be run"));
                if fail {
                    break;
                }
            }
            exec.signal("TERM");
            assert_eq!(exec.end().code, Some(fail.into()));
        }
    });
}

#[test]
fn what_a_topic_is_named_forges_no_line_of_the_log() {
    on_a_host(|host| {
        let _broker = host.broker();
        let mut exec = host.service(EXEC, &["#", "--", "false"]);
        host.connect().publish_acked("x\n\u{1b}[2J forged", "").unwrap();
        let note = exec.next_note();
        assert!(note.ends_with("the command for 'x\\n\\x1b[2J forged' #1 failed with status 1"), "{note}");
    });
}

#[test]
fn the_environment_means_the_same_to_all_programs() {
    on_a_host(|host| {
        let _broker = host.broker();
        // An empty variable is as good as none.
        let args = ["x", "--", "true"];
        let mut exec = Running::start(host.command(EXEC).args(args).env("NLBUS_BROKER", ""), &args);
        while !exec.next_note().ends_with("ready") {}
        let args = ["x", "--broker", "user", "--", "true"];
        let mut exec = Running::start(host.command(EXEC).args(args).env("NLBUS_BROKER", "other"), &args);
        while !exec.next_note().ends_with("ready") {}
        for (name, value) in [("NLBUS_BROKER", "other"), ("NLBUS_PORT", "0")] {
            let args = ["x", "--", "true"];
            let error = Running::start(host.command(EXEC).args(args).env(name, value), &args).fails(2);
            let of_the_command = host.nlbus_with(&["info"], &[(name, value)]).fails(2);
            assert_eq!(error.replace("nlbus-exec: ", "nlbus: "), of_the_command);
        }
    });
}

#[test]
fn a_restart_is_told_of_once() {
    on_a_host(|host| {
        let broker = host.broker();
        let mut exec = host.service(EXEC, &["a", "b", "c", "--", "echo"]);
        broker.signal("TERM");
        broker.end();
        let _broker = host.broker();
        assert!(exec.next_note().contains("the broker restarted"));
        // By then, all filters have come to the other broker.
        for topic in ["a", "b", "c"] {
            host.nlbus(&["pub", topic, ""]).succeeds();
            exec.next_line();
        }
        exec.signal("TERM");
        let ended = exec.end();
        assert!(ended.notes.is_empty(), "{ended:?}");
    });
}
