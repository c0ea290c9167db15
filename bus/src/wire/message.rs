//! Netlink messages: `struct nlmsghdr` and the walk over a datagram of them.

use super::uapi::{NLM_F_MULTI, NLMSG_ALIGNTO, NLMSG_HDRLEN};
use super::{Attributes, u16_at, u32_at};

/// `struct nlmsghdr` without its length, which the bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// `nlmsg_type`
    pub kind: u16,
    /// `nlmsg_flags`: `NLM_F_*`
    pub flags: u16,
    /// `nlmsg_seq`: chosen by the client in requests and publishes, echoed in replies
    pub seq: u32,
    /// `nlmsg_pid`: a convention of netlink, not an identity; the sender is who `recvmsg` says
    pub portid: u32,
}

impl Header {
    /// Reads a header without looking at its length field, or `None` below 16 bytes.
    ///
    /// ```
    /// use nlbus::wire::Header;
    ///
    /// let bytes = Header { kind: 0x12, seq: 7, ..Header::default() }.to_bytes(16);
    /// assert_eq!(Header::parse(&bytes).map(|header| header.seq), Some(7));
    /// assert_eq!(Header::parse(&bytes[1..]), None);
    /// ```
    pub fn parse(bytes: &[u8]) -> Option<Header> {
        Some(Header {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            seq: u32_at(bytes, 8)?,
            portid: u32_at(bytes, 12)?,
        })
    }

    /// The sixteen bytes of the header of a message of `len` bytes, header included.
    ///
    /// ```
    /// let bytes = nlbus::wire::Header::default().to_bytes(16);
    /// assert_eq!(bytes[..4], 16u32.to_ne_bytes());
    /// ```
    pub fn to_bytes(self, len: u32) -> [u8; NLMSG_HDRLEN] {
        let mut bytes = [0; NLMSG_HDRLEN];
        bytes[0..4].copy_from_slice(&len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&self.flags.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.seq.to_ne_bytes());
        bytes[12..16].copy_from_slice(&self.portid.to_ne_bytes());
        bytes
    }
}

/// One message of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its header.
    pub header: Header,
    /// What follows the header, up to `nlmsg_len`.
    pub body: &'a [u8],
    /// Where the message starts in the datagram, bytes.
    pub offset: usize,
    /// Whether nothing follows it in the datagram.
    pub last: bool,
}

/// Why the walk over a datagram ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// Fewer bytes are left than a message header has.
    Truncated {
        /// Where the bytes start that are too few.
        offset: usize,
    },
    /// `nlmsg_len` is below 16 or beyond the datagram.
    Length {
        /// The header of the message, its length apart.
        header: Header,
        /// Where the message starts.
        offset: usize,
        /// What `nlmsg_len` claims.
        claimed: u32,
    },
}

/// Walks the messages of a datagram. After an error the walk is over.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    datagram: &'a [u8],
    offset: usize,
}

impl<'a> Messages<'a> {
    /// A walk from the datagram's start.
    ///
    /// ```
    /// use nlbus::wire::{Messages, push_info_request};
    ///
    /// let mut datagram = Vec::new();
    /// push_info_request(&mut datagram, 1);
    /// push_info_request(&mut datagram, 2);
    /// let numbers = Messages::new(&datagram).map(|message| message.map(|message| message.header.seq));
    /// assert_eq!(numbers.collect::<Result<Vec<_>, _>>(), Ok(vec![1, 2]));
    /// ```
    pub fn new(datagram: &'a [u8]) -> Self {
        Messages::starting_at(datagram, 0)
    }

    /// A walk from the message that starts at `offset`.
    pub(crate) fn starting_at(datagram: &'a [u8], offset: usize) -> Self {
        Messages { datagram, offset }
    }

    /// Where the walk goes on.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, FrameError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        let rest = self.datagram.get(offset..).filter(|rest| !rest.is_empty())?;
        let (Some(claimed), Some(header)) = (u32_at(rest, 0), Header::parse(rest)) else {
            self.offset = self.datagram.len();
            return Some(Err(FrameError::Truncated { offset }));
        };
        let Some(body) = rest.get(NLMSG_HDRLEN..claimed as usize) else {
            self.offset = self.datagram.len();
            return Some(Err(FrameError::Length { header, offset, claimed }));
        };
        self.offset = offset + align(claimed as usize, NLMSG_ALIGNTO);
        let last = self.offset >= self.datagram.len();
        Some(Ok(Message { header, body, offset, last }))
    }
}

/// Appends one message to a datagram: its header, what `body` writes, and the padding up to the next.
///
/// ```
/// use nlbus::wire::{Header, push_message, uapi};
///
/// let mut datagram = Vec::new();
/// push_message(&mut datagram, Header { kind: uapi::NLBUS_MSG_INFO, ..Header::default() }, |_| ());
/// assert_eq!(datagram.len(), 16);
/// ```
pub fn push_message(datagram: &mut Vec<u8>, header: Header, body: impl FnOnce(&mut Attributes<'_>)) {
    let start = datagram.len();
    datagram.extend_from_slice(&[0; NLMSG_HDRLEN]);
    body(&mut Attributes::new(datagram));
    let len = (datagram.len() - start) as u32;
    datagram[start..start + NLMSG_HDRLEN].copy_from_slice(&header.to_bytes(len));
    pad(datagram, start, NLMSG_ALIGNTO);
}

/// Clears `NLM_F_MULTI` in the message that starts at `offset`: the last one of a packed datagram.
///
/// ```
/// use nlbus::wire::{Header, Messages, end_multi, push_message, uapi};
///
/// let (mut pack, header) = (Vec::new(), Header { flags: uapi::NLM_F_MULTI, ..Header::default() });
/// push_message(&mut pack, header, |_| ());
/// push_message(&mut pack, header, |_| ());
/// end_multi(&mut pack, 16);
/// assert_eq!(Messages::new(&pack).last().unwrap().unwrap().header.flags, 0);
/// ```
pub fn end_multi(datagram: &mut [u8], offset: usize) {
    if let Some(bytes) = datagram.get_mut(offset + 6..offset + 8) {
        let flags = u16::from_ne_bytes([bytes[0], bytes[1]]) & !NLM_F_MULTI;
        bytes.copy_from_slice(&flags.to_ne_bytes());
    }
}

/// `n` rounded up to a multiple of `to`, a power of two.
pub(crate) const fn align(n: usize, to: usize) -> usize {
    // Saturating: on 32-bit machines a length from outside may be all that a usize holds.
    n.saturating_add(to - 1) & !(to - 1)
}

/// Appends zeros until what starts at `start` is a multiple of `to` bytes.
pub(crate) fn pad(bytes: &mut Vec<u8>, start: usize, to: usize) {
    let len = bytes.len() - start;
    bytes.resize(start + align(len, to), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn walk(datagram: &[u8]) -> Vec<Result<Message<'_>, FrameError>> {
        Messages::new(datagram).collect()
    }

    #[test]
    fn an_unpadded_last_message_is_whole() {
        let mut datagram = Vec::new();
        push_message(&mut datagram, Header { kind: 1, ..Header::default() }, |body| body.raw(b"abcde"));
        assert_eq!(datagram.len(), 24);
        datagram.truncate(21);
        let messages = walk(&datagram);
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].unwrap().body, b"abcde");
        assert!(messages[0].unwrap().last);
    }

    #[test]
    fn the_end_of_a_pack_is_marked_by_a_flag_that_is_missing() {
        let mut datagram = Vec::new();
        for _ in 0..2 {
            push_message(&mut datagram, Header { flags: 3, ..Header::default() }, |body| body.raw(b"abcde"));
        }
        end_multi(&mut datagram, 24);
        let flags: Vec<_> = walk(&datagram).iter().map(|message| message.unwrap().header.flags).collect();
        assert_eq!(flags, [3, 1]);
    }

    #[test]
    fn lying_lengths_end_the_walk_with_the_header() {
        for claimed in [0u32, 15, 21, u32::MAX] {
            let header = Header { kind: 0x10, flags: 1, seq: 7, portid: 9 };
            let mut datagram = header.to_bytes(claimed).to_vec();
            datagram.extend_from_slice(b"abcd");
            assert_eq!(walk(&datagram), [Err(FrameError::Length { header, offset: 0, claimed })]);
        }
        assert_eq!(walk(&[1; 15]), [Err(FrameError::Truncated { offset: 0 })]);
        assert_eq!(walk(&[]), []);
    }

    proptest! {
        #[test]
        fn what_is_pushed_is_walked(bodies in prop::collection::vec((any::<u16>(), any::<u32>(),
                                    prop::collection::vec(any::<u8>(), 0..40)), 0..8)) {
            let mut datagram = Vec::new();
            for (kind, seq, body) in &bodies {
                push_message(&mut datagram, Header { kind: *kind, flags: 3, seq: *seq, portid: 5 }, |b| b.raw(body));
            }
            let messages = walk(&datagram);
            prop_assert_eq!(messages.len(), bodies.len());
            for (at, (message, (kind, seq, body))) in messages.iter().zip(&bodies).enumerate() {
                let message = message.unwrap();
                prop_assert_eq!(message.header, Header { kind: *kind, flags: 3, seq: *seq, portid: 5 });
                prop_assert_eq!(message.body, &body[..]);
                prop_assert_eq!(message.last, at + 1 == bodies.len());
            }
        }

        #[test]
        fn any_bytes_are_walked_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(walk(&bytes).len() <= bytes.len() / 16 + 1);
        }
    }
}
