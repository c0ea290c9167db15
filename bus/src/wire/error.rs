//! `NLMSG_ERROR`: refusals and acks, with the extended-ack attributes of `linux/netlink.h`.

use super::message::{Header, Message, push_message};
use super::uapi::{NLM_F_ACK_TLVS, NLM_F_CAPPED, NLMSG_ERROR, NLMSG_HDRLEN, NLMSGERR_ATTR_COOKIE, NLMSGERR_ATTR_MSG};
use super::{AttributeIter, Malformed, u32_at};
use nix::errno::Errno;
use std::borrow::Cow;
use std::fmt;

/// Why a broker doesn't do what a frame asks: the errno of docs/PROTOCOL.md and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The errno of the `NLMSG_ERROR`.
    pub errno: Errno,
    /// What is wrong, for people (`NLMSGERR_ATTR_MSG`).
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with its sentence.
    ///
    /// ```
    /// use nix::errno::Errno;
    ///
    /// let refusal = nlbus::Refusal::new(Errno::EACCES, "'jobs' is root's");
    /// assert!(refusal.to_string().contains("'jobs' is root's"));
    /// ```
    pub fn new(errno: Errno, message: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { errno, message: message.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            return f.write_str(self.errno.desc());
        }
        write!(f, "{} ({})", self.message, self.errno.desc())
    }
}

impl std::error::Error for Refusal {}

/// Appends the refusal of the message that began with `to`; all zeros when it had no whole header.
///
/// ```
/// use nix::errno::Errno;
/// use nlbus::Refusal;
/// use nlbus::wire::{Answer, Header, Messages, push_refusal};
///
/// let mut datagram = Vec::new();
/// let refusal = Refusal::new(Errno::ENOENT, "no such topic");
/// push_refusal(&mut datagram, Header { seq: 7, ..Header::default() }, 16, &refusal);
/// let answer = Answer::parse(&Messages::new(&datagram).next().unwrap().unwrap())?;
/// assert_eq!((answer.to.seq, answer.result), (7, Err(refusal)));
/// # Ok::<(), nlbus::wire::Malformed>(())
/// ```
pub fn push_refusal(datagram: &mut Vec<u8>, to: Header, to_len: u32, refusal: &Refusal) {
    let flags = NLM_F_CAPPED | NLM_F_ACK_TLVS;
    let header = Header { kind: NLMSG_ERROR, flags, seq: to.seq, portid: to.portid };
    push_message(datagram, header, |body| {
        body.raw(&(-(refusal.errno as i32)).to_ne_bytes());
        body.raw(&to.to_bytes(to_len));
        // As the kernel writes it: a C string.
        let mut message = refusal.message.as_bytes().to_vec();
        message.push(0);
        body.bytes(NLMSGERR_ATTR_MSG, &message);
    });
}

/// Appends the ack of a message; for a publish with its sequence number.
///
/// ```
/// use nlbus::wire::{Answer, Header, Messages, push_ack};
///
/// let mut datagram = Vec::new();
/// push_ack(&mut datagram, Header::default(), 16, Some(42));
/// let answer = Answer::parse(&Messages::new(&datagram).next().unwrap().unwrap())?;
/// assert_eq!(answer.result, Ok(Some(42)));
/// # Ok::<(), nlbus::wire::Malformed>(())
/// ```
pub fn push_ack(datagram: &mut Vec<u8>, to: Header, to_len: u32, seq: Option<u64>) {
    let flags = NLM_F_CAPPED | if seq.is_some() { NLM_F_ACK_TLVS } else { 0 };
    let header = Header { kind: NLMSG_ERROR, flags, seq: to.seq, portid: to.portid };
    push_message(datagram, header, |body| {
        body.raw(&0i32.to_ne_bytes());
        body.raw(&to.to_bytes(to_len));
        if let Some(seq) = seq {
            body.u64(NLMSGERR_ATTR_COOKIE, seq);
        }
    });
}

/// An `NLMSG_ERROR` as a client reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The header of the message that is answered, its length apart.
    pub to: Header,
    /// Ok with the sequence number, if the ack carries one; or the refusal.
    pub result: Result<Option<u64>, Refusal>,
}

impl Answer {
    /// Reads the body of an `NLMSG_ERROR`, from this broker or from the kernel's generic netlink.
    ///
    /// ```
    /// use nix::errno::Errno;
    /// use nlbus::Refusal;
    /// use nlbus::wire::{Answer, Header, Messages, push_refusal};
    ///
    /// let mut datagram = Vec::new();
    /// let refusal = Refusal::new(Errno::ENOENT, "no such topic");
    /// push_refusal(&mut datagram, Header { seq: 7, ..Header::default() }, 16, &refusal);
    /// let answer = Answer::parse(&Messages::new(&datagram).next().unwrap().unwrap())?;
    /// assert_eq!((answer.to.seq, answer.result), (7, Err(refusal)));
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn parse(message: &Message<'_>) -> Result<Answer, Malformed> {
        let short = Malformed("an NLMSG_ERROR is cut");
        let errno = u32_at(message.body, 0).ok_or(short)? as i32;
        let echo = message.body.get(4..).ok_or(short)?;
        let to = Header::parse(echo).ok_or(short)?;
        let (mut text, mut cookie) = (String::new(), None);
        if message.header.flags & NLM_F_ACK_TLVS != 0 {
            let mut at = NLMSG_HDRLEN;
            if message.header.flags & NLM_F_CAPPED == 0 {
                // Uncapped: the whole message is echoed, padded, and the attributes come behind it.
                at = super::align(u32_at(echo, 0).ok_or(short)? as usize, 4).max(NLMSG_HDRLEN);
            }
            for attribute in AttributeIter::new(echo.get(at..).ok_or(short)?) {
                let attribute = attribute?;
                match attribute.kind {
                    NLMSGERR_ATTR_MSG => {
                        let bytes = attribute.value.split(|byte| *byte == 0).next().unwrap_or_default();
                        text = String::from_utf8_lossy(bytes).into_owned();
                    }
                    NLMSGERR_ATTR_COOKIE if attribute.value.len() == 8 => cookie = Some(attribute.u64()?),
                    _ => {}
                }
            }
        }
        let result = match errno {
            0 => Ok(cookie),
            _ => Err(Refusal::new(Errno::from_raw(errno.wrapping_neg()), text)),
        };
        Ok(Answer { to, result })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Messages;
    use proptest::prelude::*;

    fn read(datagram: &[u8]) -> Answer {
        Answer::parse(&Messages::new(datagram).next().unwrap().unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn answers_survive(seq: u32, cookie: Option<u64>, text in "[a-zé ]{0,40}") {
            let to = Header { kind: 0x10, flags: 5, seq, portid: 3 };
            let mut datagram = Vec::new();
            push_ack(&mut datagram, to, 60, cookie);
            prop_assert_eq!(read(&datagram), Answer { to, result: Ok(cookie) });
            let refusal = Refusal::new(Errno::EACCES, text);
            let mut datagram = Vec::new();
            push_refusal(&mut datagram, to, 60, &refusal);
            prop_assert_eq!(read(&datagram), Answer { to, result: Err(refusal) });
        }

        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..80), flags: u16) {
            let header = Header { kind: NLMSG_ERROR, flags, seq: 0, portid: 0 };
            let _ = Answer::parse(&Message { header, body: &body, offset: 0, last: true });
        }
    }
}
