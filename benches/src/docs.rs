//! Writes a run's tables into docs/BENCHMARKS.md, each part between its two markers; all else there stays.

use crate::growth::{self, memory};
use crate::results::Results;
use crate::{ratios, table};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Both with the number of the part.
const BEGIN: &str = "<!-- make bench-docs writes part";
const END: &str = "<!-- to here -->";

/// Tables: beside the peers, of growth, of memory. What wasn't measured is empty.
pub fn parts(results: &Results) -> [String; 3] {
    let peers = if results.cells.is_empty() {
        String::new()
    } else {
        format!("{}\n{}", table::markdown(results), ratios::markdown(results))
    };
    [peers, growth::markdown(results), memory::markdown(results)]
}

pub fn write(results: &Path, page: &Path) -> Result<()> {
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("read {}; `make bench` writes results", path.display()))
    };
    let results: Results = serde_json::from_str(&read(results)?).context("understand the results")?;
    let mut text = read(page)?;
    for (index, tables) in parts(&results).iter().enumerate() {
        // What this run didn't measure stays as an earlier one left it.
        if !tables.is_empty() {
            let number = index + 1;
            text = put(&text, number, tables.trim())
                .with_context(|| format!("{} has no markers for part {number}", page.display()))?;
        }
    }
    fs::write(page, text).with_context(|| format!("write {}", page.display()))
}

fn put(text: &str, number: usize, tables: &str) -> Option<String> {
    let begin = format!("{BEGIN} {number} from here -->");
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{begin}\n\n{tables}\n\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_of_its_part_changes() {
        let part = |number, what| format!("a\n{BEGIN} {number} from here -->\n\n{what}\n\n{END}\nb\n");
        let text = part(1, "one") + &part(2, "two");
        assert_eq!(put(&text, 2, "new").unwrap(), part(1, "one") + &part(2, "new"));
        assert_eq!(put(&text, 1, "new").unwrap(), part(1, "new") + &part(2, "two"));
        assert_eq!(put(&text, 3, "new"), None);
    }
}
