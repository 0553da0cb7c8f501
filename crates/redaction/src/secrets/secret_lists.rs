//! Finds values whose secret key is elsewhere: items of a list, which share their parent's key, values in wrapping
//! objects, and cells of a column. Only random values and values that look like a password are claimed, because lists
//! also contain form rules, names of secrets and words. `keys::rows` finds rows and columns, `pairs` reads lists.

use std::ops::Range;

use super::super::pairs::{KeyValuePair, PairSeparator, wrapped_strings};
use super::headers;
use super::pair_context::PairContext;
use super::secret_keys::{SecretKind, classify_key};
use super::secret_value::{is_secret_under, is_secret_value};
use super::value_facts::ValueFacts;
use super::word_score::is_words;
use crate::rule::FamilyRules;
use crate::scan::{PrivateClaims, TextScan};

/// Whether the value is a list or object.
pub(super) fn opens_list(scan: &TextScan<'_>, pair: &KeyValuePair) -> bool {
    let begins_list = match scan.byte(pair.value.start) {
        b'[' | b'{' => true,
        b'n' => scan.bytes(pair.value.start..pair.value.start + 12) == b"new String[]",
        _ => false,
    };
    begins_list
        && pair.quote.is_none()
        && matches!(pair.sep, PairSeparator::Colon | PairSeparator::Equals | PairSeparator::Arrow)
}

/// Claims the strings of a list or wrapping object, which share their parent's key; plain words are left. Returns the
/// position from which the search for keys continues.
pub(super) fn claim_items(
    scan: &TextScan<'_>,
    parent: &KeyValuePair,
    kind: SecretKind,
    claims: &mut PrivateClaims,
) -> usize {
    let (mut end, key) = (parent.key.end, &parent.key);
    let rule = scan.detector.families.rule_for_key(kind, scan.bytes(key.clone()));
    for (quote, value) in wrapped_strings(scan.text.as_bytes(), parent.value.start) {
        let (content, sep) = (scan.bytes(value.clone()), PairSeparator::Comma);
        let pair = KeyValuePair { key: key.clone(), sep, quote: Some(quote), json_key: false, value: value.clone() };
        if matches!(kind, SecretKind::Header | SecretKind::Cookie) {
            headers::check_header(scan, &pair, kind, claims);
            continue;
        }
        // A text with blanks is a rule or a sentence, and `tokens` are mostly pieces of text
        let facts = ValueFacts::of(content);
        let is_secret = facts.counts.blanks == 0
            && (kind != SecretKind::Token || facts.is_random())
            && is_secret_value(kind, content, &pair, &PairContext::around(scan, &pair, false));
        if rule.is_some_and(|rule| is_secret && claims.add(scan, rule, value.clone())) {
            end = value.end;
        }
    }
    end
}

/// A column of secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SecretColumn {
    kind: SecretKind,
    rule: u16,
}

/// Returns the column `name`, if it holds secrets.
pub(crate) fn secret_column(families: &FamilyRules, name: &[u8]) -> Option<SecretColumn> {
    let kind = classify_key(name)
        .filter(|kind| !matches!(kind, SecretKind::Parameter | SecretKind::Header | SecretKind::Cookie))?;
    Some(SecretColumn { kind, rule: families.rule_for_key(kind, name)? })
}

/// Claims the cell at `range` of a column. Unless it `is_certain` (quoted, or between clean separators), words are code.
pub(crate) fn claim_cell(
    scan: &TextScan<'_>,
    column: SecretColumn,
    range: Range<usize>,
    is_certain: bool,
    claims: &mut PrivateClaims,
) {
    let value = scan.bytes(range.clone());
    if is_secret_under(column.kind, b"", value) && (is_certain || !is_words(value)) {
        claims.add(scan, column.rule, range);
    }
}
