//! Finds the values below `data` and `stringData` in Kubernetes manifests with `kind: Secret`, in YAML and JSON,
//! whatever their keys. No part of the YAML or JSON is read twice; keys, quotes, notation and templates stay. Values
//! with a key that names a secret are also in `assign`.

use std::ops::Range;

use super::super::keys::json_tree::{JsonTree, ValueForm};
use super::super::keys::table::KeyCache;
use super::super::scan::{PrivateClaims, TextScan};
use super::super::stems::StemMatch;
use super::secret_rules::SecretRules;
use super::value_checks::cannot_be_secret;

/// Progress of reading manifests.
#[derive(Default)]
pub(super) struct ManifestProgress {
    yaml_end: usize,
    json_done: bool,
}

/// Most bytes of a manifest before and behind its `kind`.
const NEAR: usize = 32 << 10;
/// Most levels of an object.
const LEVELS: u32 = 4;

/// Checks the manifest around the word `Secret`, if `kind` comes before it.
pub(super) fn check_manifest(
    scan: &TextScan<'_>,
    word: &StemMatch,
    rules: &SecretRules,
    read: &mut ManifestProgress,
    claims: &mut PrivateClaims,
) {
    let Some(rule) = rules.value.filter(|_| scan.bytes(word.start..word.end) == b"Secret") else { return };
    let head = scan.bytes(word.start.saturating_sub(32)..word.start);
    let quote = head.trim_ascii_end().last().copied().filter(|byte| b"\"'".contains(byte));
    let quoted = quote == Some(b'"');
    let key = head.trim_ascii_end();
    let key = if quote.is_some() { key.get(..key.len() - 1).unwrap_or_default() } else { head };
    let key = key.strip_suffix(b"\\").unwrap_or(key).trim_ascii_end();
    let Some(key) = key.strip_suffix(b":") else { return };
    let named = key.strip_suffix(b"\"").map(|key| key.strip_suffix(b"\\").unwrap_or(key));
    match named {
        Some(key) if quoted && key.ends_with(b"kind") && !read.json_done => {
            read.json_done = true;
            claim_json_secrets(scan, rule, claims);
        }
        None if key.ends_with(b"kind")
            && word.start >= read.yaml_end
            && b"\n\r".contains(&scan.byte(word.end + usize::from(Some(scan.byte(word.end)) == quote))) =>
        {
            read.yaml_end = claim_yaml_secret(scan, word.start, read.yaml_end, rule, claims);
        }
        _ => {}
    }
}

/// Claims the values of every secret in a JSON text.
fn claim_json_secrets(scan: &TextScan<'_>, rule: u16, claims: &mut PrivateClaims) {
    let (mut tree, mut known) = (JsonTree::default(), KeyCache::default());
    tree.walk(scan.text, &scan.detector.keys, &mut known);
    let is = |range: &Range<usize>, word: &[u8]| scan.bytes(range.clone()) == word;
    let kinds = tree.pairs.iter().filter(|pair| is(&pair.key, b"kind") && is(&pair.value, b"Secret"));
    let objects: Vec<u32> = kinds.map(|pair| pair.object).collect();
    for pair in tree.pairs.iter().filter(|pair| pair.kind == ValueForm::Text && !pair.key.is_empty()) {
        let held = (0..LEVELS).scan(pair, |pair, _| {
            *pair = tree.parent(pair)?;
            Some(*pair)
        });
        let mut data = held.filter(|pair| is(&pair.key, b"data") || is(&pair.key, b"stringData"));
        if data.any(|pair| objects.contains(&pair.object)) {
            claim_data_value(scan, pair.value.clone(), rule, claims);
        }
    }
}

/// Claims the values of the YAML secret whose kind is at `at`. Returns the end of the text that was read.
fn claim_yaml_secret(scan: &TextScan<'_>, at: usize, read: usize, rule: u16, claims: &mut PrivateClaims) -> usize {
    let Some(column) = key_column(scan, at) else { return read };
    let floor = read.max(at.saturating_sub(NEAR));
    let mut start = line_start(scan, at, floor);
    while start > floor {
        let before = line_start(scan, start - 1, floor);
        let line = scan.bytes(before..start);
        if indent(line).is_some_and(|deep| deep < column) || line.starts_with(b"---") {
            // A list item begins with its dash
            start = if is_item(line, column) { before } else { start };
            break;
        }
        start = before;
    }
    let mut inside = false;
    let mut block = usize::MAX;
    let mut begun = false;
    while start < scan.text.len() && start < at + NEAR {
        let line = scan.bytes(start..line_end(scan, start));
        let next = start + line.len();
        let Some(deep) = indent(line) else {
            start = next;
            continue;
        };
        let first = !begun && is_item(line, column);
        if (deep < column && !first) || (begun && line.starts_with(b"---")) {
            break;
        }
        begun = true;
        let body = line.trim_ascii_start();
        // A comment, unless it is part of a multi-line value
        if body.starts_with(b"#") && !(inside && deep > block) {
            start = next;
            continue;
        }
        if deep == column || first {
            let body = body.strip_prefix(b"- ").unwrap_or(body).trim_ascii();
            inside = body == b"data:" || body == b"stringData:";
            block = usize::MAX;
        } else if inside && deep > block {
            claim_data_value(scan, start + deep..start + line.trim_ascii_end().len(), rule, claims);
        } else if inside {
            block = read_data_line(scan, start + deep..start + line.trim_ascii_end().len(), rule, claims)
                .map_or(usize::MAX, |()| deep);
        }
        start = next;
    }
    start.max(at)
}

/// Reads one line of data, `key: value`. Returns `Some` if the value is on the lines below.
fn read_data_line(scan: &TextScan<'_>, line: Range<usize>, rule: u16, claims: &mut PrivateClaims) -> Option<()> {
    let text = scan.bytes(line.clone());
    let colon = text.iter().position(|byte| *byte == b':')?;
    let behind = text.get(colon + 1..)?;
    let blanks = behind.iter().take_while(|byte| **byte == b' ').count();
    let start = line.start + colon + 1 + blanks;
    let range = match behind.get(blanks..)? {
        [] | [b'|' | b'>', ..] => return Some(()),
        [mark @ (b'"' | b'\''), inner @ .., close] if mark == close => start + 1..start + 1 + inner.len(),
        bare => start..start + bare.len(),
    };
    claim_data_value(scan, range, rule, claims);
    None
}

/// Claims a value, unless it is a template or means "no value".
fn claim_data_value(scan: &TextScan<'_>, range: Range<usize>, rule: u16, claims: &mut PrivateClaims) {
    let found = scan.bytes(range.clone());
    if !cannot_be_secret(found)
        && memchr::memmem::find(found, b"{{").is_none()
        && found.iter().any(u8::is_ascii_alphanumeric)
    {
        claims.add(scan, rule, range);
    }
}

/// The column of the key on the line of `at`: the blanks and list dash before it.
fn key_column(scan: &TextScan<'_>, at: usize) -> Option<usize> {
    let start = line_start(scan, at, at.saturating_sub(256));
    let line = scan.bytes(start..at);
    let lead = line.iter().take_while(|byte| b" -".contains(byte)).count();
    line.get(lead..)?.starts_with(b"kind:").then_some(lead)
}

/// Whether a line begins a list item whose keys are at `column`.
fn is_item(line: &[u8], column: usize) -> bool {
    let lead = line.iter().take_while(|byte| b" -".contains(byte)).count();
    lead == column && line.get(..lead).is_some_and(|lead| lead.contains(&b'-'))
}

/// Number of leading blanks; `None` for a blank line.
fn indent(line: &[u8]) -> Option<usize> {
    line.iter().position(|byte| !byte.is_ascii_whitespace())
}

fn line_start(scan: &TextScan<'_>, at: usize, floor: usize) -> usize {
    memchr::memrchr(b'\n', scan.bytes(floor..at)).map_or(floor, |line| floor + line + 1)
}

fn line_end(scan: &TextScan<'_>, at: usize) -> usize {
    let rest = scan.bytes(at..scan.text.len());
    at + memchr::memchr(b'\n', rest).map_or(rest.len(), |line| line + 1)
}
