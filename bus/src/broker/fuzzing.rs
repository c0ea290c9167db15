//! The core, for the fuzzer: what it must keep to whatever comes.

use super::config::Config;
use super::core::{Action, Core, Endpoint, Now, Sender};
use super::pack::join;
use crate::wire::uapi::{NLBUS_DATAGRAM_MAX, NLM_F_MULTI, NLMSG_ALIGNTO};
use crate::wire::{EventView, Messages};
use std::collections::HashMap;
use std::time::Duration;

/// Gives the core datagrams, each from a port id and so many milliseconds after the one before, and checks what it sends.
///
/// # Panics
/// When it sends what can't be read, numbers that aren't consecutive, or keeps more than it may.
///
/// ```ignore
/// nlbus::fuzzing::broker(&[(1, 0, vec![0; 16])]); // built with cfg(fuzzing) alone
/// ```
pub fn broker(steps: &[(u32, u32, Vec<u8>)]) {
    let config = Config {
        heartbeat: Duration::from_millis(500),
        history: 20_000,
        topic_history: 8_000,
        topics_max: 12,
        ..Config::default()
    };
    let mut now = Now { boot_ns: 1_000_000, clock_offset_ns: 7 };
    let mut core = Core::new(config, 0x0123_4567_89ab_cdef, now);
    let mut heads: HashMap<u32, u64> = HashMap::new();
    let mut sent = |action: Action<'_>| {
        match action {
            Action::Broadcast { group, datagram } => {
                assert!((1..=32).contains(&group), "group {group}");
                let datagram = join(datagram);
                assert!(datagram.len() <= NLBUS_DATAGRAM_MAX && datagram.len() % NLMSG_ALIGNTO == 0);
                for message in Messages::new(&datagram) {
                    let message = message.expect("a whole message");
                    assert_eq!(message.header.flags, if message.last { 0 } else { NLM_F_MULTI });
                    let event = EventView::parse(message.body).expect("an event");
                    let head = heads.entry(event.header.topic_id).or_default();
                    assert_eq!(event.header.seq, *head + 1, "of '{}'", event.topic);
                    *head += 1;
                }
            }
            Action::Unicast { datagram, .. } => assert!(Messages::new(datagram).all(|message| message.is_ok())),
        }
        true
    };
    for (port, ms, datagram) in steps {
        now.boot_ns += u64::from(ms % 2000) * 1_000_000;
        let to = if port % 2 == 0 { Endpoint::Publish } else { Endpoint::Request };
        let sender = Sender { port: *port, pid: 1, uid: port % 3, gid: 0, to };
        core.accept(&mut datagram.clone(), sender, now, &mut sent);
        core.flush(now, &mut sent);
        let info = core.info();
        // Each topic's newest event is kept beyond the limit, and what is reserved for the exempt.
        let is_least = |slot| core.topics.kept(slot).count() <= 1 || core.topics.record(slot).bytes <= 20_000 / 8;
        let is_least = || core.topics.list(0, None).all(is_least);
        assert!((info.counters.history <= 20_000 || is_least()) && core.topics.len() <= 12, "{info:?}");
    }
}
