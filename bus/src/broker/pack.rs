//! Events that wait to be broadcast, packed: a receiver pays for each datagram (its `truesize`, a wake-up), so
//! many events share one. Each group has one pack that is open, and order is kept within a group and so within a topic.

use crate::wire::uapi::{NLBUS_MSG_EVENT, NLM_F_MULTI, NLMSG_ALIGNTO, NLMSG_HDRLEN};
use crate::wire::{EventHeader, Header, align, end_multi, push_event};

/// Beyond this much room a buffer that is empty again is given back.
const SPARE_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Packs {
    /// Those up to `used` hold events, in the order in which they were begun; the rest are empty buffers.
    packs: Vec<Pack>,
    used: usize,
    /// By group: which pack takes its next event.
    open: Vec<Option<usize>>,
    /// Bytes of a pack of more than one event.
    max: usize,
    /// `nlmsg_seq` of a broadcast: the low half of the epoch.
    seq: u32,
}

#[derive(Debug, Default)]
struct Pack {
    group: u32,
    bytes: Vec<u8>,
    /// Where its last message starts.
    last: usize,
}

impl Packs {
    pub(super) fn new(groups: u32, max: usize, epoch: u64) -> Packs {
        Packs { packs: Vec::new(), used: 0, open: vec![None; groups as usize + 1], max, seq: epoch as u32 }
    }

    /// Puts an event behind those that wait for its group. Returns the body as it was encoded.
    pub(super) fn push(&mut self, group: u32, event: &EventHeader, topic: &str, payload: &[u8]) -> &[u8] {
        let len = align(NLMSG_HDRLEN + crate::wire::event_len(topic, payload), NLMSG_ALIGNTO);
        let at = match self.open[group as usize] {
            Some(at) if self.packs[at].bytes.len() + len <= self.max => at,
            _ => self.begin(group),
        };
        let pack = &mut self.packs[at];
        pack.last = pack.bytes.len();
        let message = Header { kind: NLBUS_MSG_EVENT, flags: NLM_F_MULTI, seq: self.seq, portid: 0 };
        push_event(&mut pack.bytes, message, event, topic, payload);
        let body = pack.last + NLMSG_HDRLEN;
        &pack.bytes[body..body + crate::wire::event_len(topic, payload)]
    }

    fn begin(&mut self, group: u32) -> usize {
        let at = self.used;
        self.used += 1;
        if at == self.packs.len() {
            self.packs.push(Pack::default());
        }
        self.packs[at].group = group;
        self.open[group as usize] = Some(at);
        at
    }

    /// Hands over the packs as (group, datagram) and is empty then. Returns how many there were.
    pub(super) fn drain(&mut self, mut to: impl FnMut(u32, &[u8])) -> usize {
        let count = std::mem::take(&mut self.used);
        for pack in &mut self.packs[..count] {
            end_multi(&mut pack.bytes, pack.last);
            to(pack.group, &pack.bytes);
            pack.bytes.clear();
            self.open[pack.group as usize] = None;
        }
        self.packs.truncate(SPARE_MAX);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{EventView, Messages};
    use proptest::prelude::*;

    #[test]
    fn an_event_larger_than_a_pack_goes_alone() {
        let mut packs = Packs::new(32, 1000, 7);
        for len in [10, 5000, 10, 10] {
            packs.push(3, &EventHeader::default(), "a", &vec![0; len]);
        }
        let mut counts = Vec::new();
        packs.drain(|_, datagram| counts.push(Messages::new(datagram).count()));
        assert_eq!(counts, [1, 1, 2]);
    }

    proptest! {
        #[test]
        fn every_event_goes_once_in_the_order_of_its_group(events in prop::collection::vec((3u32..6, 0usize..300), 1..80),
                                                          max in 100usize..2000) {
            let mut packs = Packs::new(32, max, 0x1_0000_0007);
            for (seq, (group, len)) in events.iter().enumerate() {
                let event = EventHeader { seq: seq as u64, ..EventHeader::default() };
                let body = packs.push(*group, &event, "topic", &vec![seq as u8; *len]).to_vec();
                prop_assert_eq!(EventView::parse(&body).unwrap().payload.len(), *len);
            }
            let mut seen = vec![Vec::new(); 33];
            let mut datagrams = Vec::new();
            packs.drain(|group, datagram| datagrams.push((group, datagram.to_vec())));
            for (group, datagram) in datagrams {
                let messages: Vec<_> = Messages::new(&datagram).collect::<Result<_, _>>().unwrap();
                prop_assert!(messages.len() == 1 || datagram.len() <= max);
                for message in &messages {
                    prop_assert_eq!((message.header.seq, message.header.portid), (7, 0));
                    prop_assert_eq!(message.header.flags, if message.last { 0 } else { NLM_F_MULTI });
                    seen[group as usize].push(EventView::parse(message.body).unwrap().header.seq);
                }
            }
            for group in 3..6u32 {
                let want: Vec<_> = events.iter().enumerate().filter(|(_, (g, _))| *g == group).map(|(n, _)| n as u64).collect();
                prop_assert_eq!(&seen[group as usize], &want);
            }
            prop_assert_eq!(packs.drain(|_, _| ()), 0);
        }
    }
}
