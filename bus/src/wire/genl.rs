//! Generic netlink, as far as discovery needs it: a family's id by its name, and `NLBUS_CMD_INFO`.

use super::message::{Header, Message, push_message};
use super::uapi::*;
use super::{AttributeIter, Info, Malformed};

fn push_genl(datagram: &mut Vec<u8>, kind: u16, seq: u32, command: u8, version: u8, name: Option<&str>) {
    let header = Header { kind, flags: NLM_F_REQUEST, seq, portid: 0 };
    push_message(datagram, header, |body| {
        body.raw(&[command, version, 0, 0]);
        if let Some(name) = name {
            let mut name = name.as_bytes().to_vec();
            name.push(0);
            body.bytes(CTRL_ATTR_FAMILY_NAME, &name);
        }
    });
}

/// The request for a family's id (`CTRL_CMD_GETFAMILY`).
pub fn family_request(family: &str, seq: u32) -> Vec<u8> {
    let mut datagram = Vec::new();
    push_genl(&mut datagram, GENL_ID_CTRL, seq, CTRL_CMD_GETFAMILY, 1, Some(family));
    datagram
}

/// The family's id in the reply.
pub fn family_id(message: &Message<'_>) -> Result<u16, Malformed> {
    let attributes = message.body.get(GENL_HDRLEN..).ok_or(Malformed("a generic netlink header is cut"))?;
    for attribute in AttributeIter::new(attributes) {
        let attribute = attribute?;
        if let (CTRL_ATTR_FAMILY_ID, Ok(id)) = (attribute.kind, attribute.value.try_into()) {
            return Ok(u16::from_ne_bytes(id));
        }
    }
    Err(Malformed("a generic netlink family without an id"))
}

/// The request for the module's `INFO`.
pub fn info_request(family: u16, seq: u32) -> Vec<u8> {
    let mut datagram = Vec::new();
    push_genl(&mut datagram, family, seq, NLBUS_CMD_INFO, NLBUS_GENL_VERSION, None);
    datagram
}

/// The module's `INFO` in the reply.
pub fn info_reply(message: &Message<'_>) -> Result<Info, Malformed> {
    Info::read(message.body.get(GENL_HDRLEN..).ok_or(Malformed("a generic netlink header is cut"))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..120)) {
            let message = Message { header: Header::default(), body: &body, offset: 0, last: true };
            let _ = family_id(&message);
            let _ = info_reply(&message);
        }
    }
}
