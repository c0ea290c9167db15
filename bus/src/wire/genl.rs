//! Generic netlink, as far as discovery needs it: a family's id by its name, and `NLBUS_CMD_INFO`.

use super::message::{Header, Message, push_message};
use super::uapi::*;
use super::{AttributeIter, Info, Malformed};

fn request(kind: u16, flags: u16, seq: u32, command: u8, version: u8) -> Vec<u8> {
    let mut datagram = Vec::new();
    let header = Header { kind, flags: NLM_F_REQUEST | flags, seq, portid: 0 };
    push_message(&mut datagram, header, |body| body.raw(&[command, version, 0, 0]));
    datagram
}

/// The request for all families (`CTRL_CMD_GETFAMILY`). Asking for one by its name would make the kernel run
/// modprobe wherever it isn't there (`ctrl_getfamily`).
///
/// ```
/// let request = nlbus::wire::families_request(1);
/// assert_eq!(nlbus::wire::Messages::new(&request).count(), 1);
/// ```
pub fn families_request(seq: u32) -> Vec<u8> {
    request(GENL_ID_CTRL, NLM_F_DUMP, seq, CTRL_CMD_GETFAMILY, 1)
}

/// The id of the family of this name, if this message of the controller is about it: an answer to
/// [`families_request`], or the announcement of a new family.
///
/// ```
/// use nlbus::wire::{Messages, families_request, family_id};
///
/// let request = families_request(1);
/// let message = Messages::new(&request).next().unwrap().unwrap();
/// assert_eq!(family_id(&message, "nlbus"), None); // a request tells of no family
/// ```
pub fn family_id(message: &Message<'_>, name: &str) -> Option<u16> {
    let (command, attributes) = (*message.body.first()?, message.body.get(GENL_HDRLEN..)?);
    if message.header.kind != GENL_ID_CTRL || command != CTRL_CMD_NEWFAMILY {
        return None;
    }
    let (mut id, mut named) = (None, false);
    for attribute in AttributeIter::new(attributes).map_while(Result::ok) {
        match attribute.kind {
            CTRL_ATTR_FAMILY_ID => id = attribute.value.try_into().ok().map(u16::from_ne_bytes),
            CTRL_ATTR_FAMILY_NAME => named = attribute.value.strip_suffix(b"\0") == Some(name.as_bytes()),
            _ => {}
        }
    }
    id.filter(|_| named)
}

/// The request for the module's `INFO`.
///
/// ```
/// let request = nlbus::wire::genl_info_request(29, 1);
/// assert_eq!(nlbus::wire::Messages::new(&request).next().unwrap().unwrap().header.kind, 29);
/// ```
pub fn info_request(family: u16, seq: u32) -> Vec<u8> {
    request(family, 0, seq, NLBUS_CMD_INFO, NLBUS_GENL_VERSION)
}

/// The request that retires the module; its answer is an ack.
///
/// ```
/// let request = nlbus::wire::genl_retire_request(29, 1);
/// assert_eq!(nlbus::wire::Messages::new(&request).next().unwrap().unwrap().header.kind, 29);
/// ```
pub fn retire_request(family: u16, seq: u32) -> Vec<u8> {
    request(family, NLM_F_ACK, seq, NLBUS_CMD_RETIRE, NLBUS_GENL_VERSION)
}

/// The module's `INFO` in the reply.
///
/// ```
/// use nlbus::wire::{Header, Messages, genl_info_reply, push_message};
///
/// let mut datagram = Vec::new();
/// push_message(&mut datagram, Header::default(), |_| ()); // without the generic header
/// assert!(genl_info_reply(&Messages::new(&datagram).next().unwrap().unwrap()).is_err());
/// ```
pub fn info_reply(message: &Message<'_>) -> Result<Info, Malformed> {
    Info::read(message.body.get(GENL_HDRLEN..).ok_or(Malformed("a generic netlink header is cut"))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Messages;
    use proptest::prelude::*;

    #[test]
    fn only_the_arrival_of_the_family_counts() {
        let id = |command: u8, name: &[u8]| {
            let mut datagram = Vec::new();
            push_message(&mut datagram, Header { kind: GENL_ID_CTRL, ..Header::default() }, |body| {
                body.raw(&[command, 2, 0, 0]);
                body.bytes(CTRL_ATTR_FAMILY_NAME, name);
                body.bytes(CTRL_ATTR_FAMILY_ID, &77u16.to_ne_bytes());
                body.u32(99, 1);
            });
            Messages::new(&datagram).find_map(|message| family_id(&message.unwrap(), "nlbus"))
        };
        assert_eq!(id(CTRL_CMD_NEWFAMILY, b"nlbus\0"), Some(77));
        assert_eq!(id(CTRL_CMD_NEWFAMILY, b"nlbus2\0"), None);
        assert_eq!(id(CTRL_CMD_NEWFAMILY + 1, b"nlbus\0"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..120)) {
            let header = Header { kind: GENL_ID_CTRL, ..Header::default() };
            let message = Message { header, body: &body, offset: 0, last: true };
            let _ = family_id(&message, "nlbus");
            let _ = info_reply(&message);
        }
    }
}
