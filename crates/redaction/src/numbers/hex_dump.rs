//! [`is_in_hex_dump`]: whether groups of digits are bytes in a dump of `xxd`, `hexdump`, `od` or `objdump`. A megabyte
//! of dump has hundreds of groups that look like phone and card numbers. Runs only for findings, and reads at most
//! [`MAX_DISTANCE`] bytes on each side. `views` decodes hex text.

use std::ops::Range;

use super::super::scan::TextScan;

/// Bytes on each side of a finding that are read.
const MAX_DISTANCE: usize = 64;

/// Whether a finding of blank-separated groups is in a row of hex groups of the same width, or follows a row's offset.
pub(super) fn is_in_hex_dump(scan: &TextScan<'_>, found: &Range<usize>) -> bool {
    if !matches!(scan.byte_before(found.start, 1), b' ' | b'\t') && scan.byte(found.end) != b' ' {
        return false;
    }
    let groups = scan.bytes(found.clone());
    let width = groups.iter().position(|byte| *byte == b' ').unwrap_or(0);
    if !matches!(width, 2 | 4 | 8) || !groups.split(|byte| *byte == b' ').all(|group| group.len() == width) {
        return false;
    }
    let before = scan.bytes(found.start.saturating_sub(MAX_DISTANCE)..found.start);
    let after = scan.bytes(found.end..found.end + MAX_DISTANCE);
    let row = HexDumpRow { width, starts_text: found.start <= MAX_DISTANCE };
    row.ends(before) || row.begins(after)
}

/// A row of hex groups of one width.
struct HexDumpRow {
    /// Length of a group.
    width: usize,
    /// Whether the part before the finding begins with the text.
    starts_text: bool,
}

impl HexDumpRow {
    /// Whether a token has only decimal digits; `None` if it is not a group of the row.
    fn is_decimal_group(&self, token: &[u8]) -> Option<bool> {
        let is_group = token.len() == self.width && token.iter().all(u8::is_ascii_hexdigit);
        is_group.then(|| token.iter().all(u8::is_ascii_digit))
    }

    /// Whether a token certainly is not a word: it has digits, and letters of at most one case.
    fn is_mixed(token: &[u8]) -> bool {
        let cases = [u8::is_ascii_lowercase, u8::is_ascii_uppercase].map(|is_case| token.iter().any(is_case));
        token.iter().any(u8::is_ascii_digit) && cases != [true, true]
    }

    /// Whether the row continues `before`.
    fn ends(&self, before: &[u8]) -> bool {
        if !matches!(before.last(), Some(b' ' | b'\t')) {
            return false;
        }
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let is_whole_line = line_start > 0 || self.starts_text;
        let line = before.get(line_start..).unwrap_or_default();
        let mut tokens = tokens_of(line).rev();
        let (is_row, other) = self.reads_row(&mut tokens);
        is_row || other.is_some_and(|token| is_whole_line && tokens.next().is_none() && is_offset(token))
    }

    /// Whether the row continues in `after`.
    fn begins(&self, after: &[u8]) -> bool {
        if after.first() != Some(&b' ') {
            return false;
        }
        let line = after.split(|byte| *byte == b'\n').next().unwrap_or_default();
        self.reads_row(&mut tokens_of(line)).0
    }

    /// Whether the tokens begin with groups of a row, and the first token that is no group.
    fn reads_row<'t>(&self, tokens: &mut dyn Iterator<Item = &'t [u8]>) -> (bool, Option<&'t [u8]>) {
        let mut groups_with_letters = 0;
        for token in tokens {
            match self.is_decimal_group(token) {
                Some(true) => {}
                Some(false) if Self::is_mixed(token) => return (true, None),
                Some(false) => groups_with_letters += 1,
                None => return (groups_with_letters > 1, Some(token)),
            }
        }
        (groups_with_letters > 1, None)
    }
}

fn tokens_of(line: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    line.split(|byte| b" \t".contains(byte)).filter(|token| !token.is_empty())
}

/// Whether a token is the offset of a dump row: `00000010`, `00000010:`, `1f3a:`.
fn is_offset(token: &[u8]) -> bool {
    let (digits, min_len) = token.strip_suffix(b":").map_or((token, 6), |digits| (digits, 3));
    (min_len..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit)
}
