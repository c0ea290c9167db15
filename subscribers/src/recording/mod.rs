//! Recordings: events in a file, with their times and all that is known of them. docs/RECORDING.md has the format: a header,
//! and records that are only ever appended, each with a checksum, so that whatever ends a recording, what stands before its
//! last whole record can be read.

mod reader;
mod writer;

pub use reader::{Flaw, OpenError, ReadError, Reader};
pub use writer::{Writer, message};

use nlbus::wire::EventView;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a recording begins with: a byte that isn't text, its name, and line ends that a transfer as text would change.
const MAGIC: [u8; 8] = *b"\x89NLREC\r\n";
/// The version of the format that is written, and the only one that is read.
const VERSION: u16 = 1;
/// Bytes of the header: magic, version, its length, byte order, reserved, checksum.
const HEADER_LEN: usize = 24;
/// As the machine that recorded writes it; another one reads another number.
const BYTE_ORDER: u32 = 0x0102_0304;
/// Bytes before a record's body: its length, its kind, reserved, checksum.
const HEAD_LEN: usize = 12;
/// Bytes that a body may have: more than any event's.
const BODY_MAX: usize = 1 << 20;
/// Kind of a record whose body is an `EVENT` message of the protocol.
const KIND_EVENT: u16 = 1;
/// Kind of a record whose body is a [`Note`] as JSON.
const KIND_NOTE: u16 = 2;

/// What stands in line with the events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Note {
    /// The events that follow are this bus's.
    Bus {
        /// Why that is to be said.
        because: Because,
        /// The bus's epoch.
        epoch: u64,
        /// Its netlink protocol: what tells the module's from the user broker's.
        protocol: u32,
        /// `CLOCK_REALTIME` minus `CLOCK_BOOTTIME`, in nanoseconds: added to an event's time it gives the date.
        clock_offset_ns: i64,
    },
    /// Events that could not be recorded.
    Lost {
        /// Their topic.
        topic: String,
        /// The first one's number.
        from: u64,
        /// The last one's.
        to: u64,
        /// Why, in a word.
        cause: String,
    },
    /// A topic of which nothing more came.
    Ended {
        /// The topic.
        topic: String,
        /// The last number that it is known to have had.
        last: u64,
        /// Why, in a word.
        reason: String,
    },
    /// The recording ended in order.
    End {
        /// How many events it has since the last note that it began.
        events: u64,
        /// How many were lost.
        lost: u64,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Bus { because: Because::Begun, epoch, .. } => write!(f, "recorded from the bus with epoch {epoch}"),
            Note::Bus { because: Because::Resumed, epoch, .. } => {
                write!(f, "recording went on, from the bus with epoch {epoch}; what was published before is missing")
            }
            Note::Bus { because: Because::Restarted, epoch, .. } => {
                write!(f, "the broker restarted; events may be lost; its epoch is now {epoch}")
            }
            Note::Lost { topic, from, to, cause } => write!(f, "lost of '{topic}' {from} to {to}: {cause}"),
            Note::Ended { topic, last, reason } => write!(f, "topic '{topic}' ended after {last}: {reason}"),
            Note::End { events, lost } => write!(f, "recording ended in order after {events} events, {lost} lost"),
        }
    }
}

/// Why a bus is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Because {
    /// The recording begins.
    Begun,
    /// It goes on, after an end of whatever kind.
    Resumed,
    /// The broker restarted.
    Restarted,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<'a> {
    /// An event.
    Event(EventView<'a>),
    /// What stands in line with them.
    Note(Note),
    /// Something that a newer program wrote.
    Unknown,
}

/// Of a record, all but the last four bytes of its head.
fn checksum(head: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), body)
}

#[cfg(test)]
mod tests;
