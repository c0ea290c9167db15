//! How facts are looked up. What can't be is a text that says why, and never an error: that a host lacks something, or
//! doesn't show it to everybody, is what this verb is about.

use nix::unistd::geteuid;
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What was looked up, or why it couldn't be.
pub type Fact<T> = Result<T, String>;

/// A file's text, without the end of its last line.
pub fn file(path: impl AsRef<Path>) -> Fact<String> {
    let path = path.as_ref();
    let text = fs::read_to_string(path).map_err(|error| format!("can't read {}: {error}", path.display()))?;
    Ok(text.trim_end().to_owned())
}

/// Where a symbolic link points to, as of a namespace in `/proc`.
pub fn link(path: &str) -> Fact<String> {
    let target = fs::read_link(path).map_err(|error| format!("can't read {path}: {error}"))?;
    Ok(target.to_string_lossy().into_owned())
}

/// What a command prints.
pub fn output(program: &str, args: &[&str]) -> Fact<String> {
    // An ordinary user's PATH often lacks modinfo's folder.
    let path = format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default());
    let command = Command::new(program).args(args).env("PATH", path).stdin(Stdio::null()).output();
    let output = command.map_err(|error| format!("can't run {program}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let why = said.lines().last().map_or_else(|| output.status.to_string(), str::to_owned);
        return Err(format!("{program} {}: {why}", args.join(" ")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// A shell line that root is to run, as this user would have it run.
pub fn as_root(line: &str) -> String {
    match geteuid().is_root() {
        true => line.to_owned(),
        false => format!("sudo sh -c '{line}'"),
    }
}

/// The running kernel's release.
pub fn release() -> Fact<String> {
    file("/proc/sys/kernel/osrelease")
}
