//! Reading recordings.

use super::{BODY_MAX, BYTE_ORDER, HEAD_LEN, HEADER_LEN, KIND_EVENT, KIND_NOTE, MAGIC, Record, VERSION, checksum};
use nlbus::wire::{EventView, Messages};
use std::fmt;
use std::io::{self, BufReader, Read};

/// How much is read at once.
const BUFFER: usize = 1 << 18;

/// Reads records from the first one on.
#[derive(Debug)]
pub struct Reader<R> {
    input: BufReader<R>,
    /// Where the next record begins.
    at: u64,
    body: Vec<u8>,
}

/// Why something can't be read as a recording.
#[derive(Debug)]
pub enum OpenError {
    /// Of reading.
    Io(io::Error),
    /// It doesn't begin as one.
    NotOne,
    /// It is of another version of the format.
    Version(u16),
    /// It was recorded on a machine that writes numbers the other way round.
    OtherByteOrder,
    /// Its header is damaged.
    Header,
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        OpenError::Io(error)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Io(error) => error.fmt(f),
            OpenError::NotOne => f.write_str("it isn't a recording of nlbus; give a file that 'nlbus record' wrote"),
            OpenError::Version(version) => write!(
                f,
                "it is of version {version} of the format, and this program reads version {VERSION}; take the program that \
                 wrote it"
            ),
            OpenError::OtherByteOrder => {
                f.write_str("it was recorded on a machine of the other byte order; play it on one like that")
            }
            OpenError::Header => f.write_str("its header is damaged; take another copy of the file"),
        }
    }
}

/// Where a recording can't be read on, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flaw {
    /// The byte at which the record begins that is the trouble: all before can be read.
    pub at: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

/// Why there is no next record.
#[derive(Debug)]
pub enum ReadError {
    /// Of reading.
    Io(io::Error),
    /// It is cut or damaged.
    Flaw(Flaw),
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When it isn't a recording that this program can read.
    pub fn open(input: R) -> Result<Reader<R>, OpenError> {
        let mut input = BufReader::with_capacity(BUFFER, input);
        let mut header = [0; HEADER_LEN];
        let len = read_up_to(&mut input, &mut header)?;
        if len < MAGIC.len() || header[..8] != MAGIC {
            return Err(OpenError::NotOne);
        }
        if len < HEADER_LEN {
            return Err(OpenError::Header);
        }
        let order = number(&header[12..16]);
        if order == BYTE_ORDER.swap_bytes() {
            return Err(OpenError::OtherByteOrder);
        }
        if number(&header[20..24]) != crc32c::crc32c(&header[..20]) || order != BYTE_ORDER {
            return Err(OpenError::Header);
        }
        let version = half(&header[8..10]);
        if version != VERSION || usize::from(half(&header[10..12])) != HEADER_LEN {
            return Err(OpenError::Version(version));
        }
        Ok(Reader { input, at: HEADER_LEN as u64, body: Vec::new() })
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// When it is cut or damaged, or of reading. Then there is no going on.
    pub fn read(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        let at = self.at;
        let flaw = |what| Err(ReadError::Flaw(Flaw { at, what }));
        let mut head = [0; HEAD_LEN];
        match read_up_to(&mut self.input, &mut head).map_err(ReadError::Io)? {
            0 => return Ok(None),
            HEAD_LEN => {}
            _ => return flaw("it is cut off within a record"),
        }
        let len = number(&head[..4]) as usize;
        if len > BODY_MAX {
            return flaw("a record is damaged: its length can't be");
        }
        self.body.resize(len, 0);
        if read_up_to(&mut self.input, &mut self.body).map_err(ReadError::Io)? < len {
            return flaw("it is cut off within a record");
        }
        if number(&head[8..12]) != checksum(&head[..8], &self.body) {
            return flaw("a record is damaged: its checksum is wrong");
        }
        let record = match half(&head[4..6]) {
            KIND_EVENT => match event(&self.body) {
                Some(event) => Record::Event(event),
                None => return flaw("a record isn't an event, though its checksum is right"),
            },
            // One with more in it than this program knows is a newer one's.
            KIND_NOTE => serde_json::from_slice(&self.body).map_or(Record::Unknown, Record::Note),
            _ => Record::Unknown,
        };
        self.at += (HEAD_LEN + len) as u64;
        Ok(Some(record))
    }

    /// Where the next record begins, in bytes.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Reads on to the last whole record. Returns where that ends.
    ///
    /// # Errors
    /// Of reading.
    pub fn skip_to_end(mut self) -> io::Result<u64> {
        loop {
            match self.read() {
                Ok(Some(_)) => {}
                Ok(None) | Err(ReadError::Flaw(_)) => return Ok(self.at),
                Err(ReadError::Io(error)) => return Err(error),
            }
        }
    }
}

fn event(body: &[u8]) -> Option<EventView<'_>> {
    let mut messages = Messages::new(body);
    let event = EventView::parse(messages.next()?.ok()?.body).ok()?;
    messages.next().is_none().then_some(event)
}

/// Reads until the buffer is full, or there is no more. Returns how much there was.
fn read_up_to(input: &mut impl Read, mut buffer: &mut [u8]) -> io::Result<usize> {
    let wanted = buffer.len();
    while !buffer.is_empty() {
        match input.read(buffer) {
            Ok(0) => break,
            Ok(read) => buffer = &mut buffer[read..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wanted - buffer.len())
}

fn number(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_ne_bytes)
}

fn half(bytes: &[u8]) -> u16 {
    bytes.try_into().map_or(0, u16::from_ne_bytes)
}
