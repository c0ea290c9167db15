//! The systemd units: systemd finds nothing wrong with them, and each program has one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn units() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn systemd_finds_nothing_wrong() {
    let folder = tempfile::tempdir().unwrap();
    // Where the programs are in this build, for they need not be installed.
    let built = Path::new(env!("CARGO_BIN_EXE_nlbus")).parent().unwrap().display().to_string();
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]);
    for unit in units() {
        let text = fs::read_to_string(&unit).unwrap().replace("/usr/bin/nlbus", &format!("{built}/nlbus"));
        let copy = folder.path().join(unit.file_name().unwrap().to_str().unwrap().replace('@', "@test"));
        fs::write(&copy, text).unwrap();
        command.arg(copy);
    }
    let output = command.output().expect("systemd-analyze, of the package systemd");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Other units of this machine are not ours.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("nlbus")).collect();
    assert!(ours.is_empty(), "{said}");
    assert!(output.status.success(), "{said}");
}

#[test]
fn systemd_lets_commands_end_and_the_journal_take_all() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let setting = |unit: &str, name: &str| {
        let text = fs::read_to_string(folder.join(unit)).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
        value.unwrap_or_else(|| panic!("no {name} in {unit}"))
    };
    // SIGTERM is for the program alone, which lets its commands go on for a while.
    assert_eq!(setting("nlbus-exec@.service", "KillMode"), "mixed");
    // Longer than its --grace and the time between SIGTERM and SIGKILL, twice.
    assert!(setting("nlbus-exec@.service", "TimeoutStopSec").parse::<u32>().unwrap() > 10 + 4);
    assert_eq!(setting("nlbus-journal.service", "LogRateLimitIntervalSec"), "0");
}

#[test]
fn each_program_has_a_unit() {
    let programs = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin")).unwrap();
    let name = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().trim_end_matches('@').to_owned();
    let mut programs: BTreeSet<String> = programs.map(|entry| name(entry.unwrap().path())).collect();
    // The command's is the broker's.
    assert!(programs.remove("nlbus") && programs.insert("nlbus-broker".into()));
    assert_eq!(units().into_iter().map(name).collect::<BTreeSet<_>>(), programs);
}
