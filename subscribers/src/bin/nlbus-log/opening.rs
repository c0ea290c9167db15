//! Opening the log's file: what a name leads to, so that it is known again, and is written by this program alone.

use crate::rotated::sync_folder;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tracing::warn;

/// How often to follow a name that leads elsewhere by the time that its file is locked.
const TRIES: u32 = 100;

/// Which file it is. Inode numbers are used again, so the time of birth counts, too, where the file system has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    device: u64,
    inode: u64,
    born_ns: Option<u64>,
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Identity {
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let born_ns = born.and_then(|born| u64::try_from(born.as_nanos()).ok());
        Identity { device: metadata.dev(), inode: metadata.ino(), born_ns }
    }
}

impl Identity {
    /// Whether this file is where a path leads.
    pub fn is_at(&self, path: &Path) -> io::Result<bool> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(*self == Identity::from(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// An open file.
#[derive(Debug)]
pub struct Opened {
    pub file: File,
    /// Where it is, with no links on the way: what is renamed there is the file itself.
    pub path: PathBuf,
    pub identity: Identity,
    /// A file, and not a pipe or a device: it can be cut and rotated.
    pub regular: bool,
    pub length: u64,
    /// When it began.
    pub since: Instant,
}

/// Opens a file to append to it, and locks it.
///
/// # Errors
/// What the system says, and [`io::ErrorKind::WouldBlock`] where another program has it locked.
pub fn open(name: &Path) -> io::Result<Opened> {
    for _ in 0..TRIES {
        let file = OpenOptions::new().append(true).read(true).create(true).open(name)?;
        let metadata = file.metadata()?;
        let (identity, regular) = (Identity::from(&metadata), metadata.is_file());
        let path = if regular {
            lock(&file, name)?;
            // It may have been rotated away before it was locked.
            match fs::canonicalize(name) {
                Ok(path) if identity.is_at(&path)? => path,
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => continue,
            }
        } else {
            name.to_owned()
        };
        let age = metadata.created().ok().and_then(|born| SystemTime::now().duration_since(born).ok());
        let since = Instant::now().checked_sub(age.unwrap_or_default()).unwrap_or_else(Instant::now);
        let length = if regular { file.metadata()?.len() } else { 0 };
        if regular && length == 0 {
            // It may be new, and its name gone after a crash of the host, though what is in it was synced.
            sync_folder(&path)?;
        }
        return Ok(Opened { file, path, identity, regular, length, since });
    }
    Err(io::Error::other("its name leads to another file each time"))
}

/// Two that write to one file would cut and rotate each other's lines. The lock ends with the descriptor.
fn lock(file: &File, name: &Path) -> io::Result<()> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(io::Error::new(io::ErrorKind::WouldBlock, "another program has it locked")),
        Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => {
            warn!("{}: its file system has no locks; see that no other program writes it", name.display());
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
