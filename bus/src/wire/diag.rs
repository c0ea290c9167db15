//! What the kernel says of netlink sockets (`linux/netlink_diag.h`, `linux/sock_diag.h`): the user broker sees by it which of
//! its clients are gone.

use super::message::{Header, Message, push_message};
use super::uapi::{NLM_F_DUMP, NLM_F_REQUEST};

/// The netlink protocol of sock_diag.
pub const NETLINK_SOCK_DIAG: u32 = 4;
/// Request and answer alike.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const AF_NETLINK: u8 = 16;

/// Where fields are in `struct netlink_diag_msg`, and how long it is.
const PORTID: usize = 4;
const COOKIE: usize = 20;
const MESSAGE_LEN: usize = 28;

/// The request for all sockets of a netlink protocol in this network namespace (`struct netlink_diag_req`).
///
/// ```
/// let request = nlbus::wire::netlink_sockets_request(2, 1);
/// assert_eq!(request.len(), 16 + 20);
/// ```
pub fn netlink_sockets_request(protocol: u8, seq: u32) -> Vec<u8> {
    let mut datagram = Vec::new();
    let header = Header { kind: SOCK_DIAG_BY_FAMILY, flags: NLM_F_REQUEST | NLM_F_DUMP, seq, portid: 0 };
    push_message(&mut datagram, header, |body| {
        // The rest is a pad, an inode that only a request for one socket has, what else to show, and a cookie.
        body.raw(&[AF_NETLINK, protocol, 0, 0]);
        body.raw(&[0; 16]);
    });
    datagram
}

/// A socket's port id, 0 for none yet, and what tells it from all others that ever had that (`sock_gen_cookie`); if this message is
/// about one.
///
/// ```
/// use nlbus::wire::{Messages, netlink_socket, netlink_sockets_request};
///
/// let request = netlink_sockets_request(2, 1);
/// assert_eq!(netlink_socket(&Messages::new(&request).next().unwrap().unwrap()), None); // a request tells of no socket
/// ```
pub fn netlink_socket(message: &Message<'_>) -> Option<(u32, u64)> {
    if message.header.kind != SOCK_DIAG_BY_FAMILY || message.body.len() < MESSAGE_LEN {
        return None;
    }
    let word = |at: usize| message.body.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    // Two halves, the lower one first, whatever the byte order (sock_diag_save_cookie).
    let cookie = u64::from(word(COOKIE)?) | u64::from(word(COOKIE + 4)?) << 32;
    Some((word(PORTID)?, cookie))
}
