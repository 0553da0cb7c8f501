//! Finds secrets in call arguments without a key: `new NetworkCredential("user", "password")`, `jwt.sign(x, "secret")`.
//! At most [`MOST`] bytes behind the call's name are read, and only a quoted argument counts. `known_calls` lists the
//! calls; named arguments are in `assign`.

use std::ops::Range;

use super::super::pairs::{KeyValuePair, PairSeparator, ends_with, wrapper_len};
use super::super::sets::ByteSet;
use super::known_calls::{ArgumentForm, CHAR_ARRAY_CALLS, SecretArgument};
use super::pair_context::is_app_password;
use super::secret_keys::SecretKind;
use super::secret_rules::SecretRules;
use super::value_checks::{
    ByteCounts, cannot_be_secret, is_algorithm, is_path, is_random, is_twilio_id, is_uuid, is_wordlike, names_a_secret,
};
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};

/// Most bytes of a call.
const MOST: usize = 400;

/// Most nested brackets in an argument.
const DEPTH: usize = 4;

/// Bytes in which the next quote is searched at once.
const AHEAD: usize = 4 * MOST;

/// Checks the call whose name ends at `end`. `unquoted` caches a range without quotes.
pub(super) fn check_call(
    scan: &TextScan<'_>,
    end: usize,
    taken: SecretArgument,
    unquoted: &mut Range<usize>,
    rules: &SecretRules,
    claims: &mut PrivateClaims,
) {
    // Without a string, no argument counts
    if unquoted.start <= end && scan.text.len().min(end + MOST) <= unquoted.end {
        return;
    }
    let wanted = taken.argument;
    let rest = bytes_ahead(scan, end, MOST);
    // PowerShell calls have no brackets
    let shell = wanted == 0 && taken.form == ArgumentForm::Password && rest.first() == Some(&b' ');
    // `new PSCredential ("user", "password")`
    let open =
        usize::from(rest.starts_with(b" (") && (wanted > 0 || rest.get(2).is_some_and(|byte| b"\"'".contains(byte))));
    // Ruby calls need no brackets: `basic_auth "user", "password"`
    let bare = wanted == 1 && taken.form == ArgumentForm::Mixed && matches!(rest, [b' ', b'"' | b'\'', ..]);
    if rest.get(open) != Some(&b'(') && !shell && !bare {
        return;
    }
    let Some(rule) = rule_for_form(taken.form, rules) else { return };
    let far = scan.bytes(end..end + AHEAD);
    let quote = memchr::memchr2(b'"', b'\'', far).unwrap_or(far.len());
    *unquoted = end..end + quote;
    if quote >= rest.len() {
        return;
    }
    let mut at = if shell { powershell_switches_len(rest) } else { open + 1 };
    let mut last = at;
    for _ in 0..wanted {
        last = at;
        if taken.form == ArgumentForm::Third && quoted_argument(rest, at).is_none() {
            return;
        }
        let Some(next) = next_argument(rest, at) else { return };
        at = next;
    }
    let Some(argument) = literal_argument(rest, at) else { return };
    // `("user", "password")` is an example
    let names = || quoted_argument(rest, last).is_none_or(|user| names_a_secret(rest.get(user).unwrap_or_default()));
    let example = taken.form == ArgumentForm::Password
        && names_a_secret(rest.get(argument.clone()).unwrap_or_default())
        && names();
    if example || !has_form(rest, &argument, taken.form) {
        return;
    }
    claims.add(scan, rule, end + argument.start..end + argument.end);
    // `Client(key, secret)`: the key may be random as well
    let first = quoted_argument(rest, open + 1)
        .filter(|first| taken.form == ArgumentForm::Key && wanted == 1 && has_form(rest, first, ArgumentForm::Key));
    let id = |value: &[u8]| value.len() < 20 || is_twilio_id(value);
    if let Some(first) = first.filter(|first| !rest.get(first.clone()).is_some_and(id)) {
        claims.add(scan, rule, end + first.start..end + first.end);
    }
}

/// The rule for the required form of an argument.
fn rule_for_form(fits: ArgumentForm, rules: &SecretRules) -> Option<u16> {
    match fits {
        ArgumentForm::Password | ArgumentForm::Mixed | ArgumentForm::Third => rules.password,
        ArgumentForm::Secret | ArgumentForm::Key | ArgumentForm::Uuid => rules.value,
    }
}

/// Whether the string at `range` has the required form.
fn has_form(rest: &[u8], range: &Range<usize>, fits: ArgumentForm) -> bool {
    let value = rest.get(range.clone()).unwrap_or_default();
    let look = ByteCounts::count(value);
    let password = matches!(fits, ArgumentForm::Password | ArgumentForm::Mixed | ArgumentForm::Third);
    if value.len() < 4 || look.blanks > 0 && !(password && is_app_password(value)) || cannot_be_secret(value) {
        return false;
    }
    let host = || memchr::memchr(b':', value).is_some_and(|at| value.get(at + 1).is_some_and(u8::is_ascii_digit));
    // A prompt for a secret
    let asked = value.ends_with(b":") || value.ends_with(b"?");
    let plain = || {
        asked
            || fits == ArgumentForm::Third && host()
            || value.windows(3).any(|part| part == b"://")
            || is_path(value)
            || is_concatenated(rest, range.end)
    };
    // `web2` is a name
    let numbered = look.digits == 1 && look.lower + 1 == look.len && value.last().is_some_and(u8::is_ascii_digit);
    // A Google app password, without blanks
    let letters = look.lower == 16 && look.len == 16;
    let mixed = letters || look.digits > 0 && !numbered || look.marks > look.joints || look.blanks > 0;
    let mail = memchr::memchr(b'@', value).is_some_and(|at| value.get(at..).is_some_and(|host| host.contains(&b'.')));
    match fits {
        ArgumentForm::Password => true,
        ArgumentForm::Mixed | ArgumentForm::Third => {
            mixed && !mail && look.letters() > 0 && !plain() && !names_a_secret(value) && !is_algorithm(value)
        }
        ArgumentForm::Secret => !plain() && !names_a_secret(value) && !is_algorithm(value),
        ArgumentForm::Key => {
            is_random(value) && !is_uuid(value) && !plain() || look.hex && value.len() >= 32 && look.digits > 3
        }
        ArgumentForm::Uuid => is_uuid(value) || is_random(value) && !plain(),
    }
}

/// Whether code extends the string that ends at `end`: `"v1." + body`, `"%s" % x`.
fn is_concatenated(rest: &[u8], end: usize) -> bool {
    let behind = rest.get(end..).unwrap_or_default();
    let quote = behind.iter().take(9).take_while(|byte| b"\\\"'`".contains(byte)).count();
    let behind = behind.get(quote..).unwrap_or_default().trim_ascii_start();
    matches!(behind.first(), Some(b'+' | b'%' | b'?'))
        || behind.starts_with(b".format")
        || behind.starts_with(b".concat")
}

/// Claims the string in `"…".toCharArray()` if it is an argument of a call that takes a password.
pub(super) fn claim_char_array(scan: &TextScan<'_>, at: usize, rules: &SecretRules, claims: &mut PrivateClaims) {
    let start = at.saturating_sub(MOST / 2);
    let head = scan.bytes(start..at);
    let Some(body) = head.strip_suffix(b".").filter(|_| scan.byte(at + 11) == b'(') else { return };
    let Some((mark, body)) = body.split_last().filter(|(mark, _)| **mark == b'"') else { return };
    let bare = |text: &[u8]| text.len() - text.iter().rev().take(8).take_while(|byte| **byte == b'\\').count();
    let body = body.get(..bare(body)).unwrap_or_default();
    let Some(open) = body.iter().rposition(|byte| byte == mark) else { return };
    let lead = body.get(..open).unwrap_or_default();
    let range = open + 1..body.len();
    let wanted = lead
        .get(..bare(lead))
        .and_then(open_call_name)
        .is_some_and(|name| CHAR_ARRAY_CALLS.iter().any(|end| ends_with(name, end)));
    if let Some(rule) = rules.password.filter(|_| wanted && has_form(head, &range, ArgumentForm::Secret)) {
        claims.add(scan, rule, start + range.start..start + range.end);
    }
}

/// The name of the call that is still open at the end of `head`.
fn open_call_name(head: &[u8]) -> Option<&[u8]> {
    let mut closed = 0_usize;
    let open = head.iter().rposition(|byte| match byte {
        b')' => {
            closed += 1;
            false
        }
        b'(' if closed > 0 => {
            closed -= 1;
            false
        }
        byte => *byte == b'(',
    })?;
    let name = head.get(..open)?;
    let len = name.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    name.get(open - len..)
}

/// Length of PowerShell's `-String` and switches before the argument.
fn powershell_switches_len(rest: &[u8]) -> usize {
    let mut at = 1;
    for word in [&b"-AsPlainText "[..], b"-Force ", b"-String ", b"-AsPlainText ", b"-Force "] {
        let next = rest.get(at..).unwrap_or_default();
        at += if next.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word)) { word.len() } else { 0 };
    }
    at
}

/// Whether a call has no password left to claim: it is a getter, its first argument is a user, or its password is
/// already a placeholder. Moves `pair` to the second argument if that is the password.
pub(super) fn has_no_password(scan: &TextScan<'_>, pair: &mut KeyValuePair, kind: SecretKind) -> bool {
    match (pair.sep, kind) {
        (PairSeparator::Call, SecretKind::Password) => {
            is_getter(scan.bytes(pair.key.clone())) || use_second_argument(scan, pair)
        }
        (PairSeparator::Call, SecretKind::Secret) => {
            let behind = scan.bytes(pair.value.end..pair.value.end + 8);
            let close = behind.iter().take_while(|byte| b"\\\"' ".contains(byte)).count();
            let key = scan.bytes(pair.key.clone());
            (ends_with(key, b"credential") || ends_with(key, b"credentials"))
                && behind.get(close) == Some(&b',')
                && !is_random(scan.bytes(pair.value.clone()))
        }
        _ => false,
    }
}

/// `keyring.get_password("service", "user")`: a getter takes no password.
fn is_getter(key: &[u8]) -> bool {
    let name = key.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    let (head, next) = (name.get(..3).unwrap_or_default(), name.get(3).copied().unwrap_or(b'_'));
    // `signInWithEmailAndPassword(email, …)`
    ends_with(key, b"andpassword") || head.eq_ignore_ascii_case(b"get") && (next == b'_' || next.is_ascii_uppercase())
}

/// `verify_password("alice", "…")`: after a user, who is a word, the password is the second argument. Returns whether
/// it is already a placeholder.
fn use_second_argument(scan: &TextScan<'_>, pair: &mut KeyValuePair) -> bool {
    let first = scan.bytes(pair.value.clone());
    let look = ByteCounts::count(first);
    let next = argument_behind(scan, pair.value.end);
    if let Some(next) = next.filter(|next| {
        let value = scan.bytes(next.clone());
        let second = ByteCounts::count(value);
        let mixed = second.digits > 0 || second.marks > second.joints;
        look.digits == 0 && is_wordlike(first) && value.len() >= 4 && mixed && !is_wordlike(value)
    }) {
        pair.value = next;
    }
    let behind = scan.bytes(pair.value.end..pair.value.end + 12);
    let joint = behind.iter().take_while(|byte| b"\\\"', ".contains(byte)).count();
    is_wordlike(first) && joint > 2 && scan.is_in_placeholder(pair.value.end + joint)
}

/// The quoted argument behind the one that ends at `end`.
fn argument_behind(scan: &TextScan<'_>, end: usize) -> Option<Range<usize>> {
    let rest = bytes_ahead(scan, end, MOST);
    let close = rest.iter().take(8).take_while(|byte| b"\\\"'".contains(byte)).count();
    let blanks = rest.iter().skip(close).take(64).take_while(|byte| byte.is_ascii_whitespace()).count();
    let comma = close + blanks;
    let found = quoted_argument(rest, comma + 1).filter(|_| close > 0 && rest.get(comma) == Some(&b','))?;
    Some(end + found.start..end + found.end)
}

/// Bytes that begin or end a string or an argument, or are brackets.
static MARKS: ByteSet = ByteSet::new(b",\"'([{)]};");

/// Position behind the comma that ends the argument at `at`, whatever its form: a string, a name, a call.
pub(super) fn next_argument(rest: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        let byte = *rest.get(at)?;
        at += 1;
        if !MARKS.contains(byte) {
            continue;
        }
        match byte {
            b',' if depth == 0 => return Some(at),
            b'"' | b'\'' => at = read_string(rest, at - 1)?.1 + 1,
            b'(' | b'[' | b'{' if depth < DEPTH => depth += 1,
            b'(' | b'[' | b'{' | b';' => return None,
            b')' | b']' | b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
}

/// The quoted argument at `at`, optionally wrapped: `[]byte("…")`, `Some("…")`, `new Key("…")`.
fn literal_argument(rest: &[u8], at: usize) -> Option<Range<usize>> {
    quoted_argument(rest, at).or_else(|| {
        let blanks = rest.get(at..)?.iter().take(64).take_while(|byte| byte.is_ascii_whitespace()).count();
        let mut rest_at = rest.get(at + blanks..)?;
        let mut blanks = blanks;
        // `key="…"`
        let name = rest_at.iter().take(24).take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        if rest_at.get(name) == Some(&b'=') && rest_at.get(..name).is_some_and(names_a_secret) {
            blanks += name + 1;
            if let Some(found) = quoted_argument(rest, at + blanks) {
                return Some(found);
            }
            rest_at = rest.get(at + blanks..)?;
        }
        let inner = wrapper_len(rest_at).or_else(|| rest_at.starts_with(b"new Key(").then_some(8))?;
        quoted_argument(rest, at + blanks + inner)
    })
}

/// The quoted argument at `at` without its quotes, which may be escaped and have a prefix (`@"…"`, `r'…'`).
pub(super) fn quoted_argument(rest: &[u8], at: usize) -> Option<Range<usize>> {
    let rest_at = rest.get(at..)?;
    let blanks = rest_at.iter().take(64).take_while(|byte| byte.is_ascii_whitespace()).count();
    let prefix = rest_at.iter().skip(blanks).take(2).take_while(|byte| b"@$bBfFrRuU".contains(byte)).count();
    let escapes = rest_at.iter().skip(blanks + prefix).take(8).take_while(|byte| **byte == b'\\').count();
    let mark = at + blanks + prefix + escapes;
    rest.get(mark).filter(|byte| b"\"'".contains(byte))?;
    let (found, close) = read_string(rest, mark)?;
    // A JSON key is not an argument
    (rest.get(close + 1) != Some(&b':')).then_some(found)
}

/// The content of the string whose quote, perhaps escaped, is at `at`, and the position of its closing quote; quotes
/// with more backslashes are part of the string.
pub(super) fn read_string(rest: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let backslashes =
        |at: usize| rest.get(..at).unwrap_or_default().iter().rev().take(16).take_while(|byte| **byte == b'\\').count();
    let mark = *rest.get(at)?;
    let (start, escapes) = (at + 1, backslashes(at));
    // In C#'s `@"C:\"`, a backslash is literal
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
