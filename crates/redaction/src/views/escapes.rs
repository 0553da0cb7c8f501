//! Decodes backslash escapes of JSON, C, Python, JavaScript and shells, one level per view, because agents' records are
//! JSON in JSON strings. A nested document is one window, from quote to quote. Elsewhere, only escapes that hide a
//! character of a value count. `pairs` reads nested keys and values by their notation.

use std::ops::Range;

use kernel::notation::decode_escape;

use super::super::scan::TextScan;
use super::super::sets::ByteSet;
use super::decoded_view::DecodedView;
use super::windows;

/// Most bytes that are read of a table's header and of the line below.
const MAX_HEADER: usize = 1024;

/// Adds windows around nested documents, and around escapes that hide a character of a value.
pub(super) fn find_windows(scan: &TextScan<'_>, is_fresh: &dyn Fn(Range<usize>) -> bool, out: &mut Vec<Range<usize>>) {
    let bytes = scan.text.as_bytes();
    let mut from = 0;
    // End of the last nested document, and of the last one not worth decoding
    let (mut document_end, mut skipped_end, mut line_start) = (0, 0, 0);
    while let Some(found) = memchr::memchr(b'\\', bytes.get(from..).unwrap_or_default()) {
        let at = from + found;
        let escaped_at = at + bytes.get(at..).unwrap_or_default().iter().take_while(|byte| **byte == b'\\').count();
        from = escaped_at + 1;
        let escaped = bytes.get(escaped_at).copied().unwrap_or(b'n');
        if matches!(escaped, b'n' | b't' | b'r') {
            // Rules know `\n`, but one with more backslashes separates words that they would not recognise
            if escaped_at - at > 1 && !windows::covers_escape(out, at) && is_fresh(at..escaped_at + 1) {
                windows::add_window(scan.text, at..escaped_at + 1, out);
            }
            let mut line = line_start..at;
            line_start = escaped_at + 1;
            if escaped != b't'
                && at >= document_end
                && begins_table(scan, &mut line, at..escaped_at + 1)
                && is_fresh(at..escaped_at + 1)
            {
                let end = document_range(bytes, at, line.start).end;
                document_end = end;
                merge_window(line.start..end, out);
            }
            continue;
        }
        if escaped == b'"' && at >= skipped_end && is_nested(bytes, at, escaped_at) && is_fresh(at..escaped_at + 1) {
            let document = document_range(bytes, at, document_end);
            skipped_end = document.end;
            if has_known_word(scan, &document) {
                from = document.end.max(from);
                document_end = from;
                push_or_join(document, out);
                continue;
            }
        }
        if escaped != b'"'
            && !windows::covers_escape(out, at)
            && hides_value_character(bytes, at, escaped_at)
            && is_fresh(at..escaped_at + 1)
        {
            windows::add_window(scan.text, at..escaped_at + 5, out);
        }
    }
}

fn push_or_join(window: Range<usize>, out: &mut Vec<Range<usize>>) {
    match out.last_mut() {
        Some(last) if last.end > window.start => last.end = last.end.max(window.end),
        _ => out.push(window),
    }
}

/// Adds a window that may begin before the last ones.
fn merge_window(mut window: Range<usize>, out: &mut Vec<Range<usize>>) {
    while let Some(last) = out.pop_if(|last| last.end > window.start) {
        window = last.start.min(window.start)..last.end.max(window.end);
    }
    out.push(window);
}

/// Whether a line of a string is the header of a table: names with a known word, and as many separators as in the line
/// below its `escape`. `line` may begin before the string.
fn begins_table(scan: &TextScan<'_>, line: &mut Range<usize>, escape: Range<usize>) -> bool {
    static IN_HEADER: ByteSet = ByteSet::new(b"_ ,;|.-").and_alnum();
    let count = |text: &[u8]| text.iter().filter(|byte| b",;|".contains(byte)).count();
    let head = scan.bytes(line.start.max(line.end.saturating_sub(MAX_HEADER))..line.end);
    let header_len = IN_HEADER.count_trailing(head);
    let separators = count(scan.bytes(line.end - header_len..line.end));
    if separators == 0 || !(header_len == line.len() || scan.byte_before(line.end - header_len, 1) == b'"') {
        return false;
    }
    line.start = line.end - header_len;
    // `\r\n`
    let next = escape.end + if scan.byte(escape.end) == b'\\' { escape.len() } else { 0 };
    let below = scan.bytes(next..next + MAX_HEADER);
    let below = below.split(|byte| matches!(byte, b'\\' | b'"')).next().unwrap_or_default();
    (count(below) >= separators || below.iter().all(|byte| b"|-+: ".contains(byte))) && has_known_word(scan, line)
}

/// Whether the quote at `escaped_at`, with backslashes from `at` on, belongs to a document: `{\"`, `[\"` or `\":`.
fn is_nested(bytes: &[u8], at: usize, escaped_at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|at| bytes.get(at));
    bytes.get(escaped_at) == Some(&b'"')
        && (matches!(before, Some(b'{' | b'[')) || bytes.get(escaped_at + 1) == Some(&b':'))
}

/// The range between unescaped quotes around `at`, not before `lowest`.
fn document_range(bytes: &[u8], at: usize, lowest: usize) -> Range<usize> {
    let is_unescaped = |quote: usize| {
        let before = bytes.get(lowest..quote).unwrap_or_default();
        before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0
    };
    let mut start = at;
    let start = loop {
        match memchr::memrchr(b'"', bytes.get(lowest..start).unwrap_or_default()) {
            Some(found) if is_unescaped(lowest + found) => break lowest + found + 1,
            Some(found) => start = lowest + found,
            None => break lowest,
        }
    };
    let mut end = at;
    let end = loop {
        match memchr::memchr(b'"', bytes.get(end..).unwrap_or_default()) {
            Some(found) if is_unescaped(end + found) => break end + found,
            Some(found) => end += found + 1,
            None => break bytes.len(),
        }
    };
    start..end
}

/// Whether a document is worth decoding: it contains a known word.
fn has_known_word(scan: &TextScan<'_>, document: &Range<usize>) -> bool {
    let words = &scan.anchors.words;
    let first_index = words.partition_point(|word| word.start < document.start);
    words.get(first_index).is_some_and(|word| word.start < document.end)
}

/// Whether the escape of the letter at `escaped_at`, with backslashes from `at` on, hides a character that a value may
/// contain.
fn hides_value_character(bytes: &[u8], at: usize, escaped_at: usize) -> bool {
    let hex_code = |digits: usize| parse_hex(bytes.get(escaped_at + 1..escaped_at + 1 + digits));
    match bytes.get(escaped_at) {
        Some(b'u') if bytes.get(escaped_at + 1) == Some(&b'{') => true,
        Some(b'u') => hex_code(4).is_some_and(|code| may_be_in_value(code, bytes, at, escaped_at)),
        Some(b'U') => hex_code(8).is_some(),
        Some(b'x') => hex_code(2).is_some(),
        Some(b'0' | b'e') if terminal_prefix_len(bytes.get(escaped_at..).unwrap_or_default()).is_some() => true,
        Some(b'/') => true,
        Some(byte) if is_value_mark(*byte) => {
            let before = at.checked_sub(1).and_then(|at| bytes.get(at));
            before.is_some_and(u8::is_ascii_alphanumeric)
                && bytes.get(escaped_at + 1).is_some_and(u8::is_ascii_alphanumeric)
        }
        _ => false,
    }
}

/// Whether a code point may belong to a value: ASCII, an accented letter next to ASCII, or a character that `unicode`
/// folds. Other scripts are excluded, because whole texts are written in such escapes.
fn may_be_in_value(code: u32, bytes: &[u8], at: usize, escaped_at: usize) -> bool {
    let is_word_byte = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphanumeric);
    match code {
        0x00..=0x7f => true,
        0xa1..=0x24f => is_word_byte(at.checked_sub(1)) || is_word_byte(Some(escaped_at + 5)),
        0xd835 => true,
        _ => char::from_u32(code).is_some_and(super::unicode::folds_to_value_character),
    }
}

fn is_value_mark(byte: u8) -> bool {
    b"_@.-+*".contains(&byte)
}

fn parse_hex(digits: Option<&[u8]>) -> Option<u32> {
    let digits = std::str::from_utf8(digits?).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

/// Length of `033` or `e`, with which a terminal sequence begins (before its `[`).
fn terminal_prefix_len(bytes: &[u8]) -> Option<usize> {
    [&b"033["[..], b"e["].iter().find(|prefix| bytes.starts_with(prefix)).map(|prefix| prefix.len() - 1)
}

pub(crate) fn decode(text: &str, view: &mut DecodedView) {
    let bytes = text.as_bytes();
    let next = |from: usize| Some(from + memchr::memchr(b'\\', bytes.get(from..)?)?);
    view.decode(text, next, |at| {
        read_escape(text.get(at..).unwrap_or_default()).map(|(len, char)| (len, Some(char))).ok_or(1)
    });
}

/// The escape at the start of `rest`: its length and its character.
fn read_escape(rest: &str) -> Option<(usize, char)> {
    let bytes = rest.as_bytes();
    match bytes.get(1)? {
        b'b' | b'f' => Some((2, ' ')),
        byte if is_value_mark(*byte) => Some((2, char::from(*byte))),
        b'u' if bytes.get(2) == Some(&b'{') => {
            let digits = bytes.iter().skip(3).take(7).take_while(|byte| byte.is_ascii_hexdigit()).count();
            let closed = bytes.get(3 + digits) == Some(&b'}');
            Some((4 + digits, char::from_u32(parse_hex(bytes.get(3..3 + digits)).filter(|_| closed)?)?))
        }
        b'n' | b't' | b'r' | b'\\' | b'"' | b'\'' | b'/' | b'u' | b'U' => {
            let (char, len) = decode_escape(rest);
            Some((len, char?))
        }
        b'x' => read_byte_escapes(bytes),
        b'0' | b'e' => Some((1 + terminal_prefix_len(bytes.get(1..)?)?, '\u{1b}')),
        _ => None,
    }
}

/// `\xNN`: a character, or several bytes of one.
fn read_byte_escapes(bytes: &[u8]) -> Option<(usize, char)> {
    let byte = |index: usize| {
        let escape = bytes.get(index * 4..index * 4 + 4)?;
        escape
            .starts_with(b"\\x")
            .then(|| parse_hex(escape.get(2..)))
            .flatten()
            .and_then(|byte| u8::try_from(byte).ok())
    };
    let (len, char) = super::percent::read_character(byte)?;
    Some((len * 4, char))
}
