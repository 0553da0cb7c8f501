//! **What**: passwords that stand in a call without a key: `new NetworkCredential("user", "password")`. **Invariants**: at most [`MOST`]
//! bytes are read behind the call's name; only a quoted argument counts. **Not here**: arguments with a name (`assign`).

use std::ops::Range;

use super::super::scan::{Claims, Scan};
use super::values::{Look, refused};
use super::{Rules, ahead};

/// Bytes of a call.
const MOST: usize = 400;

/// Calls, and which argument is the password.
pub(super) const CALLS: &[(&str, usize)] = &[
    ("networkcredential", 1),
    ("directoryentry", 2),
    ("opendsobject", 2),
    ("passwordauthentication", 1),
    ("usernamepasswordcredentials", 1),
    ("usernamepasswordauthenticationtoken", 1),
    ("httpbasicauth", 1),
    ("httpdigestauth", 1),
    ("httpproxyauth", 1),
    ("setbasicauth", 1),
    ("basicawscredentials", 1),
    ("newstaticcredentials", 1),
    ("newstaticcredentialsprovider", 1),
];

/// Looks at the call whose name ends at `end`.
pub(super) fn look(scan: &Scan<'_>, end: usize, wanted: usize, rules: &Rules, claims: &mut Claims) {
    let rest = ahead(scan, end, MOST);
    let Some(rule) = rules.password.filter(|_| rest.first() == Some(&b'(')) else { return };
    let mut at = 1;
    for index in 0..=wanted {
        let Some(argument) = quoted(rest, at) else { return };
        let value = rest.get(argument.clone()).unwrap_or_default();
        if index == wanted && value.len() >= 4 && Look::at(value).blanks == 0 && !refused(value) {
            claims.add(scan, rule, end + argument.start..end + argument.end);
        }
        let behind = rest.get(argument.end..).unwrap_or_default();
        let Some(comma) = behind.iter().take(8).position(|byte| *byte == b',') else { return };
        at = argument.end + comma + 1;
    }
}

/// The quoted argument at `at`, without its quotes, which may be escaped.
fn quoted(rest: &[u8], at: usize) -> Option<Range<usize>> {
    let rest_at = rest.get(at..)?;
    let blanks = rest_at.iter().take(64).take_while(|byte| byte.is_ascii_whitespace()).count();
    let escapes = rest_at.iter().skip(blanks).take(8).take_while(|byte| **byte == b'\\').count();
    let mark = *rest_at.get(blanks + escapes).filter(|byte| b"\"'".contains(byte))?;
    let start = at + blanks + escapes + 1;
    let len = rest.get(start..)?.iter().position(|byte| *byte == mark || *byte == b'\n')?;
    let own = rest.get(start..start + len)?.iter().rev().take_while(|byte| **byte == b'\\').count();
    (rest.get(start + len) == Some(&mark)).then_some(start..start + len - own.min(escapes))
}
