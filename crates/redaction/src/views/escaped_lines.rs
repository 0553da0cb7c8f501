//! Finds lines within a string that announce the lines below: a table's header, or a label. Rules for lines and columns
//! read raw lines, but within JSON, line breaks and tabs are escaped. A line is read backwards from its end, and rows
//! are read once. The result is a window from such a line to the end of its table or value, with whole escapes.
//! `keys::columns`, `names` and `secrets` interpret the lines.

use std::ops::Range;

use super::super::action::WordAction;
use super::super::scan::TextScan;
use super::super::secrets::secret_cue::SecretCue;
use super::super::sets::ByteSet;
use super::super::stems::StemMatch;

/// Longest header of a table, and longest label, in bytes.
const MAX_HEADER: usize = 1024;
const MAX_LABEL: usize = 96;
/// Most lines and bytes below a label in which its value may be.
const MAX_LINES_BELOW: usize = 4;
const MAX_BYTES_BELOW: usize = 240;
/// Longest row, in bytes.
const MAX_ROW: usize = 16 << 10;

/// State of the walk over a text's escaped line breaks.
#[derive(Default)]
pub(super) struct EscapedLines {
    /// Start of the current line.
    start: usize,
    /// End of the last table that was found.
    table_end: usize,
    /// Index of the first known word after the current line.
    next_word: usize,
}

/// A line within a string.
struct EscapedLine {
    end: usize,
    /// Start of the next line, if the string continues.
    next: Option<usize>,
}

impl EscapedLines {
    /// The window announced by the line that ends at the escape of a line break.
    pub(super) fn window_at_break(&mut self, scan: &TextScan<'_>, escape: Range<usize>) -> Option<Range<usize>> {
        let bytes = scan.text.as_bytes();
        let start = std::mem::replace(&mut self.start, escape.end);
        let depth = escape.len() - 1;
        let next_line = Self::skip_line_breaks(bytes, escape.end, depth)?;
        while scan.anchors.words.get(self.next_word).is_some_and(|word| word.start < escape.start) {
            self.next_word += 1;
        }
        if start >= self.table_end
            && let Some(table) = self.table_window(scan, start..escape.start, next_line, depth)
        {
            self.table_end = table.end;
            return Some(table);
        }
        self.label_window(scan, start..escape.start, next_line, depth)
    }

    /// Skips further line breaks: `\r\n`, an empty line.
    fn skip_line_breaks(bytes: &[u8], from: usize, depth: usize) -> Option<usize> {
        let mut at = from;
        for _ in 0..2 {
            if bytes.get(at) != Some(&b'\\') {
                break;
            }
            let rest = bytes.get(at..at + depth + 1).unwrap_or_default();
            let is_line_break = rest.split_last().is_some_and(|(last, backslashes)| {
                matches!(last, b'n' | b'r') && backslashes.iter().all(|byte| *byte == b'\\')
            });
            at += if is_line_break { depth + 1 } else { 0 };
        }
        bytes.get(at).is_some_and(|byte| !b"\\\"\n".contains(byte)).then_some(at)
    }

    /// The range of a table if `line` is its header; `depth`: number of backslashes of its line breaks.
    fn table_window(
        &self,
        scan: &TextScan<'_>,
        line: Range<usize>,
        next_line: usize,
        depth: usize,
    ) -> Option<Range<usize>> {
        static IN_HEADER: ByteSet = ByteSet::new(b"_ ,;|.-*\t\\").and_alnum();
        let lowest = line.start.max(line.end.saturating_sub(MAX_HEADER));
        let is_key_word =
            |word: &StemMatch| matches!(word.action, WordAction::Key | WordAction::Secret(SecretCue::Key));
        if !self.known_words(scan, lowest).any(is_key_word) || !may_have_separator(scan.bytes(lowest..line.end)) {
            return None;
        }
        let mut start = line.end;
        // Names may be quoted, with escaped quotes
        loop {
            start -= IN_HEADER.count_trailing(scan.bytes(lowest..start));
            let head = scan.bytes(lowest..start).strip_suffix(b"\"").unwrap_or_default();
            if head.is_empty() || backslashes_before(head) < depth {
                break;
            }
            start -= 1;
        }
        let begins_line = start == line.start || b"\"'`\n".contains(&scan.byte_before(start, 1));
        let header = scan.bytes(start..line.end);
        if !begins_line || header.len() <= 4 || !self.known_words(scan, start).any(is_key_word) {
            return None;
        }
        let separator = most_frequent_separator(header)?;
        let count = count_separators(header, separator);
        let mut row = read_line(scan, next_line, depth);
        let first_row = scan.bytes(next_line..row.end);
        let is_ruler = separator == b'|' && first_row.iter().all(|byte| b"|-+: \\r".contains(byte));
        if !is_ruler && count_separators(first_row, separator) < count {
            return None;
        }
        while let Some(next) = row.next {
            let below = read_line(scan, next, depth);
            if count_separators(scan.bytes(next..below.end), separator) == 0 {
                break;
            }
            row = below;
        }
        Some(start..row.end)
    }

    /// The range from a label at the end of `line` to the lines below.
    fn label_window(
        &self,
        scan: &TextScan<'_>,
        line: Range<usize>,
        next_line: usize,
        depth: usize,
    ) -> Option<Range<usize>> {
        static AROUND_LABEL: ByteSet = ByteSet::new(b" :*'`");
        let first = scan.byte(next_line);
        if !(first.is_ascii_alphanumeric() || first >= 0x80 || b"+(".contains(&first)) {
            return None;
        }
        let lowest = line.start.max(line.end.saturating_sub(MAX_LABEL));
        self.known_words(scan, lowest).next()?;
        let head = scan.bytes(lowest..line.end);
        let label_start = memchr::memrchr(b'"', head).map_or(lowest, |quote| lowest + quote + 1);
        if label_start == lowest && lowest > line.start {
            return None;
        }
        let label_end = line.end - AROUND_LABEL.count_trailing(scan.bytes(label_start..line.end));
        let is_at_end =
            |at: usize| scan.bytes(at..label_end).iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        let is_token_below = || {
            let line = read_line(scan, next_line, depth);
            line.end - next_line >= 6 && !scan.bytes(next_line..line.end).contains(&b' ')
        };
        let is_announced = self.known_words(scan, label_start).take(4).any(|word| {
            let announces = || match word.action {
                WordAction::Pattern(_) | WordAction::SqlValues => false,
                WordAction::Secret(_) => is_token_below(),
                _ => !first.is_ascii_lowercase(),
            };
            word.end <= label_end && is_at_end(word.end) && announces()
        });
        if !is_announced {
            return None;
        }
        // The first line counts, however long it is
        let mut below = read_line(scan, next_line, depth);
        for _ in 1..MAX_LINES_BELOW {
            let Some(next) = below.next.filter(|next| *next <= next_line + MAX_BYTES_BELOW) else { break };
            let line = read_line(scan, next, depth);
            if line.end > next_line + MAX_BYTES_BELOW {
                break;
            }
            below = line;
        }
        Some(label_start..below.end)
    }

    /// Known words of the line that begins at `start`, last first.
    fn known_words<'s>(&self, scan: &'s TextScan<'_>, start: usize) -> impl Iterator<Item = &'s StemMatch> {
        let words = scan.anchors.words.get(..self.next_word).unwrap_or_default();
        words.iter().rev().take_while(move |word| word.start >= start)
    }
}

fn backslashes_before(head: &[u8]) -> usize {
    head.iter().rev().take_while(|byte| **byte == b'\\').count()
}

/// Quick check for a separator, which most lines lack.
fn may_have_separator(line: &[u8]) -> bool {
    memchr::memchr3(b',', b';', b'|', line).or_else(|| memchr::memchr2(b'\t', b'\\', line)).is_some()
}

/// The most frequent separator of a header.
fn most_frequent_separator(header: &[u8]) -> Option<u8> {
    let most_frequent = b",\t;|"
        .iter()
        .map(|separator| (count_separators(header, *separator), *separator))
        .max_by_key(|(count, _)| *count);
    most_frequent.filter(|(count, _)| *count > 0).map(|(_, separator)| separator)
}

/// Number of separators in a line; tabs may be escaped.
fn count_separators(line: &[u8], separator: u8) -> usize {
    let unescaped = memchr::memchr_iter(separator, line).count();
    unescaped + if separator == b'\t' { memchr::memmem::find_iter(line, b"\\t").count() } else { 0 }
}

/// The line from `from`, in a string whose line breaks have `depth` backslashes; quotes with fewer end the string.
fn read_line(scan: &TextScan<'_>, from: usize, depth: usize) -> EscapedLine {
    let bytes = scan.bytes(from..from + MAX_ROW);
    let mut at = 0;
    while let Some(found) = memchr::memchr3(b'\\', b'"', b'\n', bytes.get(at..).unwrap_or_default()) {
        at += found;
        let rest = bytes.get(at..).unwrap_or_default();
        let backslashes = rest.iter().take_while(|byte| **byte == b'\\').count();
        match rest.get(backslashes) {
            Some(b'n') if backslashes == depth => {
                return EscapedLine { end: from + at, next: Some(from + at + backslashes + 1) };
            }
            Some(b'"') if backslashes >= depth => {}
            Some(b'"' | b'\n') | None => return EscapedLine { end: from + at, next: None },
            _ => {}
        }
        at += backslashes + 1;
    }
    EscapedLine { end: scan.widen_to_characters(from..from + bytes.len()).end, next: None }
}
