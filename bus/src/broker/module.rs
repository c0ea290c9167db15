//! Looks out for the kernel module: two brokers at once would split the bus.
//!
//! Generic netlink announces each family that is registered to its group "notify", so nothing is polled.

use crate::sys::{NetlinkSocket, RecvBatch};
use crate::wire::uapi::{GENL_ID_CTRL, NETLINK_GENERIC, NLBUS_DATAGRAM_MAX, NLBUS_GENL_NAME};
use crate::wire::{Messages, families_request, family_id};
use nix::errno::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// The controller's only group, which has the number of its family (`genl_validate_assign_mc_groups`).
const NOTIFY_GROUP: u32 = GENL_ID_CTRL as u32;

/// A generic netlink socket that hears of new families.
#[derive(Debug)]
pub(super) struct ModuleWatch {
    socket: NetlinkSocket,
    batch: RecvBatch,
    family: &'static str,
}

impl ModuleWatch {
    pub(super) fn open() -> io::Result<ModuleWatch> {
        ModuleWatch::for_family(NLBUS_GENL_NAME)
    }

    fn for_family(family: &'static str) -> io::Result<ModuleWatch> {
        let mut socket = NetlinkSocket::open(NETLINK_GENERIC)?;
        socket.bind(0)?;
        socket.add_membership(NOTIFY_GROUP)?;
        Ok(ModuleWatch { socket, batch: RecvBatch::new(8, NLBUS_DATAGRAM_MAX), family })
    }

    /// Asks whether the module is there.
    pub(super) fn ask(&mut self) -> io::Result<bool> {
        self.socket.send_to(&families_request(1), 0, 0, true)?;
        // The first part is there when the send returns, each further one when the one before was read
        // (`netlink_dump`, from `netlink_recvmsg`).
        self.drain()
    }

    /// Reads what has been announced: whether the module was.
    pub(super) fn heard(&mut self) -> io::Result<bool> {
        match self.drain() {
            // Announcements were lost, so ask.
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => self.ask(),
            heard => heard,
        }
    }

    fn drain(&mut self) -> io::Result<bool> {
        let mut heard = false;
        while self.batch.receive(&self.socket)? > 0 {
            heard |= self.batch.iter_mut().any(|(datagram, bytes)| datagram.port == 0 && names(bytes, self.family));
        }
        Ok(heard)
    }
}

impl AsFd for ModuleWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether a datagram of the controller says that a family is there.
fn names(datagram: &[u8], family: &str) -> bool {
    Messages::new(datagram).map_while(Result::ok).any(|message| family_id(&message, family).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_that_is_there_is_found_and_one_that_is_not_is_not() {
        assert!(ModuleWatch::for_family("nlctrl").unwrap().ask().unwrap());
        let mut absent = ModuleWatch::for_family("nlbus-none").unwrap();
        assert!(!absent.ask().unwrap());
        assert!(!absent.heard().unwrap());
    }
}
