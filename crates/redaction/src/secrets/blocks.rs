//! Finds private keys in PEM and OpenPGP form, also truncated, also with escaped line breaks. Without its end, a
//! block extends as far as its alphabet; without its beginning, it begins with the base64 lines above its end. A prefix
//! that each line repeats (`12 | `, `> `) is ignored, and quotes between lines stay, so that JSON stays valid. At most
//! 64 KiB of a block is read, and nothing twice. Certificates and public keys stay.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::super::sets::ByteSet;
use super::value_facts::contains_any_case;
use crate::rule::RuleFamily;
use crate::scan::{TextScan, bytes_ahead, is_object_key};

const MAX_BLOCK: usize = 64 << 10;
/// Most bytes before each line of a block.
const MAX_PREFIX: usize = 64;

/// Searchers for the end of a block, the start of the next one, and the dashes around titles; built once because that
/// is slow.
static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("END "));
static NEXT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("-----BEGIN "));
static DASHES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("----"));

/// Claims the PEM block whose `BEGIN` is at `at`, and returns its end.
pub(super) fn claim_pem_block(scan: &TextScan<'_>, at: usize) -> usize {
    let head = scan.bytes(at.saturating_sub(5)..at);
    if head != b"-----" && !head.ends_with(b"---- ") {
        return at;
    }
    let start = at - 5;
    let title = bytes_ahead(scan, at, 64);
    let title_end = title.windows(4).position(|part| part == b"----").unwrap_or(title.len());
    if !contains_any_case(title.get(..title_end).unwrap_or_default(), b"PRIVATE KEY") {
        return at;
    }
    let from = at + title_end;
    let rest = bytes_ahead(scan, from, MAX_BLOCK);
    // A truncated block ends before the next one begins
    let rest = NEXT.find(rest).and_then(|next| rest.get(..next)).unwrap_or(rest);
    let body_start = from + rest.iter().take_while(|byte| **byte == b'-').count();
    // The lines may be in values of their own, such as log records
    let end = END.find(rest).and_then(|end| {
        let title_len = rest.get(end..).unwrap_or_default().windows(4).take(80).position(|part| part == b"----")?;
        let dashes = rest.iter().skip(end + title_len).take_while(|byte| **byte == b'-').count();
        Some(from + end + title_len + dashes)
    });
    let prefix = line_prefix(scan, start);
    let end =
        end.unwrap_or_else(|| body_start + unterminated_end(rest.get(body_start - from..).unwrap_or_default(), prefix));
    claim_pieces(scan, start..end, prefix);
    end
}

/// Claims the PEM block whose `END` is at `at` and whose beginning is missing: the base64 lines above, none before
/// `from`. Returns its end.
pub(super) fn claim_truncated_pem_block(scan: &TextScan<'_>, at: usize, from: usize) -> usize {
    let title = bytes_ahead(scan, at, 64);
    let title_end = title.windows(4).position(|part| part == b"----").unwrap_or(title.len());
    if scan.bytes(at.saturating_sub(5)..at) != b"-----"
        || !contains_any_case(title.get(..title_end).unwrap_or_default(), b"PRIVATE KEY")
    {
        return from;
    }
    let end = at + title_end + title.iter().skip(title_end).take_while(|byte| **byte == b'-').count();
    let prefix = line_prefix(scan, at - 5);
    let (mut start, mut body_len) = (at - 5 - prefix.len(), 0);
    let lowest = from.max(at.saturating_sub(MAX_BLOCK));
    let next_placeholder = scan.placeholders.partition_point(|placeholder| placeholder.end <= start);
    let lowest = next_placeholder
        .checked_sub(1)
        .and_then(|last| scan.placeholders.get(last))
        .map_or(lowest, |last| lowest.max(last.end));
    let mut first_content = None;
    // Each line above, without the line break after it
    while let Some(above) = line_end_before(scan.bytes(lowest..start)) {
        let text = scan.bytes(lowest..lowest + above);
        let line = lowest + text.len() - last_line(text);
        let content = scan.bytes(line..lowest + above);
        let Some(skipped) = matching_prefix_len(prefix, content) else { break };
        let content = content.get(skipped..).unwrap_or_default().trim_ascii();
        if content.is_empty() || !content.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte)) {
            break;
        }
        (start, body_len, first_content) = (line, body_len + content.len(), Some(line + skipped));
    }
    if let Some(first_content) = first_content.filter(|_| body_len >= 24) {
        scan.claim_for(RuleFamily::KeyBlock, first_content..end);
    }
    end
}

/// Length of `text` without the line break at its end; `None` if it has none.
fn line_end_before(text: &[u8]) -> Option<usize> {
    let line_breaks = [&b"\r\n"[..], b"\n", b"\\r\\n", b"\\n", b"<br>", b"<br/>", b"<br />"];
    line_breaks.iter().find(|line_break| text.ends_with(line_break)).map(|line_break| text.len() - line_break.len())
}

/// Length of the last line of `text`.
fn last_line(text: &[u8]) -> usize {
    let mut at = text.len() - IN_LINE.count_trailing(text);
    while let Some(last) = at.checked_sub(1).and_then(|last| text.get(last)) {
        match last {
            b'\n' | b'"' => break,
            b'n' | b'>' if line_end_before(text.get(..at).unwrap_or_default()).is_some() => break,
            _ => {
                at -= 1;
                at -= IN_LINE.count_trailing(text.get(..at).unwrap_or_default());
            }
        }
    }
    text.len() - at
}

/// The text before a block on its first line, back to a quote.
fn line_prefix<'a>(scan: &TextScan<'a>, start: usize) -> &'a [u8] {
    let head = scan.bytes(start.saturating_sub(MAX_PREFIX)..start);
    let len = last_line(head);
    let prefix = head.get(head.len() - len..).unwrap_or_default();
    let after_quote = prefix.iter().rposition(|byte| matches!(byte, b'"' | b'\'' | b'`')).map_or(0, |at| at + 1);
    prefix.get(after_quote..).filter(|_| len < MAX_PREFIX).unwrap_or_default()
}

/// Length of the prefix of `line` that equals `prefix` except for its numbers and blanks; `None` if there is none.
fn matching_prefix_len(prefix: &[u8], line: &[u8]) -> Option<usize> {
    let (mut line_at, mut prefix_at) = (0, 0);
    while let Some(byte) = prefix.get(prefix_at) {
        let is_same_kind: fn(&u8) -> bool = match byte {
            byte if byte.is_ascii_digit() => u8::is_ascii_digit,
            b' ' | b'\t' => |byte| b" \t".contains(byte),
            _ => {
                if line.get(line_at) != Some(byte) {
                    return None;
                }
                (line_at, prefix_at) = (line_at + 1, prefix_at + 1);
                continue;
            }
        };
        let len = line.iter().skip(line_at).take_while(|byte| is_same_kind(byte)).count();
        if len == 0 && byte.is_ascii_digit() {
            return None;
        }
        line_at += len;
        prefix_at += prefix.iter().skip(prefix_at).take_while(|byte| is_same_kind(byte)).count();
    }
    Some(line_at)
}

/// Length of the first line of `text`, and of the line break after it (0 at the end).
fn first_line(text: &[u8]) -> (usize, usize) {
    let mut at = 0;
    while let Some(offset) = text.get(at..).and_then(|rest| memchr::memchr3(b'\n', b'\\', b'<', rest)) {
        at += offset;
        match text.get(at..).unwrap_or_default() {
            [b'\n', ..] => return (at, 1),
            [b'\\', b'n', ..] => return (at, 2),
            [b'<', b'b', b'r', rest @ ..] => {
                let blank = usize::from(rest.starts_with(b" "));
                let slash = usize::from(rest.get(blank) == Some(&b'/'));
                if rest.get(blank + slash) == Some(&b'>') {
                    return (at, 4 + blank + slash);
                }
            }
            _ => {}
        }
        at += 1;
    }
    (text.len(), 0)
}

/// End of a block without an end marker, whose lines all have this prefix.
fn unterminated_end(text: &[u8], prefix: &[u8]) -> usize {
    if prefix.iter().all(|byte| is_block_byte(*byte)) && !text.starts_with(b"<br") {
        return text.iter().take_while(|byte| is_block_byte(**byte)).count();
    }
    let (first_len, mut break_len) = first_line(text);
    let (mut at, mut end) =
        (first_len, if first_len == 0 { 0 } else { text.iter().take_while(|byte| is_block_byte(**byte)).count() });
    while break_len > 0 {
        let line = text.get(at + break_len..).unwrap_or_default();
        let (len, next_break) = first_line(line);
        let line_prefix = if break_len > 2 { b"" } else { prefix };
        let Some(skipped) = matching_prefix_len(line_prefix, line.get(..len).unwrap_or_default()) else { break };
        let content = line.get(skipped..len).unwrap_or_default();
        let plain_len = content.iter().take_while(|byte| is_block_byte(**byte)).count();
        if plain_len > 0 || content.is_empty() {
            end = at + break_len + skipped + plain_len;
        }
        if plain_len < content.len() {
            break;
        }
        (at, break_len) = (at + break_len + len, next_break);
    }
    end
}

/// Whether each line of a block has only characters of a block after its prefix.
fn has_only_block_lines(mut part: &[u8], later_prefix: &[u8]) -> bool {
    let is_plain = |line: &[u8]| line.iter().all(|byte| is_line_byte(*byte));
    let mut prefix: &[u8] = b"";
    loop {
        let (len, break_len) = first_line(part);
        let line = part.get(..len).unwrap_or_default();
        let Some(skipped) = matching_prefix_len(prefix, line) else { return false };
        if !is_plain(line.get(skipped..).unwrap_or_default()) {
            return false;
        }
        if break_len == 0 {
            return true;
        }
        part = part.get(len + break_len..).unwrap_or_default();
        prefix = if break_len > 2 { b"" } else { later_prefix };
    }
}

/// Base64, blanks, escapes, and characters of headers such as `Proc-Type: 4,ENCRYPTED`.
fn is_block_byte(byte: u8) -> bool {
    IN_BLOCK.contains(byte)
}

/// Like [`is_block_byte`], without the characters of a comment about the key's owner.
fn is_line_byte(byte: u8) -> bool {
    is_block_byte(byte) && !matches!(byte, b'@' | b'(' | b')')
}

static IN_BLOCK: ByteSet = ByteSet::new(b"+/=\\ \t\r\n:,.-*_@()").and_alnum();
/// Bytes in a line that need no closer check for a line break.
static IN_LINE: ByteSet = ByteSet::new(b"\n\"n>").complement();

/// Claims a block piece by piece: if it is a list of strings, each string is a claim of its own.
fn claim_pieces(scan: &TextScan<'_>, block: Range<usize>, prefix: &[u8]) {
    let bytes = scan.bytes(block.clone());
    let mut at = block.start;
    for part in bytes.split(|byte| matches!(byte, b'"' | b'\'' | b'`')) {
        let backslashes = part.iter().rev().take_while(|byte| **byte == b'\\').count();
        let content = part.get(..part.len() - backslashes).unwrap_or_default();
        let word_bytes = content.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
        let is_plain = content.iter().all(|byte| is_line_byte(*byte))
            || at == block.start && has_only_block_lines(content, prefix);
        let after = at + part.len() + 1;
        let is_key = || is_object_key(scan.bytes(after..block.end.min(after + 8)));
        if is_plain && word_bytes >= 8 && has_body(content.trim_ascii()) && word_bytes * 2 > content.len() && !is_key()
        {
            let blanks = content.len() - content.trim_ascii_start().len();
            scan.claim_for(RuleFamily::KeyBlock, at + blanks..at + content.trim_ascii_end().len());
        }
        at += part.len() + 1;
    }
}

/// Whether a part has more than the begin and end lines of a block.
fn has_body(part: &[u8]) -> bool {
    let mut lines = DashSeparated(part);
    let count_alphanumeric = |line: &[u8]| line.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
    lines.any(|line| !contains_any_case(line, b"PRIVATE KEY") && count_alphanumeric(line) >= 4)
}

/// Iterator over the text between runs of dashes.
struct DashSeparated<'a>(&'a [u8]);

impl<'a> Iterator for DashSeparated<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().take_while(|byte| **byte == b'-').count();
        let rest = self.0.get(start..).filter(|rest| !rest.is_empty())?;
        let end = DASHES.find(rest).unwrap_or(rest.len());
        let (line, rest) = rest.split_at_checked(end)?;
        self.0 = rest;
        Some(line)
    }
}
