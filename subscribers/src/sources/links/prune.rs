//! A message of rtnetlink with nothing but what is read of it. The decoder fails on a whole message for one attribute that it
//! doesn't understand, and names, aliases and labels of the kernel are bytes, not text.

use netlink_packet_core::{DecodeError, DefaultNla, Emitable, Nla, NlasIterator};
use std::borrow::Cow;

/// `RTM_NEWLINK`, `_DELLINK`, `_NEWADDR`, `_DELADDR`, `_NEWROUTE`, `_DELROUTE` (linux/rtnetlink.h).
const LINK: [u16; 2] = [16, 17];
const ADDRESS: [u16; 2] = [20, 21];
const ROUTE: [u16; 2] = [24, 25];

/// `IFLA_IFNAME`, `IFLA_LINKINFO`, and its `IFLA_INFO_KIND` (linux/if_link.h).
const NAME: u16 = 3;
const INFO: u16 = 18;
const INFO_KIND: u16 = 1;

/// A message's own header, `struct nlmsghdr`.
const HEADER: usize = 16;

/// Leaves out what is not read. Messages of other types are left as they are.
///
/// # Errors
/// When its attributes can't be told from each other.
pub fn prune(message: &[u8]) -> Result<Cow<'_, [u8]>, DecodeError> {
    let kind = message.get(4..6).map_or(0, |kind| u16::from_ne_bytes([kind[0], kind[1]]));
    // The length of the header of its own that it begins with, and the attributes that are read.
    let (fixed, wanted): (usize, &[u16]) = match kind {
        // ADDRESS, IFNAME, MTU, MASTER, LINKINFO
        kind if LINK.contains(&kind) => (16, &[1, NAME, 4, 10, INFO]),
        // ADDRESS, LOCAL
        kind if ADDRESS.contains(&kind) => (8, &[1, 2]),
        // DST, SRC, OIF, GATEWAY, PRIORITY, MULTIPATH, TABLE, VIA
        kind if ROUTE.contains(&kind) => (12, &[1, 2, 4, 5, 6, 9, 15, 18]),
        _ => return Ok(message.into()),
    };
    let Some((head, attributes)) = message.split_at_checked(HEADER + fixed) else {
        return Err("the message is shorter than its header".into());
    };
    let mut kept = kept(attributes, wanted)?;
    if LINK.contains(&kind) {
        for attribute in &mut kept {
            let value = value(attribute);
            match attribute.kind() {
                NAME => *attribute = DefaultNla::new(NAME, text(&value).into_bytes()),
                INFO => {
                    let inner = self::kept(&value, &[INFO_KIND])?;
                    *attribute = DefaultNla::new(INFO, bytes(&inner));
                }
                _ => {}
            }
        }
    }
    let mut pruned = [head, &bytes(&kept)].concat();
    let length = u32::try_from(pruned.len()).unwrap_or(u32::MAX);
    pruned[..4].copy_from_slice(&length.to_ne_bytes());
    Ok(pruned.into())
}

/// The attributes of these kinds.
fn kept(attributes: &[u8], wanted: &[u16]) -> Result<Vec<DefaultNla>, DecodeError> {
    let mut kept = Vec::new();
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        if wanted.contains(&attribute.kind()) {
            kept.push(DefaultNla::new(attribute.kind(), attribute.value().to_vec()));
        }
    }
    Ok(kept)
}

fn value(attribute: &DefaultNla) -> Vec<u8> {
    let mut value = vec![0; attribute.value_len()];
    attribute.emit_value(&mut value);
    value
}

fn bytes(attributes: &[DefaultNla]) -> Vec<u8> {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    bytes
}

/// A name as text. The kernel allows any bytes but '/', ':' and white space (`dev_valid_name`); those that aren't UTF-8
/// become `%XX`. It ends with a NUL, as the kernel's do.
fn text(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.split(|byte| *byte == 0).next().unwrap_or_default().utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("%{byte:02X}")));
    }
    text.push('\0');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_bytes_become_text() {
        for (name, expected) in [
            (&b"eth0\0"[..], "eth0\0"),
            (b"eth0", "eth0\0"),
            (b"a\xff%\xfeb\0", "a%FF%%FEb\0"),
            ("ö\0".as_bytes(), "ö\0"),
            (b"", "\0"),
        ] {
            assert_eq!(text(name), expected);
        }
    }

    #[test]
    fn other_messages_stay_as_they_are() {
        for message in [&b""[..], &[0; 3], &[0; 16], &[7; 64]] {
            assert!(matches!(prune(message), Ok(Cow::Borrowed(same)) if same == message), "{message:?}");
        }
        let mut short = vec![0; 31];
        short[4] = 16;
        assert!(prune(&short).is_err());
    }
}
