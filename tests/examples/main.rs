//! The examples do what they say: each is started as it is, on a broker of its own, on either broker
//! (`NLBUS_SUITE_BROKER=user|module`).

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nlbus_tests::{Fixture, Role, cases, wait_for};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

cases![
    hello,
    embed,
    select,
    typed,
    filters,
    in_process_broker user_only,
    fan_out,
    kernel_struct,
    mio_loop,
    tokio_stream,
    shutdown,
    saved_position,
    the_table_lists_every_example user_only,
];

const ROLES: &[(&str, Role)] = &[];

fn main() -> ExitCode {
    nlbus_tests::main(&[CASES], ROLES)
}

/// An example's binary: next to the tests', as `cargo build --workspace --bins` puts it, or installed.
fn program(name: &str) -> Command {
    let built = env::current_exe().ok().and_then(|test| Some(test.parent()?.parent()?.join(name)));
    Command::new(built.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from(name)))
}

fn run(name: &str, args: &[&str]) -> Vec<String> {
    let output = program(name).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{name}: {error}; cargo build --workspace --bins"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{text}{errors}", output.status);
    text.lines().map(str::to_owned).collect()
}

/// Asserts that the lines are these, in any order: between topics and processes none is promised.
fn assert_said(said: &[String], expected: &[&str]) {
    let (mut said, mut expected): (Vec<&str>, _) = (said.iter().map(String::as_str).collect(), expected.to_vec());
    said.sort_unstable();
    expected.sort_unstable();
    assert_eq!(said, expected);
}

fn hello() {
    let _fixture = Fixture::new();
    assert_eq!(run("hello", &[]), ["published as number 1", "sensors/1/temp #1: 21.5"]);
}

fn embed() {
    let _fixture = Fixture::new();
    let said = run("embed", &[]);
    assert_eq!(said, ["worker: job 1", "worker: job 2", "worker: job 3", "main: the worker did 3 jobs"]);
}

fn select() {
    let _fixture = Fixture::new();
    let said = run("select", &[]);
    assert_eq!(said.last().map(String::as_str), Some("told to stop"), "{said:?}");
    assert!(said.contains(&"select/sensors/1 #1".into()), "{said:?}");
}

fn typed() {
    let _fixture = Fixture::new();
    let said = run("typed", &[]);
    assert_eq!((said.len(), said[0].as_str()), (3, "#1 sensor 7: 21.5 °C None"), "{said:?}");
    assert!(said[1].contains("the payload isn't a value of this type"), "{said:?}");
    assert_eq!(said[2], "#3 sensor 8: -3 °C Some(\"outside\")");
}

fn filters() {
    let _fixture = Fixture::new();
    assert_said(
        &run("filters", &[]),
        &[
            "[filters/alarms/#] ALARM open",
            "[filters/+/rate] rate is 10",
            "[filters/+/rate] rate is 20",
            "[filters/#] seen filters/alarms/door #1",
            "[filters/#] seen filters/config/rate #2",
        ],
    );
}

fn in_process_broker() {
    assert_eq!(run("in_process_broker", &[]), ["inside/greeting: hello from within", "the broker has ended"]);
}

fn fan_out() {
    let _fixture = Fixture::new();
    let said = run("fan_out", &[]);
    assert_eq!(said.len(), 5, "{said:?}");
    for line in &said[1..] {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| columns[at].parse::<u64>().unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(number(1) + number(2), 20_000, "received and lost: {line}");
    }
}

fn kernel_struct() {
    let fixture = Fixture::new();
    let epoch = fixture.connect().info().unwrap().epoch;
    let said = run("kernel_struct", &[]);
    assert!(
        said[0].contains("DiskEvent { major_minor: [8, 1], extent: Extent { sector: 123456789, count: 64 }"),
        "{said:?}"
    );
    assert!(said[1].starts_with(&format!("the broker of epoch {epoch:x} is up for ")), "{said:?}");
}

fn mio_loop() {
    let _fixture = Fixture::new();
    assert_said(
        &run("mio_loop", &[]),
        &["bus: reading 1", "bus: reading 2", "bus: reading 3", "socket: something else"],
    );
}

fn tokio_stream() {
    let _fixture = Fixture::new();
    let said = run("tokio_stream", &[]);
    assert_said(&said, &["all: tokio/a #1", "all: tokio/a #2", "all: tokio/b #1", "one: tokio/b #1"]);
}

fn shutdown() {
    let fixture = Fixture::new();
    let mut example = program("shutdown").stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(example.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.next().unwrap().contains("waits for work"));
    let bus = fixture.connect();
    // The subscription was there before that line.
    for number in 1..=100 {
        bus.publish_acked("shutdown/work", &number.to_string()).unwrap();
    }
    kill(Pid::from_raw(example.id() as i32), Signal::SIGTERM).unwrap();
    let said: Vec<String> = said.collect();
    assert!(example.wait().unwrap().success(), "{said:?}");
    assert_eq!(said.last().unwrap(), "handled 100 events, and none is left");
    assert_eq!(said.iter().filter(|line| line.starts_with("working on ")).count(), 100);
}

fn saved_position() {
    let fixture = Fixture::new();
    let file = env::temp_dir().join(format!("nlbus-resume-{}", std::process::id()));
    let bus = fixture.connect();
    let place = file.display().to_string();
    // One that is killed at its second event or after it leaves its place behind.
    let mut first = program("saved_position").args([&place, "1000"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(first.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(said.next().as_deref(), Some("ready"));
    for _ in 0..2 {
        bus.publish_acked("resume/jobs", "x").unwrap();
    }
    assert_eq!([said.next().unwrap(), said.next().unwrap()], ["resume/jobs #1", "resume/jobs #2"]);
    let id = bus.topic("resume/jobs").unwrap().unwrap().id;
    let saved = format!("\"{id}\":2");
    wait_for("the position to be saved", || fs::read_to_string(&file).ok()?.contains(&saved).then_some(()));
    first.kill().unwrap();
    first.wait().unwrap();
    for _ in 0..3 {
        bus.publish_acked("resume/jobs", "x").unwrap();
    }
    assert_eq!(run("saved_position", &[&place, "3"]), ["ready", "resume/jobs #3", "resume/jobs #4", "resume/jobs #5"]);
    fs::remove_file(&file).unwrap();
}

fn the_table_lists_every_example() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let table = fs::read_to_string(examples.join("README.md")).unwrap();
    let listed: BTreeSet<&str> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let there: BTreeSet<String> = fs::read_dir(examples.join("src/bin"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, there.iter().map(String::as_str).collect());
    let tested: BTreeSet<&str> = CASES.iter().map(|case| case.name()).collect();
    let untested: Vec<_> = listed.iter().filter(|name| **name != "demo" && !tested.contains(**name)).collect();
    assert!(untested.is_empty(), "{untested:?}");
}
