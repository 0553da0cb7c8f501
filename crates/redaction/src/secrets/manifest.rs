//! Finds the values below `data` and `stringData` in Kubernetes manifests with `kind: Secret`, in YAML and JSON,
//! whatever their keys. No part of the YAML or JSON is read twice; keys, quotes, notation and templates stay. Values
//! with a key that names a secret are also in `assign`.

use std::ops::Range;

use super::super::keys::json_tree::{JsonTree, ValueForm};
use super::super::keys::table::KeyCache;
use super::super::rule::RuleFamily;
use super::super::scan::{PrivateClaims, TextScan};
use super::super::stems::StemMatch;
use super::value_checks::cannot_be_secret;

/// Progress of reading manifests.
#[derive(Default)]
pub(super) struct ManifestProgress {
    /// End of the YAML that was read.
    yaml_end: usize,
    is_json_read: bool,
}

/// Most bytes of a manifest before and after its `kind`.
const REACH: usize = 32 << 10;
/// Most levels from a value up to `data`.
const MAX_LEVELS: u32 = 4;

/// Checks the manifest around the word `Secret`, if `kind` comes before it.
pub(super) fn check_manifest(
    scan: &TextScan<'_>,
    word: &StemMatch,
    progress: &mut ManifestProgress,
    claims: &mut PrivateClaims,
) {
    if scan.bytes(word.start..word.end) != b"Secret" {
        return;
    }
    let head = scan.bytes(word.start.saturating_sub(32)..word.start);
    let quote = head.trim_ascii_end().last().copied().filter(|byte| b"\"'".contains(byte));
    let is_double_quoted = quote == Some(b'"');
    let key = head.trim_ascii_end();
    let key = if quote.is_some() { key.get(..key.len() - 1).unwrap_or_default() } else { head };
    let key = key.strip_suffix(b"\\").unwrap_or(key).trim_ascii_end();
    let Some(key) = key.strip_suffix(b":") else { return };
    let quoted_key = key.strip_suffix(b"\"").map(|key| key.strip_suffix(b"\\").unwrap_or(key));
    match quoted_key {
        Some(key) if is_double_quoted && key.ends_with(b"kind") && !progress.is_json_read => {
            progress.is_json_read = true;
            claim_json_secrets(scan, claims);
        }
        None if key.ends_with(b"kind")
            && word.start >= progress.yaml_end
            && b"\n\r".contains(&scan.byte(word.end + usize::from(Some(scan.byte(word.end)) == quote))) =>
        {
            progress.yaml_end = claim_yaml_secret(scan, word.start, progress.yaml_end, claims);
        }
        _ => {}
    }
}

/// Claims the values of every secret in a JSON text.
fn claim_json_secrets(scan: &TextScan<'_>, claims: &mut PrivateClaims) {
    let (mut tree, mut key_cache) = (JsonTree::default(), KeyCache::default());
    tree.walk(scan.text, &scan.detector.keys, &mut key_cache);
    let equals = |range: &Range<usize>, word: &[u8]| scan.bytes(range.clone()) == word;
    let kinds = tree.pairs.iter().filter(|pair| equals(&pair.key, b"kind") && equals(&pair.value, b"Secret"));
    let objects: Vec<u32> = kinds.map(|pair| pair.object).collect();
    for pair in tree.pairs.iter().filter(|pair| pair.kind == ValueForm::Text && !pair.key.is_empty()) {
        let ancestors = (0..MAX_LEVELS).scan(pair, |pair, _| {
            *pair = tree.parent(pair)?;
            Some(*pair)
        });
        let mut data_objects = ancestors.filter(|pair| equals(&pair.key, b"data") || equals(&pair.key, b"stringData"));
        if data_objects.any(|pair| objects.contains(&pair.object)) {
            claim_data_value(scan, pair.value.clone(), claims);
        }
    }
}

/// Claims the values of the YAML secret whose kind is at `at`. Returns the end of the text that was read.
fn claim_yaml_secret(scan: &TextScan<'_>, at: usize, read_end: usize, claims: &mut PrivateClaims) -> usize {
    let Some(column) = key_column(scan, at) else { return read_end };
    let lowest = read_end.max(at.saturating_sub(REACH));
    let mut start = line_start(scan, at, lowest);
    while start > lowest {
        let before = line_start(scan, start - 1, lowest);
        let line = scan.bytes(before..start);
        if indent(line).is_some_and(|depth| depth < column) || line.starts_with(b"---") {
            // A list item begins with its dash
            start = if is_item(line, column) { before } else { start };
            break;
        }
        start = before;
    }
    let mut is_in_data = false;
    // Indent of the key whose value is a block on the lines below
    let mut block_depth = usize::MAX;
    let mut has_begun = false;
    while start < scan.text.len() && start < at + REACH {
        let line = scan.bytes(start..line_end(scan, start));
        let next = start + line.len();
        let Some(depth) = indent(line) else {
            start = next;
            continue;
        };
        let is_first = !has_begun && is_item(line, column);
        if (depth < column && !is_first) || (has_begun && line.starts_with(b"---")) {
            break;
        }
        has_begun = true;
        let body = line.trim_ascii_start();
        // A comment, unless it is part of a multi-line value
        if body.starts_with(b"#") && !(is_in_data && depth > block_depth) {
            start = next;
            continue;
        }
        if depth == column || is_first {
            let body = body.strip_prefix(b"- ").unwrap_or(body).trim_ascii();
            is_in_data = body == b"data:" || body == b"stringData:";
            block_depth = usize::MAX;
        } else if is_in_data && depth > block_depth {
            claim_data_value(scan, start + depth..start + line.trim_ascii_end().len(), claims);
        } else if is_in_data {
            let is_block = read_data_line(scan, start + depth..start + line.trim_ascii_end().len(), claims);
            block_depth = if is_block { depth } else { usize::MAX };
        }
        start = next;
    }
    start.max(at)
}

/// Reads one line of data, `key: value`. Returns whether the value is a block on the lines below.
fn read_data_line(scan: &TextScan<'_>, line: Range<usize>, claims: &mut PrivateClaims) -> bool {
    let text = scan.bytes(line.clone());
    let Some(colon) = text.iter().position(|byte| *byte == b':') else { return false };
    let after_colon = text.get(colon + 1..).unwrap_or_default();
    let blanks = after_colon.iter().take_while(|byte| **byte == b' ').count();
    let start = line.start + colon + 1 + blanks;
    let range = match after_colon.get(blanks..).unwrap_or_default() {
        [] | [b'|' | b'>', ..] => return true,
        [open @ (b'"' | b'\''), inner @ .., close] if open == close => start + 1..start + 1 + inner.len(),
        unquoted => start..start + unquoted.len(),
    };
    claim_data_value(scan, range, claims);
    false
}

/// Claims a value, unless it is a template or means "no value".
fn claim_data_value(scan: &TextScan<'_>, range: Range<usize>, claims: &mut PrivateClaims) {
    let value = scan.bytes(range.clone());
    if !cannot_be_secret(value)
        && memchr::memmem::find(value, b"{{").is_none()
        && value.iter().any(u8::is_ascii_alphanumeric)
    {
        claims.add_for(scan, RuleFamily::SecretValue, range);
    }
}

/// The column of the key on the line of `at`: the blanks and list dash before it.
fn key_column(scan: &TextScan<'_>, at: usize) -> Option<usize> {
    let start = line_start(scan, at, at.saturating_sub(256));
    let line = scan.bytes(start..at);
    let column = line.iter().take_while(|byte| b" -".contains(byte)).count();
    line.get(column..)?.starts_with(b"kind:").then_some(column)
}

/// Whether a line begins a list item whose keys are at `column`.
fn is_item(line: &[u8], column: usize) -> bool {
    let len = line.iter().take_while(|byte| b" -".contains(byte)).count();
    len == column && line.get(..len).is_some_and(|lead| lead.contains(&b'-'))
}

/// Number of leading blanks of a line; `None` if it is blank.
fn indent(line: &[u8]) -> Option<usize> {
    line.iter().position(|byte| !byte.is_ascii_whitespace())
}

fn line_start(scan: &TextScan<'_>, at: usize, lowest: usize) -> usize {
    memchr::memrchr(b'\n', scan.bytes(lowest..at)).map_or(lowest, |line_break| lowest + line_break + 1)
}

fn line_end(scan: &TextScan<'_>, at: usize) -> usize {
    let rest = scan.bytes(at..scan.text.len());
    at + memchr::memchr(b'\n', rest).map_or(rest.len(), |line_break| line_break + 1)
}
