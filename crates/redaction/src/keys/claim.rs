//! Claims one value by its key. Keys are found in `json`, `columns` and `flat`.

use super::json::Kind;
use super::table::{Evidence, KeyTable, Match};
use super::values;
use crate::scan::{Claims, Scan};
use crate::sets::Bytes;

/// A value, with its key's match and evidence.
pub(crate) struct Value {
    /// The match of the key.
    pub(crate) found: Match,
    /// The evidence of sibling keys.
    pub(crate) beside: Evidence,
    /// The value without its quotes.
    pub(crate) range: std::ops::Range<usize>,
    /// The form of the value.
    pub(crate) kind: Kind,
}

/// Blanks before a value.
static BLANKS: Bytes = Bytes::of(b" \t\r\n");

/// Claims a value by the first of its key's rules that accepts it. Returns whether it was claimed.
pub(crate) fn claim_value(
    scan: &Scan<'_>,
    table: &KeyTable,
    value: &Value,
    named: &mut Vec<std::ops::Range<usize>>,
    claims: &mut Claims,
) -> bool {
    // In a second pass, most values are placeholders
    let first = value.range.start + BLANKS.leading(scan.bytes(value.range.clone()));
    if scan.is_held(first) {
        return false;
    }
    for key in table.rules(value.found) {
        if !key.allowed(value.found, value.beside) {
            continue;
        }
        let Some(range) = values::private(scan.text, value.range.clone(), key.value, value.kind, value.beside) else {
            continue;
        };
        let added = match value.kind {
            Kind::Bare
                if scan.bytes(range.clone()).iter().all(|byte| byte.is_ascii_digit() || b".-+".contains(byte)) =>
            {
                claims.add_bare(scan, key.rule, range.clone())
            }
            _ => claims.add(scan, key.rule, range.clone()),
        };
        if added && key.person {
            named.push(range);
        }
        return added;
    }
    false
}
