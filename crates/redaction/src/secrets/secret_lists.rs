//! Finds values whose secret key is elsewhere: items of a list, which share their parent's key, values in wrapping
//! objects, and cells of a column. Only random values and values that look like a password are claimed, because lists
//! also contain form rules, names of secrets and words. `keys::rows` finds rows and columns, `pairs` reads lists.

use std::ops::Range;

use super::super::pairs::{KeyValuePair, PairSeparator, wrapped_strings};
use super::headers;
use super::pair_context::PairContext;
use super::references::is_reference;
use super::secret_keys::{SecretKind, classify_key};
use super::secret_value::is_secret_value;
use super::value_facts::{ValueFacts, is_path};
use crate::rule::FamilyRules;
use crate::scan::TextScan;

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
pub(super) fn claim_items(scan: &TextScan<'_>, parent: &KeyValuePair, kind: SecretKind) -> usize {
    let mut end = parent.key.end;
    for (quote, range) in wrapped_strings(scan.text.as_bytes(), parent.value.start) {
        if claim_item(scan, &parent.key, (Some(quote), range.clone()), kind) {
            end = range.end;
        }
    }
    end
}

/// Claims one item of the list under `key`; returns whether it was claimed.
pub(super) fn claim_item(
    scan: &TextScan<'_>,
    key: &Range<usize>,
    (quote, range): (Option<u8>, Range<usize>),
    kind: SecretKind,
) -> bool {
    let value = scan.bytes(range.clone());
    let pair =
        KeyValuePair { key: key.clone(), sep: PairSeparator::Colon, quote, json_key: false, value: range.clone() };
    if matches!(kind, SecretKind::Header | SecretKind::Cookie) {
        headers::check_header(scan, &pair, kind);
        return false;
    }
    let facts = ValueFacts::of(value);
    let may_be_plain = kind == SecretKind::Token
        || facts.counts.blanks > 0
        || value.contains(&b'|')
        || facts.is_words()
        || !facts.is_mixed();
    let is_plausible = facts.is_random() || !may_be_plain || kind == SecretKind::Pin;
    let rule = scan.detector.families.rule_for_key(kind, scan.bytes(key.clone())).filter(|_| is_plausible);
    rule.is_some_and(|rule| {
        is_secret_value(kind, value, &pair, &PairContext::around(scan, &pair, false)) && scan.claim(rule, range)
    })
}

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

/// Claims the cell at `range` of a column. If it `is_certain` (quoted, or between clean separators), a password of
/// lower-case letters counts.
pub(crate) fn claim_cell(scan: &TextScan<'_>, column: SecretColumn, range: Range<usize>, is_certain: bool) {
    let value = scan.bytes(range.clone());
    let facts = ValueFacts::of(value);
    let counts = &facts.counts;
    if counts.len < 4
        || counts.len > 4096
        || counts.blanks > 0
        || is_reference(value, true)
        || word_set!("secrets.prose_words").contains(value)
        || is_path(value)
    {
        return;
    }
    let is_mixed = counts.kind_count() >= 2 && !facts.is_words();
    let is_plausible = match column.kind {
        SecretKind::Password => {
            let has_only_joints = counts.marks == counts.joints && counts.digits > 1 && counts.letters() > 0;
            is_mixed
                || counts.digits >= 2 && facts.is_mixed()
                || is_certain
                    && (counts.marks == 0 && (counts.lower == counts.len || counts.digits > 0) || has_only_joints)
        }
        SecretKind::Pass | SecretKind::Doubtful => is_mixed && counts.len >= 6,
        SecretKind::Pin => counts.digits == counts.len && counts.len <= 8,
        SecretKind::Secret => facts.is_random() || is_mixed && counts.len >= 8 && facts.has_digits_and_letters(),
        _ => facts.is_random(),
    };
    if is_plausible {
        scan.claim(column.rule, range);
    }
}
