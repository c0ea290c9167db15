//! A map by numbers that are dealt out one after the other.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// By topic ids: a broker counts them from 1, so they need no hash against collisions that somebody contrives, and topics
/// that are made, and so mostly used, one after the other lie side by side.
pub(super) type ById<T> = HashMap<u32, T, BuildHasherDefault<IdHasher>>;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        // The low bits choose the place, the seven at the top tell those of one place apart (hashbrown's h1 and h2).
        self.0 ^ self.0 << 57
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = u64::from(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::{BuildHasher, BuildHasherDefault};

    #[test]
    fn ids_of_one_place_are_told_apart() {
        let hash = |id: u32| BuildHasherDefault::<IdHasher>::default().hash_one(id);
        for first in [1, 100, 65_520, u32::MAX - 200] {
            let tags: HashSet<u64> = (first..first + 128).map(|id| hash(id) >> 57).collect();
            assert_eq!(tags.len(), 128);
            let places: HashSet<u64> = (first..first + 128).map(|id| hash(id) & 127).collect();
            assert_eq!(places.len(), 128);
        }
    }
}
