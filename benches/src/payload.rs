//! What an event carries: its number, the time it was sent, filler up to the size of the cell, and the number again.

/// Bytes of number and time.
const HEADER: usize = 16;

/// Bytes of the number at the end, where there is room for it: an event whose end is another one's doesn't match.
const TRAILER: usize = 8;

/// Sent until each subscriber has seen one: by then all are connected.
const PROBE: u64 = u64::MAX;

/// Sent last; in the place of the time it says how many events there were.
const END: u64 = u64::MAX - 1;

/// One event in so many has its filler looked at: a comparison of 16 KiB takes as long as the fastest system's event.
const SAMPLE: u64 = 256;

/// An event as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Probe {
        number: u64,
    },
    Event {
        number: u64,
        sent: u64,
    },
    End {
        events: u64,
    },
    /// No event of ours, or not all of it, and what is wrong.
    Broken(&'static str),
}

/// A buffer in which one event after the other is written, and by which those that come are checked.
pub struct Payload(Vec<u8>);

impl Payload {
    pub fn new(size: usize) -> Payload {
        // No two neighbours are equal, and the period is prime: what is shifted doesn't match.
        Payload((0..size.max(HEADER)).map(|at| (at % 251) as u8).collect())
    }

    pub fn probe(&mut self, number: u64) -> &[u8] {
        self.write(PROBE, number)
    }

    pub fn event(&mut self, number: u64, sent: u64) -> &[u8] {
        self.write(number, sent)
    }

    pub fn end(&mut self, events: u64) -> &[u8] {
        self.write(END, events)
    }

    fn write(&mut self, first: u64, second: u64) -> &[u8] {
        self.0[..8].copy_from_slice(&first.to_ne_bytes());
        self.0[8..HEADER].copy_from_slice(&second.to_ne_bytes());
        if let Some(trailer) = self.0[HEADER..].last_chunk_mut::<TRAILER>() {
            *trailer = first.to_ne_bytes();
        }
        &self.0
    }

    /// Reads an event of this size: length and both numbers of each, all bytes of a sample.
    pub fn read(&self, event: &[u8]) -> Seen {
        if event.len() != self.0.len() {
            return Seen::Broken("its length isn't what was sent");
        }
        let (Some((first, rest)), body) = (event.split_first_chunk::<8>(), &event[HEADER..]) else {
            return Seen::Broken("it is too short");
        };
        let Some(second) = rest.first_chunk::<8>() else { return Seen::Broken("it is too short") };
        let (filler, trailer) = body.split_last_chunk::<TRAILER>().map_or((body, first), |(body, last)| (body, last));
        if trailer != first {
            return Seen::Broken("its end is another one's");
        }
        let (first, second) = (u64::from_ne_bytes(*first), u64::from_ne_bytes(*second));
        if first.is_multiple_of(SAMPLE) && *filler != self.0[HEADER..HEADER + filler.len()] {
            return Seen::Broken("its bytes aren't those that were sent");
        }
        match first {
            PROBE => Seen::Probe { number: second },
            END => Seen::End { events: second },
            number => Seen::Event { number, sent: second },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for size in [16, 20, 24, 64] {
            let (mut payload, reader) = (Payload::new(size), Payload::new(size));
            assert_eq!(reader.read(payload.probe(3)), Seen::Probe { number: 3 });
            assert_eq!(reader.read(payload.event(7, 9)), Seen::Event { number: 7, sent: 9 });
            assert_eq!(reader.read(payload.end(8)), Seen::End { events: 8 });
            assert_eq!(payload.end(8).len(), size);
        }
    }

    #[test]
    fn what_was_cut_mixed_up_or_changed_is_told() {
        let (mut payload, reader) = (Payload::new(64), Payload::new(64));
        let whole = payload.event(SAMPLE, 9).to_vec();
        let broken = |event: &[u8]| matches!(reader.read(event), Seen::Broken(_));
        assert!(!broken(&whole));
        assert!(broken(&whole[..63]) && broken(&[]) && broken(&[&whole[..], &[0]].concat()));
        let mixed = [&whole[..32], &payload.event(SAMPLE + 1, 9)[32..]].concat();
        assert!(broken(&mixed));
        // What has no number at its end is told by its length alone.
        let (mut short, reader_of_short) = (Payload::new(16), Payload::new(16));
        let longer = [short.event(1, 9), &[0; 4]].concat();
        assert!(matches!(reader_of_short.read(&longer), Seen::Broken(_)));
        for at in HEADER..64 {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(broken(&changed), "byte {at}");
        }
    }
}
