//! Claims one value by its key. Keys are found in `json_tree`, `columns` and `flat_keys`.

use super::json_tree::ValueForm;
use super::private_values;
use super::table::{KeyMatch, KeyTable, SiblingEvidence};
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

/// Claims a value by the first of its key's rules that accepts it, and adds a person's name to `person_ranges`. Returns
/// whether the value was claimed.
pub(crate) fn claim_value(
    scan: &TextScan<'_>,
    table: &KeyTable,
    value: &KeyedValue,
    person_ranges: &mut Vec<std::ops::Range<usize>>,
    claims: &mut PrivateClaims,
) -> bool {
    // In a second pass, most values are placeholders
    let first_byte = value.range.start + BLANKS.count_leading(scan.bytes(value.range.clone()));
    if scan.is_in_placeholder(first_byte) {
        return false;
    }
    for rule in table.rules(value.key_match) {
        if !rule.is_allowed(value.key_match, value.evidence) {
            continue;
        }
        let Some(range) = private_values::private_part(scan.text, value.range.clone(), rule.value_form, value.kind)
        else {
            continue;
        };
        let is_added = match value.kind {
            ValueForm::Bare
                if scan.bytes(range.clone()).iter().all(|byte| byte.is_ascii_digit() || b".-+".contains(byte)) =>
            {
                claims.add_bare(scan, rule.rule, range.clone())
            }
            _ => claims.add(scan, rule.rule, range.clone()),
        };
        if is_added && rule.is_person {
            person_ranges.push(range);
        }
        return is_added;
    }
    false
}
