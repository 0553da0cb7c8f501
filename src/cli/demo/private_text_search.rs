//! [`PrivateTextSearch`]: finds private texts in bytes, even if escaped, encoded or compressed, since the claim that
//! nothing went out is only as good as the search. It covers plain text, JSON escapes, percent encoding, base64 (both
//! alphabets, any alignment), hex, gzip and zstd, nested up to [`MAX_DEPTH`] times, ignoring ASCII case. Sizes are
//! bounded. `check` decides where to search.

use std::collections::BTreeSet;
use std::io::Read;

use crate::cli::error::CommandError;
use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use memchr::memmem;

/// How many encodings within each other are decoded.
const MAX_DEPTH: u32 = 3;
/// The shortest run of base64 or hex digits that can contain a searched text.
const MIN_RUN: usize = 16;
/// Maximum number of bytes read from one compressed frame.
const MAX_INFLATED: u64 = 64 << 20;
const GZIP: &[u8] = &[0x1f, 0x8b, 0x08];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// A search for a set of texts.
pub(super) struct PrivateTextSearch {
    needles: Vec<String>,
    finder: AhoCorasick,
    base64: GeneralPurpose,
}

impl PrivateTextSearch {
    /// A search for these texts.
    ///
    /// # Errors
    /// There are too many texts.
    pub(super) fn new(needles: Vec<String>) -> Result<Self, CommandError> {
        let finder = AhoCorasick::builder().ascii_case_insensitive(true).build(&needles);
        let config = GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let base64 = GeneralPurpose::new(&alphabet::STANDARD, config);
        Ok(Self { needles, finder: finder.map_err(|error| error.to_string())?, base64 })
    }

    /// Number of searched texts.
    pub(super) fn len(&self) -> usize {
        self.needles.len()
    }

    /// The texts that occur in `bytes` in any form.
    pub(super) fn find(&self, bytes: &[u8]) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        self.search_nested(bytes, MAX_DEPTH, &mut found);
        found.into_iter().filter_map(|index| self.needles.get(index).map(String::as_str)).collect()
    }

    fn search_nested(&self, bytes: &[u8], depth: u32, found: &mut BTreeSet<usize>) {
        found.extend(self.finder.find_overlapping_iter(bytes).map(|hit| hit.pattern().as_usize()));
        if depth == 0 || bytes.len() < MIN_RUN {
            return;
        }
        let decoded = [
            unescape_json(bytes),
            decode_percent(bytes),
            self.decode_base64(bytes),
            decode_hex(bytes),
            decompress(bytes),
        ];
        for bytes in decoded.iter().filter(|bytes| !bytes.is_empty()) {
            self.search_nested(bytes, depth - 1, found);
        }
    }

    /// Decodes all possible base64, from each of the four alignments of a group.
    fn decode_base64(&self, bytes: &[u8]) -> Vec<u8> {
        let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
        let mut out = Vec::new();
        for run in bytes.split(|byte| !is_digit(byte)).filter(|run| run.len() >= MIN_RUN) {
            let standard: Vec<u8> = run
                .iter()
                .map(|byte| match byte {
                    b'-' => b'+',
                    b'_' => b'/',
                    digit => *digit,
                })
                .collect();
            for skip in 0..4 {
                let group = standard.get(skip..).unwrap_or_default();
                let complete_groups = group.get(..group.len() - group.len() % 4).unwrap_or_default();
                if self.base64.decode_vec(complete_groups, &mut out).is_ok() {
                    out.push(0);
                }
            }
        }
        out
    }
}

/// Decodes `\"`, `\n`, `\u00e9` and the like; empty if there are no escapes.
fn unescape_json(bytes: &[u8]) -> Vec<u8> {
    if memchr::memchr(b'\\', bytes).is_none() {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (before, after) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        out.extend_from_slice(before);
        let digits = after.get(2..6).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).and_then(char::from_u32);
        let (skip, c) = match (after.get(1), code) {
            (Some(b'u'), Some(c)) => (6, Some(c)),
            (Some(b'n'), _) => (2, Some('\n')),
            (Some(b't'), _) => (2, Some('\t')),
            (Some(escaped), _) => (2, Some(char::from(*escaped))),
            (None, _) => (1, None),
        };
        if let Some(c) = c {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        rest = after.get(skip..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// Decodes `%41`; empty if there are no percent escapes.
fn decode_percent(bytes: &[u8]) -> Vec<u8> {
    match memchr::memchr(b'%', bytes) {
        Some(_) => percent_encoding::percent_decode(bytes).collect(),
        None => Vec::new(),
    }
}

/// Decodes all possible hex, from both alignments of a pair.
fn decode_hex(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for run in bytes.split(|byte| !byte.is_ascii_hexdigit()).filter(|run| run.len() >= MIN_RUN) {
        for skip in 0..2 {
            let pairs = run.get(skip..).unwrap_or_default().chunks_exact(2);
            out.extend(pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()));
            out.push(0);
        }
    }
    out
}

/// Decompresses gzip and zstd frames, as far as they are readable.
fn decompress(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for at in memmem::find_iter(bytes, GZIP) {
        let frame = bytes.get(at..).unwrap_or_default();
        // Of a damaged frame, the part before the damage is kept.
        drop(flate2::read::GzDecoder::new(frame).take(MAX_INFLATED).read_to_end(&mut out));
        out.push(0);
    }
    for at in memmem::find_iter(bytes, ZSTD) {
        let frame = bytes.get(at..).unwrap_or_default();
        if let Ok(decoder) = zstd::Decoder::new(frame) {
            drop(decoder.take(MAX_INFLATED).read_to_end(&mut out));
            out.push(0);
        }
    }
    out
}
