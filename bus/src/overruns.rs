//! When to ask the kernel how many datagrams the event socket has dropped (`SO_MEMINFO`). The question is a system call, and
//! a lone event would pay for it with each delivery, though nothing can have been dropped.
//!
//! Why no drop goes unseen: netlink drops a datagram only when what waits at the socket is charged with more than its receive
//! buffer (`netlink_broadcast_deliver` compares `sk_rmem_alloc` with `sk_rcvbuf`). What waits at that moment is received
//! later, and it is more datagrams than fit if each is charged with the most that one can be. So whoever looks after so many
//! that were received, and has read to the end, has looked after the drop. The tail is no exception: what made the queue full
//! is in front of what was dropped, and is received even if nothing follows.
//!
//! The one other cause of a drop is memory (a clone that fails in `do_one_broadcast`). It comes without a full queue, so there
//! is a look once a second as well, with the first datagram after that: a heartbeat if nothing else.

use crate::wire::uapi::NLBUS_DATAGRAM_MAX;
use std::time::{Duration, Instant};

/// The most that a datagram is charged with: its bytes rounded up to the next size of kmalloc, which is less than twice as
/// much, and what an skb takes besides.
const CHARGE_MAX: usize = 2 * NLBUS_DATAGRAM_MAX + 4096;

/// How long a drop for want of memory may go unseen while datagrams come.
const PERIOD: Duration = Duration::from_secs(1);

/// Remembers what was received since the last look.
#[derive(Debug)]
pub(crate) struct Overruns {
    /// So many datagrams never fill the socket.
    harmless: usize,
    received: usize,
    /// When to look again whatever is received.
    due: Option<Instant>,
    drops: u32,
}

impl Overruns {
    /// Of a socket whose buffer has this size, in the kernel's measure.
    pub(crate) fn new(receive_buffer: usize) -> Overruns {
        Overruns { harmless: receive_buffer / CHARGE_MAX, received: 0, due: None, drops: 0 }
    }

    /// So many datagrams were received, all of them whole or not: one that is cut was larger than any of the bus's, and what
    /// it was charged with is unknown.
    pub(crate) fn received(&mut self, datagrams: usize, all_whole: bool) {
        self.received = if all_whole { self.received.saturating_add(datagrams) } else { usize::MAX };
    }

    /// Whether to look when the socket has been read to its end, and so many `more` datagrams were received by then.
    pub(crate) fn may_be(&self, more: usize, now: Instant) -> bool {
        self.received.saturating_add(more) > self.harmless || self.due.is_none_or(|due| due <= now)
    }

    /// Whether to read on at once, though nothing may wait: a look is due, and the socket may not have been read to its end.
    pub(crate) fn want_more(&self, drained: bool, now: Instant) -> bool {
        !drained && self.may_be(0, now)
    }

    /// The kernel's count, by a look that was made now.
    pub(crate) fn counted(&mut self, drops: u32, now: Instant) {
        (self.drops, self.received, self.due) = (drops, 0, Some(now + PERIOD));
    }

    /// The count of the last look.
    pub(crate) fn drops(&self) -> u32 {
        self.drops
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{NetlinkSocket, RecvBatch};
    use crate::wire::uapi::NETLINK_USERSOCK;
    use proptest::prelude::*;

    proptest! {
        /// A real socket with a small buffer, bursts that may fill it and reads of what waits, as the driver reads: when it has
        /// no reason left to read on, every drop was looked for.
        #[test]
        fn whatever_was_dropped_is_looked_for(
            buffer in 1usize..40, bursts in prop::collection::vec((0usize..60, 1usize..NLBUS_DATAGRAM_MAX), 1..12)
        ) {
            const GROUP: u32 = 7;
            let (mut to, mut from) = (NetlinkSocket::open(NETLINK_USERSOCK).unwrap(), NetlinkSocket::open(NETLINK_USERSOCK).unwrap());
            to.bind(0).unwrap();
            from.bind(0).unwrap();
            if to.add_membership(GROUP).is_err() {
                // Not as an ordinary user; scripts/as-root lets him.
                return Ok(());
            }
            to.set_no_enobufs().unwrap();
            let granted = to.set_recv_buffer(buffer * 65_536).unwrap();
            let mut batch = RecvBatch::<Vec<u8>>::new(64, NLBUS_DATAGRAM_MAX).few_first(4);
            let (mut overruns, now) = (Overruns::new(granted), Instant::now());
            overruns.counted(to.drops().unwrap(), now);
            for (count, size) in bursts {
                for _ in 0..count {
                    let _ = from.send_to(&vec![0; size], 0, 1 << (GROUP - 1), true);
                }
                let mut unread = false;
                while unread || to.queued().unwrap() > 0 {
                    if overruns.may_be(1, now) {
                        batch.expect_more();
                    }
                    let received = batch.receive(&to).unwrap();
                    overruns.received(received, batch.iter_mut().all(|(datagram, _)| !datagram.truncated));
                    unread = overruns.want_more(batch.is_drained(), now);
                    if batch.is_drained() && overruns.may_be(0, now) {
                        overruns.counted(to.drops().unwrap(), now);
                    }
                }
                let drops = to.drops().unwrap();
                prop_assert!(drops == overruns.drops(), "{drops} with {overruns:?}");
            }
        }
    }

    #[test]
    fn lone_events_are_looked_for_now_and_then() {
        let (mut overruns, mut now) = (Overruns::new(16 << 20), Instant::now());
        assert!(overruns.may_be(0, now), "nothing is known");
        overruns.counted(3, now);
        let looks = (0..1000).filter(|_| {
            overruns.received(1, true);
            let look = overruns.may_be(0, now);
            if look {
                overruns.counted(3, now);
            }
            look
        });
        assert_eq!(looks.count(), 8);
        now += PERIOD;
        assert!(overruns.may_be(0, now), "memory may have been short");
        overruns.counted(4, now);
        overruns.received(1, false);
        assert!(overruns.may_be(0, now), "one was larger than any of the bus's");
        assert_eq!(overruns.drops(), 4);
    }
}
