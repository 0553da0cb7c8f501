//! Rules on keys: the whole value of `first_name`, `address1` or `dob` is private, whatever it looks like, because a
//! name has no shape. The keys are data (`config/rules/keys.yaml`). A key such as `name`, which things have too, counts
//! only if sibling keys suggest a person. A claim never covers quotes, and each byte is read a bounded number of times.
//! Keys of secrets are in `secrets.yaml`.

use std::sync::LazyLock;

pub(super) mod claim;
mod columns;
mod flat;
pub(super) mod json;
pub(super) mod table;
#[cfg(test)]
mod tests;
pub(super) mod values;

use super::rule;
use super::scan::{Claims, Scan};
use super::sets::{Bytes, Words};
use crate::wordlists;
use claim::{Value, claim_value};
use json::{Kind, Tree};
use table::{Evidence, KeyTable, Known, Match};

/// Buffers of key rules, reused between texts.
#[derive(Default)]
pub(super) struct KeyScratch {
    tree: Tree,
    known: Known,
    /// Accept every key as if its siblings confirmed it.
    pub(super) trust: bool,
    /// Ranges of persons' names found by keys, used as seeds by `names::carry`.
    pub(super) named: Vec<std::ops::Range<usize>>,
}

/// Claims values by keys in JSON, tables and other notations.
pub(super) fn claim(scan: &Scan<'_>, scratch: &mut KeyScratch, claims: &mut Claims) {
    scratch.named.clear();
    let table = &scan.detector.keys;
    if table.is_empty() {
        return;
    }
    let KeyScratch { tree, named, trust, known } = scratch;
    match quoted_key(scan) {
        true => tree.walk(scan.text, table, known),
        false => tree.clear(),
    }
    for (at, pair) in tree.pairs.iter().enumerate() {
        let (found, beside) = match (pair.found, pair.kind) {
            (_, Kind::Container) => continue,
            // An item of a list has the key of the list
            (Match::NONE, _) if pair.key.is_empty() => match tree.list_key(at) {
                Some(list) => (list.found, tree.evidence(list)),
                None => continue,
            },
            // An object may only wrap the value of its key
            (Match::NONE, Kind::Text) if pair.key.len() <= 5 && WRAPS.has(scan.bytes(pair.key.clone())) => {
                match tree.parent(pair).filter(|above| above.found != Match::NONE) {
                    Some(above) => (above.found, tree.evidence(above)),
                    None => continue,
                }
            }
            (Match::NONE, _) => continue,
            (found, _) => (found, tree.evidence(pair)),
        };
        let beside = if *trust { Evidence::all() } else { beside };
        claim_value(scan, table, &Value { found, beside, range: pair.value.clone(), kind: pair.kind }, named, claims);
    }
    siblings(scan, tree, table, named, claims);
    columns::claim(scan, named, claims);
    flat::claim(scan, tree.starts(), known, named, claims);
}

/// The part of `text` that is private as the value of an attribute's `key`, and the rule.
pub(super) fn under(table: &KeyTable, key: &str, text: &str) -> Option<(std::ops::Range<usize>, u16)> {
    let (found, _) = table.find(key.as_bytes());
    table.rules(found).iter().filter(|rule| rule.allowed(found, Evidence::default())).find_map(|rule| {
        // `user.name`, `customer.name`: the key already says that it is a person, so the value need not look like a
        // name
        let value = if rule.asks() { rule::KeyValue::Words } else { rule.value };
        Some((values::private(text, 0..text.len(), value, Kind::Text, Evidence::default())?, rule.rule))
    })
}

/// Whether a key's last word is `id`: `order_id`, `traceId`, `id`.
pub(super) fn is_id(key: &[u8]) -> bool {
    let key = key.trim_ascii();
    let (head, last) = key.split_at_checked(key.len().saturating_sub(2)).unwrap_or_default();
    let joined = head.last().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let camel = last.first() == Some(&b'I') && head.last().is_some_and(|byte| byte.is_ascii_lowercase());
    last.eq_ignore_ascii_case(b"id") && (!joined || camel)
}

/// Keys whose value names the sibling's value, as `name` in `{"name":"email","value":"x"}`, and keys of such siblings.
static NAMES: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("keys.naming")));
static VALUES: LazyLock<Words> = LazyLock::new(|| Words::new("value val answer v content text stringvalue"));

/// Keys in objects that only wrap a value: `{"first_name": {"S": "Ada"}}`.
static WRAPS: LazyLock<Words> = LazyLock::new(|| Words::new("s value val raw text"));

/// Whether a key such as `value` has no meaning of its own, so that a sibling may name its value.
pub(super) fn is_value_of_sibling(key: &[u8]) -> bool {
    VALUES.has(key)
}

/// `{"key":"email","value":"x"}`: the value of one sibling is the key of the other.
fn siblings(
    scan: &Scan<'_>,
    tree: &Tree,
    table: &KeyTable,
    named: &mut Vec<std::ops::Range<usize>>,
    claims: &mut Claims,
) {
    for (at, two) in tree.pairs.windows(2).enumerate() {
        let [key, value] = two else { continue };
        if value.kind == Kind::Text && scan.bytes(value.key.clone()) == b"value" {
            let found = identified(scan, tree, at + 1, table);
            let value = Value { found, beside: Default::default(), range: value.value.clone(), kind: value.kind };
            claim_value(scan, table, &value, named, claims);
        }
        let same = key.object == value.object && value.kind == Kind::Text && key.kind == Kind::Text;
        let is = |range: &std::ops::Range<usize>, words: &Words| words.has(scan.bytes(range.clone()));
        if !same || !is(&value.key, &VALUES) || !is(&key.key, &NAMES) {
            continue;
        }
        let found = table.find(scan.bytes(key.value.clone())).0;
        let value = Value { found, beside: Default::default(), range: value.value.clone(), kind: value.kind };
        claim_value(scan, table, &value, named, claims);
    }
}

/// Most pairs before a value that may describe it.
const NEAR: usize = 10;

/// The match of the value at `at` by its description in FHIR:
/// `{"type":{"text":"Medical Record Number"}, "system":"http://…/us-ssn","value":"x"}`.
fn identified(scan: &Scan<'_>, tree: &Tree, at: usize, table: &KeyTable) -> Match {
    let Some(value) = tree.pairs.get(at) else { return Match::NONE };
    let within = |pair: &json::Pair| {
        let mut above = tree.parent(pair);
        (0..3).any(|_| {
            let here =
                above.is_some_and(|above| above.object == value.object && scan.bytes(above.key.clone()) == b"type");
            above = above.and_then(|above| tree.parent(above));
            here
        })
    };
    let near = tree.pairs.get(at.saturating_sub(NEAR)..at).unwrap_or_default();
    let told = near.iter().rev().filter(|pair| pair.kind == Kind::Text).map(|pair| {
        let text = scan.bytes(pair.value.clone());
        match scan.bytes(pair.key.clone()) {
            b"system" if pair.object == value.object => {
                table.find(text.rsplit(|byte| *byte == b'/').next().unwrap_or_default()).0
            }
            b"text" if within(pair) => table.find(text).0,
            b"code" if within(pair) => table.find(coded(text)).0,
            _ => Match::NONE,
        }
    });
    told.into_iter().find(|found| *found != Match::NONE).unwrap_or(Match::NONE)
}

/// The key for a code of identifier types (HL7 table 0203).
fn coded(code: &[u8]) -> &'static [u8] {
    match code {
        b"MR" => b"mrn",
        b"SS" => b"ssn",
        b"DL" => b"driver_license",
        b"PPN" => b"passport_number",
        _ => b"",
    }
}

/// Bytes of a quoted key.
static IN_NAME: Bytes = Bytes::of(b"_-. ").and_alnum();

/// Whether a word of a key is followed by a quote and a colon; otherwise no walk is needed.
fn quoted_key(scan: &Scan<'_>) -> bool {
    scan.anchors.by.keys.iter().any(|word| {
        let rest = scan.bytes(word.end..scan.text.len().min(word.end + 48));
        let mut rest = rest.iter().skip(IN_NAME.leading(rest)).skip_while(|byte| **byte == b'\\');
        match rest.next() {
            Some(b'"' | b'\'') => matches!(rest.find(|byte| **byte != b' '), Some(b':' | b'=' | b',')),
            Some(b':') => true,
            _ => false,
        }
    })
}
