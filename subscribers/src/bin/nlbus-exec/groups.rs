//! The process groups of the commands that run, each with its command as leader, so that none outlives this program.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use procfs::process::all_processes;
use std::collections::BTreeSet;
use std::io;
use std::mem;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// Between SIGTERM and SIGKILL.
pub const PATIENCE: Duration = Duration::from_secs(2);

static GROUPS: Mutex<Groups> = Mutex::new(Groups { leaders: BTreeSet::new(), ending: false });

struct Groups {
    leaders: BTreeSet<i32>,
    /// All are being ended.
    ending: bool,
}

/// Starts a command that is to lead a group.
///
/// # Errors
/// What the system says.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    // Locked, so that there is no command that runs and isn't known yet.
    let mut groups = groups();
    let child = command.spawn()?;
    groups.leaders.insert(child.id() as i32);
    Ok(child)
}

/// A command has ended, and is about to be reaped.
pub fn forget(leader: &Child) {
    groups().leaders.remove(&(leader.id() as i32));
}

/// Asks a group to end.
pub fn terminate(leader: &Child) {
    signal(leader.id() as i32, Signal::SIGTERM);
}

/// Ends a group.
pub fn kill(leader: &Child) {
    signal(leader.id() as i32, Signal::SIGKILL);
}

/// Whether more than the leader is alive in a group.
pub fn has_others(leader: &Child) -> bool {
    let group = leader.id() as i32;
    let alive = |stat: procfs::process::Stat| stat.pgrp == group && !matches!(stat.state, 'Z' | 'X');
    let Ok(mut processes) = all_processes() else { return false };
    // One that ends meanwhile can't be read, and isn't alive.
    processes.any(|process| process.is_ok_and(|process| process.pid != group && process.stat().is_ok_and(alive)))
}

/// Whether all are being ended.
pub fn are_ending() -> bool {
    groups().ending
}

/// Ends all: SIGTERM, and after a while SIGKILL.
pub fn end_all() {
    let mut groups = groups();
    groups.ending = true;
    groups.leaders.iter().for_each(|leader| signal(*leader, Signal::SIGTERM));
    drop(groups);
    let kill = || {
        thread::sleep(PATIENCE);
        kill_all(&self::groups());
    };
    // Without a thread to wait in, there is no patience.
    if thread::Builder::new().name("end".into()).spawn(kill).is_err() {
        kill_all(&self::groups());
    }
}

/// Ends all at once, and for good: from now on none can be started.
pub fn kill_all_at_once() {
    let deadline = Instant::now() + PATIENCE;
    // A program that comes from a file system that hangs is being started all that time; the others must not wait for it.
    while Instant::now() < deadline {
        let groups = match GROUPS.try_lock() {
            Ok(groups) => groups,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                thread::sleep(Duration::from_millis(10));
                continue;
            }
        };
        kill_all(&groups);
        return mem::forget(groups);
    }
}

fn kill_all(groups: &Groups) {
    groups.leaders.iter().for_each(|leader| signal(*leader, Signal::SIGKILL));
}

fn signal(group: i32, signal: Signal) {
    // It may just have ended.
    let _ = killpg(Pid::from_raw(group), signal);
}

fn groups() -> MutexGuard<'static, Groups> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}
