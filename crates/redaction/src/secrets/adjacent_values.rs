//! Finds secrets next to the value of a key: the new value in a plan of changes (`"old" -> "new"`), and values assigned
//! to several names at once (`user, password = "bob", "x"`). Only names and literals on one line are read. Single keys
//! are in `assign`.

use super::super::pairs::{KeyValuePair, PairSeparator};
use super::calls;
use super::secret_keys::{SecretKind, classify_key};
use super::secret_rules::SecretRules;
use super::value_checks::{ByteCounts, cannot_be_secret, is_wordlike};
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};

/// Most bytes of the names before the last one, and of the values.
const NAMES: usize = 128;
const VALUES: usize = 512;

/// Claims the new value in a plan of changes, behind a secret's old value: `"old" -> "new"`.
pub(super) fn claim_planned_value(scan: &TextScan<'_>, end: usize, rule: u16, claims: &mut PrivateClaims) {
    let Some(rest) = bytes_ahead(scan, end, VALUES).strip_prefix(b"\" -> \"") else { return };
    let len = rest.iter().take_while(|byte| !b"\"\n\\".contains(byte)).count();
    if rest.get(len) == Some(&b'"') && !cannot_be_secret(rest.get(..len).unwrap_or_default()) {
        claims.add(scan, rule, end + 6..end + 6 + len);
    }
}

/// Claims the values of `user, password = "bob", "x"`, where the last name is the key of the pair. Returns false if
/// there is only one name.
pub(super) fn claim_parallel_values(
    scan: &TextScan<'_>,
    pair: &KeyValuePair,
    rules: &SecretRules,
    claims: &mut PrivateClaims,
) -> bool {
    if pair.sep != PairSeparator::Equals
        || pair.quote.is_none()
        || scan.bytes(pair.key.start.saturating_sub(2)..pair.key.start) != b", "
    {
        return false;
    }
    let start = pair.key.start.saturating_sub(NAMES);
    let head = scan.bytes(start..pair.key.end);
    let line = head.rsplit(|byte| b"\n\r;".contains(byte)).next().unwrap_or_default();
    // `const a, b`
    let named = |name: &[u8]| name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_$@.".contains(byte));
    let names =
        line.split(|byte| *byte == b',').map(|part| part.rsplit(u8::is_ascii_whitespace).next().unwrap_or_default());
    let Some(open) = pair.value.start.checked_sub(1) else { return false };
    let values = bytes_ahead(scan, open, VALUES);
    let (mut at, mut found, mut hidden) = (Some(0), Vec::new(), false);
    for name in names {
        let from = at.unwrap_or(values.len());
        let value = calls::quoted_argument(values, from);
        // A value that an earlier pass already replaced
        hidden |= value.is_none() && {
            let rest = values.get(from..).unwrap_or_default();
            rest.len() < 8
                && scan.is_in_placeholder(open + from + rest.iter().take_while(|byte| b" \"'".contains(byte)).count())
        };
        if name.is_empty() || !named(name) {
            return false;
        }
        found.push((name, value));
        at = at.and_then(|at| calls::next_argument(values, at));
    }
    // There must be as many values as names
    if found.len() < 2 || !hidden && found.iter().any(|(_, value)| value.is_none()) {
        return false;
    }
    let last = found.len() - 1;
    let mut claimed = hidden;
    for (on, (name, value)) in found.into_iter().enumerate() {
        let (Some(kind), Some(value)) = (classify_key(name), value) else { continue };
        let text = values.get(value.clone()).unwrap_or_default();
        let look = ByteCounts::count(text);
        let mixed = look.blanks == 0 && (look.digits > 0 || look.marks > look.joints) && look.letters() > 0;
        let fits = match kind {
            SecretKind::Password | SecretKind::Pass => look.len >= 4 && mixed,
            SecretKind::Secret | SecretKind::Token => look.len >= 8 && mixed && !is_wordlike(text),
            _ => false,
        };
        if let Some(rule) = rules.rule_for_key(kind, name).filter(|_| fits && !cannot_be_secret(text)) {
            claims.add(scan, rule, open + value.start..open + value.end);
            claimed |= on == last;
        }
    }
    // Otherwise the words before were not names, and the first value belongs to the key
    claimed
}
