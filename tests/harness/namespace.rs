//! Network namespaces: each test has its own, so that tests run beside each other and beside whatever runs on the host.

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use std::fs;
use std::panic::resume_unwind;
use std::thread;

/// Makes sure, before any thread is started, that this process may make network namespaces. An ordinary user may in
/// a user namespace of his own.
pub(crate) fn prepare() -> Result<(), String> {
    let why = |errno: Errno| {
        format!(
            "the tests need network namespaces of their own ({}): run them as root, or allow user namespaces \
             (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0)",
            errno.desc()
        )
    };
    match unshare(CloneFlags::CLONE_NEWNET) {
        Err(Errno::EPERM) => {}
        result => return result.map_err(why),
    }
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(why)?;
    let map = |file: &str, line: String| {
        fs::write(format!("/proc/self/{file}"), line).map_err(|error| format!("can't write {file}: {error}"))
    };
    map("setgroups", "deny".into())?;
    map("uid_map", format!("0 {uid} 1"))?;
    map("gid_map", format!("0 {gid} 1"))
}

/// Whether a process can become another user here: not in an ordinary user's own user namespace.
pub fn other_users() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let count = map.split_whitespace().nth(2).and_then(|count| count.parse::<u32>().ok());
    geteuid().is_root() && count.is_some_and(|count| count > 65534)
}

/// Whether a test that needs another user has none here: it says so, and passes.
pub fn no_other_user() -> bool {
    let none = !other_users();
    if none {
        println!("    skipped: this user namespace has one user only");
    }
    none
}

/// Runs something in a thread in a new network namespace, and waits for its end.
///
/// # Panics
/// When it does.
pub fn in_new_namespace<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let run = || {
        enter_new();
        run()
    };
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// Puts the calling thread, and the threads and processes that it starts from now on, into a new network namespace.
///
/// # Panics
/// When the kernel refuses.
pub(crate) fn enter_new() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace");
}
