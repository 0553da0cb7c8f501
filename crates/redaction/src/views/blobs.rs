//! Decodes base64, base64url, base32 and hex, and gzip in them. A blob is decoded only if its first bytes are text or a
//! gzip header. A finding in it replaces the whole blob, with padding and line breaks. JWT, PEM and basic credentials
//! have rules of their own, which win.

use std::io::Read;
use std::ops::Range;

use super::super::anchors::{DigitRun, run_end};
use super::super::scan::{PrivateClaims, TextScan};
use super::decoded_view::DecodedView;
use super::percent::hex_byte;

/// Length of a line of wrapped base64.
const LINE: Range<usize> = 40..121;
/// Lengths of shorter blobs that are also decoded.
const SHORT: Range<usize> = 22..40;
/// Characters that are decoded first, to check whether the rest is worth decoding.
const PROBE: usize = 32;
/// Most control characters and invalid bytes, in percent.
const NOISE: usize = 10;

pub(super) fn find_windows(
    scan: &TextScan<'_>,
    fresh: &dyn Fn(Range<usize>) -> bool,
    claims: &PrivateClaims,
    out: &mut Vec<Range<usize>>,
) {
    let bytes = scan.text.as_bytes();
    let mut known: Option<Vec<Range<usize>>> = None;
    for run in scan.anchors.base64_runs.iter().filter(|run| !run.is_empty()) {
        let start =
            run.start + usize::from(scan.is_escape_letter(run.start + 1) && scan.byte_before(run.start, 1) == b'\\');
        let Some(start) = blob_start(bytes, start..run.end) else { continue };
        if out.last().is_some_and(|last| start < last.end) {
            continue;
        }
        let window = start..blob_end(bytes, start..run.end);
        let known = known.get_or_insert_with(|| sorted_ranges(claims));
        if fresh(window.clone()) && !is_within_claim(known, &window) {
            out.push(window);
        }
    }
    let long = out.len();
    for run in scan.anchors.digit_runs.iter().filter(|run| is_short_blob(scan, run)) {
        // The last line of a blob may be as short
        let before = out.get(..long).unwrap_or_default().partition_point(|window| window.start <= run.start);
        if before.checked_sub(1).and_then(|last| out.get(last)).is_some_and(|window| window.end > run.start) {
            continue;
        }
        let padding = bytes.get(run.end..).unwrap_or_default().iter().take(2).take_while(|byte| **byte == b'=').count();
        let window = run.start..run.end + padding;
        let known = known.get_or_insert_with(|| sorted_ranges(claims));
        if fresh(window.clone()) && !is_within_claim(known, &window) {
            out.push(window);
        }
    }
    out.sort_by_key(|window| window.start);
}

/// Whether a run too short for the runs of `anchors` may be base64 of a few words: it has letters of both cases and
/// decodes only to printable ASCII, unlike ids.
pub(super) fn is_short_blob(scan: &TextScan<'_>, run: &DigitRun) -> bool {
    if !SHORT.contains(&run.len()) || run.len() % 4 == 1 || is_blob_byte(&run.before) || is_blob_byte(&run.behind) {
        return false;
    }
    let blob = scan.bytes(run.range());
    blob.iter().any(u8::is_ascii_uppercase)
        && blob.iter().any(u8::is_ascii_lowercase)
        && base64_bytes(blob).all(|byte| matches!(byte, b' '..=b'~' | b'\n'))
}

/// The claims' ranges, sorted.
pub(super) fn sorted_ranges(claims: &PrivateClaims) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = claims.list.iter().map(|claim| claim.range.clone()).collect();
    ranges.sort_by_key(|range| (range.start, range.end));
    ranges
}

/// Whether one of the last claims before `window` contains it: a key, token or certificate.
fn is_within_claim(known: &[Range<usize>], window: &Range<usize>) -> bool {
    let upto = known.partition_point(|range| range.start <= window.start);
    known.get(upto.saturating_sub(4)..upto).unwrap_or_default().iter().any(|range| range.end >= window.end)
}

/// Start of the blob in a run: the run's start, or behind a `/`, `-` or `_` near it (`…/base64-Q29u…`).
fn blob_start(bytes: &[u8], run: Range<usize>) -> Option<usize> {
    let stretch = bytes.get(run.clone())?;
    // `0x…` and PostgreSQL's `\x…`
    let lead = match stretch {
        [b'0', b'x' | b'X', ..] => 2,
        [b'x', ..] if run.start.checked_sub(1).and_then(|at| bytes.get(at)) == Some(&b'\\') => 1,
        _ => 0,
    };
    let hexed = stretch.get(lead..).filter(|rest| lead > 0 && is_hex(rest));
    if hexed.is_some_and(is_worth_decoding) {
        return Some(run.start + lead);
    }
    if is_worth_decoding(stretch) {
        return Some(run.start);
    }
    let head = stretch.get(..stretch.len().min(24))?;
    let joint = head.iter().rposition(|byte| b"/-_".contains(byte))?;
    let rest = stretch.get(joint + 1..).filter(|rest| rest.len() >= LINE.start)?;
    is_worth_decoding(rest).then_some(run.start + joint + 1)
}

/// Whether a blob's first decoded bytes are text or a gzip header.
fn is_worth_decoding(blob: &[u8]) -> bool {
    let head = blob.get(..PROBE.min(blob.len())).unwrap_or_default();
    // Digests and paths are as long but not blobs; this check needs no allocation for them
    let mut room = [0_u8; PROBE];
    let mut told = |decoded: &mut dyn Iterator<Item = u8>| {
        let mut len = 0;
        for (slot, byte) in room.iter_mut().zip(decoded) {
            *slot = byte;
            len += 1;
        }
        let found = room.get(..len).unwrap_or_default();
        if found.starts_with(GZIP) {
            return true;
        }
        let mut half = [0_u8; PROBE];
        let found = match is_utf16_ascii(found) {
            false => found,
            true => {
                half.iter_mut().zip(found.iter().step_by(2)).for_each(|(slot, byte)| *slot = *byte);
                half.get(..found.len().div_ceil(2)).unwrap_or_default()
            }
        };
        is_text(found, 20)
    };
    (is_hex(head) && told(&mut hex_bytes(head)))
        || told(&mut base64_bytes(head))
        || (is_base32(head) && told(&mut base32_bytes(head)))
}

const GZIP: &[u8] = &[0x1f, 0x8b];

/// Converts UTF-16 of ASCII text to ASCII, as Windows scripts are passed.
fn utf16_to_ascii(bytes: Vec<u8>) -> Vec<u8> {
    if is_utf16_ascii(&bytes) { bytes.into_iter().step_by(2).collect() } else { bytes }
}

fn is_utf16_ascii(bytes: &[u8]) -> bool {
    bytes.len() >= 8 && bytes.iter().skip(1).step_by(2).all(|byte| *byte == 0)
}

fn is_hex(blob: &[u8]) -> bool {
    blob.len().is_multiple_of(2) && blob.iter().all(u8::is_ascii_hexdigit)
}

/// Whether bytes are mostly text; the last character may be incomplete.
fn is_text(bytes: &[u8], least: usize) -> bool {
    let controls = bytes.iter().filter(|byte| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x1b));
    let valid = match std::str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(error) if error.error_len().is_none() => bytes.len(),
        Err(error) => error.valid_up_to(),
    };
    let noise = controls.count() + (bytes.len() - valid);
    bytes.len() >= least.min(PROBE / 4) && noise * 100 <= bytes.len() * NOISE && bytes.iter().any(u8::is_ascii_graphic)
}

/// End of the blob whose first line is `run`: further lines of the same length, a shorter last one, padding.
fn blob_end(bytes: &[u8], run: Range<usize>) -> usize {
    let (line, mut end) = (run.len(), run.end);
    while LINE.contains(&line) {
        let Some(next) = next_line_start(bytes, end) else { break };
        let stop = run_end(bytes, next, is_blob_byte);
        if stop == next || stop - next > line || stop - next < line && !is_last_line(bytes, next..stop) {
            break;
        }
        end = stop;
        if stop - next < line {
            break;
        }
    }
    let most = if is_base32(bytes.get(run).unwrap_or_default()) { 6 } else { 2 };
    let padding = bytes.get(end..).unwrap_or_default().iter().take(most).take_while(|byte| **byte == b'=').count();
    end + padding
}

/// Whether a shorter line is the last one of a blob: nothing else is on it, and it is not a word.
fn is_last_line(bytes: &[u8], line: Range<usize>) -> bool {
    let rest = bytes.get(line.end..).unwrap_or_default();
    let padding = rest.iter().take(2).take_while(|byte| **byte == b'=').count();
    let blob = bytes.get(line).unwrap_or_default();
    let mixed = [u8::is_ascii_digit, u8::is_ascii_uppercase, u8::is_ascii_lowercase];
    let random = blob.len() > 15 && mixed.iter().all(|class| blob.iter().any(class));
    let ends = match rest.get(padding) {
        None | Some(b'\n' | b'\r' | b'\\' | b'"' | b'\'' | b'`' | b'<' | b')') => true,
        Some(b' ') => padding > 0 || random,
        _ => false,
    };
    let whole = (blob.len() + padding).is_multiple_of(4) || is_hex(blob);
    let letters = blob.iter().skip(1).all(u8::is_ascii_lowercase);
    let said = || base64_bytes(blob).all(|byte| matches!(byte, b' '..=b'~' | b'\n'));
    ends && whole && (!letters || padding > 0 || said())
}

fn is_blob_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_".contains(byte)
}

/// Position behind the line break at `at`, raw or escaped, and the following indent.
fn next_line_start(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let ends: [&[u8]; 4] = [b"\r\n", b"\n", b"\\r\\n", b"\\n"];
    let end = ends.iter().find(|end| rest.starts_with(end))?;
    let blanks = rest.iter().skip(end.len()).take(16).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    Some(at + end.len() + blanks)
}

/// Decodes the blob; at most `most` bytes are produced.
pub(super) fn decode(text: &str, window: Range<usize>, most: usize, view: &mut DecodedView) {
    let joined: Vec<u8> = without_line_breaks(text.as_bytes());
    let hexed = if is_hex(&joined) { decode_hex(&joined) } else { Vec::new() };
    let thirty_two = if is_base32(&joined) { base32_bytes(&joined).collect() } else { Vec::new() };
    let decoded = match (is_text(&hexed, PROBE) || hexed.starts_with(GZIP), is_text(&thirty_two, PROBE)) {
        (true, _) => hexed,
        (_, true) => thirty_two,
        _ => decode_base64(&joined),
    };
    let decoded = match decoded.starts_with(GZIP) {
        true => {
            let (inflated, cut) = inflate(&decoded, most);
            view.is_cut = cut;
            inflated
        }
        false => utf16_to_ascii(decoded),
    };
    if view.is_cut || is_text(&decoded, PROBE) {
        view.text.push_str(&String::from_utf8_lossy(&decoded));
        view.whole_window = Some(window);
    }
}

/// A blob without its line breaks.
fn without_line_breaks(blob: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(blob.len());
    let mut at = 0;
    while let Some(byte) = blob.get(at) {
        match next_line_start(blob, at) {
            Some(next) => at = next,
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    while out.last() == Some(&b'=') {
        out.pop();
    }
    out
}

fn inflate(bytes: &[u8], most: usize) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    // A damaged end still leaves the text before it
    let _ = flate2::read::MultiGzDecoder::new(bytes).take(limit.saturating_add(1)).read_to_end(&mut out);
    let cut = out.len() > most;
    (out, cut)
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

/// An incomplete last group is dropped.
fn base32_bytes(blob: &[u8]) -> impl Iterator<Item = u8> + '_ {
    blob.chunks(8).flat_map(|group| {
        let five =
            |byte: &u8| u64::from(if byte.is_ascii_digit() { byte - b'2' + 26 } else { byte.wrapping_sub(b'A') });
        let bits = group.iter().fold(0_u64, |bits, byte| bits << 5 | five(byte) & 31);
        let bytes = (bits << (5 * (8 - group.len()))).to_be_bytes();
        bytes.into_iter().skip(3).take(group.len() * 5 / 8)
    })
}

/// Decodes both base64 alphabets; an incomplete last group of one character is dropped.
pub(crate) fn decode_base64(blob: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(blob.len() / 4 * 3 + 2);
    out.extend(base64_bytes(blob));
    out
}

/// The six bytes encoded by eight characters, the last one in the lowest bits.
pub(crate) fn decode_base64_head(head: [u8; 8]) -> u64 {
    head.into_iter().fold(0, |bits, byte| bits << 6 | u64::from(sextet(byte)))
}

fn base64_bytes(blob: &[u8]) -> impl Iterator<Item = u8> + '_ {
    blob.chunks(4).flat_map(|group| {
        let bits = group.iter().fold(0, |bits, byte| bits << 6 | u32::from(sextet(*byte)));
        let bytes = (bits << (6 * (4 - group.len()))).to_be_bytes();
        bytes.into_iter().skip(1).take(group.len().saturating_sub(1))
    })
}

/// The six bits of a character; a byte outside both alphabets gives 63.
fn sextet(byte: u8) -> u8 {
    SEXTETS.get(usize::from(byte)).copied().unwrap_or_default()
}

/// Values of the characters of both alphabets.
static SEXTETS: [u8; 256] = {
    let mut table = [0; 256];
    let (mut slots, mut byte): (&mut [u8], u8) = (&mut table, 0);
    while let [slot, rest @ ..] = slots {
        *slot = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            _ => 63,
        };
        slots = rest;
        byte = byte.wrapping_add(1);
    }
    table
};
