//! Topics by the power of two of what they keep, so that one that keeps the most, to within a factor of two, is found at once.

use super::log::Log;

/// The shelf of topics that have nothing to give: none or only the newest record. They stand nowhere.
pub(super) const NONE: usize = 0;

/// Topics that share a limit.
#[derive(Debug, Default)]
pub(super) struct Shelves {
    /// One for each power of two, from the lowest on; the one of those with nothing to give is empty.
    shelves: Vec<Vec<usize>>,
    /// No higher shelf has topics on it.
    highest: usize,
    /// Whose turn it is on the shelf that pays.
    turn: usize,
}

/// The shelf that a topic belongs on.
pub(super) fn right_shelf(log: &Log) -> usize {
    if log.can_give() { (u64::BITS - log.bytes.leading_zeros()).max(1) as usize } else { NONE }
}

impl Shelves {
    /// The highest shelf with topics on it.
    pub(super) fn highest(&mut self) -> usize {
        while self.highest > NONE && self.shelves[self.highest].is_empty() {
            self.highest -= 1;
        }
        self.highest
    }

    /// The topic that is to give next, of those that keep the most, if any has something to give.
    pub(super) fn next(&mut self) -> Option<usize> {
        let highest = self.highest();
        let shelf = self.shelves.get(highest).filter(|shelf| !shelf.is_empty())?;
        self.turn = if self.turn + 1 < shelf.len() { self.turn + 1 } else { 0 };
        Some(shelf[self.turn])
    }

    /// Puts a topic on a shelf. Returns its place there.
    pub(super) fn put(&mut self, topic: usize, shelf: usize) -> usize {
        if shelf == NONE {
            return 0;
        }
        if self.shelves.len() <= shelf {
            self.shelves.resize(shelf + 1, Vec::new());
        }
        self.highest = self.highest.max(shelf);
        self.shelves[shelf].push(topic);
        self.shelves[shelf].len() - 1
    }

    /// Takes the topic at a place off its shelf. Returns the one that has the place now.
    pub(super) fn take(&mut self, shelf: usize, place: usize) -> Option<usize> {
        if shelf == NONE {
            return None;
        }
        self.shelves[shelf].swap_remove(place);
        self.shelves[shelf].get(place).copied()
    }

    #[cfg(test)]
    pub(super) fn at(&self, shelf: usize, place: usize) -> Option<usize> {
        self.shelves.get(shelf)?.get(place).copied()
    }
}
