//! Writing recordings.

use super::reader::{OpenError, Reader};
use super::{BODY_MAX, BYTE_ORDER, HEAD_LEN, HEADER_LEN, KIND_EVENT, KIND_NOTE, MAGIC, Note, VERSION, checksum};
use nlbus::Event;
use nlbus::wire::uapi::{NLBUS_EVENT_F_KERNEL, NLBUS_EVENT_F_REPLAYED, NLBUS_EVENT_F_WILL, NLBUS_MSG_EVENT};
use nlbus::wire::{EventHeader, Header, push_event};
use std::fs::File;
use std::io::{self, Seek, Write};

/// How much is collected before it is written.
const BUFFER: usize = 1 << 18;

/// Appends records. What isn't [flushed](Self::flush) is lost with the process, and nothing else.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    buffer: Vec<u8>,
    written: u64,
}

/// The `EVENT` message of an event, as the broker sent it, but for its port id, which was the receiver's.
pub fn message(event: &Event, out: &mut Vec<u8>) {
    let sender = event.sender();
    let flag = |is: bool, flag: u16| if is { flag } else { 0 };
    let header = EventHeader {
        seq: event.seq(),
        time_ns: event.time_ns(),
        topic_id: event.topic_id(),
        portid: sender.portid,
        pid: sender.pid,
        uid: sender.uid,
        flags: flag(sender.kernel, NLBUS_EVENT_F_KERNEL)
            | flag(event.is_replayed(), NLBUS_EVENT_F_REPLAYED)
            | flag(event.is_will(), NLBUS_EVENT_F_WILL),
        content: event.content().to_wire(),
    };
    let message = Header { kind: NLBUS_MSG_EVENT, flags: 0, seq: event.epoch() as u32, portid: 0 };
    push_event(out, message, &header, event.topic(), event.payload());
}

impl<W: Write> Writer<W> {
    /// Begins a recording.
    ///
    /// # Errors
    /// Of writing.
    pub fn begin(out: W) -> io::Result<Writer<W>> {
        let mut writer = Writer { out, buffer: Vec::with_capacity(2 * BUFFER), written: 0 };
        let mut header = Vec::with_capacity(HEADER_LEN);
        header.extend(MAGIC);
        header.extend(VERSION.to_ne_bytes());
        header.extend((HEADER_LEN as u16).to_ne_bytes());
        header.extend(BYTE_ORDER.to_ne_bytes());
        header.extend([0; 4]);
        header.extend(crc32c::crc32c(&header).to_ne_bytes());
        writer.buffer.extend(header);
        writer.flush()?;
        Ok(writer)
    }

    /// Appends an event.
    ///
    /// # Errors
    /// Of writing: then the recording ends with what was written before, and perhaps a part of this.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        self.record(KIND_EVENT, |body| {
            message(event, body);
            Ok(())
        })
    }

    /// Appends the message that this writes.
    #[cfg(test)]
    pub(super) fn raw_event(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.record(KIND_EVENT, |body| {
            write(body);
            Ok(())
        })
        .unwrap();
    }

    /// Appends what is to stand in line with the events.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub fn note(&mut self, note: &Note) -> io::Result<()> {
        self.record(KIND_NOTE, |body| Ok(serde_json::to_writer(body, note)?))
    }

    fn record(&mut self, kind: u16, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        let start = self.buffer.len();
        self.buffer.extend([0; HEAD_LEN]);
        write(&mut self.buffer)?;
        let (head, body) = self.buffer[start..].split_at_mut(HEAD_LEN);
        debug_assert!(body.len() <= BODY_MAX);
        head[0..4].copy_from_slice(&(body.len() as u32).to_ne_bytes());
        head[4..6].copy_from_slice(&kind.to_ne_bytes());
        let sum = checksum(&head[..8], body);
        head[8..12].copy_from_slice(&sum.to_ne_bytes());
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// Writes what was collected.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub fn flush(&mut self) -> io::Result<()> {
        let written = self.out.write_all(&self.buffer).and_then(|()| self.out.flush());
        self.written += self.buffer.len() as u64;
        // Once that failed, a part may have been written: nothing can follow it.
        self.buffer.clear();
        written
    }

    /// Bytes of what was appended, flushed or not.
    pub fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }
}

impl Writer<File> {
    /// Goes on with a recording behind its last whole record; what is torn behind that is cut off. Returns how many bytes
    /// these were.
    ///
    /// # Errors
    /// When it isn't a recording, or of reading and writing.
    pub fn resume(mut file: File) -> Result<(Writer<File>, u64), OpenError> {
        let len = file.metadata()?.len();
        file.rewind()?;
        let end = Reader::open(&file)?.skip_to_end()?;
        file.set_len(end)?;
        file.seek(io::SeekFrom::Start(end))?;
        Ok((Writer { out: file, buffer: Vec::with_capacity(2 * BUFFER), written: 0 }, len - end))
    }

    /// Has it all on the disk.
    ///
    /// # Errors
    /// As [`event`](Self::event).
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.out.sync_all()
    }
}
