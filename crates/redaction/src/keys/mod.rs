//! Rules on keys: the whole value of `first_name`, `address1` or `dob` is private, whatever it looks like, because a
//! name has no shape. The keys are data (`config/rules/keys.yaml`). A key such as `name`, which things have too, counts
//! only if sibling keys suggest a person. `pairs` reads keys and values in every notation, `rows` reads tables, and
//! `records` the keys beside a key. A claim never covers quotes. Keys of secrets are in `secrets.yaml`.

use std::ops::Range;

pub(super) mod private_values;
mod records;
mod rows;
pub(super) mod table;
#[cfg(test)]
mod tests;
mod unquoted;

use super::names::{name_shape, thing_names};
use super::pairs::{self, KeyValuePair, PairSeparator, wrapped_strings};
use super::rule::KeyValueForm;
use super::scan::TextScan;
use super::sets::ByteSet;
use private_values::{LONGEST, claim_first, private_part};
use records::Records;
use table::{KeyMatch, KeyRule, KeyTable, SiblingEvidence};
use unquoted::PartEnd;

/// What the key rules have already read of a text.
#[derive(Default)]
struct KeyScratch {
    records: Records,
    part_end: PartEnd,
}

/// Most words before a key's last one that belong to it (`Date of Birth`).
const MAX_WORDS_BEFORE: usize = 3;

/// Most bytes from a key to the end of its value: the longest tag, blanks and the longest value.
const MAX_PAIR: usize = 2 * LONGEST + 64;
/// Most bytes of a key with letters beyond ASCII, with its quote.
const MAX_FOREIGN_KEY: usize = 64;

/// Claims values by their keys, in any notation.
pub(super) fn claim_keys(scan: &TextScan<'_>) {
    if scan.detector.keys.is_empty() {
        return;
    }
    rows::claim_rows(scan);
    let text = scan.text.as_bytes();
    let mut scratch = KeyScratch::default();
    let mut last_key = 0..0;
    for word in &scan.anchors.words_by_use.key_words {
        let end = pairs::key_end(text, word.end);
        if word.start < last_key.end || !may_have_separator(scan, end) {
            continue;
        }
        last_key = pairs::key_start(text, word.start)..end;
        if let Some((key, key_match)) = match_key(scan, last_key.clone())
            && let Some(pair) = pairs::read_pair(text.get(..key.end + MAX_PAIR).unwrap_or(text), key)
        {
            claim_pair(scan, &pair, key_match, &mut scratch);
        }
    }
    if !scan.text.is_ascii() {
        claim_foreign_keys(scan, &mut scratch);
    }
}

/// Claims the values of keys with letters beyond ASCII, whose words the anchor pass may not find: `姓名：张伟`.
fn claim_foreign_keys(scan: &TextScan<'_>, scratch: &mut KeyScratch) {
    static IN_KEY: ByteSet = ByteSet::new(b"_-.").and_alnum().and_non_ascii();
    let text = scan.text.as_bytes();
    for at in memchr::memchr3_iter(b':', b'=', 0x9A, text) {
        let separator = if text.get(at) == Some(&0x9A) { at.saturating_sub(2) } else { at };
        let head = scan.bytes(separator.saturating_sub(MAX_FOREIGN_KEY)..separator);
        let blanks = head.iter().rev().take_while(|byte| b"\"'\\ ".contains(byte)).count();
        let head = head.get(..head.len() - blanks).unwrap_or_default();
        let end = separator - blanks;
        let key = end - IN_KEY.count_trailing(head)..end;
        if scan.bytes(key.clone()).is_ascii() {
            continue;
        }
        let key_match = scan.detector.keys.find(scan.bytes(key.clone())).0;
        if !key_match.is_none()
            && let Some(pair) = pairs::read_pair(text.get(..key.end + MAX_PAIR).unwrap_or(text), key)
        {
            claim_pair(scan, &pair, key_match, scratch);
        }
    }
}

/// Whether a separator may follow a key; a cheap check before the complete one.
fn may_have_separator(scan: &TextScan<'_>, end: usize) -> bool {
    static BETWEEN: ByteSet = ByteSet::new(b" *\"'`\\\t]?");
    static SEPARATORS: ByteSet = ByteSet::new(b":=|>,(}");
    let rest = scan.bytes(end..end + 8);
    // The end of a table cell or term
    let ends_cell = || [&b"</td>"[..], b"</th>", b"</dt>"].iter().any(|tag| rest.starts_with(tag));
    rest.get(BETWEEN.count_leading(rest)).is_some_and(|byte| SEPARATORS.contains(*byte) || *byte == b'<' && ends_cell())
}

/// Returns the key with or without the words before it on its line, whichever some rule may accept.
fn match_key<'t>(scan: &TextScan<'t>, key: Range<usize>) -> Option<(Range<usize>, KeyMatch<'t>)> {
    let find = |key: Range<usize>| {
        let key_match = scan.detector.keys.find(scan.bytes(key.clone())).0;
        key_match.rules(SiblingEvidence::all()).next().map(|_| (key, key_match))
    };
    let mut start = key.start;
    for _ in 0..MAX_WORDS_BEFORE {
        let Some(before) = scan.bytes(key.start.saturating_sub(40)..start).strip_suffix(b" ") else { break };
        let word_len = before.iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).count();
        if word_len == 0 {
            break;
        }
        start -= word_len + 1;
    }
    let extended = if start < key.start { find(start..key.end) } else { None };
    extended.or_else(|| find(key))
}

/// Claims the value of a key, or the items of a list that is its value.
fn claim_pair(
    scan: &TextScan<'_>,
    pair: &KeyValuePair,
    key_match: KeyMatch<'_>,
    KeyScratch { records, part_end }: &mut KeyScratch,
) {
    use PairSeparator::{Arrow, Cell, Colon, Element, Equals, Sibling};
    // Most values are no names, so the keys beside them are not read
    let mut is_confirmed = |rule: &KeyRule| match records.around(scan, pair.key.start) {
        Some(evidence) => Some(rule.is_allowed(key_match, evidence)),
        None if pair.sep == Sibling => Some(false),
        None => None,
    };
    let is_bare = pair.is_bare_json();
    let mut accept_item = |rule: &KeyRule, range: Range<usize>| {
        let range = private_part(scan.text, range, rule.value_form, is_bare)?;
        let is_accepted =
            !rule.needs_evidence() || is_confirmed(rule).unwrap_or_else(|| is_certain(scan, pair, rule, &range));
        is_accepted.then_some(range)
    };
    if pair.quote.is_none()
        && matches!(pair.sep, Colon | Arrow | Equals)
        && b"[{".contains(&scan.byte(pair.value.start))
    {
        for (_, range) in wrapped_strings(scan.text.as_bytes(), pair.value.start) {
            claim_first(scan, key_match, range, false, &mut accept_item);
        }
        return;
    }
    let (range, is_unquoted) = match (pair.quote, pair.sep) {
        (None, Colon) if is_bare => {
            let range = unquoted::include_call(scan, pair);
            return claim_first(scan, key_match, range, true, &mut accept_item);
        }
        (Some(_), Colon | Arrow | Sibling) => {
            return claim_first(scan, key_match, pair.value.clone(), false, &mut accept_item);
        }
        (Some(_), Equals) | (_, Cell | Element) => (Some(pair.value.clone()), false),
        (None, Colon | Equals) => (unquoted::value_range(scan, pair, part_end), true),
        _ => return,
    };
    let Some(range) = range else { return };
    let accept = |rule: &KeyRule, range: Range<usize>| {
        let form = rule.value_form;
        let is_accepted = is_certain(scan, pair, rule, &range);
        let part = || if is_unquoted { unquoted::own_part(scan, range, form) } else { range };
        is_accepted.then(|| private_part(scan.text, part(), form, false))?
    };
    claim_first(scan, key_match, range, false, accept);
}

/// Whether a value outside records is certainly one of its rule: no sibling keys confirm it, and what follows an
/// unquoted value on its line may be read with it.
fn is_certain(scan: &TextScan<'_>, pair: &KeyValuePair, rule: &KeyRule, range: &Range<usize>) -> bool {
    use KeyValueForm::{Any, Listed, Name, Street, Words};
    let text = scan.part(range.clone());
    let is_unquoted = pair.quote.is_none() && matches!(pair.sep, PairSeparator::Colon | PairSeparator::Equals);
    let has_label = scan.byte(pair.key.start).is_ascii_uppercase() && pair.sep != PairSeparator::Equals;
    match rule.value_form {
        Name | Listed if rule.needs_evidence() => {
            let is_name = name_shape::read_name(text, 0).is_some_and(|name| {
                name.range.end == text.len()
                    && (name.has_given_name || (has_label && name.word_count > 1 && !name.starts_with_common_word))
            });
            (is_name || private_values::is_family_name_first(text)) && !thing_names::is_thing_name(scan, range)
        }
        Words | Name if is_unquoted => {
            let is_form_field = pair.sep == PairSeparator::Equals && pair.value.start == pair.key.end + 1;
            let is_capitalised = text.starts_with(char::is_uppercase) && text.chars().skip(1).all(char::is_lowercase);
            is_form_field && is_capitalised
                || private_values::is_plain_name(text)
                || private_values::is_family_name_first(text)
        }
        Street | Any if is_unquoted => {
            let may_be_address = text.starts_with(char::is_uppercase) || text.contains(|c: char| c.is_ascii_digit());
            !rule.needs_evidence() && may_be_address && !text.contains(['(', ')', '_', '='])
        }
        _ => !rule.needs_evidence(),
    }
}

/// The part of `text` that is private as the value of an attribute's `key`, and the rule.
pub(super) fn private_under_key(table: &KeyTable, key: &str, text: &str) -> Option<(Range<usize>, u16)> {
    table.find(key.as_bytes()).0.rules(SiblingEvidence::default()).find_map(|rule| {
        // a rule that needs evidence was allowed because the key itself names a person (`user.name`), so its value need
        // not look like a name
        let is_name = rule.needs_evidence() && rule.value_form != KeyValueForm::Trait;
        let form = if is_name { KeyValueForm::Words } else { rule.value_form };
        Some((private_part(text, 0..text.len(), form, false)?, rule.rule))
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
