//! Values to payloads and back. The one file that knows bincode: it is no longer maintained, and its
//! types stay out of the public API so that another crate can take its place with the same bytes.

mod bounded;
#[cfg(fuzzing)]
pub mod fuzzing;

use crate::wire::Content;
use crate::wire::uapi::NLBUS_PAYLOAD_MAX;
use bounded::AtMost;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::fmt;

/// Fixed-width little-endian integers, so that a packed struct of `__le*` fields from kernel code is a
/// valid value; the limit, without which a hostile length would make the decoder reserve that much.
const CONFIG: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Fixint,
    bincode::config::Limit<NLBUS_PAYLOAD_MAX>,
> = bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<NLBUS_PAYLOAD_MAX>();

/// A value can't become a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeError(String);

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the value can't be encoded: {}", self.0)
    }
}

impl std::error::Error for EncodeError {}

/// A payload isn't a value of the wanted type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError(String);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the payload isn't a value of this type: {}", self.0)
    }
}

impl std::error::Error for DecodeError {}

/// Appends a value's bytes in bincode 2.0.1 with fixed-width little-endian integers.
///
/// # Errors
/// When the value has no such form (a sequence of unknown length, say).
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
    let written = bincode::serde::encode_into_std_write(value, bytes, CONFIG);
    written.map(drop).map_err(|error| EncodeError(error.to_string()))
}

/// The value whose bytes these are, all of them: JSON where the event says so, else bincode.
///
/// # Errors
/// When they aren't, are too few, or some are left over.
pub(crate) fn decode<T: DeserializeOwned>(content: Content, payload: &[u8]) -> Result<T, DecodeError> {
    match content {
        Content::Json => decode_json(payload),
        _ => decode_bincode(payload),
    }
}

#[cfg(feature = "json")]
fn decode_json<T: DeserializeOwned>(payload: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(payload).map_err(|error| DecodeError(error.to_string()))
}

#[cfg(not(feature = "json"))]
fn decode_json<T: DeserializeOwned>(_: &[u8]) -> Result<T, DecodeError> {
    Err(DecodeError("it is JSON, which this program reads with the feature \"json\" of the crate nlbus".into()))
}

fn decode_bincode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, DecodeError> {
    // A sequence of elements that have bytes has no more of them than the largest payload.
    let left = Cell::new(NLBUS_PAYLOAD_MAX);
    let (value, used) = bincode::serde::seed_decode_from_slice(AtMost::new(&left), payload, CONFIG)
        .map_err(|error| DecodeError(error.to_string()))?;
    if used != payload.len() {
        return Err(DecodeError(format!("{} of its {} bytes are left over", payload.len() - used, payload.len())));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Reading {
        sensor: u16,
        value: f32,
        ok: bool,
        name: Option<String>,
    }

    fn encoded<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(value, &mut bytes).unwrap();
        bytes
    }

    /// Golden bytes: another codec, or another version of this one, must write and read the same.
    #[test]
    fn values_have_these_bytes() {
        let reading = Reading { sensor: 0x0102, value: 1.5, ok: true, name: Some("hi".into()) };
        let bytes = [2, 1, 0, 0, 0xc0, 0x3f, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0, b'h', b'i'];
        assert_eq!(encoded(&reading), bytes);
        assert_eq!(decode::<Reading>(Content::Bincode, &bytes).unwrap(), reading);
        assert_eq!(encoded(&(1u8, [2u16, 3], -4i64)), [1, 2, 0, 3, 0, 0xfc, 255, 255, 255, 255, 255, 255, 255]);
    }

    #[test]
    #[cfg(feature = "json")]
    fn json_is_read_as_json() {
        let json = br#"{"sensor": 258, "value": 1.5, "ok": true, "name": null}"#;
        let reading = Reading { sensor: 0x0102, value: 1.5, ok: true, name: None };
        assert_eq!(decode::<Reading>(Content::Json, json).unwrap(), reading);
        assert!(decode::<Reading>(Content::Json, b"{} ").is_err());
        assert!(decode::<u8>(Content::Json, b"1 2").is_err());
    }

    #[test]
    #[cfg(not(feature = "json"))]
    fn json_without_its_feature_is_an_error_that_names_it() {
        assert!(decode::<u8>(Content::Json, b"1").unwrap_err().to_string().contains("feature \"json\""));
    }

    #[test]
    fn left_over_and_missing_bytes_are_errors() {
        assert!(decode::<u32>(Content::Opaque, &[1, 0, 0, 0, 0]).unwrap_err().to_string().contains("1 of its 5 bytes"));
        assert!(decode::<u32>(Content::Opaque, &[1, 0, 0]).is_err());
    }

    /// Without the limit the length below would be reserved and the process would abort.
    #[test]
    fn a_hostile_length_is_an_error() {
        assert!(decode::<Vec<u64>>(Content::Opaque, &[0xff; 16]).is_err());
        assert!(decode::<String>(Content::Opaque, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]).is_err());
    }

    /// Elements without bytes are bounded by nothing in the payload.
    #[test]
    fn a_hostile_length_of_nothing_is_an_error() {
        let hostile = u64::MAX.to_le_bytes();
        assert!(decode::<Vec<()>>(Content::Bincode, &hostile).is_err());
        assert!(decode::<std::collections::HashMap<(), ()>>(Content::Bincode, &hostile).is_err());
        let nested = [[1, 0, 0, 0, 0, 0, 0, 0], hostile].concat();
        assert!(decode::<Vec<Vec<()>>>(Content::Bincode, &nested).is_err());
        assert!(
            decode::<(u64, Option<Vec<((), ())>>)>(Content::Bincode, &[&[0; 8], &[1][..], &hostile].concat()).is_err()
        );
        assert_eq!(decode::<Vec<()>>(Content::Bincode, &5u64.to_le_bytes()).unwrap(), [(); 5]);
        let largest = vec![7u8; NLBUS_PAYLOAD_MAX - 8];
        assert_eq!(decode::<Vec<u8>>(Content::Bincode, &encoded(&largest)).unwrap(), largest);
    }

    /// What a serde data model has, through the bound and back.
    #[test]
    fn every_shape_of_a_value_comes_back() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        enum Shape {
            Unit,
            Newtype(Vec<Shape>),
            Tuple(u8, i128),
            Struct { map: std::collections::BTreeMap<String, Option<char>> },
        }
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Wrapped(Shape);
        let map = [("a".to_owned(), Some('ä')), (String::new(), None)].into();
        let shapes = vec![Shape::Unit, Shape::Tuple(1, -2), Shape::Struct { map }, Shape::Newtype(vec![])];
        let value = (Wrapped(Shape::Newtype(shapes)), (1.5f64, [true, false], "x".to_owned(), ()));
        let bytes = encoded(&value);
        assert_eq!(decode::<(Wrapped, (f64, [bool; 2], String, ()))>(Content::Bincode, &bytes).unwrap(), value);
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            for content in [Content::Bincode, Content::Json] {
                let _ = decode::<Reading>(content, &bytes);
                let _ = decode::<Vec<String>>(content, &bytes);
            }
        }
    }
}
