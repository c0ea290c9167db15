//! `nlbus-exec`: no command, and nothing that a command has started, is left behind.

use crate::exec::{EXEC, lines, start};
use crate::host::{Running, on_a_host};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// A shell, which SIGTERM ends at once, and a process of it that SIGTERM doesn't end.
const STUBBORN: &str = "sh -c 'trap \"\" TERM; echo $$ >> $0/began; while :; do sleep 0.1; done' $0 & wait";

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    // In a container, nobody may be there to reap it.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn assert_ends(pid: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while is_alive(pid) {
        if Instant::now() > deadline {
            let _ = std::process::Command::new("kill").args(["-9", pid]).status();
            panic!("{pid} was left behind");
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_timeout_ends_what_the_command_has_started() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let mut exec = start(host, &["x", "--timeout", "300ms"], STUBBORN, folder.path());
        host.nlbus(&["pub", "x", "1"]).succeeds();
        let pid = lines(&folder.path().join("began"), 1).remove(0);
        while !exec.next_note().ends_with("took longer than 300ms and was ended") {}
        assert_ends(&pid);
    });
}

#[test]
fn the_end_ends_what_the_command_has_started() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let exec = start(host, &["x", "--grace", "10ms"], STUBBORN, folder.path());
        host.nlbus(&["pub", "x", "1"]).succeeds();
        let pid = lines(&folder.path().join("began"), 1).remove(0);
        exec.signal("TERM");
        exec.succeeds();
        assert_ends(&pid);
    });
}

#[test]
fn what_puts_things_in_order_has_time_for_it() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let script = "sh -c 'trap \"sleep 0.3; echo done >> $0/done; exit\" TERM; echo $$ >> $0/began
            while :; do sleep 0.1; done' $0 & wait";
        let mut exec = start(host, &["x", "--timeout", "300ms"], script, folder.path());
        host.nlbus(&["pub", "x", "1"]).succeeds();
        // Shells tell of it, too.
        while !exec.next_note().ends_with("took longer than 300ms and was ended") {}
        assert!(folder.path().join("done").exists());
    });
}

#[test]
fn a_second_signal_ends_commands_at_once() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let exec = start(host, &["x", "--grace", "1h"], STUBBORN, folder.path());
        host.nlbus(&["pub", "x", "1"]).succeeds();
        let pid = lines(&folder.path().join("began"), 1).remove(0);
        exec.signal("TERM");
        // Two that come at once may be one.
        std::thread::sleep(Duration::from_millis(300));
        exec.signal("TERM");
        assert_eq!(exec.end().code, Some(130));
        assert_ends(&pid);
    });
}

#[test]
fn a_terminal_that_is_gone_is_an_end_unless_nohup_says_otherwise() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let exec = start(host, &["x"], "echo $$ >> $0/began; sleep 0.5; echo done >> $0/done", folder.path());
        host.nlbus(&["pub", "x", "1"]).succeeds();
        lines(&folder.path().join("began"), 1);
        exec.signal("HUP");
        exec.succeeds();
        assert!(folder.path().join("done").exists());
        let args = ["-c", "trap '' HUP; exec \"$0\" x -- echo here", EXEC];
        let mut exec = Running::start(host.command("sh").args(args), &args);
        while !exec.next_note().ends_with("ready") {}
        exec.signal("HUP");
        host.nlbus(&["pub", "x", "1"]).succeeds();
        assert_eq!(exec.next_line(), "here");
        exec.signal("TERM");
        exec.succeeds();
    });
}
