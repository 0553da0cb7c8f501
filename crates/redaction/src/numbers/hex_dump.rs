//! Whether groups of digits are bytes in a dump of `xxd`, `hexdump`, `od` or `objdump`: a megabyte of dump has hundreds
//! of groups that look like phone and card numbers. Runs only for findings, and reads at most [`REACH`] bytes on each
//! side. `views` decodes hex text.

use std::ops::Range;

use super::super::scan::TextScan;

/// Bytes on each side of a finding that are read.
const REACH: usize = 64;

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
    let before = scan.bytes(found.start.saturating_sub(REACH)..found.start);
    let behind = scan.bytes(found.end..found.end + REACH);
    let row = HexDumpRow { width, from: found.start.saturating_sub(REACH) };
    row.is_before(before) || row.is_behind(behind)
}

/// A row of hex groups of one width.
struct HexDumpRow {
    width: usize,
    /// Position in the text of the part before the finding.
    from: usize,
}

impl HexDumpRow {
    /// Whether a group has only decimal digits; `None` if it is not a group of the row.
    fn is_decimal_group(&self, token: &[u8]) -> Option<bool> {
        let group = token.len() == self.width && token.iter().all(u8::is_ascii_hexdigit);
        group.then(|| token.iter().all(u8::is_ascii_digit))
    }

    /// Whether a token certainly is not a word: it has digits, and letters of at most one case.
    fn is_mixed(token: &[u8]) -> bool {
        let cases = [u8::is_ascii_lowercase, u8::is_ascii_uppercase].map(|case| token.iter().any(case));
        token.iter().any(u8::is_ascii_digit) && cases != [true, true]
    }

    fn is_before(&self, before: &[u8]) -> bool {
        if !matches!(before.last(), Some(b' ' | b'\t')) {
            return false;
        }
        let line = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole = line > 0 || self.from == 0;
        let line = before.get(line..).unwrap_or_default();
        let mut letters = 0;
        let mut tokens = line.split(|byte| b" \t".contains(byte)).filter(|token| !token.is_empty()).rev().peekable();
        while let Some(token) = tokens.next() {
            match self.is_decimal_group(token) {
                Some(true) => {}
                Some(false) if Self::is_mixed(token) => return true,
                Some(false) => letters += 1,
                None => return letters > 1 || (whole && tokens.peek().is_none() && is_offset(token)),
            }
        }
        letters > 1
    }

    fn is_behind(&self, behind: &[u8]) -> bool {
        if behind.first() != Some(&b' ') {
            return false;
        }
        let line = behind.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let mut letters = 0;
        for token in line.split(|byte| b" \t".contains(byte)).filter(|token| !token.is_empty()) {
            match self.is_decimal_group(token) {
                Some(true) => {}
                Some(false) if Self::is_mixed(token) => return true,
                Some(false) => letters += 1,
                None => break,
            }
        }
        letters > 1
    }
}

/// Whether a token is the offset of a dump row: `00000010`, `00000010:`, `1f3a:`.
fn is_offset(token: &[u8]) -> bool {
    let (digits, colon) = token.strip_suffix(b":").map_or((token, false), |digits| (digits, true));
    let least = if colon { 3 } else { 6 };
    (least..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit)
}
