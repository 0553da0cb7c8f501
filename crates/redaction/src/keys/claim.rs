//! Claims one value by its key. Keys are found in `json_tree`, `columns` and `flat_keys`.

use super::json_tree::ValueForm;
use super::private_values;
use super::table::{KeyMatch, SiblingEvidence};
use crate::scan::{PrivateClaims, TextScan};
use crate::sets::ByteSet;

/// A value, with its key's match and evidence.
pub(crate) struct KeyedValue {
    /// The match of the key.
    pub(crate) key_match: KeyMatch,
    /// The evidence of sibling keys.
    pub(crate) evidence: SiblingEvidence,
    /// The value without its quotes.
    pub(crate) range: std::ops::Range<usize>,
    /// The form of the value.
    pub(crate) kind: ValueForm,
}

/// Blanks before a value.
static BLANKS: ByteSet = ByteSet::new(b" \t\r\n");

/// Claims a value by the first of its key's rules that accepts it.
pub(crate) fn claim_value(scan: &TextScan<'_>, value: &KeyedValue, claims: &mut PrivateClaims) {
    // In a second pass, most values are placeholders
    let first_byte = value.range.start + BLANKS.count_leading(scan.bytes(value.range.clone()));
    if scan.is_in_placeholder(first_byte) {
        return;
    }
    let rules = scan.detector.keys.rules(value.key_match).iter();
    let mut allowed = rules.filter(|rule| rule.is_allowed(value.key_match, value.evidence));
    let found = allowed.find_map(|rule| {
        let range = private_values::private_part(scan.text, value.range.clone(), rule.value_form, value.kind)?;
        Some((rule.rule, range))
    });
    let Some((rule, range)) = found else { return };
    let is_number = |bytes: &[u8]| bytes.iter().all(|byte| byte.is_ascii_digit() || b".-+".contains(byte));
    if value.kind == ValueForm::Bare && is_number(scan.bytes(range.clone())) {
        claims.add_bare(scan, rule, range);
    } else {
        claims.add(scan, rule, range);
    }
}
