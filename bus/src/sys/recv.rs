//! Receiving many datagrams with one system call.
//!
//! nix's `recvmmsg` isn't used: it doesn't restore `msg_controllen` between calls, so that credentials vanish once
//! a datagram came without, and its headers are `!Send`.

use super::NetlinkSocket;
use bytes::{BufMut, BytesMut};
use std::io;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::os::fd::AsRawFd;

/// Most datagrams of one call.
const SLOTS_MAX: usize = 64;

/// Most datagrams that are taken as lone ones without a look for others.
const LONE_MAX: usize = 15;

/// Bytes of control data that one `SCM_CREDENTIALS` takes; a multiple of `size_of::<cmsghdr>()`'s alignment.
// SAFETY: CMSG_SPACE only computes with its argument.
const CONTROL_LEN: usize = unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) } as usize;

/// Control data of one datagram, aligned as `struct cmsghdr` needs it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_LEN]);

const _: () = assert!(align_of::<Control>() >= align_of::<libc::cmsghdr>());

/// Who sent a datagram, as the kernel tells (`SO_PASSCRED`), in the receiver's namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Credentials {
    /// Process id.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Memory that a datagram is received into.
pub trait Buffer: BufMut + Deref<Target = [u8]> {
    /// One with room for so many bytes.
    fn with_capacity(bytes: usize) -> Self;
    /// Forgets its bytes, and keeps its room.
    fn clear(&mut self);
}

impl Buffer for Vec<u8> {
    fn with_capacity(bytes: usize) -> Self {
        Vec::with_capacity(bytes)
    }

    fn clear(&mut self) {
        self.clear();
    }
}

impl Buffer for BytesMut {
    fn with_capacity(bytes: usize) -> Self {
        BytesMut::with_capacity(bytes)
    }

    fn clear(&mut self) {
        self.clear();
    }
}

/// A datagram that a [`RecvBatch`] holds, apart from its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// The sender's port id, 0 for the kernel.
    pub port: u32,
    /// The mask of the group that it was sent to (bit 0 is group 1); 0 for a unicast and for groups above 32.
    pub groups: u32,
    /// It was longer than the slot (`MSG_TRUNC`).
    pub truncated: bool,
    /// Who sent it; only with [`NetlinkSocket::set_pass_credentials`].
    pub credentials: Option<Credentials>,
}

/// Room for datagrams that is used again and again, in buffers that whoever takes a datagram may keep.
pub struct RecvBatch<B = Vec<u8>> {
    /// One buffer each, which has no memory until the slot is offered to the kernel.
    slots: Vec<B>,
    slot_len: usize,
    /// How many the kernel is offered if few are likely, and how many with the next call.
    few: usize,
    /// Bytes that it is to take at a time, if that many wait.
    enough: usize,
    offered: usize,
    /// How many datagrams are taken as lone ones before the next look for others, and how many of those are left.
    lone: usize,
    lone_left: usize,
    received: Vec<Datagram>,
    is_drained: bool,
}

impl<B: Buffer> RecvBatch<B> {
    /// Room for up to `slots` datagrams (at most 64) of `slot_len` bytes each, in buffers of the next power of two.
    pub fn new(slots: usize, slot_len: usize) -> Self {
        let slots = slots.clamp(1, SLOTS_MAX);
        RecvBatch {
            slots: (0..slots).map(|_| B::with_capacity(0)).collect(),
            slot_len: slot_len.max(1),
            few: slots,
            enough: usize::MAX,
            offered: slots,
            lone: 0,
            lone_left: 0,
            received: Vec::with_capacity(slots),
            is_drained: false,
        }
    }

    /// Offers the kernel only so many slots as long as it doesn't fill them: each one costs, and a lone datagram shouldn't pay
    /// for many. While they keep coming alone, up to 15 of 16 are offered a single slot: where there is room for a second one the
    /// kernel looks for it, which is a thousand instructions for nothing.
    pub fn few_first(self, few: usize) -> Self {
        let few = few.max(2).min(self.slots.len());
        RecvBatch { few, offered: few, ..self }
    }

    /// Takes about so many bytes at a time and no more, where datagrams are as large as those before: what is worked off
    /// while it is in the processor's cache costs less. Never fewer than [`few_first`](Self::few_first).
    pub fn about(self, enough: usize) -> Self {
        RecvBatch { enough, ..self }
    }

    /// Has the next [`receive`](Self::receive) look for more than one datagram.
    pub fn expect_more(&mut self) {
        self.offered = self.offered.max(self.few);
    }

    /// Takes what waits at the socket, without waiting, in place of what the batch held. Returns how many
    /// datagrams that is.
    ///
    /// # Errors
    /// `ENOBUFS` after an overrun, unless [`NetlinkSocket::set_no_enobufs`]; what `recvmmsg(2)` says. Nothing waiting
    /// is no error.
    pub fn receive(&mut self, socket: &NetlinkSocket) -> io::Result<usize> {
        self.received.clear();
        let offered = self.offered;
        let result = self.receive_into(socket, offered);
        let received = self.received.len();
        self.is_drained = received < offered;
        self.offered = self.likely(offered, received);
        result.map(|()| received)
    }

    /// How many slots to offer after so many of them were filled.
    fn likely(&mut self, offered: usize, received: usize) -> usize {
        if self.few == self.slots.len() {
            return self.few;
        }
        if received > 1 {
            self.lone = 0;
            return if received == offered || received > self.few { self.several() } else { self.few };
        }
        if offered == 1 {
            self.lone_left -= received;
        } else {
            // There was room for another one, and none.
            self.lone = (2 * self.lone + received).min(LONE_MAX);
            self.lone_left = self.lone;
        }
        if self.lone_left > 0 { 1 } else { self.few }
    }

    /// How many slots are enough for what is likely to come now.
    fn several(&self) -> usize {
        let bytes: usize = self.slots.iter().take(self.received.len()).map(|bytes| bytes.len()).sum();
        let average = (bytes / self.received.len().max(1)).max(1);
        (self.enough / average).clamp(self.few, self.slots.len())
    }

    /// Whether the last [`receive`](Self::receive) found no more than it took, or an error. One that was offered a single slot
    /// and filled it doesn't know.
    pub fn is_drained(&self) -> bool {
        self.is_drained
    }

    fn receive_into(&mut self, socket: &NetlinkSocket, offered: usize) -> io::Result<()> {
        let mut names = [MaybeUninit::<libc::sockaddr_nl>::uninit(); SLOTS_MAX];
        let mut vectors = [MaybeUninit::<libc::iovec>::uninit(); SLOTS_MAX];
        let mut controls = [MaybeUninit::<Control>::uninit(); SLOTS_MAX];
        let mut headers = [MaybeUninit::<libc::mmsghdr>::uninit(); SLOTS_MAX];
        for (at, slot) in self.slots.iter_mut().take(offered).enumerate() {
            slot.clear();
            if slot.chunk_mut().len() < self.slot_len {
                *slot = B::with_capacity(self.slot_len.next_power_of_two());
            }
            // SAFETY: these are plain C structures for which all zeros is a value.
            let (name, mut header) = unsafe {
                (
                    MaybeUninit::<libc::sockaddr_nl>::zeroed().assume_init(),
                    MaybeUninit::<libc::mmsghdr>::zeroed().assume_init(),
                )
            };
            let message = &mut header.msg_hdr;
            message.msg_name = names[at].write(name) as *mut _ as *mut _;
            message.msg_namelen = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
            let room = slot.chunk_mut();
            let vector = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len().min(self.slot_len) };
            message.msg_iov = vectors[at].write(vector);
            message.msg_iovlen = 1;
            message.msg_control = controls[at].write(Control([0; CONTROL_LEN])) as *mut _ as *mut _;
            message.msg_controllen = CONTROL_LEN as _;
            headers[at].write(header);
        }
        // SAFETY: `headers` has `offered` initialised entries, whose pointers lead to memory of the given lengths that
        // nothing else refers to and that outlives the call: a slot's room, a name, a vector, control data.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr().cast(),
                offered as _,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(()) } else { Err(error) };
        }
        let filled = headers.iter().zip(&names).zip(&mut self.slots);
        for ((header, name), slot) in filled.take(offered.min(count as usize)) {
            // SAFETY: both of the first `offered` were written above, and the kernel overwrites them with values at most.
            let (header, name) = unsafe { (header.assume_init_ref(), name.assume_init_ref()) };
            // Netlink returns the whole length with MSG_TRUNC only when that flag is passed in, but be sure.
            let len = (header.msg_len as usize).min(slot.chunk_mut().len()).min(self.slot_len);
            // SAFETY: the kernel wrote so many bytes to the slot's room, and wasn't offered more of it.
            unsafe { slot.advance_mut(len) };
            self.received.push(Datagram {
                port: name.nl_pid,
                groups: name.nl_groups,
                truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
                credentials: credentials(&header.msg_hdr),
            });
        }
        Ok(())
    }

    /// The datagrams of the last [`receive`](Self::receive), in their order, and their bytes, as many as a slot has room for.
    /// Whoever keeps a buffer leaves another one in its place, which needs no room.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (Datagram, &mut B)> {
        self.received.iter().copied().zip(&mut self.slots)
    }
}

impl<B> std::fmt::Debug for RecvBatch<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecvBatch").field("slots", &self.slots.len()).field("received", &self.received).finish()
    }
}

/// The credentials in a header that `recvmmsg` filled.
fn credentials(header: &libc::msghdr) -> Option<Credentials> {
    // SAFETY: the kernel set msg_control and msg_controllen to control messages that it wrote, in a buffer that is
    // still alive; the macros walk no further than msg_controllen.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a whole header within msg_controllen; the buffer is
    // aligned for it.
    while let Some(control) = unsafe { message.as_ref() } {
        // SAFETY: CMSG_LEN only computes with its argument.
        let whole = unsafe { libc::CMSG_LEN(size_of::<libc::ucred>() as u32) } as _;
        if control.cmsg_level == libc::SOL_SOCKET
            && control.cmsg_type == libc::SCM_CREDENTIALS
            && control.cmsg_len >= whole
        {
            // SAFETY: the message is as long as a header with a ucred behind it, which any bits make; the read
            // needs no alignment.
            let cred = unsafe { libc::CMSG_DATA(message).cast::<libc::ucred>().read_unaligned() };
            return Some(Credentials { pid: cred.pid as u32, uid: cred.uid, gid: cred.gid });
        }
        // SAFETY: as for CMSG_FIRSTHDR; `message` came from it or from here.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    None
}

#[cfg(test)]
mod tests;
