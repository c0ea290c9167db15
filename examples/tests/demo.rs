//! The demo is the first thing that anyone runs: it works, and it says so when it doesn't.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything here may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);

fn demo(args: &[&str]) -> Child {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_demo"));
    demo.args(args).env_remove("NLBUS_BROKER").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    demo.spawn().unwrap()
}

/// Waits for the first line, which comes once there is a broker.
fn begun(demo: &mut Child) {
    let mut line = String::new();
    BufReader::new(demo.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("broker"), "{line}");
}

/// The process that the demo started in this role, once it is there.
fn role(demo: &Child, role: &str) -> i32 {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(pid) = children(demo.id()).into_iter().find(|pid| plays(*pid, role)) {
            return pid;
        }
        thread::yield_now();
    }
    panic!("the demo starts no '{role}'")
}

fn children(parent: u32) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

/// The fourth field of /proc/PID/stat; the second one ends with the last parenthesis.
fn parent_of(pid: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn plays(pid: i32, role: &str) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(format!("\0{role}\0").as_bytes()))
}

fn is_gone(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
}

fn kill(pid: i32) {
    assert!(Command::new("kill").args(["-s", "KILL", &pid.to_string()]).status().unwrap().success());
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn every_subscriber_receives_everything_in_order() {
    let output = demo(&["--seconds", "2"]).wait_with_output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for (subscriber, filter) in
        [("exact", "demo/host/load"), ("plus", "demo/link/+"), ("hash", "demo/#"), ("typed", "demo/sensor/+/temp")]
    {
        let row = text.lines().find(|line| line.starts_with(subscriber)).unwrap_or_else(|| panic!("{text}"));
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!((cells[1], cells[5]), (filter, "0"), "{text}");
        let numbers: Vec<u64> = cells[2..5].iter().map(|cell| cell.parse().unwrap()).collect();
        assert!(numbers[0] > 0 && numbers[1] + numbers[2] == numbers[0], "{text}");
    }
    assert!(text.contains("heartbeats on $SYS/heartbeat"), "{text}");
}

#[test]
fn a_process_that_dies_is_a_failure_and_takes_the_others_along() {
    for victim in ["sensors", "hash"] {
        let mut demo = demo(&["--seconds", "3600"]);
        begun(&mut demo);
        // Publishers come last: everybody else is there.
        role(&demo, "sensors");
        let others = children(demo.id());
        kill(role(&demo, victim));
        let output = demo.wait_with_output().unwrap();
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(&format!("'{victim}' failed")), "{text}");
        assert!(others.into_iter().all(is_gone));
    }
}

#[test]
fn nobody_outlives_the_demo() {
    let mut demo = demo(&["--seconds", "3600"]);
    begun(&mut demo);
    role(&demo, "sensors");
    let others = children(demo.id());
    demo.kill().unwrap();
    demo.wait().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !others.iter().all(|pid| is_gone(*pid)) {
        assert!(Instant::now() < deadline, "some of {others:?} live on");
        thread::yield_now();
    }
}

#[test]
fn without_the_module_it_says_how_to_get_it() {
    if fs::exists("/sys/module/nlbus").unwrap() {
        return;
    }
    let output = demo(&["--broker", "module"]).wait_with_output().unwrap();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("modprobe nlbus"), "{text}");
}
