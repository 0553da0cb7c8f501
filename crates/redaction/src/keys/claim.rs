//! **What**: claims one value by what its key is. **Not here**: where keys stand (`json`, `columns`, `flat`).

use super::json::Kind;
use super::table::{Evidence, KeyTable, Match};
use super::values;
use crate::scan::{Claims, Scan};
use crate::sets::Bytes;

/// A value and what is known of its key.
pub(crate) struct Value {
    /// What the key is.
    pub(crate) found: Match,
    /// What stands beside it.
    pub(crate) beside: Evidence,
    /// The value without its quotes.
    pub(crate) range: std::ops::Range<usize>,
    /// How it was written.
    pub(crate) kind: Kind,
}

/// Blanks before a value.
static BLANKS: Bytes = Bytes::of(b" \t\r\n");

/// Claims one value by the first rule of its key that wants it.
pub(crate) fn claim_value(
    scan: &Scan<'_>,
    table: &KeyTable,
    value: &Value,
    named: &mut Vec<std::ops::Range<usize>>,
    claims: &mut Claims,
) -> bool {
    // most values of a second look are placeholders
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
