//! Looks out for the kernel module: two brokers at once would split the bus.
//!
//! Generic netlink announces each family that is registered to its group "notify", so nothing is polled. That
//! matters: asking for a family by name while it isn't there makes the kernel run modprobe (`ctrl_getfamily`).

use crate::sys::{NetlinkSocket, RecvBatch};
use crate::wire::uapi::{
    CTRL_ATTR_FAMILY_NAME, GENL_HDRLEN, GENL_ID_CTRL, NETLINK_GENERIC, NLBUS_DATAGRAM_MAX, NLBUS_GENL_NAME,
};
use crate::wire::{AttributeIter, Messages, family_request};
use nix::errno::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// The controller's only group, which has the number of its family (`genl_validate_assign_mc_groups`).
const NOTIFY_GROUP: u32 = GENL_ID_CTRL as u32;
/// linux/genetlink.h: a family is registered, and the answer to `CTRL_CMD_GETFAMILY`.
const CTRL_CMD_NEWFAMILY: u8 = 1;

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
        self.socket.send_to(&family_request(self.family, 1), 0, 0, true)?;
        // The controller has answered before the send returned (`netlink_unicast_kernel`).
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
            heard |= self.batch.iter().any(|datagram| datagram.port == 0 && names(datagram.bytes, self.family));
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
    Messages::new(datagram).map_while(Result::ok).any(|message| {
        let (Some(&command), Some(attributes)) = (message.body.first(), message.body.get(GENL_HDRLEN..)) else {
            return false;
        };
        message.header.kind == GENL_ID_CTRL
            && command == CTRL_CMD_NEWFAMILY
            && AttributeIter::new(attributes).map_while(Result::ok).any(|attribute| {
                attribute.kind == CTRL_ATTR_FAMILY_NAME
                    && attribute.value.strip_suffix(b"\0") == Some(family.as_bytes())
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Header, push_message};
    use proptest::prelude::*;

    fn announcement(command: u8, name: &[u8]) -> Vec<u8> {
        let mut datagram = Vec::new();
        push_message(&mut datagram, Header { kind: GENL_ID_CTRL, ..Header::default() }, |body| {
            body.raw(&[command, 2, 0, 0]);
            body.bytes(CTRL_ATTR_FAMILY_NAME, name);
            body.u32(99, 1);
        });
        datagram
    }

    #[test]
    fn only_the_arrival_of_the_family_counts() {
        assert!(names(&announcement(CTRL_CMD_NEWFAMILY, b"nlbus\0"), "nlbus"));
        assert!(!names(&announcement(CTRL_CMD_NEWFAMILY, b"nlbus2\0"), "nlbus"));
        assert!(!names(&announcement(2, b"nlbus\0"), "nlbus"));
    }

    #[test]
    fn a_family_that_is_there_is_found_and_one_that_is_not_is_not() {
        assert!(ModuleWatch::for_family("nlctrl").unwrap().ask().unwrap());
        let mut absent = ModuleWatch::for_family("nlbus-none").unwrap();
        assert!(!absent.ask().unwrap());
        assert!(!absent.heard().unwrap());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..100), body in prop::collection::vec(any::<u8>(), 0..40)) {
            names(&bytes, "nlbus");
            let mut datagram = Vec::new();
            push_message(&mut datagram, Header { kind: GENL_ID_CTRL, ..Header::default() }, |b| b.raw(&body));
            names(&datagram, "nlbus");
        }
    }
}
