//! Events that wait to be broadcast, packed: a receiver pays for each datagram (its `truesize`, a wake-up), so
//! many events share one. Each group has one pack, and order is kept within a group and so within a topic.
//!
//! A pack has no bytes of its own: it is pieces of the history, where its events stay until all packs are sent.

use crate::history::{History, Place};
use crate::wire::{Messages, end_multi};
use std::io::IoSlice;

/// Most pieces of a pack: where events of many topics alternate, each is one.
const PIECES_MAX: usize = 128;

/// A pack of no more bytes than this is never too large: the kernel finds single pages, or nothing.
pub(super) const LEAST: usize = 4096 - 320;

#[derive(Debug)]
pub(super) struct Packs {
    /// By group.
    packs: Vec<Pack>,
    /// Groups whose packs were begun since the last flush, in this order.
    begun: Vec<u32>,
    /// Bytes of a pack of more than one event.
    max: usize,
}

#[derive(Debug, Default)]
struct Pack {
    is_begun: bool,
    pieces: Vec<Piece>,
    bytes: usize,
    /// Its last event.
    last: Option<Place>,
}

/// Events that stand one behind the other in history.
#[derive(Debug, Clone, Copy)]
struct Piece {
    place: Place,
    events: u64,
}

/// A pack on its way out.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) group: u32,
    /// The datagram's bytes, to be joined.
    pub(super) datagram: &'a [IoSlice<'a>],
    /// If the kernel doesn't take it, its events are lost: it isn't offered in parts.
    pub(super) is_least: bool,
    pieces: &'a [Piece],
}

impl Outgoing<'_> {
    /// Numbers of topics, and how many of the pack's events are theirs.
    pub(super) fn events(&self) -> impl Iterator<Item = (usize, u64)> {
        self.pieces.iter().map(|piece| (piece.place.topic, piece.events))
    }
}

impl Packs {
    pub(super) fn new(groups: u32, max: usize) -> Packs {
        Packs { packs: (0..=groups).map(|_| Pack::default()).collect(), begun: Vec::new(), max }
    }

    /// Whether a group's pack takes an event of `len` bytes more; otherwise it is to be sent before.
    #[inline]
    pub(super) fn has_room(&self, group: u32, len: usize) -> bool {
        let pack = &self.packs[group as usize];
        pack.pieces.is_empty() || (pack.bytes + len <= self.max && pack.pieces.len() < PIECES_MAX)
    }

    /// Puts so many events, the last of which begins at `last` in their segment, behind those that wait for their group.
    #[inline]
    pub(super) fn push(&mut self, group: u32, place: Place, events: u64, last: usize) {
        let pack = &mut self.packs[group as usize];
        if !pack.is_begun {
            pack.is_begun = true;
            self.begun.push(group);
        }
        pack.bytes += place.end - place.start;
        pack.last = Some(Place { start: last, ..place });
        match pack.pieces.last_mut() {
            Some(Piece { place: before, events: pushed })
                if (before.topic, before.segment, before.end) == (place.topic, place.segment, place.start) =>
            {
                before.end = place.end;
                *pushed += events;
            }
            _ => pack.pieces.push(Piece { place, events }),
        }
    }

    /// Hands over what waits for a group, if anything does. `send` says whether it was taken: otherwise it is given the halves,
    /// down to those that are [least](Outgoing::is_least).
    pub(super) fn send(&mut self, group: u32, history: &mut History, mut send: impl FnMut(Outgoing<'_>) -> bool) {
        let pack = &mut self.packs[group as usize];
        let Some(last) = pack.last.take() else { return };
        end_multi(history.at_mut(last), 0);
        offer(group, &pack.pieces, history, &mut send);
        pack.pieces.clear();
        pack.bytes = 0;
    }

    /// Hands over all that waits.
    pub(super) fn flush(&mut self, history: &mut History, mut send: impl FnMut(Outgoing<'_>) -> bool) {
        let mut begun = std::mem::take(&mut self.begun);
        for group in begun.drain(..) {
            self.send(group, history, &mut send);
            self.packs[group as usize].is_begun = false;
        }
        self.begun = begun;
    }
}

/// Hands over pieces, the last event of which says that it is the last one.
fn offer(group: u32, pieces: &[Piece], history: &mut History, send: &mut impl FnMut(Outgoing<'_>) -> bool) {
    let mut datagram = [IoSlice::new(&[]); PIECES_MAX];
    for (bytes, piece) in datagram.iter_mut().zip(pieces) {
        *bytes = IoSlice::new(history.at(piece.place));
    }
    let datagram = &datagram[..pieces.len()];
    let is_lone = matches!(pieces, [Piece { events: 1, .. }]);
    let is_least = is_lone || datagram.iter().map(|bytes| bytes.len()).sum::<usize>() <= LEAST;
    if send(Outgoing { group, datagram, is_least, pieces }) || is_least {
        return;
    }
    let (first, second) = halves(pieces, history);
    offer(group, &first, history, send);
    offer(group, &second, history, send);
}

/// The older half of the events of pieces, now with a last one that says so, and the newer half. There are two events at least.
#[cold]
fn halves(pieces: &[Piece], history: &mut History) -> (Vec<Piece>, Vec<Piece>) {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let mut left = pieces.iter().map(|piece| piece.events).sum::<u64>() / 2;
    let mut last = None;
    for piece in pieces {
        let place = piece.place;
        let older = left.min(piece.events);
        left -= older;
        // Where the newer events begin, and the last of the older ones.
        let mut starts = Messages::new(history.at(place)).flatten().map(|message| place.start + message.offset);
        let (before, middle) = match older {
            0 => (None, place.start),
            _ => (starts.nth(older as usize - 1), starts.next().unwrap_or(place.end)),
        };
        if let Some(start) = before {
            first.push(Piece { place: Place { end: middle, ..place }, events: older });
            last = Some(Place { start, end: middle, ..place });
        }
        if older < piece.events {
            second.push(Piece { place: Place { start: middle, ..place }, events: piece.events - older });
        }
    }
    if let Some(last) = last {
        end_multi(history.at_mut(last), 0);
    }
    (first, second)
}

/// The datagram that these pieces make.
#[cfg(any(test, fuzzing))]
pub(super) fn join(pieces: &[IoSlice<'_>]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| piece.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::EXEMPT;
    use crate::wire::uapi::NLM_F_MULTI;
    use crate::wire::{EventHeader, EventView, Header, Messages, align, push_event};
    use proptest::prelude::*;

    /// What was sent: groups and datagrams.
    type Sent = Vec<(u32, Vec<u8>)>;

    /// As a broker does: an event of its own topic each, numbered by `seq`, of `len` bytes of payload.
    fn push(packs: &mut Packs, history: &mut History, sent: &mut Sent, group: u32, topic: usize, seq: u64, len: usize) {
        let mut message = Vec::new();
        let header = Header { flags: NLM_F_MULTI, ..Header::default() };
        push_event(
            &mut message,
            header,
            &EventHeader { seq, ..EventHeader::default() },
            "topic",
            &vec![seq as u8; len],
        );
        if !packs.has_room(group, align(message.len(), 4)) {
            packs.send(group, history, |pack| {
                sent.push((pack.group, join(pack.datagram)));
                true
            });
        }
        let place = history.append(topic, &message).0;
        packs.push(group, place, 1, place.start);
    }

    fn flush(packs: &mut Packs, history: &mut History, sent: &mut Sent) {
        packs.flush(history, |pack| {
            assert_eq!(pack.events().map(|(_, events)| events).sum::<u64>(), count(&join(pack.datagram)));
            sent.push((pack.group, join(pack.datagram)));
            true
        });
        history.settle();
    }

    fn count(datagram: &[u8]) -> u64 {
        Messages::new(datagram).count() as u64
    }

    fn history(topics: usize) -> History {
        let mut history = History::new(5000);
        for _ in 0..topics {
            history.add_topic(3000, EXEMPT);
        }
        history
    }

    #[test]
    fn an_event_larger_than_a_pack_goes_alone() {
        let (mut packs, mut history, mut sent) = (Packs::new(32, 1000), history(1), Sent::new());
        for (seq, len) in [10, 5000, 10, 10].into_iter().enumerate() {
            push(&mut packs, &mut history, &mut sent, 3, 0, seq as u64, len);
        }
        flush(&mut packs, &mut history, &mut sent);
        assert_eq!(sent.iter().map(|(_, datagram)| count(datagram)).collect::<Vec<_>>(), [1, 1, 2]);
    }

    #[test]
    fn a_pack_has_so_many_pieces_at_most() {
        let (mut packs, mut history, mut sent) = (Packs::new(32, 1 << 20), history(2), Sent::new());
        for seq in 0..1000 {
            push(&mut packs, &mut history, &mut sent, 3, seq as usize % 2, seq, 0);
        }
        flush(&mut packs, &mut history, &mut sent);
        assert!(sent.iter().all(|(_, datagram)| count(datagram) <= PIECES_MAX as u64));
        assert_eq!(sent.iter().map(|(_, datagram)| count(datagram)).sum::<u64>(), 1000);
    }

    proptest! {
        #[test]
        fn every_event_goes_once_in_the_order_of_its_group(
            events in prop::collection::vec((3u32..6, 0usize..3, 0usize..300), 1..80),
            max in 100usize..2000, turn in 1usize..50,
        ) {
            let (mut packs, mut history, mut sent) = (Packs::new(32, max), history(9), Sent::new());
            for (seq, (group, topic, len)) in events.iter().enumerate() {
                let topic = topic * 3 + *group as usize - 3;
                push(&mut packs, &mut history, &mut sent, *group, topic, seq as u64, *len);
                if seq % turn == 0 {
                    flush(&mut packs, &mut history, &mut sent);
                }
            }
            flush(&mut packs, &mut history, &mut sent);
            let mut seen = vec![Vec::new(); 33];
            for (group, datagram) in &sent {
                let messages: Vec<_> = Messages::new(datagram).collect::<Result<_, _>>().unwrap();
                prop_assert!(messages.len() == 1 || datagram.len() <= max);
                for message in &messages {
                    prop_assert_eq!(message.header.flags, if message.last { 0 } else { NLM_F_MULTI });
                    let event = EventView::parse(message.body).unwrap();
                    prop_assert!(event.payload.iter().all(|byte| *byte == event.header.seq as u8));
                    seen[*group as usize].push((event.header.seq, event.payload.len()));
                }
            }
            for group in 3..6u32 {
                let of_group = events.iter().enumerate().filter(|(_, (g, ..))| *g == group);
                let want: Vec<_> = of_group.map(|(seq, (.., len))| (seq as u64, *len)).collect();
                prop_assert_eq!(&seen[group as usize], &want);
            }
            sent.clear();
            flush(&mut packs, &mut history, &mut sent);
            prop_assert!(sent.is_empty());
        }
    }
}
