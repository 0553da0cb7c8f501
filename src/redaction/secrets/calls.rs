//! **What**: passwords that stand in a call without a key: `new NetworkCredential("user", "password")`. **Invariants**: at most [`MOST`]
//! bytes are read behind the call's name; only a quoted argument counts, whatever stands before it. **Not here**: arguments with a name (`assign`).

use std::ops::Range;

use super::super::pairs::{Pair, Sep, ends_with};
use super::super::scan::{Claims, Scan};
use super::super::sets::Bytes;
use super::keys::Kind;
use super::values::{Look, random, refused, wordy};
use super::{Rules, ahead};

/// Bytes of a call.
const MOST: usize = 400;

/// Most brackets within brackets of an argument.
const DEPTH: usize = 4;

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
    ("convertto-securestring", 0),
    ("sqlcredential", 1),
    ("userpasswordcredential", 1),
    ("usernamepasswordcredential", 3),
    ("pscredential", 1),
    ("storagesharedkeycredential", 1),
    ("clientsecretcredential", 2),
    ("getconnection", 2),
    ("mysqli", 2),
    ("mysql_connect", 2),
    ("mysql_pconnect", 2),
    ("mysqli_connect", 2),
    ("pdo", 2),
    ("dbi->connect", 2),
    ("dbi.connect", 2),
    ("pymysql.connect", 2),
    ("mysqldb.connect", 2),
];

/// Looks at the call whose name ends at `end`.
pub(super) fn look(scan: &Scan<'_>, end: usize, wanted: usize, rules: &Rules, claims: &mut Claims) {
    let rest = ahead(scan, end, MOST);
    // PowerShell's have no brackets
    let shell = wanted == 0 && rest.first() == Some(&b' ');
    // `new PSCredential ("user", "password")`
    let open = usize::from(rest.starts_with(b" (") && wanted > 0);
    let Some(rule) = rules.password.filter(|_| rest.get(open) == Some(&b'(') || shell) else { return };
    let mut at = if shell { parameters(rest) } else { open + 1 };
    for _ in 0..wanted {
        let Some(next) = next_argument(rest, at) else { return };
        at = next;
    }
    let Some(argument) = quoted(rest, at) else { return };
    let value = rest.get(argument.clone()).unwrap_or_default();
    if value.len() >= 4 && Look::at(value).blanks == 0 && !refused(value) {
        claims.add(scan, rule, end + argument.start..end + argument.end);
    }
}

/// Bytes before the argument of a command of PowerShell, behind `-String` and switches.
fn parameters(rest: &[u8]) -> usize {
    let mut at = 1;
    for word in [&b"-AsPlainText "[..], b"-Force ", b"-String ", b"-AsPlainText ", b"-Force "] {
        let next = rest.get(at..).unwrap_or_default();
        at += if next.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word)) { word.len() } else { 0 };
    }
    at
}

/// Whether a call takes its own password, or one that is hidden already, elsewhere than first: a user stands there.
pub(super) fn is_taken(scan: &Scan<'_>, pair: &mut Pair, kind: Kind) -> bool {
    match (pair.sep, kind) {
        (Sep::Call, Kind::Password) => second(scan, pair),
        (Sep::Call, Kind::Secret) => {
            let behind = scan.bytes(pair.value.end..pair.value.end + 8);
            let close = behind.iter().take_while(|byte| b"\\\"' ".contains(byte)).count();
            ends_with(scan.bytes(pair.key.clone()), b"credential")
                && behind.get(close) == Some(&b',')
                && !random(scan.bytes(pair.value.clone()))
        }
        _ => false,
    }
}

/// `verify_password("alice", "…")`: behind a user, who is a word, the password stands second. Gives whether a placeholder does.
fn second(scan: &Scan<'_>, pair: &mut Pair) -> bool {
    let first = scan.bytes(pair.value.clone());
    let look = Look::at(first);
    let next = argument(scan, pair.value.end);
    if let Some(next) = next.filter(|next| {
        let value = scan.bytes(next.clone());
        let second = Look::at(value);
        let mixed = second.digits > 0 || second.marks > second.joints;
        look.digits == 0 && wordy(first) && value.len() >= 4 && mixed && !wordy(value)
    }) {
        pair.value = next;
    }
    let behind = scan.bytes(pair.value.end..pair.value.end + 12);
    let joint = behind.iter().take_while(|byte| b"\\\"', ".contains(byte)).count();
    wordy(first) && joint > 2 && scan.is_held(pair.value.end + joint)
}

/// The quoted argument behind the one that ends at `end`.
fn argument(scan: &Scan<'_>, end: usize) -> Option<Range<usize>> {
    let rest = ahead(scan, end, MOST);
    let close = rest.iter().take(8).take_while(|byte| b"\\\"'".contains(byte)).count();
    let blanks = rest.iter().skip(close).take(64).take_while(|byte| byte.is_ascii_whitespace()).count();
    let comma = close + blanks;
    let found = quoted(rest, comma + 1).filter(|_| close > 0 && rest.get(comma) == Some(&b','))?;
    Some(end + found.start..end + found.end)
}

/// What is neither a string in an argument, nor ends it, nor opens or closes a bracket.
static WITHIN: Bytes = Bytes::of(b",\"'([{)]};").others();

/// Behind the comma that ends the argument at `at`, whatever it is: a string, a name, a call.
pub(super) fn next_argument(rest: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        at += WITHIN.leading(rest.get(at..)?);
        match rest.get(at)? {
            b',' if depth == 0 => return Some(at + 1),
            b'"' | b'\'' => at = string(rest, at)?.1,
            b'(' | b'[' | b'{' if depth < DEPTH => depth += 1,
            b'(' | b'[' | b'{' => return None,
            b')' | b']' | b'}' => depth = depth.checked_sub(1)?,
            b';' => return None,
            _ => {}
        }
        at += 1;
    }
}

/// The quoted argument at `at`, without its quotes, which may be escaped, and have a letter or mark before them (`@"…"`, `r'…'`).
pub(super) fn quoted(rest: &[u8], at: usize) -> Option<Range<usize>> {
    let rest_at = rest.get(at..)?;
    let blanks = rest_at.iter().take(64).take_while(|byte| byte.is_ascii_whitespace()).count();
    let prefix = rest_at.iter().skip(blanks).take(2).take_while(|byte| b"@$bBfFrRuU".contains(byte)).count();
    let escapes = rest_at.iter().skip(blanks + prefix).take(8).take_while(|byte| **byte == b'\\').count();
    let mark = at + blanks + prefix + escapes;
    rest.get(mark).filter(|byte| b"\"'".contains(byte))?;
    let (found, close) = string(rest, mark)?;
    // a key of JSON is no argument
    (rest.get(close + 1) != Some(&b':')).then_some(found)
}

/// What is in the string whose quote stands at `at`, perhaps behind backslashes, and where its other quote stands; one within it has
/// more backslashes.
pub(super) fn string(rest: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let backslashes =
        |at: usize| rest.get(..at).unwrap_or_default().iter().rev().take(16).take_while(|byte| **byte == b'\\').count();
    let mark = *rest.get(at)?;
    let (start, escapes) = (at + 1, backslashes(at));
    // C#'s `@"C:\"`: a backslash is one
    let verbatim = rest.get(..at - escapes)?.ends_with(b"@");
    let mut end = start;
    loop {
        end += rest.get(end..)?.iter().position(|byte| *byte == mark || *byte == b'\n')?;
        if rest.get(end) == Some(&b'\n') {
            return None;
        }
        let own = backslashes(end).min(end - start);
        if verbatim || (own.saturating_sub(escapes) / (escapes + 1)).is_multiple_of(2) {
            return Some((start..end - own.min(escapes), end));
        }
        end += 1;
    }
}
