//! What the values of a topic are called.

use std::any;
use std::fmt;
use std::str::FromStr;

/// Longest name of a type, in bytes (`NLBUS_TYPE_MAX`).
pub(crate) const TYPE_MAX: usize = 63;

/// The name of the type of a topic's values: 1 to 63 printable ASCII characters.
///
/// It says nothing of how a type is laid out: two types of the same name are taken for the same one. Give types that change a
/// new name (`ReadingV2`), or set names by hand with [`TopicOptions::type_name`](crate::TopicOptions::type_name).
///
/// ```
/// use nlbus::TypeName;
///
/// assert_eq!(TypeName::of::<Vec<std::time::Duration>>().as_str(), "Vec<Duration>");
/// assert_eq!("sensor_msgs/Temperature".parse::<TypeName>()?.as_str(), "sensor_msgs/Temperature");
/// assert!("größer".parse::<TypeName>().is_err());
/// # Ok::<(), nlbus::TypeNameError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeName {
    /// Behind the name, zeros.
    bytes: [u8; TYPE_MAX],
}

/// Why something isn't the name of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TypeNameError {
    /// It has no characters.
    Empty,
    /// It has so many bytes, more than 63.
    TooLong(usize),
    /// It has characters that aren't printable ASCII.
    Unprintable,
}

impl fmt::Display for TypeNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TypeNameError::Empty => f.write_str("a type's name has 1 to 63 characters"),
            TypeNameError::TooLong(len) => write!(f, "a type's name has 1 to {TYPE_MAX} bytes, not {len}"),
            TypeNameError::Unprintable => f.write_str("a type's name has printable ASCII characters only"),
        }
    }
}

impl std::error::Error for TypeNameError {}

/// A topic's values are of another type than somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TypeMismatch {
    /// The topic.
    pub topic: String,
    /// What its values are called.
    pub has: TypeName,
    /// What they were to be.
    pub wanted: TypeName,
}

impl TypeMismatch {
    /// Boxed, as errors have it: it is large.
    pub(crate) fn new(topic: &str, has: TypeName, wanted: TypeName) -> Box<TypeMismatch> {
        Box::new(TypeMismatch { topic: topic.into(), has, wanted })
    }
}

impl fmt::Display for TypeMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TypeMismatch { topic, has, wanted } = self;
        write!(
            f,
            "the values of topic '{0}' are of type '{has}', not '{wanted}'; take that type, or correct it if it is wrong: \
             'nlbus topic set {0} --type TYPE'",
            topic.escape_debug()
        )
    }
}

/// Bytes of a name too long that are kept; a checksum of all takes the place of the others.
const KEPT: usize = TYPE_MAX - 17;

impl TypeName {
    /// What a Rust type is called, without the modules that it and its parameters are in, so that two programs can each have
    /// it in a module of their own. A name that is too long is cut, and ends in a checksum of the whole; `?` stands for
    /// what isn't ASCII.
    ///
    /// Of what it begins with (`std::any::type_name`) the standard library says that it may differ from one compiler to
    /// the next; without the modules it rarely does.
    ///
    /// ```
    /// use nlbus::TypeName;
    ///
    /// mod model {
    ///     pub struct Reading;
    /// }
    /// assert_eq!(TypeName::of::<model::Reading>().as_str(), "Reading");
    /// assert_eq!(TypeName::of::<(u32, Option<&str>)>().as_str(), "(u32, Option<&str>)");
    /// ```
    pub fn of<T: ?Sized>() -> TypeName {
        TypeName::fitted(&without_modules(any::type_name::<T>()))
    }

    fn fitted(name: &str) -> TypeName {
        let printable: String = name.chars().map(|c| if is_printable(c) { c } else { '?' }).collect();
        let name = match printable.get(..KEPT) {
            Some(kept) if printable.len() > TYPE_MAX => format!("{kept}#{:016x}", checksum(name)),
            _ => printable,
        };
        name.parse().unwrap_or(TypeName::new_unchecked("?"))
    }

    /// Of a name that is one.
    fn new_unchecked(name: &str) -> TypeName {
        let mut bytes = [0; TYPE_MAX];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        TypeName { bytes }
    }

    /// The name.
    ///
    /// ```
    /// assert_eq!(nlbus::TypeName::of::<u64>().as_str(), "u64");
    /// ```
    pub fn as_str(&self) -> &str {
        let len = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(TYPE_MAX);
        // It is ASCII.
        str::from_utf8(&self.bytes[..len]).unwrap_or_default()
    }
}

fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~')
}

/// Leaves out of each path all but what it ends with.
fn without_modules(path: &str) -> String {
    let mut name = String::with_capacity(path.len());
    let mut rest = path;
    while !rest.is_empty() {
        let is_ident = |c: char| c.is_alphanumeric() || c == '_';
        let end = rest.find(|c| !is_ident(c)).unwrap_or(rest.len());
        let (ident, behind) = rest.split_at(end);
        if let Some(behind) = behind.strip_prefix("::") {
            rest = behind;
            continue;
        }
        name.push_str(ident);
        let mut others = behind.chars();
        name.extend(others.next());
        rest = others.as_str();
    }
    name
}

/// FNV-1a, of 64 bits: the same in each build.
fn checksum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl FromStr for TypeName {
    type Err = TypeNameError;

    fn from_str(name: &str) -> Result<TypeName, TypeNameError> {
        match name.len() {
            0 => Err(TypeNameError::Empty),
            len if len > TYPE_MAX => Err(TypeNameError::TooLong(len)),
            _ if !name.chars().all(is_printable) => Err(TypeNameError::Unprintable),
            _ => Ok(TypeName::new_unchecked(name)),
        }
    }
}

impl AsRef<str> for TypeName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    struct Größe;

    #[test]
    fn a_type_is_called_what_it_is_without_its_modules() {
        assert_eq!(TypeName::of::<HashMap<String, Vec<[u8; 4]>>>().as_str(), "HashMap<String, Vec<[u8; 4]>>");
        assert_eq!(TypeName::of::<dyn fmt::Debug>().as_str(), "dyn Debug");
        assert_eq!(TypeName::of::<()>().as_str(), "()");
        assert_eq!(TypeName::of::<Größe>().as_str(), "Gr??e");
        assert_eq!(without_modules("a::f<b::T>::Local"), "f<T>Local");
    }

    #[test]
    fn a_long_name_is_cut_and_still_tells_types_apart() {
        type Deep<T> = Option<Option<Option<Option<Option<Option<Option<Option<Option<Option<T>>>>>>>>>>;
        let (a, b) = (TypeName::of::<Deep<u8>>(), TypeName::of::<Deep<u16>>());
        assert_eq!((a.as_str().len(), a == b, a.as_str()[..KEPT] == b.as_str()[..KEPT]), (TYPE_MAX, false, true));
        assert_eq!(a, TypeName::of::<Deep<u8>>());
    }

    #[test]
    fn names_are_checked() {
        assert_eq!("".parse::<TypeName>(), Err(TypeNameError::Empty));
        assert_eq!("x".repeat(63).parse::<TypeName>().map(|name| name.as_str().len()), Ok(63));
        assert_eq!("x".repeat(64).parse::<TypeName>(), Err(TypeNameError::TooLong(64)));
        for bad in ["a\n", "\x7f", "ö", "\0"] {
            assert_eq!(bad.parse::<TypeName>(), Err(TypeNameError::Unprintable), "{bad:?}");
        }
    }
}
