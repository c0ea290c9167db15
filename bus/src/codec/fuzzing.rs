//! The codec, for the fuzzer.

use super::{decode, encode};
use crate::wire::Content;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Everything that serde has, by one type or another.
type Values = (Option<u8>, Vec<(String, char)>, Box<[Result<f64, bool>]>, [u32; 3], Vec<u128>, Vec<()>);

/// Takes any bytes for values: what can be read has those bytes when it is written.
///
/// # Panics
/// When that isn't so.
///
/// ```ignore
/// nlbus::fuzzing::values(b"any"); // built with cfg(fuzzing) alone
/// ```
pub fn values(bytes: &[u8]) {
    again::<Values>(bytes);
    again::<Vec<String>>(bytes);
    again::<(u64, i8, f32, char)>(bytes);
    again::<Vec<Vec<()>>>(bytes);
}

fn again<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(value) = decode::<T>(Content::Bincode, bytes) else { return };
    let mut written = Vec::new();
    encode(&value, &mut written).expect("to write what was read");
    assert_eq!(written, bytes);
}
