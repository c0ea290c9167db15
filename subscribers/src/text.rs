//! Bytes as text lines: what would end the line, move the cursor or isn't UTF-8 is written as an escape
//! that `printf %b` turns back.

use std::fmt::{self, Write};

/// Bytes whose `Display` is fit for one line.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a> {
    bytes: &'a [u8],
    field: bool,
}

impl<'a> Escaped<'a> {
    /// Control characters are escaped. Backslashes aren't, so that JSON and paths read as they are.
    pub fn text(bytes: &'a [u8]) -> Self {
        Escaped { bytes, field: false }
    }

    /// Spaces and backslashes are escaped, too: the field ends at the next space, and can be turned back.
    pub fn field(text: &'a str) -> Self {
        Escaped { bytes: text.as_bytes(), field: true }
    }

    fn must_escape(&self, c: char) -> bool {
        c.is_control() || self.field && matches!(c, ' ' | '\\')
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.bytes.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some((at, c)) = rest.char_indices().find(|(_, c)| self.must_escape(*c)) {
                f.write_str(&rest[..at])?;
                let (escaped, behind) = rest[at..].split_at(c.len_utf8());
                match c {
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    '\\' => f.write_str("\\\\")?,
                    _ => write_hex(f, escaped.as_bytes())?,
                }
                rest = behind;
            }
            f.write_str(rest)?;
            write_hex(f, chunk.invalid())?;
        }
        Ok(())
    }
}

fn write_hex(f: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_escapes_control_characters_alone() {
        for (bytes, text) in [
            (&b"plain {\"a\": \"b\\n\"}"[..], "plain {\"a\": \"b\\n\"}"),
            (b"two\nlines\tand\rmore", "two\\nlines\\tand\\rmore"),
            (b"\x1b[31mred\x7f\0", "\\x1b[31mred\\x7f\\x00"),
            ("größer \u{85}".as_bytes(), "größer \\xc2\\x85"),
            (b"a\xffb\xe2\x82", "a\\xffb\\xe2\\x82"),
            (b"", ""),
        ] {
            assert_eq!(Escaped::text(bytes).to_string(), text);
        }
    }

    #[test]
    fn a_field_has_no_spaces() {
        assert_eq!(Escaped::field("a b/c\\d\n").to_string(), "a\\x20b/c\\\\d\\n");
    }
}
