//! Rules on keys: the whole value of `first_name`, `address1` or `dob` is private, whatever it looks like, because a
//! name has no shape. The keys are data (`config/rules/keys.yaml`). A key such as `name`, which things have too, counts
//! only if sibling keys suggest a person. A claim never covers quotes, and each byte is read a bounded number of times.
//! Keys of secrets are in `secrets.yaml`.

use std::sync::LazyLock;

pub(super) mod claim;
mod columns;
mod flat_keys;
pub(super) mod json_tree;
pub(super) mod private_values;
pub(super) mod table;
#[cfg(test)]
mod tests;

use super::rule;
use super::scan::{PrivateClaims, TextScan};
use super::sets::{ByteSet, WordSet};
use claim::{KeyedValue, claim_value};
use json_tree::{JsonTree, ValueForm};
use table::{KeyCache, KeyMatch, KeyTable, SiblingEvidence};

/// Buffers of key rules, reused between texts.
#[derive(Default)]
pub(super) struct KeyScratch {
    tree: JsonTree,
    cache: KeyCache,
    /// Whether every key is accepted as if its siblings confirmed it.
    pub(super) trusts_keys: bool,
}

/// Claims values by keys in JSON, tables and other notations.
pub(super) fn claim_keys(scan: &TextScan<'_>, scratch: &mut KeyScratch, claims: &mut PrivateClaims) {
    let table = &scan.detector.keys;
    if table.is_empty() {
        return;
    }
    let KeyScratch { tree, trusts_keys, cache } = scratch;
    match may_have_json_key(scan) {
        true => tree.walk(scan.text, table, cache),
        false => tree.clear(),
    }
    for (index, pair) in tree.pairs.iter().enumerate() {
        let (key_match, evidence) = match (pair.key_match, pair.kind) {
            (_, ValueForm::Container) => continue,
            // An item of a list has the key of the list
            (KeyMatch::NONE, _) if pair.key.is_empty() => match tree.list_key(index) {
                Some(list) => (list.key_match, tree.evidence(list)),
                None => continue,
            },
            // An object may only wrap the value of its key: `{"first_name": {"S": "Ada"}}`
            (KeyMatch::NONE, ValueForm::Text)
                if pair.key.len() <= 5
                    && once!(WordSet, WordSet::new("s value val raw text")).contains(scan.bytes(pair.key.clone())) =>
            {
                match tree.parent(pair).filter(|above| above.key_match != KeyMatch::NONE) {
                    Some(above) => (above.key_match, tree.evidence(above)),
                    None => continue,
                }
            }
            (KeyMatch::NONE, _) => continue,
            (key_match, _) => (key_match, tree.evidence(pair)),
        };
        let evidence = if *trusts_keys { SiblingEvidence::all() } else { evidence };
        let value = KeyedValue { key_match, evidence, range: pair.value.clone(), kind: pair.kind };
        claim_value(scan, &value, claims);
    }
    claim_sibling_values(scan, tree, claims);
    columns::claim_columns(scan, claims);
    flat_keys::claim_flat_keys(scan, &tree.key_starts, cache, claims);
}

/// The part of `text` that is private as the value of an attribute's `key`, and the rule.
pub(super) fn private_under_key(table: &KeyTable, key: &str, text: &str) -> Option<(std::ops::Range<usize>, u16)> {
    let (key_match, _) = table.find(key.as_bytes());
    let mut rules = table.rules(key_match).iter().filter(|rule| rule.is_allowed(key_match, SiblingEvidence::default()));
    rules.find_map(|rule| {
        // a rule that needs evidence was allowed because the key itself names a person (`user.name`), so its value need
        // not look like a name
        let is_name = rule.needs_evidence() && rule.value_form != rule::KeyValueForm::Trait;
        let form = if is_name { rule::KeyValueForm::Words } else { rule.value_form };
        Some((private_values::private_part(text, 0..text.len(), form, ValueForm::Text)?, rule.rule))
    })
}

/// Whether a key's last word is `id`: `order_id`, `traceId`, `id`.
pub(super) fn is_id_key(key: &[u8]) -> bool {
    let key = key.trim_ascii();
    let (head, last) = key.split_at_checked(key.len().saturating_sub(2)).unwrap_or_default();
    let is_within_word = head.last().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let is_camel = last.first() == Some(&b'I') && head.last().is_some_and(|byte| byte.is_ascii_lowercase());
    last.eq_ignore_ascii_case(b"id") && (!is_within_word || is_camel)
}

/// Keys of siblings that such a key names, as `value` above.
static VALUE_KEYS: LazyLock<WordSet> = LazyLock::new(|| WordSet::new("value val answer v content text stringvalue"));

/// Whether a key such as `value` has no meaning of its own, so that a sibling may name its value.
pub(super) fn is_value_of_sibling(key: &[u8]) -> bool {
    VALUE_KEYS.contains(key)
}

/// `{"key":"email","value":"x"}`: the value of one sibling is the key of the other; or, as in FHIR, the pairs before a
/// `value` describe it.
fn claim_sibling_values(scan: &TextScan<'_>, tree: &JsonTree, claims: &mut PrivateClaims) {
    for (index, two) in tree.pairs.windows(2).enumerate() {
        let [key, value] = two else { continue };
        let mut claim = |key_match: KeyMatch| {
            let (range, evidence) = (value.value.clone(), SiblingEvidence::default());
            claim_value(scan, &KeyedValue { key_match, evidence, range, kind: value.kind }, claims);
        };
        if value.kind == ValueForm::Text && scan.bytes(value.key.clone()) == b"value" {
            claim(match_described_value(scan, tree, index + 1));
        }
        let are_siblings = key.object == value.object && value.kind == ValueForm::Text && key.kind == ValueForm::Text;
        let has_key_in = |pair: &json_tree::JsonPair, words: &WordSet| words.contains(scan.bytes(pair.key.clone()));
        if !are_siblings || !has_key_in(value, &VALUE_KEYS) || !has_key_in(key, word_set!("keys.key_name_keys")) {
            continue;
        }
        claim(scan.detector.keys.find(scan.bytes(key.value.clone())).0);
    }
}

/// Most pairs before a value that may describe it.
const MAX_PAIRS_BEFORE: usize = 10;

/// The match of the value at `index` by its description in FHIR:
/// `{"type":{"text":"Medical Record Number"}, "system":"http://…/us-ssn","value":"x"}`.
fn match_described_value(scan: &TextScan<'_>, tree: &JsonTree, index: usize) -> KeyMatch {
    let table = &scan.detector.keys;
    let Some(value) = tree.pairs.get(index) else { return KeyMatch::NONE };
    let is_in_type = |pair: &json_tree::JsonPair| {
        let mut ancestor = tree.parent(pair);
        (0..3).any(|_| {
            let is_type_key = ancestor
                .is_some_and(|ancestor| ancestor.object == value.object && scan.bytes(ancestor.key.clone()) == b"type");
            ancestor = ancestor.and_then(|ancestor| tree.parent(ancestor));
            is_type_key
        })
    };
    let pairs_before = tree.pairs.get(index.saturating_sub(MAX_PAIRS_BEFORE)..index).unwrap_or_default();
    let matches = pairs_before.iter().rev().filter(|pair| pair.kind == ValueForm::Text).map(|pair| {
        let text = scan.bytes(pair.value.clone());
        match scan.bytes(pair.key.clone()) {
            b"system" if pair.object == value.object => {
                table.find(text.rsplit(|byte| *byte == b'/').next().unwrap_or_default()).0
            }
            b"text" if is_in_type(pair) => table.find(text).0,
            b"code" if is_in_type(pair) => table.find(key_of_code(text)).0,
            _ => KeyMatch::NONE,
        }
    });
    matches.into_iter().find(|key_match| *key_match != KeyMatch::NONE).unwrap_or(KeyMatch::NONE)
}

/// The key for a code of identifier types (HL7 table 0203).
fn key_of_code(code: &[u8]) -> &'static [u8] {
    match code {
        b"MR" => b"mrn",
        b"SS" => b"ssn",
        b"DL" => b"driver_license",
        b"PPN" => b"passport_number",
        _ => b"",
    }
}

/// Bytes of a quoted key.
static IN_NAME: ByteSet = ByteSet::new(b"_-. ").and_alnum();

/// Whether a word of a key is followed by a colon, or a quote and a separator; otherwise no walk is needed.
fn may_have_json_key(scan: &TextScan<'_>) -> bool {
    scan.anchors.words_by_use.key_words.iter().any(|word| {
        let rest = scan.bytes(word.end..word.end + 48);
        let mut rest = rest.iter().skip(IN_NAME.count_leading(rest)).skip_while(|byte| **byte == b'\\');
        match rest.next() {
            Some(b'"' | b'\'') => matches!(rest.find(|byte| **byte != b' '), Some(b':' | b'=' | b',')),
            Some(b':') => true,
            _ => false,
        }
    })
}
