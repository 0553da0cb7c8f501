//! Finds private keys in PEM, OpenPGP and PuTTY form, also truncated, also with escaped line breaks. Without its end, a
//! block extends as far as its alphabet; without its beginning, from the first line of base64. A repeated prefix before
//! each line (`12 | `, `> `) is ignored, and quotes between lines stay, so that JSON stays valid. At most 64 KiB of a
//! block is read, and nothing twice. Certificates and public keys stay.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::super::json_repair::is_object_key;
use super::super::sets::ByteSet;
use super::value_checks::contains_any_case;
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};

/// Most bytes of a block.
const MOST: usize = 64 << 10;
/// Most bytes before each line of a block.
const PREFIX: usize = 64;

/// Searchers for the end of a block, the start of the next one, and the dashes around titles; built once because that
/// is slow.
static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("END "));
static NEXT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("-----BEGIN "));
static DASHES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("----"));

/// Claims the PEM block whose `BEGIN` is at `at`, and returns its end.
pub(super) fn claim_pem_block(scan: &TextScan<'_>, at: usize, rule: u16, claims: &mut PrivateClaims) -> usize {
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
    let rest = bytes_ahead(scan, from, MOST);
    // A truncated block ends before the next one begins
    let rest = NEXT.find(rest).and_then(|next| rest.get(..next)).unwrap_or(rest);
    let behind = from + rest.iter().take_while(|byte| **byte == b'-').count();
    // The lines may be in values of their own, such as log records
    let end = END.find(rest).and_then(|end| {
        let marks = rest.get(end..).unwrap_or_default().windows(4).take(80).position(|part| part == b"----")?;
        let dashes = rest.iter().skip(end + marks).take_while(|byte| **byte == b'-').count();
        Some(from + end + marks + dashes)
    });
    let lead = line_prefix(scan, start);
    let end = end.unwrap_or_else(|| behind + unterminated_end(rest.get(behind - from..).unwrap_or_default(), lead));
    claim_pieces(scan, start..end, lead, rule, claims);
    end
}

/// Claims the PEM block whose `END` is at `at` and whose beginning is missing: the base64 lines above, none before
/// `from`. Returns its end.
pub(super) fn claim_truncated_pem_block(
    scan: &TextScan<'_>,
    at: usize,
    from: usize,
    rule: u16,
    claims: &mut PrivateClaims,
) -> usize {
    let title = bytes_ahead(scan, at, 64);
    let title_end = title.windows(4).position(|part| part == b"----").unwrap_or(title.len());
    if scan.bytes(at.saturating_sub(5)..at) != b"-----"
        || !contains_any_case(title.get(..title_end).unwrap_or_default(), b"PRIVATE KEY")
    {
        return from;
    }
    let end = at + title_end + title.iter().skip(title_end).take_while(|byte| **byte == b'-').count();
    let lead = line_prefix(scan, at - 5);
    let (mut start, mut body) = (at - 5 - lead.len(), 0);
    let least = from.max(at.saturating_sub(MOST));
    let held = scan.placeholders.partition_point(|held| held.end <= start);
    let least =
        held.checked_sub(1).and_then(|held| scan.placeholders.get(held)).map_or(least, |held| least.max(held.end));
    let mut first = None;
    // Each line above, without the line break after it
    while let Some(above) = line_end_before(scan.bytes(least..start)) {
        let text = scan.bytes(least..least + above);
        let line = least + text.len() - last_line(text);
        let content = scan.bytes(line..least + above);
        let Some(skipped) = matching_prefix_len(lead, content) else { break };
        let content = content.get(skipped..).unwrap_or_default().trim_ascii();
        if content.is_empty() || !content.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte)) {
            break;
        }
        (start, body, first) = (line, body + content.len(), Some(line + skipped));
    }
    if let Some(first) = first.filter(|_| body >= 24) {
        claims.add(scan, rule, first..end);
    }
    end
}

/// Length of `text` without the line break at its end; `None` if it has none.
fn line_end_before(text: &[u8]) -> Option<usize> {
    let line = [&b"\r\n"[..], b"\n", b"\\r\\n", b"\\n", b"<br>", b"<br/>", b"<br />"];
    line.iter().find(|end| text.ends_with(end)).map(|end| text.len() - end.len())
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
    let head = scan.bytes(start.saturating_sub(PREFIX)..start);
    let len = last_line(head);
    let lead = head.get(head.len() - len..).unwrap_or_default();
    let quote = lead.iter().rposition(|byte| matches!(byte, b'"' | b'\'' | b'`')).map_or(0, |at| at + 1);
    lead.get(quote..).filter(|_| len < PREFIX).unwrap_or_default()
}

/// Length of a prefix of `line` that equals `prefix` except for numbers and blanks.
fn matching_prefix_len(prefix: &[u8], line: &[u8]) -> Option<usize> {
    let (mut at, mut on) = (0, 0);
    while let Some(byte) = prefix.get(on) {
        let like: fn(&u8) -> bool = match byte {
            byte if byte.is_ascii_digit() => u8::is_ascii_digit,
            b' ' | b'\t' => |byte| b" \t".contains(byte),
            _ => {
                if line.get(at) != Some(byte) {
                    return None;
                }
                (at, on) = (at + 1, on + 1);
                continue;
            }
        };
        let found = line.iter().skip(at).take_while(|byte| like(byte)).count();
        if found == 0 && byte.is_ascii_digit() {
            return None;
        }
        at += found;
        on += prefix.iter().skip(on).take_while(|byte| like(byte)).count();
    }
    Some(at)
}

/// Length of the first line of `text`, and of the line break behind it.
fn first_line(text: &[u8]) -> (usize, usize) {
    let mut at = 0;
    while let Some(on) = text.get(at..).and_then(|rest| memchr::memchr3(b'\n', b'\\', b'<', rest)) {
        at += on;
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

/// End of a block without an end marker, whose lines all have the prefix `lead`.
fn unterminated_end(text: &[u8], lead: &[u8]) -> usize {
    if lead.iter().all(|byte| is_block_byte(*byte)) && !text.starts_with(b"<br") {
        return text.iter().take_while(|byte| is_block_byte(**byte)).count();
    }
    let (first, mut sep) = first_line(text);
    let (mut at, mut end) =
        (first, if first == 0 { 0 } else { text.iter().take_while(|byte| is_block_byte(**byte)).count() });
    while sep > 0 {
        let line = text.get(at + sep..).unwrap_or_default();
        let (len, next) = first_line(line);
        let before = if sep > 2 { b"" } else { lead };
        let Some(skipped) = matching_prefix_len(before, line.get(..len).unwrap_or_default()) else { break };
        let content = line.get(skipped..len).unwrap_or_default();
        let plain = content.iter().take_while(|byte| is_block_byte(**byte)).count();
        if plain > 0 || content.is_empty() {
            end = at + sep + skipped + plain;
        }
        if plain < content.len() {
            break;
        }
        (at, sep) = (at + sep + len, next);
    }
    end
}

/// Whether each line of a block has only characters of a block behind its prefix.
fn has_only_block_lines(mut part: &[u8], lead: &[u8]) -> bool {
    let plain = |line: &[u8]| line.iter().all(|byte| is_line_byte(*byte));
    let mut prefix: &[u8] = b"";
    loop {
        let (len, sep) = first_line(part);
        let line = part.get(..len).unwrap_or_default();
        let Some(skipped) = matching_prefix_len(prefix, line) else { return false };
        if !plain(line.get(skipped..).unwrap_or_default()) {
            return false;
        }
        if sep == 0 {
            return true;
        }
        part = part.get(len + sep..).unwrap_or_default();
        prefix = if sep > 2 { b"" } else { lead };
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

/// Claims a block piece by piece: if it is a list of strings, each line between quotes is a claim of its own.
fn claim_pieces(scan: &TextScan<'_>, block: Range<usize>, lead: &[u8], rule: u16, claims: &mut PrivateClaims) {
    let bytes = scan.bytes(block.clone());
    let mut at = block.start;
    for part in bytes.split(|byte| matches!(byte, b'"' | b'\'' | b'`')) {
        let trimmed = part.iter().rev().take_while(|byte| **byte == b'\\').count();
        let kept = part.get(..part.len() - trimmed).unwrap_or_default();
        let token = kept.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
        let plain =
            kept.iter().all(|byte| is_line_byte(*byte)) || at == block.start && has_only_block_lines(kept, lead);
        let behind = at + part.len() + 1;
        let is_key = || is_object_key(scan.bytes(behind..block.end.min(behind + 8)));
        if plain && token >= 8 && has_body(kept.trim_ascii()) && token * 2 > kept.len() && !is_key() {
            let blanks = kept.len() - kept.trim_ascii_start().len();
            claims.add(scan, rule, at + blanks..at + kept.trim_ascii_end().len());
        }
        at += part.len() + 1;
    }
}

/// Whether a part has more than the begin and end lines of a block.
fn has_body(part: &[u8]) -> bool {
    let mut lines = DashSeparated(part);
    let letters = |line: &[u8]| line.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
    lines.any(|line| !contains_any_case(line, b"PRIVATE KEY") && letters(line) >= 4)
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

/// Claims the private lines of the PuTTY key file whose first word is at `at`.
pub(super) fn claim_putty_key(scan: &TextScan<'_>, at: usize, rule: u16, claims: &mut PrivateClaims) -> usize {
    let rest = bytes_ahead(scan, at, MOST);
    let Some(private) = memchr::memmem::find(rest, b"Private-Lines:") else { return at };
    let from = at + private + 14;
    let count = bytes_ahead(scan, from, 8).iter().take_while(|byte| byte.is_ascii_digit() || **byte == b' ').count();
    let rest = scan.bytes(from + count..scan.text.len().min(at + MOST));
    let mac = memchr::memmem::find(rest, b"Private-MAC").unwrap_or(rest.len());
    let len =
        rest.iter().take(mac).take_while(|byte| byte.is_ascii_alphanumeric() || b"+/=\\ \t\r\n".contains(byte)).count();
    let body = rest.get(..len).unwrap_or_default();
    let lead = line_breaks_len(body);
    let trailing = if body.ends_with(b"\\n") { 2 } else { 0 };
    let end = from + count + body.get(..len - trailing).unwrap_or_default().trim_ascii_end().len();
    claims.add(scan, rule, from + count + lead..end);
    end
}

/// Length of the line breaks, raw or escaped, at the start of `body`.
fn line_breaks_len(body: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match (body.get(at), body.get(at + 1)) {
            (Some(b'\r' | b'\n' | b' '), _) => at += 1,
            (Some(b'\\'), Some(b'n' | b'r')) => at += 2,
            _ => return at,
        }
    }
}
