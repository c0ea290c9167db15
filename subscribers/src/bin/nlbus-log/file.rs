//! The log's file: whole lines, appended, rotated by size and age.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use tracing::warn;

/// Bytes that are collected before they are written, unless nothing more comes.
const BUFFER: usize = 64 << 10;

/// When to rotate, and what to keep.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub size: u64,
    pub age: Option<Duration>,
    pub keep: usize,
}

/// The file.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    limits: Limits,
    file: File,
    /// Bytes in the file; all lines are whole.
    written: u64,
    /// Whole lines that are not in the file yet.
    buffer: Vec<u8>,
    since: Instant,
    /// Number of the newest rotated file, 0 for none.
    rotation: u64,
    /// A write failed: lines that were added are not in the file.
    broken: bool,
}

impl LogFile {
    /// Opens the file to append to it. What a crash left of a last line is cut off.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path, limits: Limits) -> io::Result<LogFile> {
        let rotation = rotated(path)?.last().map_or(0, |(number, _)| *number);
        let (file, written, since) = open(path)?;
        Ok(LogFile { path: path.to_owned(), limits, file, written, buffer: Vec::new(), since, rotation, broken: false })
    }

    /// Cuts off what was written after a position was kept: it will come again. `rotation` and `length` are those of
    /// that moment.
    ///
    /// # Errors
    /// What the system says.
    pub fn cut_to(&mut self, rotation: u64, length: u64) -> io::Result<()> {
        if rotation == self.rotation && length < self.written {
            self.file.set_len(length)?;
            self.written = length;
        }
        Ok(())
    }

    /// Number of the newest rotated file, 0 for none.
    pub fn rotation(&self) -> u64 {
        self.rotation
    }

    /// Bytes in the file, and about to be.
    pub fn len(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Whether a line of so many bytes belongs into this file. An empty one takes any.
    pub fn has_room(&self, line: usize) -> bool {
        self.len() == 0 || self.len() + line as u64 <= self.limits.size
    }

    /// When the file will be old enough to be rotated, if it has anything in it.
    pub fn old_at(&self) -> Option<Instant> {
        self.since.checked_add(self.limits.age?).filter(|_| self.len() > 0)
    }

    /// Whether it is.
    pub fn is_old(&self) -> bool {
        self.old_at().is_some_and(|at| at <= Instant::now())
    }

    /// Adds a line, which ends in a newline.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn push(&mut self, line: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(line);
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// Writes what was added.
    ///
    /// # Errors
    /// What the system says, a full disk for one. Then the file ends with a whole line all the same, and everything from
    /// there on fails: what was added is gone, and whoever keeps a position must not keep one behind it.
    pub fn flush(&mut self) -> io::Result<()> {
        self.unless_broken(Self::write)
    }

    fn unless_broken<T>(&mut self, step: fn(&mut Self) -> io::Result<T>) -> io::Result<T> {
        if self.broken {
            return Err(io::Error::other("an earlier write failed"));
        }
        let result = step(self);
        self.broken = result.is_err();
        result
    }

    fn write(&mut self) -> io::Result<()> {
        let mut done = 0;
        let result = loop {
            match self.file.write(&self.buffer[done..]) {
                _ if done == self.buffer.len() => break Ok(()),
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let whole = self.buffer[..done].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.written += whole as u64;
        self.buffer.drain(..whole);
        if whole < done {
            // Something like /dev/full can't be cut, and has no torn lines.
            let _ = self.file.set_len(self.written);
        }
        result
    }

    /// Writes what was added and waits until it is on disk.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        // One that fails is not to be tried again, either: the kernel takes the pages for clean then (fsync(2)).
        self.unless_broken(|log| match log.file.sync_data() {
            // A pipe or a device (fsync(2)).
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        })
    }

    /// Gives the file its number, begins another one, and removes those that are too many.
    ///
    /// # Errors
    /// What the system says.
    pub fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        self.unless_broken(Self::begin_another)
    }

    fn begin_another(&mut self) -> io::Result<()> {
        fs::rename(&self.path, numbered(&self.path, self.rotation + 1))?;
        self.rotation += 1;
        self.reopen()?;
        sync_folder(&self.path)?;
        let rotated = rotated(&self.path)?;
        for (_, path) in rotated.iter().take(rotated.len().saturating_sub(self.limits.keep)) {
            if let Err(error) = fs::remove_file(path) {
                warn!("can't remove {}: {error}", path.display());
            }
        }
        Ok(())
    }

    /// Opens what has the file's name now.
    ///
    /// # Errors
    /// What the system says.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.sync()?;
        (self.file, self.written, self.since) = open(&self.path)?;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(File, u64, Instant)> {
    let mut file = OpenOptions::new().append(true).read(true).create(true).open(path)?;
    let metadata = file.metadata()?;
    let whole = whole_lines(&mut file, metadata.len())?;
    if whole < metadata.len() {
        warn!("{}: cut {} bytes of a line that was never finished", path.display(), metadata.len() - whole);
        file.set_len(whole)?;
    }
    let age = metadata.created().ok().and_then(|created| SystemTime::now().duration_since(created).ok());
    let since = Instant::now().checked_sub(age.unwrap_or_default()).unwrap_or_else(Instant::now);
    Ok((file, whole, since))
}

/// How many of its bytes are whole lines.
fn whole_lines(file: &mut File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut block = vec![0; 64 << 10];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let block = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The name of a rotated file.
fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number:09}"));
    name.into()
}

/// The rotated files, the oldest first.
fn rotated(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let Some(name) = path.file_name() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let mut prefix = name.as_encoded_bytes().to_vec();
    prefix.push(b'.');
    let mut found = Vec::new();
    for entry in fs::read_dir(folder(path))? {
        let entry = entry?;
        let number = entry.file_name();
        let number = number.as_encoded_bytes().strip_prefix(prefix.as_slice());
        let number = number.filter(|digits| digits.len() >= 9 && digits.iter().all(u8::is_ascii_digit));
        if let Some(number) = number.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok()) {
            found.push((number, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// So that a name is still there after a crash.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}
