//! Socket buffers as tuned systems ask for them: 8 MiB, or what the host allows whoever hasn't `CAP_NET_ADMIN` on it.

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, getsockopt, setsockopt, socket,
    sockopt::{RcvBuf, RcvBufForce, SndBuf, SndBufForce},
};
use std::os::fd::OwnedFd;

/// What is asked for. The kernel doubles what it is told, and tells the double.
pub const LARGE: usize = 8 << 20;

/// What the kernel gives a socket by itself: net.core.rmem_default.
pub const DEFAULT: usize = 208 << 10;

pub fn enlarge_receive(socket: &OwnedFd) -> Result<()> {
    let forced = setsockopt(socket, RcvBufForce, &(LARGE / 2));
    forced.or_else(|_| setsockopt(socket, RcvBuf, &(LARGE / 2))).context("enlarge a receive buffer")
}

pub fn enlarge_send(socket: &OwnedFd) -> Result<()> {
    let forced = setsockopt(socket, SndBufForce, &(LARGE / 2));
    forced.or_else(|_| setsockopt(socket, SndBuf, &(LARGE / 2))).context("enlarge a send buffer")
}

/// Bytes that an enlarged receive buffer, and an enlarged send buffer, hold here.
pub fn enlarged() -> Result<(usize, usize)> {
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    enlarge_receive(&socket)?;
    enlarge_send(&socket)?;
    Ok((getsockopt(&socket, RcvBuf)?, getsockopt(&socket, SndBuf)?))
}

/// What the results say of them.
pub fn described() -> String {
    match enlarged() {
        Ok((LARGE.., LARGE..)) => "socket buffers as large as the systems ask for".into(),
        Ok((receive, send)) => format!(
            "no `CAP_NET_ADMIN` on the host, so receive buffers are bounded at {} KiB and send buffers at {} KiB",
            receive >> 10,
            send >> 10
        ),
        Err(error) => format!("socket buffers can't be set: {error:#}"),
    }
}
