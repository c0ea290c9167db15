//! How a file ends: lines are whole but for what a crash tore, or what was there before this program.

use serde::de::IgnoredAny;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// No line of ours is longer.
const LONGEST: u64 = 1 << 20;

/// The end of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// A newline, or nothing at all.
    Whole,
    /// A line of ours, from here on, that was never finished.
    Torn(u64),
    /// Something else that lacks its newline.
    Unfinished,
}

/// Looks at the end of a file of this length.
///
/// # Errors
/// What the system says.
pub fn ending(file: &File, length: u64) -> io::Result<Ending> {
    let start = last_line(file, length)?;
    if start == length {
        return Ok(Ending::Whole);
    }
    if length - start > LONGEST {
        return Ok(Ending::Unfinished);
    }
    let mut line = vec![0; (length - start) as usize];
    file.read_exact_at(&mut line, start)?;
    // What can be read as it is lacks nothing but its newline.
    let torn = is_ours(&line) && serde_json::from_slice::<IgnoredAny>(&line).is_err();
    Ok(if torn { Ending::Torn(start) } else { Ending::Unfinished })
}

/// Whether these may be the first bytes of a line of ours.
pub fn is_ours(line: &[u8]) -> bool {
    line.starts_with(b"{\"") || line == b"{"
}

/// Where the last line begins that has no newline.
fn last_line(file: &File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut block = vec![0; 64 << 10];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let block = &mut block[..(end - start) as usize];
        file.read_exact_at(block, start)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn only_what_begins_as_ours_and_was_not_finished_is_torn() {
        let long = format!("a\n{{\"{}", "x".repeat(200_000));
        for (text, expected) in [
            ("", Ending::Whole),
            ("{\"a\":1}\n", Ending::Whole),
            ("{\"a\":1}\n{\"a\":", Ending::Torn(8)),
            ("{\"a\":1}\n{", Ending::Torn(8)),
            ("{\"a\":1}", Ending::Unfinished),
            ("a\nsome words", Ending::Unfinished),
            ("some words", Ending::Unfinished),
            (&long, Ending::Torn(2)),
        ] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            assert_eq!(ending(&file, text.len() as u64).unwrap(), expected, "{text:.20}");
        }
    }
}
