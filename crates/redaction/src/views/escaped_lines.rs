//! Finds lines within a string that announce the lines below: a table's header, or a label. Rules for lines and columns
//! read raw lines, but within JSON line breaks and tabs are escaped. A line is read backwards from its end, and rows
//! are read once. The result is a window from such a line to the end of its table or value, with whole escapes.
//! `keys::columns`, `names` and `secrets` interpret the lines.

use std::ops::Range;

use super::super::action::WordAction;
use super::super::scan::TextScan;
use super::super::secrets::secret_cue::SecretCue;
use super::super::sets::ByteSet;
use super::super::stems::StemMatch;

/// Longest header of a table, and longest label, in bytes.
const HEADER: usize = 1024;
const LABEL: usize = 96;
/// Most lines and bytes below a label in which its value may be.
const BELOW: (usize, usize) = (4, 240);
/// Longest row, in bytes.
const ROW: usize = 16 << 10;

/// State of the walk over a text's escaped line breaks.
#[derive(Default)]
pub(super) struct EscapedLines {
    /// Start of the current line.
    start: usize,
    /// End of the last table that was found.
    table_end: usize,
    /// Index of the first known word behind the last line break.
    next_word: usize,
}

/// A line within a string.
struct EscapedLine {
    end: usize,
    /// Start of the next line, if the string continues.
    next: Option<usize>,
}

impl EscapedLines {
    /// The window announced by the line that ends at the escape.
    pub(super) fn window_at_break(&mut self, scan: &TextScan<'_>, escape: Range<usize>) -> Option<Range<usize>> {
        let bytes = scan.text.as_bytes();
        let start = std::mem::replace(&mut self.start, escape.end);
        let depth = escape.len() - 1;
        let behind = Self::skip_line_breaks(bytes, escape.end, depth)?;
        while scan.anchors.words.get(self.next_word).is_some_and(|word| word.start < escape.start) {
            self.next_word += 1;
        }
        if start >= self.table_end
            && let Some(table) = self.table_window(scan, start..escape.start, behind, depth)
        {
            self.table_end = table.end;
            return Some(table);
        }
        self.label_window(scan, start..escape.start, behind, depth)
    }

    /// Skips further line breaks: `\r\n`, an empty line.
    fn skip_line_breaks(bytes: &[u8], from: usize, depth: usize) -> Option<usize> {
        let mut at = from;
        for _ in 0..2 {
            if bytes.get(at) != Some(&b'\\') {
                break;
            }
            let rest = bytes.get(at..at + depth + 1).unwrap_or_default();
            let ends = rest.split_last().is_some_and(|(last, slashes)| {
                matches!(last, b'n' | b'r') && slashes.iter().all(|byte| *byte == b'\\')
            });
            at += if ends { depth + 1 } else { 0 };
        }
        bytes.get(at).is_some_and(|byte| !b"\\\"\n".contains(byte)).then_some(at)
    }

    /// The range of a table if the line is its header.
    fn table_window(
        &self,
        scan: &TextScan<'_>,
        line: Range<usize>,
        behind: usize,
        depth: usize,
    ) -> Option<Range<usize>> {
        static IN_HEADER: ByteSet = ByteSet::new(b"_ ,;|.-*\t\\").and_alnum();
        let low = line.start.max(line.end.saturating_sub(HEADER));
        let named = |word: &StemMatch| matches!(word.action, WordAction::Key | WordAction::Secret(SecretCue::Key));
        if !self.known_words(scan, low).any(named) || !may_have_separator(scan.bytes(low..line.end)) {
            return None;
        }
        let mut start = line.end;
        // Names may be quoted, with escaped quotes
        loop {
            start -= IN_HEADER.count_trailing(scan.bytes(low..start));
            let head = scan.bytes(low..start).strip_suffix(b"\"").unwrap_or_default();
            if head.is_empty() || slashes_before(head) < depth {
                break;
            }
            start -= 1;
        }
        let begins = start == line.start || b"\"'`\n".contains(&scan.byte_before(start, 1));
        let header = scan.bytes(start..line.end);
        if !begins || header.len() <= 4 || !self.known_words(scan, start).any(named) {
            return None;
        }
        let by = most_frequent_separator(header)?;
        let count = count_separators(header, by);
        let mut row = read_line(scan, behind, depth);
        let first = scan.bytes(behind..row.end);
        let ruled = by == b'|' && first.iter().all(|byte| b"|-+: \\r".contains(byte));
        if !ruled && self::count_separators(first, by) < count {
            return None;
        }
        while let Some(next) = row.next {
            let below = read_line(scan, next, depth);
            if self::count_separators(scan.bytes(next..below.end), by) == 0 {
                break;
            }
            row = below;
        }
        Some(start..row.end)
    }

    /// The range from a label at the end of its line to the lines below.
    fn label_window(
        &self,
        scan: &TextScan<'_>,
        line: Range<usize>,
        behind: usize,
        depth: usize,
    ) -> Option<Range<usize>> {
        static AROUND: ByteSet = ByteSet::new(b" :*'`");
        let first = scan.byte(behind);
        if !(first.is_ascii_alphanumeric() || first >= 0x80 || b"+(".contains(&first)) {
            return None;
        }
        let low = line.start.max(line.end.saturating_sub(LABEL));
        self.known_words(scan, low).next()?;
        let head = scan.bytes(low..line.end);
        let quote = memchr::memrchr(b'"', head).map_or(low, |quote| low + quote + 1);
        if quote == low && low > line.start {
            return None;
        }
        let tail = line.end - AROUND.count_trailing(scan.bytes(quote..line.end));
        let ends = |at: usize| scan.bytes(at..tail).iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        let token = || {
            let line = read_line(scan, behind, depth);
            line.end - behind >= 6 && !scan.bytes(behind..line.end).contains(&b' ')
        };
        let told = self.known_words(scan, quote).take(4).any(|word| {
            let says = || match word.action {
                WordAction::Pattern(_) | WordAction::SqlValues => false,
                WordAction::Secret(_) => token(),
                _ => !first.is_ascii_lowercase(),
            };
            word.end <= tail && ends(word.end) && says()
        });
        if !told {
            return None;
        }
        // The first line counts, however long it is
        let mut below = read_line(scan, behind, depth);
        for _ in 1..BELOW.0 {
            let Some(next) = below.next.filter(|next| *next <= behind + BELOW.1) else { break };
            let line = read_line(scan, next, depth);
            if line.end > behind + BELOW.1 {
                break;
            }
            below = line;
        }
        Some(quote..below.end)
    }

    /// Known words of the line that begins at `start`, last first.
    fn known_words<'s>(&self, scan: &'s TextScan<'_>, start: usize) -> impl Iterator<Item = &'s StemMatch> {
        let words = scan.anchors.words.get(..self.next_word).unwrap_or_default();
        words.iter().rev().take_while(move |word| word.start >= start)
    }
}

fn slashes_before(head: &[u8]) -> usize {
    head.iter().rev().take_while(|byte| **byte == b'\\').count()
}

/// Quick check for a separator, which most lines lack.
fn may_have_separator(line: &[u8]) -> bool {
    memchr::memchr3(b',', b';', b'|', line).or_else(|| memchr::memchr2(b'\t', b'\\', line)).is_some()
}

/// The most frequent separator of a header.
fn most_frequent_separator(header: &[u8]) -> Option<u8> {
    let most = b",\t;|".iter().map(|by| (count_separators(header, *by), *by)).max_by_key(|(count, _)| *count);
    most.filter(|(count, _)| *count > 0).map(|(_, by)| by)
}

/// Number of separators in a line; tabs may be escaped.
fn count_separators(line: &[u8], by: u8) -> usize {
    let plain = memchr::memchr_iter(by, line).count();
    plain + if by == b'\t' { memchr::memmem::find_iter(line, b"\\t").count() } else { 0 }
}

/// The line from `from`, in a string whose line breaks have `depth` backslashes; quotes with fewer end the string.
fn read_line(scan: &TextScan<'_>, from: usize, depth: usize) -> EscapedLine {
    let bytes = scan.bytes(from..scan.text.len().min(from + ROW));
    let mut at = 0;
    while let Some(found) = memchr::memchr3(b'\\', b'"', b'\n', bytes.get(at..).unwrap_or_default()) {
        at += found;
        let rest = bytes.get(at..).unwrap_or_default();
        let slashes = rest.iter().take_while(|byte| **byte == b'\\').count();
        match rest.get(slashes) {
            Some(b'n') if slashes == depth => {
                return EscapedLine { end: from + at, next: Some(from + at + slashes + 1) };
            }
            Some(b'"') if slashes >= depth => {}
            Some(b'"' | b'\n') | None => return EscapedLine { end: from + at, next: None },
            _ => {}
        }
        at += slashes + 1;
    }
    EscapedLine { end: scan.widen_to_characters(from..from + bytes.len()).end, next: None }
}
