//! Netlink attributes: writing them, and reading them in the two ways that the two sides need.
//! A client skips what it doesn't know, so that a newer broker may say more; a broker refuses it
//! (`NL_VALIDATE_STRICT` in the kernel), so that a request never means less than its sender thought.

use super::message::{align, pad};
use super::uapi::{NLA_F_NESTED, NLA_HDRLEN, NLA_TYPE_MASK, NLMSG_ALIGNTO};
use super::{Malformed, u16_at};

/// The body of a message while it is written.
#[derive(Debug)]
pub struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(bytes: &'a mut Vec<u8>) -> Self {
        Attributes { bytes }
    }

    /// Bytes as they are, without an attribute header.
    ///
    /// ```
    /// use nlbus::wire::{Header, push_message};
    ///
    /// let mut datagram = Vec::new();
    /// push_message(&mut datagram, Header::default(), |body| body.raw(&[1, 2, 3, 4]));
    /// assert_eq!(datagram.len(), 16 + 4);
    /// ```
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// An attribute of any bytes, at most 65 531.
    ///
    /// ```
    /// use nlbus::wire::{AttributeIter, Header, push_message};
    ///
    /// let mut datagram = Vec::new();
    /// push_message(&mut datagram, Header::default(), |body| body.bytes(1, b"abc"));
    /// assert_eq!(AttributeIter::new(&datagram[16..]).next().unwrap()?.value, b"abc");
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        let start = self.bytes.len();
        let len = (NLA_HDRLEN + value.len()) as u16;
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        pad(self.bytes, start, NLMSG_ALIGNTO);
    }

    /// An attribute of four bytes.
    ///
    /// ```
    /// use nlbus::wire::{AttributeIter, Header, push_message};
    ///
    /// let mut datagram = Vec::new();
    /// push_message(&mut datagram, Header::default(), |body| body.u32(1, 7));
    /// assert_eq!(AttributeIter::new(&datagram[16..]).next().unwrap()?.u32()?, 7);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// An attribute of eight bytes. They are not padded to 8: readers take them unaligned.
    ///
    /// ```
    /// use nlbus::wire::{AttributeIter, Header, push_message};
    ///
    /// let mut datagram = Vec::new();
    /// push_message(&mut datagram, Header::default(), |body| body.u64(1, 7));
    /// assert_eq!(AttributeIter::new(&datagram[16..]).next().unwrap()?.u64()?, 7);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn u64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// An attribute that holds attributes.
    ///
    /// ```
    /// use nlbus::wire::{AttributeIter, Header, push_message};
    ///
    /// let mut datagram = Vec::new();
    /// push_message(&mut datagram, Header::default(), |body| body.nest(1, |inner| inner.u32(2, 7)));
    /// let nest = AttributeIter::new(&datagram[16..]).next().unwrap()?;
    /// assert_eq!(nest.nested().next().unwrap()?.kind, 2);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.bytes.len();
        self.bytes(kind | NLA_F_NESTED, &[]);
        inner(self);
        let len = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    }
}

/// An attribute as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// `nla_type` without its flag bits.
    pub kind: u16,
    /// What follows the header.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The value as a number of four bytes.
    ///
    /// ```
    /// let four = nlbus::wire::Attribute { kind: 1, value: &7u32.to_ne_bytes() };
    /// assert_eq!(four.u32()?, 7);
    /// assert!(four.u64().is_err());
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn u32(&self) -> Result<u32, Malformed> {
        self.value.try_into().map(u32::from_ne_bytes).map_err(|_| Malformed("an attribute should have 4 bytes"))
    }

    /// The value as a number of eight bytes.
    ///
    /// ```
    /// let eight = nlbus::wire::Attribute { kind: 1, value: &7u64.to_ne_bytes() };
    /// assert_eq!(eight.u64()?, 7);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn u64(&self) -> Result<u64, Malformed> {
        self.value.try_into().map(u64::from_ne_bytes).map_err(|_| Malformed("an attribute should have 8 bytes"))
    }

    /// The value as attributes.
    ///
    /// ```
    /// let empty = nlbus::wire::Attribute { kind: 1, value: &[] };
    /// assert!(empty.nested().next().is_none());
    /// ```
    pub fn nested(&self) -> AttributeIter<'a> {
        AttributeIter::new(self.value)
    }
}

/// Walks the attributes of a message's body; ends after the first error.
#[derive(Debug, Clone)]
pub struct AttributeIter<'a> {
    rest: &'a [u8],
    flat: bool,
}

impl<'a> AttributeIter<'a> {
    /// A walk from the body's start.
    ///
    /// ```
    /// let cut = [8, 0, 1, 0, 7]; // says 8 bytes and has 5
    /// assert!(nlbus::wire::AttributeIter::new(&cut).next().unwrap().is_err());
    /// ```
    pub fn new(body: &'a [u8]) -> Self {
        AttributeIter { rest: body, flat: false }
    }

    /// A walk over a request's attributes, none of which may be a nest (`NL_VALIDATE_NESTED`).
    ///
    /// ```
    /// let attribute = [5, 0, 1, 0, 7, 0, 0, 0]; // type 1, one byte
    /// assert_eq!(nlbus::wire::AttributeIter::flat(&attribute).next().unwrap()?.value, [7]);
    /// # Ok::<(), nlbus::wire::Malformed>(())
    /// ```
    pub fn flat(body: &'a [u8]) -> Self {
        AttributeIter { rest: body, flat: true }
    }
}

impl<'a> Iterator for AttributeIter<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        if self.flat && u16_at(rest, 2).is_some_and(|kind| kind & NLA_F_NESTED != 0) {
            return Some(Err(Malformed("an attribute that is no nest says it is one")));
        }
        let attribute = (|| {
            let len = usize::from(u16_at(rest, 0)?);
            let kind = u16_at(rest, 2)? & NLA_TYPE_MASK;
            let value = rest.get(NLA_HDRLEN..len)?;
            self.rest = rest.get(align(len, NLMSG_ALIGNTO)..).unwrap_or_default();
            Some(Attribute { kind, value })
        })();
        Some(attribute.ok_or(Malformed("an attribute's length is beyond its message")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(values in prop::collection::vec((0u16..NLA_TYPE_MASK,
                                   prop::collection::vec(any::<u8>(), 0..20)), 0..8)) {
            let mut bytes = Vec::new();
            Attributes::new(&mut bytes).nest(9, |nest| {
                for (kind, value) in &values {
                    nest.bytes(*kind, value);
                }
            });
            let outer: Vec<_> = AttributeIter::new(&bytes).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!((outer.len(), outer[0].kind), (1, 9));
            let inner: Vec<_> = outer[0].nested().collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(inner.len(), values.len());
            for (attribute, (kind, value)) in inner.iter().zip(&values) {
                prop_assert_eq!((attribute.kind, attribute.value), (*kind, &value[..]));
            }
        }

        #[test]
        fn any_bytes_are_walked_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(AttributeIter::new(&bytes).count() <= bytes.len() / 4 + 1);
        }
    }
}
