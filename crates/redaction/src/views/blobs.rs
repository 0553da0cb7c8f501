//! Decodes base64, base64url, base32 and hex, and gzip in all of them. A blob of 40 bytes or more is decoded if its
//! first bytes are text or a gzip header; one of 22 to 39 bytes if it has a digit and is base64 of printable ASCII. A
//! finding in it replaces the whole blob, with padding and line breaks. JWT, PEM and basic credentials have rules of
//! their own, which win.

use std::io::Read;
use std::ops::Range;

use super::super::anchors::{DigitRun, run_end};
use super::super::scan::TextScan;
use super::base64::{IN_BLOB, base64_bytes, decode_base64};
use super::decoded_view::DecodedView;
use super::percent::hex_byte;

/// Lengths of a line of wrapped base64.
const LINE_LENGTHS: Range<usize> = 40..121;
/// Lengths of shorter blobs that are also decoded.
const SHORT_LENGTHS: Range<usize> = 22..40;
/// Characters that are decoded first, to check whether the rest is worth decoding.
const PROBE: usize = 32;
/// Fewest decoded bytes that count as text.
const MIN_TEXT: usize = 8;
/// Greatest share of control characters and invalid bytes in text, in percent.
const MAX_NOISE: usize = 10;

/// Adds the blobs worth decoding. `is_fresh` excludes text that was decoded before; blobs within a claim are also left
/// out.
pub(super) fn find_windows(scan: &TextScan<'_>, is_fresh: &dyn Fn(Range<usize>) -> bool, out: &mut Vec<Range<usize>>) {
    let bytes = scan.text.as_bytes();
    let mut claimed: Option<Vec<Range<usize>>> = None;
    let mut is_open = |window: &Range<usize>| {
        let claimed = claimed.get_or_insert_with(|| sorted_ranges(scan));
        is_fresh(window.clone()) && !is_within_claim(claimed, window)
    };
    for run in scan.anchors.base64_runs.iter().filter(|run| !run.is_empty()) {
        let start =
            run.start + usize::from(scan.is_escape_letter(run.start + 1) && scan.byte_before(run.start, 1) == b'\\');
        let Some(start) = blob_start(bytes, start..run.end) else { continue };
        if out.last().is_some_and(|last| start < last.end) {
            continue;
        }
        out.extend(Some(start..blob_end(bytes, start..run.end)).filter(&mut is_open));
    }
    let long_count = out.len();
    for run in scan.anchors.digit_runs.iter().filter(|run| is_short_blob(scan, run)) {
        // The run may be the last line of a blob above
        let before = out.get(..long_count).unwrap_or_default().partition_point(|window| window.start <= run.start);
        if before.checked_sub(1).and_then(|last| out.get(last)).is_some_and(|window| window.end > run.start) {
            continue;
        }
        out.extend(Some(run.start..run.end + padding_len(bytes, run.end, 2)).filter(&mut is_open));
    }
    out.sort_by_key(|window| window.start);
}

/// Number of `=` at `at`, up to `most`.
fn padding_len(bytes: &[u8], at: usize, most: usize) -> usize {
    bytes.get(at..).unwrap_or_default().iter().take(most).take_while(|byte| **byte == b'=').count()
}

/// Whether a run too short for the runs of `anchors` may be base64 of a few words: it has letters of both cases and
/// decodes only to printable ASCII, unlike ids.
pub(super) fn is_short_blob(scan: &TextScan<'_>, run: &DigitRun) -> bool {
    if !SHORT_LENGTHS.contains(&run.len())
        || run.len() % 4 == 1
        || is_blob_byte(&run.before)
        || is_blob_byte(&run.after)
    {
        return false;
    }
    let blob = scan.bytes(run.range());
    blob.iter().any(u8::is_ascii_uppercase)
        && blob.iter().any(u8::is_ascii_lowercase)
        && base64_bytes(blob).all(|byte| matches!(byte, b' '..=b'~' | b'\n'))
}

/// The claims' ranges, sorted.
pub(super) fn sorted_ranges(scan: &TextScan<'_>) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = scan.claims.list.borrow().iter().map(|claim| claim.range.clone()).collect();
    ranges.sort_by_key(|range| (range.start, range.end));
    ranges
}

/// Whether one of the last claims before `window` contains it: a key, token or certificate.
fn is_within_claim(claimed: &[Range<usize>], window: &Range<usize>) -> bool {
    let next = claimed.partition_point(|range| range.start <= window.start);
    claimed.get(next.saturating_sub(4)..next).unwrap_or_default().iter().any(|range| range.end >= window.end)
}

/// Start of the blob in a run: the run's start, or after `0x` or `\x`, or after a `/`, `-` or `_` near it
/// (`…/base64-Q29u…`).
fn blob_start(bytes: &[u8], run: Range<usize>) -> Option<usize> {
    let blob = bytes.get(run.clone())?;
    // `0x…` and PostgreSQL's `\x…`
    let prefix_len = match blob {
        [b'0', b'x' | b'X', ..] => 2,
        [b'x', ..] if run.start.checked_sub(1).and_then(|at| bytes.get(at)) == Some(&b'\\') => 1,
        _ => 0,
    };
    let hex_digits = blob.get(prefix_len..).filter(|rest| prefix_len > 0 && is_hex(rest));
    if hex_digits.is_some_and(is_worth_decoding) {
        return Some(run.start + prefix_len);
    }
    if is_worth_decoding(blob) {
        return Some(run.start);
    }
    let head = blob.get(..blob.len().min(24))?;
    let joint = head.iter().rposition(|byte| b"/-_".contains(byte))?;
    let rest = blob.get(joint + 1..).filter(|rest| rest.len() >= LINE_LENGTHS.start)?;
    is_worth_decoding(rest).then_some(run.start + joint + 1)
}

/// Whether a blob's first decoded bytes are text or a gzip header.
fn is_worth_decoding(blob: &[u8]) -> bool {
    let head = blob.get(..PROBE.min(blob.len())).unwrap_or_default();
    // Digests and paths are as long but not blobs; this check needs no allocation for them
    let mut decoded_head = [0_u8; PROBE];
    let mut is_text_or_gzip = |bytes: &mut dyn Iterator<Item = u8>| {
        let mut len = 0;
        for (slot, byte) in decoded_head.iter_mut().zip(bytes) {
            *slot = byte;
            len += 1;
        }
        let head_bytes = decoded_head.get(..len).unwrap_or_default();
        if head_bytes.starts_with(GZIP) {
            return true;
        }
        let mut ascii = [0_u8; PROBE];
        let head_bytes = match is_utf16_ascii(head_bytes) {
            false => head_bytes,
            true => {
                ascii.iter_mut().zip(head_bytes.iter().step_by(2)).for_each(|(slot, byte)| *slot = *byte);
                ascii.get(..head_bytes.len().div_ceil(2)).unwrap_or_default()
            }
        };
        is_text(head_bytes)
    };
    (is_hex(head) && is_text_or_gzip(&mut hex_bytes(head)))
        || is_text_or_gzip(&mut base64_bytes(head))
        || (is_base32(head) && is_text_or_gzip(&mut base32_bytes(head)))
}

const GZIP: &[u8] = &[0x1f, 0x8b];

fn is_utf16_ascii(bytes: &[u8]) -> bool {
    bytes.len() >= 8 && bytes.iter().skip(1).step_by(2).all(|byte| *byte == 0)
}

fn is_hex(blob: &[u8]) -> bool {
    blob.len().is_multiple_of(2) && blob.iter().all(u8::is_ascii_hexdigit)
}

/// Whether at least [`MIN_TEXT`] bytes are mostly text; the last character may be incomplete.
fn is_text(bytes: &[u8]) -> bool {
    let controls = bytes.iter().filter(|byte| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x1b));
    let valid = match std::str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(error) if error.error_len().is_none() => bytes.len(),
        Err(error) => error.valid_up_to(),
    };
    let noise = controls.count() + (bytes.len() - valid);
    bytes.len() >= MIN_TEXT && noise * 100 <= bytes.len() * MAX_NOISE && bytes.iter().any(u8::is_ascii_graphic)
}

/// End of the blob whose first line is `run`: with further lines of the same length, a shorter last one, and padding.
fn blob_end(bytes: &[u8], run: Range<usize>) -> usize {
    let (line_len, mut end) = (run.len(), run.end);
    while LINE_LENGTHS.contains(&line_len) {
        let Some(next) = next_line_start(bytes, end) else { break };
        let stop = run_end(bytes, next, is_blob_byte);
        if stop == next || stop - next > line_len || stop - next < line_len && !is_last_line(bytes, next..stop) {
            break;
        }
        end = stop;
        if stop - next < line_len {
            break;
        }
    }
    let max_padding = if is_base32(bytes.get(run).unwrap_or_default()) { 6 } else { 2 };
    end + padding_len(bytes, end, max_padding)
}

/// Whether a shorter line is the last one of a blob: nothing else is on it, and it is not a word.
fn is_last_line(bytes: &[u8], line: Range<usize>) -> bool {
    let rest = bytes.get(line.end..).unwrap_or_default();
    let padding = padding_len(rest, 0, 2);
    let blob = bytes.get(line).unwrap_or_default();
    let kinds = [u8::is_ascii_digit, u8::is_ascii_uppercase, u8::is_ascii_lowercase];
    let is_mixed = blob.len() > 15 && kinds.iter().all(|kind| blob.iter().any(kind));
    let is_line_end = match rest.get(padding) {
        None | Some(b'\n' | b'\r' | b'\\' | b'"' | b'\'' | b'`' | b'<' | b')') => true,
        Some(b' ') => padding > 0 || is_mixed,
        _ => false,
    };
    let is_whole = (blob.len() + padding).is_multiple_of(4) || is_hex(blob);
    let is_word = blob.iter().skip(1).all(u8::is_ascii_lowercase);
    let decodes_to_text = || base64_bytes(blob).all(|byte| matches!(byte, b' '..=b'~' | b'\n'));
    is_line_end && is_whole && (!is_word || padding > 0 || decodes_to_text())
}

fn is_blob_byte(byte: &u8) -> bool {
    IN_BLOB.contains(*byte)
}

/// Position after the line break at `at`, raw or escaped, and the following indent; `None` if there is no line break.
fn next_line_start(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let line_breaks: [&[u8]; 4] = [b"\r\n", b"\n", b"\\r\\n", b"\\n"];
    let line_break = line_breaks.iter().find(|line_break| rest.starts_with(line_break))?;
    let blanks = rest.iter().skip(line_break.len()).take(16).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    Some(at + line_break.len() + blanks)
}

/// Decodes the blob; at most `max_len` bytes are produced from gzip.
pub(super) fn decode(text: &str, window: Range<usize>, max_len: usize, view: &mut DecodedView) {
    let joined: Vec<u8> = without_line_breaks(text.as_bytes());
    let from_hex = if is_hex(&joined) { decode_hex(&joined) } else { Vec::new() };
    let from_base32 = if is_base32(&joined) { base32_bytes(&joined).collect() } else { Vec::new() };
    let is_decoded = |bytes: &[u8]| is_text(bytes) || bytes.starts_with(GZIP);
    let decoded = match (is_decoded(&from_hex), is_decoded(&from_base32)) {
        (true, _) => from_hex,
        (_, true) => from_base32,
        _ => decode_base64(&joined),
    };
    let decoded = match decoded.starts_with(GZIP) {
        true => {
            let (inflated, is_cut) = inflate(&decoded, max_len);
            view.is_cut = is_cut;
            inflated
        }
        // UTF-16 of ASCII text, as Windows scripts are passed
        false if is_utf16_ascii(&decoded) => decoded.into_iter().step_by(2).collect(),
        false => decoded,
    };
    if view.is_cut || is_text(&decoded) {
        view.text.push_str(&String::from_utf8_lossy(&decoded));
        view.whole_window = Some(window);
    }
}

fn without_line_breaks(blob: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(blob.len());
    let mut at = 0;
    while let Some(byte) = blob.get(at) {
        match next_line_start(blob, at) {
            Some(next) => at = next,
            None => {
                joined.push(*byte);
                at += 1;
            }
        }
    }
    while joined.last() == Some(&b'=') {
        joined.pop();
    }
    joined
}

/// The text of a gzip stream, cut shortly after `max_len` bytes, and whether it was cut.
fn inflate(bytes: &[u8], max_len: usize) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let limit = u64::try_from(max_len).unwrap_or(u64::MAX);
    // A damaged end still leaves the text before it
    let _ = flate2::read::MultiGzDecoder::new(bytes).take(limit.saturating_add(1)).read_to_end(&mut out);
    let is_cut = out.len() > max_len;
    (out, is_cut)
}

pub(crate) fn decode_hex(blob: &[u8]) -> Vec<u8> {
    hex_bytes(blob).collect()
}

pub(crate) fn hex_bytes(blob: &[u8]) -> impl Iterator<Item = u8> + '_ {
    blob.as_chunks::<2>().0.iter().filter_map(|[high, low]| hex_byte(*high, *low))
}

fn is_base32(blob: &[u8]) -> bool {
    blob.iter().all(|byte| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(byte))
}

/// Decodes base32; an incomplete last byte is dropped.
fn base32_bytes(blob: &[u8]) -> impl Iterator<Item = u8> + '_ {
    blob.chunks(8).flat_map(|group| {
        let five_bits =
            |byte: &u8| u64::from(if byte.is_ascii_digit() { byte - b'2' + 26 } else { byte.wrapping_sub(b'A') });
        let bits = group.iter().fold(0_u64, |bits, byte| bits << 5 | five_bits(byte) & 31);
        let bytes = (bits << (5 * (8 - group.len()))).to_be_bytes();
        bytes.into_iter().skip(3).take(group.len() * 5 / 8)
    })
}
