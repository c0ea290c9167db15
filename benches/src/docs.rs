//! Writes a run's tables into docs/BENCHMARKS.md, between the two markers; all else there stays.

use crate::results::Results;
use crate::{ratios, table};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- make bench-docs writes from here -->";
const END: &str = "<!-- to here -->";

pub fn write(results: &Path, page: &Path) -> Result<()> {
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("read {}; `make bench` writes results", path.display()))
    };
    let results: Results = serde_json::from_str(&read(results)?).context("understand the results")?;
    let text = read(page)?;
    let tables = format!("{}\n{}", table::markdown(&results), ratios::markdown(&results));
    let new = put(&text, tables.trim()).with_context(|| format!("{} has no markers", page.display()))?;
    fs::write(page, new).with_context(|| format!("write {}", page.display()))
}

fn put(text: &str, tables: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{tables}\n\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(put(&text, "new").unwrap(), format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
        assert_eq!(put("no markers", "new"), None);
    }
}
