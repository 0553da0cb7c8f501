//! Finds secrets next to the value of a key: the new value in a plan of changes (`"old" -> "new"`), and values assigned
//! to several names at once (`user, password = "bob", "x"`). Only names and literals on one line are read. Single keys
//! are in `assign`.

use super::super::pairs::{KeyValuePair, PairSeparator};
use super::calls;
use super::secret_keys::{SecretKind, classify_key};
use super::value_checks::{ByteCounts, cannot_be_secret, is_wordlike};
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};

/// Most bytes of the names before the last one, and of the values.
const MAX_NAMES: usize = 128;
const MAX_VALUES: usize = 512;

/// Claims the new value in a plan of changes, after a secret's old value that ends at `end`: `"old" -> "new"`.
pub(super) fn claim_planned_value(scan: &TextScan<'_>, end: usize, rule: u16, claims: &mut PrivateClaims) {
    let Some(rest) = bytes_ahead(scan, end, MAX_VALUES).strip_prefix(b"\" -> \"") else { return };
    let len = rest.iter().take_while(|byte| !b"\"\n\\".contains(byte)).count();
    if rest.get(len) == Some(&b'"') && !cannot_be_secret(rest.get(..len).unwrap_or_default()) {
        claims.add(scan, rule, end + 6..end + 6 + len);
    }
}

/// Claims the values of `user, password = "bob", "x"`, where the last name is the key of the pair. Returns false if
/// there is only one name.
pub(super) fn claim_parallel_values(scan: &TextScan<'_>, pair: &KeyValuePair, claims: &mut PrivateClaims) -> bool {
    if pair.sep != PairSeparator::Equals
        || pair.quote.is_none()
        || scan.bytes(pair.key.start.saturating_sub(2)..pair.key.start) != b", "
    {
        return false;
    }
    let start = pair.key.start.saturating_sub(MAX_NAMES);
    let head = scan.bytes(start..pair.key.end);
    let statement = head.rsplit(|byte| b"\n\r;".contains(byte)).next().unwrap_or_default();
    let is_name = |name: &[u8]| name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_$@.".contains(byte));
    // The last word of a part: `const a, b`
    let names = statement
        .split(|byte| *byte == b',')
        .map(|part| part.rsplit(u8::is_ascii_whitespace).next().unwrap_or_default());
    let Some(open_quote) = pair.value.start.checked_sub(1) else { return false };
    let values = bytes_ahead(scan, open_quote, MAX_VALUES);
    let (mut at, mut assignments, mut has_placeholder) = (Some(0), Vec::new(), false);
    for name in names {
        let from = at.unwrap_or(values.len());
        let value = calls::quoted_argument(values, from);
        // An earlier pass may have replaced the value
        has_placeholder |= value.is_none() && {
            let rest = values.get(from..).unwrap_or_default();
            rest.len() < 8
                && scan.is_in_placeholder(
                    open_quote + from + rest.iter().take_while(|byte| b" \"'".contains(byte)).count(),
                )
        };
        if name.is_empty() || !is_name(name) {
            return false;
        }
        assignments.push((name, value));
        at = at.and_then(|at| calls::next_argument(values, at));
    }
    // There must be as many values as names
    if assignments.len() < 2 || !has_placeholder && assignments.iter().any(|(_, value)| value.is_none()) {
        return false;
    }
    let last = assignments.len() - 1;
    let mut is_last_claimed = has_placeholder;
    for (index, (name, value)) in assignments.into_iter().enumerate() {
        let (Some(kind), Some(value)) = (classify_key(name), value) else { continue };
        let text = values.get(value.clone()).unwrap_or_default();
        let counts = ByteCounts::count(text);
        let is_mixed =
            counts.blanks == 0 && (counts.digits > 0 || counts.marks > counts.joints) && counts.letters() > 0;
        let is_plausible = match kind {
            SecretKind::Password | SecretKind::Pass => counts.len >= 4 && is_mixed,
            SecretKind::Secret | SecretKind::Token => counts.len >= 8 && is_mixed && !is_wordlike(text),
            _ => false,
        };
        if let Some(rule) =
            scan.detector.families.rule_for_key(kind, name).filter(|_| is_plausible && !cannot_be_secret(text))
        {
            claims.add(scan, rule, open_quote + value.start..open_quote + value.end);
            is_last_claimed |= index == last;
        }
    }
    // If not claimed, the words before were not names, and the first value belongs to the key
    is_last_claimed
}
