//! Arguments of a role: words of the form `key=value`.

use std::fmt::Debug;
use std::str::FromStr;

/// A role's arguments.
#[derive(Debug, Clone)]
pub struct Args(Vec<String>);

impl Args {
    /// The words as they stand on the command line.
    pub fn new(words: impl IntoIterator<Item = String>) -> Args {
        Args(words.into_iter().collect())
    }

    /// A value, if the key is there.
    ///
    /// # Panics
    /// When the value can't be read.
    pub fn get<T: FromStr<Err: Debug>>(&self, key: &str) -> Option<T> {
        let value = self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))?;
        Some(value.parse().unwrap_or_else(|error| panic!("{key}={value}: {error:?}")))
    }

    /// A value that must be there.
    ///
    /// # Panics
    /// When it isn't, or can't be read.
    pub fn need<T: FromStr<Err: Debug>>(&self, key: &str) -> T {
        self.get(key).unwrap_or_else(|| panic!("{key}= is missing in {:?}", self.0))
    }
}
