//! [`LeakSearch`]: finds private texts in bytes, even if escaped, encoded or compressed, since the claim that nothing
//! went out is only as good as the search. It covers plain text, JSON escapes, percent encoding, base64 (both
//! alphabets, any alignment), hex, gzip and zstd, nested up to [`MAX_DEPTH`] times, ignoring ASCII case. Findings name
//! places and counts, never payload.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read};
use std::path::Path;

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

use super::session::ADDED_SECRETS;
use command::error::CommandError;

const MAX_DEPTH: u32 = 3;
/// The shortest run of base64 or hex digits that can contain a searched text.
const MIN_RUN: usize = 16;
/// Maximum number of bytes read from one compressed frame.
const MAX_INFLATED: u64 = 64 << 20;

/// A search for the canaries of the recording, such as `CANARY-prompt-e6315b29074518ae`, which mark each private text
/// in it, and for the private texts that the demo adds.
pub(super) struct LeakSearch {
    pub(super) canaries: BTreeSet<String>,
    pub(super) texts: Vec<String>,
    finder: AhoCorasick,
    pub(super) searched_bytes: u64,
    /// Places with the number of private texts found there.
    pub(super) leaks: Vec<(String, usize)>,
}

impl LeakSearch {
    pub(super) fn new<'r>(requests: impl Iterator<Item = &'r str>) -> Result<Self, CommandError> {
        let canary = |after_prefix: &str| {
            let (word, rest) = after_prefix.split_once('-')?;
            Some(format!("CANARY-{word}-{}", rest.get(..16)?))
        };
        let canaries: BTreeSet<String> =
            requests.flat_map(|request| request.split("CANARY-").skip(1).filter_map(canary)).collect();
        let texts: Vec<String> = canaries.iter().cloned().chain(ADDED_SECRETS.map(str::to_owned)).collect();
        let finder = AhoCorasick::builder().ascii_case_insensitive(true).build(&texts);
        let finder = finder.map_err(|error| error.to_string())?;
        Ok(Self { canaries, texts, finder, searched_bytes: 0, leaks: Vec::new() })
    }

    /// The texts that occur in `bytes` in any form.
    pub(super) fn find(&self, bytes: &[u8]) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        self.find_nested(bytes, MAX_DEPTH, &mut found);
        found.into_iter().filter_map(|index| self.texts.get(index).map(String::as_str)).collect()
    }

    fn find_nested(&self, bytes: &[u8], depth: u32, found: &mut BTreeSet<usize>) {
        found.extend(self.finder.find_overlapping_iter(bytes).map(|hit| hit.pattern().as_usize()));
        if depth > 0 && bytes.len() >= MIN_RUN {
            for decode in [unescape_json, decode_percent, decode_base64, decode_hex, decompress] {
                self.find_nested(&decode(bytes), depth - 1, found);
            }
        }
    }

    /// The number of canaries in `bytes`.
    pub(super) fn count_canaries(&self, bytes: &[u8]) -> usize {
        self.find(bytes).into_iter().filter(|text| self.canaries.contains(*text)).count()
    }

    /// Searches `bytes`, which come from `place`.
    pub(super) fn search_bytes(&mut self, place: &str, bytes: &[u8]) {
        // The space that the spool preallocates on disk is all zeros.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        self.searched_bytes += end as u64;
        let found = self.find(bytes.get(..end).unwrap_or_default()).len();
        self.leaks.extend((found > 0).then(|| (place.to_owned(), found)));
    }

    /// Searches every file below `folder`.
    pub(super) fn search_files(&mut self, folder: &Path) -> std::io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                self.search_files(&path)?;
                continue;
            }
            match std::fs::read(&path) {
                // The spool removes segments while this runs.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                read => self.search_bytes(&path.display().to_string(), &read?),
            }
        }
        Ok(())
    }
}

/// Decodes `\"`, `\u00e9` and the like; empty if there are no escapes.
fn unescape_json(bytes: &[u8]) -> Vec<u8> {
    let mut parts = bytes.split(|byte| *byte == b'\\');
    let mut out = parts.next().filter(|first| first.len() < bytes.len()).unwrap_or_default().to_vec();
    for part in parts {
        let digits = part.get(1..5).filter(|_| part.starts_with(b"u")).and_then(|digits| str::from_utf8(digits).ok());
        let c = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).and_then(char::from_u32);
        out.extend_from_slice(c.map(String::from).unwrap_or_default().as_bytes());
        out.extend_from_slice(part.get(if c.is_some() { 5 } else { 0 }..).unwrap_or_default());
    }
    out
}

/// Decodes `%41`; empty if there are no percent escapes.
fn decode_percent(bytes: &[u8]) -> Vec<u8> {
    let is_encoded = memchr::memchr(b'%', bytes).is_some();
    if is_encoded { percent_encoding::percent_decode(bytes).collect() } else { Vec::new() }
}

fn decode_base64(bytes: &[u8]) -> Vec<u8> {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    decode_runs(bytes, is_digit, 4, |digits, out| {
        // Complete groups need no padding.
        let complete = digits.iter().take(digits.len() - digits.len() % 4);
        let standard = complete.map(|digit| if *digit == b'-' { b'+' } else { *digit });
        let standard: Vec<u8> = standard.map(|digit| if digit == b'_' { b'/' } else { digit }).collect();
        drop(STANDARD.decode_vec(standard, out));
    })
}

fn decode_hex(bytes: &[u8]) -> Vec<u8> {
    decode_runs(bytes, u8::is_ascii_hexdigit, 2, |digits, out| {
        let pairs = digits.chunks_exact(2).filter_map(|pair| str::from_utf8(pair).ok());
        out.extend(pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()));
    })
}

/// Decodes each long run of digits, from each of the `step` alignments of a group.
fn decode_runs(bytes: &[u8], is_digit: fn(&u8) -> bool, step: usize, decode: fn(&[u8], &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    for run in bytes.split(|byte| !is_digit(byte)).filter(|run| run.len() >= MIN_RUN) {
        for digits in (0..step).filter_map(|skip| run.get(skip..)) {
            decode(digits, &mut out);
            out.push(0);
        }
    }
    out
}

/// Decompresses gzip and zstd frames. Of a damaged frame, the part before the damage is kept.
fn decompress(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in memmem::find_iter(bytes, &[0x1f, 0x8b, 0x08]).filter_map(|at| bytes.get(at..)) {
        drop(flate2::read::GzDecoder::new(frame).take(MAX_INFLATED).read_to_end(&mut out));
        out.push(0);
    }
    for frame in memmem::find_iter(bytes, &[0x28, 0xb5, 0x2f, 0xfd]).filter_map(|at| bytes.get(at..)) {
        drop(zstd::Decoder::new(frame).map(|decoder| decoder.take(MAX_INFLATED).read_to_end(&mut out)));
        out.push(0);
    }
    out
}
