//! The log's file: whole lines, appended, rotated by size and age.

use crate::ending::{Ending, ending};
use crate::opening::{self, Identity, Opened};
use crate::rotated;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
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

/// A file, and how much of it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Extent {
    pub identity: Identity,
    pub length: u64,
}

/// The file.
#[derive(Debug)]
pub struct LogFile {
    /// As it was given: where a link leads may change until it is opened anew.
    name: PathBuf,
    limits: Limits,
    opened: Opened,
    /// Whole lines that are not in the file yet.
    buffer: Vec<u8>,
    /// Number of the newest rotated file, 0 for none.
    rotation: u64,
    /// A write failed: lines that were added are not in the file.
    broken: bool,
}

impl LogFile {
    /// Opens the file to append to it, and changes nothing yet.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(name: &Path, limits: Limits) -> io::Result<LogFile> {
        let opened = opening::open(name)?;
        let rotation = newest(&opened)?;
        Ok(LogFile { name: name.to_owned(), limits, opened, buffer: Vec::new(), rotation, broken: false })
    }

    /// The file, and how much of it is written.
    pub fn extent(&self) -> Extent {
        Extent { identity: self.opened.identity, length: self.opened.length }
    }

    /// What is in the file from there on.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_from(&self, start: u64) -> io::Result<impl BufRead> {
        let mut file = &self.opened.file;
        // Where it reads is nothing to writes, which append.
        file.seek(SeekFrom::Start(start))?;
        Ok(BufReader::new(file))
    }

    /// Cuts off what is in the file from there on.
    ///
    /// # Errors
    /// What the system says.
    pub fn cut_to(&mut self, length: u64) -> io::Result<()> {
        self.opened.file.set_len(length)?;
        self.opened.length = length;
        Ok(())
    }

    /// Sees to it that lines can be added: what a crash left of a line of ours is cut off, and what else has no newline
    /// at its end gets one.
    ///
    /// # Errors
    /// What the system says.
    pub fn mend(&mut self) -> io::Result<()> {
        let (path, length) = (self.opened.path.display(), self.opened.length);
        match ending(&self.opened.file, length)? {
            Ending::Whole => {}
            Ending::Torn(start) => {
                warn!("{path}: cut {} bytes of a line that was never finished", length - start);
                self.cut_to(start)?;
            }
            Ending::Unfinished => {
                warn!("{path}: put a newline behind what didn't end in one");
                self.opened.file.write_all(b"\n")?;
                self.opened.length += 1;
            }
        }
        Ok(())
    }

    /// Bytes in the file, and about to be.
    fn len(&self) -> u64 {
        self.opened.length + self.buffer.len() as u64
    }

    /// Whether a line of so many bytes belongs into this file. An empty one takes any, and so does what is no file.
    pub fn has_room(&self, line: usize) -> bool {
        !self.opened.regular || self.len() == 0 || self.len() + line as u64 <= self.limits.size
    }

    /// When the file will be old enough to be rotated, if it has anything in it.
    pub fn old_at(&self) -> Option<Instant> {
        self.opened.since.checked_add(self.limits.age?).filter(|_| self.opened.regular && self.len() > 0)
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
            match self.opened.file.write(&self.buffer[done..]) {
                _ if done == self.buffer.len() => break Ok(()),
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let whole = self.buffer[..done].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.opened.length += whole as u64;
        self.buffer.drain(..whole);
        if whole < done && self.opened.regular {
            // Not to a length of our own reckoning: somebody may have emptied the file meanwhile.
            let torn = (done - whole) as u64;
            let cut = |metadata: fs::Metadata| self.opened.file.set_len(metadata.len().saturating_sub(torn));
            // If that fails, too, the line is cut off the next time.
            let _ = self.opened.file.metadata().and_then(cut);
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
        self.unless_broken(|log| {
            let opened = &mut log.opened;
            if !opened.regular {
                // A pipe or a device has nothing to wait for.
                return Ok(());
            }
            opened.file.sync_data()?;
            // Somebody may have emptied it.
            opened.length = opened.file.metadata()?.len();
            Ok(())
        })
    }

    /// Gives the file its number, begins another one, and removes those that are too many. A file that somebody has moved
    /// or removed has no name to be changed; then only another one is begun. Returns whether there is another rotated file.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn rotate(&mut self) -> io::Result<bool> {
        self.sync()?;
        self.unless_broken(Self::begin_another)
    }

    fn begin_another(&mut self) -> io::Result<bool> {
        if !self.renamed()? {
            warn!("{}: somebody has moved or removed it; opening it anew", self.opened.path.display());
            self.open_anew()?;
            return Ok(false);
        }
        self.open_anew()?;
        let rotated = rotated::list(&self.opened.path)?;
        for (_, path) in rotated.iter().take(rotated.len().saturating_sub(self.limits.keep)) {
            if let Err(error) = fs::remove_file(path) {
                warn!("can't remove {}: {error}", path.display());
            }
        }
        Ok(true)
    }

    /// Gives the file its number, if it is still where it was.
    fn renamed(&mut self) -> io::Result<bool> {
        let Opened { path, identity, .. } = &self.opened;
        if !identity.is_at(path)? {
            return Ok(false);
        }
        match rotated::rename(path, self.rotation) {
            Ok(number) => {
                self.rotation = number;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens what has the file's name now.
    ///
    /// # Errors
    /// What the system says.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.sync()?;
        // The same one is locked already, by ourselves.
        match self.opened.regular && self.opened.identity.is_at(&self.name)? {
            true => Ok(()),
            false => self.open_anew(),
        }
    }

    fn open_anew(&mut self) -> io::Result<()> {
        let opened = opening::open(&self.name)?;
        let newest = newest(&opened)?;
        // A number is not given twice, though all rotated files may be gone.
        self.rotation = if opened.path == self.opened.path { self.rotation.max(newest) } else { newest };
        self.opened = opened;
        self.mend()
    }
}

/// Number of the newest rotated file, 0 for none.
fn newest(opened: &Opened) -> io::Result<u64> {
    match opened.regular {
        true => Ok(rotated::list(&opened.path)?.last().map_or(0, |(number, _)| *number)),
        false => Ok(0),
    }
}

/// Whether two paths lead to one place, be there a file or not.
pub fn are_same(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|metadata| Identity::from(&metadata));
    let place = |path: &Path| Some(fs::canonicalize(rotated::folder(path)).ok()?.join(path.file_name()?));
    match (identity(one), identity(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => place(one).is_some_and(|one| place(other) == Some(one)),
        _ => false,
    }
}
