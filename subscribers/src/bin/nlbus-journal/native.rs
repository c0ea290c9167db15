//! The journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): an entry a datagram, or, where that is too large, in
//! a sealed memory file. Written here because the crates that speak it take text only, and only the system's socket;
//! payloads are any bytes.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// Where the system's journal listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// An entry: fields with values.
#[derive(Debug)]
pub struct Entry {
    bytes: Vec<u8>,
}

impl Entry {
    /// An entry with this priority, 0 to 7, and message.
    pub fn new(priority: u8, message: &[u8]) -> Entry {
        let mut entry = Entry { bytes: Vec::with_capacity(message.len() + 512) };
        entry.field("PRIORITY", &priority);
        entry.bytes("MESSAGE", message);
        entry
    }

    /// Adds a field.
    pub fn field(&mut self, name: &str, value: &impl Display) {
        self.bytes(name, value.to_string().as_bytes());
    }

    /// Adds a field of any bytes.
    pub fn bytes(&mut self, name: &str, value: &[u8]) {
        self.bytes.extend_from_slice(name.as_bytes());
        // A value of several lines goes with its length in front of it.
        if value.contains(&b'\n') {
            self.bytes.push(b'\n');
            self.bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.bytes.push(b'=');
        }
        self.bytes.extend_from_slice(value);
        self.bytes.push(b'\n');
    }
}

/// A socket to the journal. It is not connected, so that a journal that restarts is found again.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// For the journal that listens at this path.
    pub fn new(path: &Path) -> io::Result<Journal> {
        let socket = UnixDatagram::unbound()?;
        // Whoever waits in the kernel for a journal that doesn't read can't be told to end.
        socket.set_nonblocking(true)?;
        Ok(Journal { socket, path: path.to_owned() })
    }

    /// Whether somebody listens. An empty datagram is no entry.
    pub fn is_there(&self) -> bool {
        match self.socket.send_to(&[], &self.path) {
            Ok(_) => true,
            // One that is behind.
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Sends an entry.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] while the journal has no room for it, and what else the system says.
    pub fn send(&self, entry: &Entry) -> io::Result<()> {
        match self.socket.send_to(&entry.bytes, &self.path) {
            // Both say that it is too large for a datagram (sd_journal_sendv takes them so, too).
            Err(error)
                if [Errno::EMSGSIZE, Errno::ENOBUFS].map(|no| Some(no as i32)).contains(&error.raw_os_error()) =>
            {
                self.send_file(entry)
            }
            sent => sent.map(drop),
        }
    }

    fn send_file(&self, entry: &Entry) -> io::Result<()> {
        let mut file = File::from(memfd_create(c"nlbus", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
        file.write_all(&entry.bytes)?;
        // The journal takes a file only if nobody can change it any more.
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        let (address, fds) = (UnixAddr::new(&self.path)?, [file.as_raw_fd()]);
        let control = [ControlMessage::ScmRights(&fds)];
        sendmsg(self.socket.as_raw_fd(), &[], &control, MsgFlags::empty(), Some(&address))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{setsockopt, sockopt};
    use std::io::IoSliceMut;

    fn pair() -> (Journal, UnixDatagram, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixDatagram::bind(&path).unwrap();
        (Journal::new(&path).unwrap(), listener, folder)
    }

    #[test]
    fn a_value_of_several_lines_goes_with_its_length() {
        let mut entry = Entry::new(6, b"one");
        entry.bytes("X", b"a\n=b");
        assert_eq!(entry.bytes, b"PRIORITY=6\nMESSAGE=one\nX\n\x04\0\0\0\0\0\0\0a\n=b\n");
    }

    #[test]
    fn what_is_too_large_for_a_datagram_goes_in_a_file() {
        let (journal, listener, _folder) = pair();
        setsockopt(&journal.socket, sockopt::SndBuf, &4096).unwrap();
        let entry = Entry::new(6, &[b'x'; 60_000]);
        journal.send(&entry).unwrap();
        let mut space = nix::cmsg_space!(std::os::fd::RawFd);
        let mut bytes = [0];
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let message =
            nix::sys::socket::recvmsg::<()>(listener.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::empty());
        let message = message.unwrap();
        let fds = message.cmsgs().unwrap().find_map(|control| match control {
            nix::sys::socket::ControlMessageOwned::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let path = format!("/proc/self/fd/{}", fds.unwrap()[0]);
        assert_eq!(std::fs::read(path).unwrap(), entry.bytes);
    }
}
