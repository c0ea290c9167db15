//! Real input: what rtnetlink says of this host's network links, each second and whenever one changes. As links of a
//! quiet host don't, this process also listens in a network namespace of its own, whose loopback interface it sets up
//! and down. What it publishes is what the kernel said in both.

use crate::rtnetlink::{Link, Rtnetlink};
use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nlbus::{Bus, Content};
use serde_json::json;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Between listings of the host's links.
const LISTING: Duration = Duration::from_secs(1);

/// Between changes of the own loopback interface.
const CHANGE: Duration = Duration::from_millis(100);

pub fn publish(bus: &Bus, end: Instant) -> anyhow::Result<u64> {
    let mut host = Rtnetlink::listen()?;
    let mut own = own_namespace()?;
    let mut outlet = Outlet { bus, count: 0 };
    let (mut listing, mut change, mut up) = (Instant::now(), Instant::now(), false);
    loop {
        let now = Instant::now();
        if now >= end {
            return Ok(outlet.count);
        }
        if now >= listing {
            host.ask_for_all()?;
            listing = now + LISTING;
        }
        if let (Some(own), true) = (&own, now >= change) {
            up = !up;
            own.set_loopback(up)?;
            change = now + CHANGE;
        }
        outlet.publish("host", &host.take()?)?;
        if let Some(own) = &mut own {
            outlet.publish("own", &own.take()?)?;
        }
        wait([Some(&host), own.as_ref()], listing.min(change).min(end))?;
    }
}

/// Listens in a new network namespace, into which this thread goes; sockets that are open stay where they are. `None`
/// where that isn't permitted.
fn own_namespace() -> anyhow::Result<Option<Rtnetlink>> {
    match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => Rtnetlink::listen().map(Some),
        Err(Errno::EPERM | Errno::ENOSPC) => Ok(None),
        Err(errno) => Err(errno).context("can't make a network namespace"),
    }
}

/// Where links go out.
struct Outlet<'a> {
    bus: &'a Bus,
    count: u64,
}

impl Outlet<'_> {
    /// An event for each link, at the link's topic.
    fn publish(&mut self, namespace: &str, links: &[Link]) -> anyhow::Result<()> {
        for link in links {
            let Link { name, index, exists, up, running, mtu, rx_bytes, tx_bytes } = link;
            let said = json!({
                "namespace": namespace, "name": name, "index": index, "exists": exists, "up": up, "running": running,
                "mtu": mtu, "rx_bytes": rx_bytes, "tx_bytes": tx_bytes,
            });
            // Interfaces may be called what topics may not.
            let level = name.replace(['+', '#'], "_");
            self.bus.publish_content(&format!("demo/link/{level}"), Content::Json, &said.to_string())?;
            self.count += 1;
        }
        Ok(())
    }
}

/// Waits until the kernel says something, or until then.
fn wait(sockets: [Option<&Rtnetlink>; 2], until: Instant) -> anyhow::Result<()> {
    let mut fds: Vec<_> =
        sockets.iter().flatten().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
    // Rounded up: what is left below a millisecond would be polled away.
    let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno).context("can't wait for rtnetlink"),
    }
}
