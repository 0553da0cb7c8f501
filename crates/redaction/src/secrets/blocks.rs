//! Finds private keys in PEM and OpenPGP form, also truncated, also with escaped line breaks. Without its end, a block
//! extends over the lines that are or end in base64; without its beginning, it begins with such lines above its end. So
//! each line may have a number or mark before it (`12 | `, `> `). Quotes between lines stay, so that JSON stays valid.
//! At most 64 KiB of a block is read, and nothing twice. Certificates and public keys stay.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::super::sets::ByteSet;
use super::value_facts::contains_any_case;
use crate::rule::RuleFamily;
use crate::scan::{PrivateClaims, TextScan, bytes_ahead, is_object_key};

/// Most bytes of a block.
const MAX_BLOCK: usize = 64 << 10;
/// Fewest characters of base64 at the end of a line that is part of a block although other text comes before.
const MIN_BASE64: usize = 16;

/// Searchers for the end of a block, the start of the next one, and the dashes around titles; built once because that
/// is slow.
static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("END "));
static NEXT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("-----BEGIN "));
static DASHES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("----"));

/// Claims the PEM block whose `BEGIN` is at `at`, and returns its end.
pub(super) fn claim_pem_block(scan: &TextScan<'_>, at: usize, claims: &mut PrivateClaims) -> usize {
    let Some((start, from)) = private_title(scan, at) else { return at };
    let rest = bytes_ahead(scan, from, MAX_BLOCK);
    // A truncated block ends before the next one begins
    let rest = NEXT.find(rest).and_then(|next| rest.get(..next)).unwrap_or(rest);
    // The lines may be in values of their own, such as log records
    let end = END.find(rest).and_then(|end| {
        let title_len = rest.get(end..).unwrap_or_default().windows(4).take(80).position(|part| part == b"----")?;
        Some(end + title_len + count_dashes(rest, end + title_len))
    });
    let end = from + end.unwrap_or_else(|| truncated_len(rest));
    claim_pieces(scan, start..end, claims);
    end
}

/// The start of the dashes before the title at `at`, and the end of the title; `None` if it is not that of a private
/// key.
fn private_title(scan: &TextScan<'_>, at: usize) -> Option<(usize, usize)> {
    let start = at.checked_sub(5)?;
    let head = scan.bytes(start..at);
    let title = bytes_ahead(scan, at, 64);
    let title_end = title.windows(4).position(|part| part == b"----").unwrap_or(title.len());
    let is_private = contains_any_case(title.get(..title_end)?, b"PRIVATE KEY");
    (is_private && (head == b"-----" || head == b"---- ")).then_some((start, at + title_end))
}

fn count_dashes(text: &[u8], from: usize) -> usize {
    text.iter().skip(from).take_while(|byte| **byte == b'-').count()
}

/// Claims the PEM block whose `END` is at `at` and whose beginning is missing: the lines above that end in base64, none
/// before `from`. Returns its end.
pub(super) fn claim_truncated_pem_block(
    scan: &TextScan<'_>,
    at: usize,
    from: usize,
    claims: &mut PrivateClaims,
) -> usize {
    let Some((title, title_end)) = private_title(scan, at) else { return from };
    let end = title_end + count_dashes(bytes_ahead(scan, title_end, 8), 0);
    let next_placeholder = scan.placeholders.partition_point(|placeholder| placeholder.end <= title);
    let last_placeholder = next_placeholder.checked_sub(1).and_then(|last| scan.placeholders.get(last));
    let lowest = from.max(at.saturating_sub(MAX_BLOCK)).max(last_placeholder.map_or(0, |last| last.end));
    let (mut line_end, mut start, mut body_len) = (title, None, 0);
    // The first line has whatever each line repeats, and the title
    for (index, line) in scan.bytes(lowest..title).rsplit(|byte| b"\n\\".contains(byte)).enumerate() {
        let line_start = line_end - line.len();
        let escape_len = usize::from(scan.byte_before(line_start, 1) == b'\\').min(line.len());
        let content = line.get(escape_len..).unwrap_or_default().trim_ascii_end();
        let len = base64_at_end(content);
        if index > 0 && !content.is_empty() {
            // The last line of a body may be short
            if len == 0 || start.is_some() && len < MIN_BASE64 {
                break;
            }
            (start, body_len) = (Some(line_start + escape_len + content.len() - len), body_len + len);
        }
        line_end = line_start.saturating_sub(1);
    }
    if let Some(start) = start.filter(|_| body_len >= 24) {
        claims.add_for(scan, RuleFamily::KeyBlock, start..end);
    }
    end
}

/// Length of the base64 at the end of a line.
fn base64_at_end(line: &[u8]) -> usize {
    static IN_BODY: ByteSet = ByteSet::new(b"+/=").and_alnum();
    IN_BODY.count_trailing(line.trim_ascii_end())
}

fn ends_in_base64(line: &[u8]) -> bool {
    base64_at_end(line) >= MIN_BASE64
}

/// Length of a block without an end marker, from the end of its title on: the lines of its alphabet and those that end
/// in base64, and the beginning of a line up to a quote.
fn truncated_len(text: &[u8]) -> usize {
    let (mut at, mut end) = (0, count_dashes(text, 0));
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let plain_len = line.iter().take_while(|byte| is_block_byte(**byte)).count();
        let is_whole = plain_len == line.len() || ends_in_base64(line);
        if is_whole || plain_len >= MIN_BASE64 || line.get(plain_len).is_some_and(|byte| b"\"'`".contains(byte)) {
            end = end.max(at + if is_whole { line.trim_ascii_end().len() } else { plain_len });
        }
        if !is_whole {
            break;
        }
        at += line.len();
    }
    end
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

/// Claims a block piece by piece: if it is a list of strings, each string is a claim of its own.
fn claim_pieces(scan: &TextScan<'_>, block: Range<usize>, claims: &mut PrivateClaims) {
    let bytes = scan.bytes(block.clone());
    let mut at = block.start;
    for part in bytes.split(|byte| matches!(byte, b'"' | b'\'' | b'`')) {
        let backslashes = part.iter().rev().take_while(|byte| **byte == b'\\').count();
        let content = part.get(..part.len() - backslashes).unwrap_or_default();
        let word_bytes = content.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
        let mut lines = content.split(|byte| b"\n<>".contains(byte));
        let is_plain = content.iter().all(|byte| is_line_byte(*byte)) || at == block.start && lines.any(ends_in_base64);
        let after = at + part.len() + 1;
        let is_key = || is_object_key(scan.bytes(after..block.end.min(after + 8)));
        if is_plain && word_bytes >= 8 && has_body(content.trim_ascii()) && word_bytes * 2 > content.len() && !is_key()
        {
            let blanks = content.len() - content.trim_ascii_start().len();
            claims.add_for(scan, RuleFamily::KeyBlock, at + blanks..at + content.trim_ascii_end().len());
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
