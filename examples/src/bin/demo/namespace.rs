//! Subscribing to a user broker takes `CAP_NET_ADMIN` over the network namespace. An ordinary user has that in a
//! namespace of his own.

use anyhow::{Context, bail};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_USERSOCK;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use std::fs;

/// Sees to it that this process, and those that it starts, may join netlink groups. True when that took a user and a
/// network namespace. Must be called before there are threads (unshare(2), `CLONE_NEWUSER`).
pub fn ensure_may_join() -> anyhow::Result<bool> {
    if may_join()? {
        return Ok(false);
    }
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).context(
        "joining netlink groups isn't permitted, and neither is a user namespace in which it would be; run as root, or \
         permit them (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)",
    )?;
    // As root in there: a program that isn't loses its capabilities when it starts the next one (capabilities(7)).
    // Without the first line the kernel refuses the third (user_namespaces(7)).
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ] {
        fs::write(file, text).with_context(|| format!("can't write {file}"))?;
    }
    if !may_join()? {
        bail!("joining netlink groups isn't permitted even in a user namespace; run as root");
    }
    Ok(true)
}

/// Tries it.
fn may_join() -> anyhow::Result<bool> {
    let mut socket = Socket::new(NETLINK_USERSOCK).context("can't open a netlink socket")?;
    socket.bind_auto().context("can't bind a netlink socket")?;
    Ok(socket.add_membership(1).is_ok())
}
