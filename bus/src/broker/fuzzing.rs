//! The core, for the fuzzer: what it must keep to whatever comes.

use super::config::Config;
use super::core::{Action, Core, Endpoint, MEMORY, Now, Sender};
use super::pack::join;
use crate::wire::uapi::{NLBUS_DATAGRAM_MAX, NLM_F_MULTI, NLMSG_ALIGNTO};
use crate::wire::{EventView, Messages};
use std::cell::Cell;
use std::collections::HashMap;
use std::time::Duration;

/// A datagram and where it comes from.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// Port id that sends it: even ones publish, odd ones request.
    pub port: u32,
    /// How long after the one before.
    pub ms: u32,
    /// Its bytes.
    pub datagram: Vec<u8>,
    /// How often it comes again.
    pub again: u8,
}

/// Gives the core datagrams and checks what it sends. With a large history it may keep whole datagrams as they are.
///
/// # Panics
/// When it sends what can't be read, numbers that aren't consecutive, or keeps more than it may.
///
/// ```ignore
/// nlbus::fuzzing::broker(false, &[nlbus::fuzzing::Step::default()]); // built with cfg(fuzzing) alone
/// ```
pub fn broker(large: bool, steps: &[Step]) {
    let history = if large { 4 << 20 } else { 20_000 };
    let config = Config {
        heartbeat: Duration::from_millis(500),
        history,
        topic_history: history * 2 / 5,
        topics_max: 12,
        ..Config::default()
    };
    let mut now = Now { boot_ns: 1_000_000, clock_offset_ns: 7 };
    let mut core = Core::new(config, 0x0123_4567_89ab_cdef, now);
    let mut heads: HashMap<u32, u64> = HashMap::new();
    let gaps = Cell::new(0);
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
                    // Those between were lost, as somebody said.
                    assert!(event.header.seq > *head, "{} after {head} of '{}'", event.header.seq, event.topic);
                    gaps.set(gaps.get() + event.header.seq - *head - 1);
                    *head = event.header.seq;
                }
            }
            Action::Unicast { datagram, .. } => assert!(Messages::new(datagram).all(|message| message.is_ok())),
        }
        true
    };
    let times = steps.iter().flat_map(|step| (0..=step.again).map(move |_| step));
    for Step { port, ms, datagram, .. } in times {
        now.boot_ns += u64::from(ms % 2000) * 1_000_000;
        let to = if port % 2 == 0 { Endpoint::Publish } else { Endpoint::Request };
        let sender = Sender { port: *port, pid: 1, uid: port % 3, gid: 0, to };
        // In memory as the sockets' reader has it.
        let mut memory = Vec::with_capacity(MEMORY);
        memory.extend(datagram);
        core.accept(&mut memory, sender, now, &mut sent);
        core.flush(now, &mut sent);
        let info = core.info();
        assert!(gaps.get() <= info.counters.lost, "{} are missing: {info:?}", gaps.get());
        // Each topic's newest event is kept beyond the limit, and what is reserved for the exempt.
        let is_least =
            |slot| core.topics.events(slot, 0).nth(1).is_none() || core.topics.record(slot).bytes <= history / 8;
        let is_least = || core.topics.list(0, None).all(is_least);
        assert!((info.counters.history <= history || is_least()) && core.topics.len() <= 12, "{info:?}");
    }
}
