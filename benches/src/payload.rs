//! What an event carries: its number, the time it was sent, and filler up to the size of the cell.

/// Bytes of number and time.
const HEADER: usize = 16;

/// Sent until each subscriber has seen one: by then all are connected.
const PROBE: u64 = u64::MAX;

/// Sent last; in the place of the time it says how many events there were.
const END: u64 = u64::MAX - 1;

/// An event as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Probe,
    Event {
        number: u64,
        sent: u64,
    },
    End {
        events: u64,
    },
    /// No event of ours.
    Foreign,
}

/// A buffer in which one event after the other is written.
pub struct Payload(Vec<u8>);

impl Payload {
    pub fn new(size: usize) -> Payload {
        Payload(vec![b'x'; size.max(HEADER)])
    }

    pub fn probe(&mut self) -> &[u8] {
        self.write(PROBE, 0)
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
        &self.0
    }
}

pub fn read(payload: &[u8]) -> Seen {
    let Some((first, rest)) = payload.split_first_chunk::<8>() else { return Seen::Foreign };
    let Some((second, _)) = rest.split_first_chunk::<8>() else { return Seen::Foreign };
    let second = u64::from_ne_bytes(*second);
    match u64::from_ne_bytes(*first) {
        PROBE => Seen::Probe,
        END => Seen::End { events: second },
        number => Seen::Event { number, sent: second },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut payload = Payload::new(64);
        assert_eq!(read(payload.probe()), Seen::Probe);
        assert_eq!(read(payload.event(7, 9)), Seen::Event { number: 7, sent: 9 });
        assert_eq!(read(payload.end(8)), Seen::End { events: 8 });
        assert_eq!(payload.end(8).len(), 64);
        assert_eq!(read(b"short"), Seen::Foreign);
    }
}
