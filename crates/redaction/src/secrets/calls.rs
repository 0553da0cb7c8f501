//! Finds secrets in call arguments without a key: `new NetworkCredential("user", "password")`, `jwt.sign(x, "secret")`.
//! At most [`MAX_CALL`] bytes after the call's name are read, and only a quoted argument counts. `known_calls` lists
//! the calls; named arguments are in `assign`.

use std::ops::Range;

use super::super::pairs::{KeyValuePair, PairSeparator, ends_with, wrapper_len};
use super::super::sets::ByteSet;
use super::known_calls::{ArgumentForm, CHAR_ARRAY_CALLS, SecretArgument};
use super::pair_context::is_app_password;
use super::secret_keys::SecretKind;
use super::value_checks::{
    ByteCounts, cannot_be_secret, is_algorithm, is_path, is_random, is_twilio_id, is_uuid, is_wordlike, names_a_secret,
};
use crate::rule::RuleFamily;
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};

/// Most bytes of a call.
const MAX_CALL: usize = 400;

/// Most nested brackets in an argument.
const MAX_DEPTH: usize = 4;

/// Bytes in which the next quote is searched at once.
const QUOTE_REACH: usize = 4 * MAX_CALL;

/// Checks the call whose name ends at `end`. `unquoted` caches a range without quotes.
pub(super) fn check_call(
    scan: &TextScan<'_>,
    end: usize,
    secret: SecretArgument,
    unquoted: &mut Range<usize>,
    claims: &mut PrivateClaims,
) {
    // Without a string, no argument counts
    if unquoted.start <= end && scan.text.len().min(end + MAX_CALL) <= unquoted.end {
        return;
    }
    let index = secret.index;
    let rest = bytes_ahead(scan, end, MAX_CALL);
    // PowerShell calls have no brackets
    let is_powershell = index == 0 && secret.form == ArgumentForm::Password && rest.first() == Some(&b' ');
    // `new PSCredential ("user", "password")`
    let blanks =
        usize::from(rest.starts_with(b" (") && (index > 0 || rest.get(2).is_some_and(|byte| b"\"'".contains(byte))));
    // Ruby calls need no brackets: `basic_auth "user", "password"`
    let has_no_brackets = index == 1 && secret.form == ArgumentForm::Mixed && matches!(rest, [b' ', b'"' | b'\'', ..]);
    if rest.get(blanks) != Some(&b'(') && !is_powershell && !has_no_brackets {
        return;
    }
    let ahead = scan.bytes(end..end + QUOTE_REACH);
    let quote_at = memchr::memchr2(b'"', b'\'', ahead).unwrap_or(ahead.len());
    *unquoted = end..end + quote_at;
    if quote_at >= rest.len() {
        return;
    }
    let mut at = if is_powershell { powershell_switches_len(rest) } else { blanks + 1 };
    let mut previous = at;
    for _ in 0..index {
        previous = at;
        if secret.form == ArgumentForm::Third && quoted_argument(rest, at).is_none() {
            return;
        }
        let Some(next) = next_argument(rest, at) else { return };
        at = next;
    }
    let Some(argument) = literal_argument(rest, at) else { return };
    // `("user", "password")` is an example: both only name what they stand for
    let has_named_user =
        || quoted_argument(rest, previous).is_none_or(|user| names_a_secret(rest.get(user).unwrap_or_default()));
    let is_example = secret.form == ArgumentForm::Password
        && names_a_secret(rest.get(argument.clone()).unwrap_or_default())
        && has_named_user();
    if is_example || !has_form(rest, &argument, secret.form) {
        return;
    }
    let family = family_for_form(secret.form);
    claims.add_for(scan, family, end + argument.start..end + argument.end);
    // `Client(key, secret)`: the key may be random as well
    let key = quoted_argument(rest, blanks + 1)
        .filter(|key| secret.form == ArgumentForm::Key && index == 1 && has_form(rest, key, ArgumentForm::Key));
    let is_id = |value: &[u8]| value.len() < 20 || is_twilio_id(value);
    if let Some(key) = key.filter(|key| !rest.get(key.clone()).is_some_and(is_id)) {
        claims.add_for(scan, family, end + key.start..end + key.end);
    }
}

/// The family for the required form of an argument.
fn family_for_form(form: ArgumentForm) -> RuleFamily {
    match form {
        ArgumentForm::Password | ArgumentForm::Mixed | ArgumentForm::Third => RuleFamily::Password,
        ArgumentForm::Secret | ArgumentForm::Key | ArgumentForm::Uuid => RuleFamily::SecretValue,
    }
}

/// Whether the string at `range` has the required form.
fn has_form(rest: &[u8], range: &Range<usize>, form: ArgumentForm) -> bool {
    let value = rest.get(range.clone()).unwrap_or_default();
    let counts = ByteCounts::count(value);
    let may_have_blanks = matches!(form, ArgumentForm::Password | ArgumentForm::Mixed | ArgumentForm::Third);
    if value.len() < 4 || counts.blanks > 0 && !(may_have_blanks && is_app_password(value)) || cannot_be_secret(value) {
        return false;
    }
    let has_port = || memchr::memchr(b':', value).is_some_and(|at| value.get(at + 1).is_some_and(u8::is_ascii_digit));
    // A prompt for a secret
    let is_prompt = value.ends_with(b":") || value.ends_with(b"?");
    let is_no_secret = || {
        is_prompt
            || form == ArgumentForm::Third && has_port()
            || value.windows(3).any(|part| part == b"://")
            || is_path(value)
            || is_concatenated(rest, range.end)
    };
    // `web2` is a name
    let is_numbered_name =
        counts.digits == 1 && counts.lower + 1 == counts.len && value.last().is_some_and(u8::is_ascii_digit);
    // A Google app password, without blanks
    let is_joined_app_password = counts.lower == 16 && counts.len == 16;
    let is_mixed = is_joined_app_password
        || counts.digits > 0 && !is_numbered_name
        || counts.marks > counts.joints
        || counts.blanks > 0;
    let is_email =
        memchr::memchr(b'@', value).is_some_and(|at| value.get(at..).is_some_and(|domain| domain.contains(&b'.')));
    match form {
        ArgumentForm::Password => true,
        ArgumentForm::Mixed | ArgumentForm::Third => {
            is_mixed
                && !is_email
                && counts.letters() > 0
                && !is_no_secret()
                && !names_a_secret(value)
                && !is_algorithm(value)
        }
        ArgumentForm::Secret => !is_no_secret() && !names_a_secret(value) && !is_algorithm(value),
        ArgumentForm::Key => {
            is_random(value) && !is_uuid(value) && !is_no_secret()
                || counts.hex && value.len() >= 32 && counts.digits > 3
        }
        ArgumentForm::Uuid => is_uuid(value) || is_random(value) && !is_no_secret(),
    }
}

/// Whether code extends the string that ends at `end`: `"v1." + body`, `"%s" % x`.
fn is_concatenated(rest: &[u8], end: usize) -> bool {
    let after = rest.get(end..).unwrap_or_default();
    let quote_len = after.iter().take(9).take_while(|byte| b"\\\"'`".contains(byte)).count();
    let after = after.get(quote_len..).unwrap_or_default().trim_ascii_start();
    matches!(after.first(), Some(b'+' | b'%' | b'?')) || after.starts_with(b".format") || after.starts_with(b".concat")
}

/// Claims the string in `"…".toCharArray()` if it is an argument of a call that takes a password.
pub(super) fn claim_char_array(scan: &TextScan<'_>, at: usize, claims: &mut PrivateClaims) {
    let start = at.saturating_sub(MAX_CALL / 2);
    let head = scan.bytes(start..at);
    let Some(body) = head.strip_suffix(b".").filter(|_| scan.byte(at + 11) == b'(') else { return };
    let Some((mark, body)) = body.split_last().filter(|(mark, _)| **mark == b'"') else { return };
    let len_without_backslashes =
        |text: &[u8]| text.len() - text.iter().rev().take(8).take_while(|byte| **byte == b'\\').count();
    let body = body.get(..len_without_backslashes(body)).unwrap_or_default();
    let Some(open_quote) = body.iter().rposition(|byte| byte == mark) else { return };
    let before_quote = body.get(..open_quote).unwrap_or_default();
    let range = open_quote + 1..body.len();
    let takes_password = before_quote
        .get(..len_without_backslashes(before_quote))
        .and_then(open_call_name)
        .is_some_and(|name| CHAR_ARRAY_CALLS.iter().any(|end| ends_with(name, end)));
    if takes_password && has_form(head, &range, ArgumentForm::Secret) {
        claims.add_for(scan, RuleFamily::Password, start + range.start..start + range.end);
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
            let after = scan.bytes(pair.value.end..pair.value.end + 8);
            let close = after.iter().take_while(|byte| b"\\\"' ".contains(byte)).count();
            let key = scan.bytes(pair.key.clone());
            (ends_with(key, b"credential") || ends_with(key, b"credentials"))
                && after.get(close) == Some(&b',')
                && !is_random(scan.bytes(pair.value.clone()))
        }
        _ => false,
    }
}

/// `keyring.get_password("service", "user")`: a getter takes no password.
fn is_getter(key: &[u8]) -> bool {
    let name = key.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    let (verb, after_verb) = (name.get(..3).unwrap_or_default(), name.get(3).copied().unwrap_or(b'_'));
    // `signInWithEmailAndPassword(email, …)`
    ends_with(key, b"andpassword")
        || verb.eq_ignore_ascii_case(b"get") && (after_verb == b'_' || after_verb.is_ascii_uppercase())
}

/// `verify_password("alice", "…")`: after a user, who is a word, the password is the second argument. Returns whether
/// it is already a placeholder.
fn use_second_argument(scan: &TextScan<'_>, pair: &mut KeyValuePair) -> bool {
    let first = scan.bytes(pair.value.clone());
    let has_digits = first.iter().any(u8::is_ascii_digit);
    let second = argument_after(scan, pair.value.end).filter(|second| {
        let value = scan.bytes(second.clone());
        let counts = ByteCounts::count(value);
        let is_mixed = counts.digits > 0 || counts.marks > counts.joints;
        !has_digits && is_wordlike(first) && value.len() >= 4 && is_mixed && !is_wordlike(value)
    });
    if let Some(second) = second {
        pair.value = second;
    }
    let after = scan.bytes(pair.value.end..pair.value.end + 12);
    let joint_len = after.iter().take_while(|byte| b"\\\"', ".contains(byte)).count();
    is_wordlike(first) && joint_len > 2 && scan.is_in_placeholder(pair.value.end + joint_len)
}

/// The quoted argument after the one that ends at `end`.
fn argument_after(scan: &TextScan<'_>, end: usize) -> Option<Range<usize>> {
    let rest = bytes_ahead(scan, end, MAX_CALL);
    let close = rest.iter().take(8).take_while(|byte| b"\\\"'".contains(byte)).count();
    let blanks = rest.iter().skip(close).take(64).take_while(|byte| byte.is_ascii_whitespace()).count();
    let comma = close + blanks;
    let found = quoted_argument(rest, comma + 1).filter(|_| close > 0 && rest.get(comma) == Some(&b','))?;
    Some(end + found.start..end + found.end)
}

/// Bytes that begin or end a string or an argument, or are brackets.
static MARKS: ByteSet = ByteSet::new(b",\"'([{)]};");

/// Position after the comma that ends the argument at `at`, whatever its form: a string, a name, a call.
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
            b'(' | b'[' | b'{' if depth < MAX_DEPTH => depth += 1,
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
        let mut argument = rest.get(at + blanks..)?;
        let mut blanks = blanks;
        // `key="…"`
        let name_len =
            argument.iter().take(24).take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        if argument.get(name_len) == Some(&b'=') && argument.get(..name_len).is_some_and(names_a_secret) {
            blanks += name_len + 1;
            if let Some(found) = quoted_argument(rest, at + blanks) {
                return Some(found);
            }
            argument = rest.get(at + blanks..)?;
        }
        let wrapper = wrapper_len(argument).or_else(|| argument.starts_with(b"new Key(").then_some(8))?;
        quoted_argument(rest, at + blanks + wrapper)
    })
}

/// The quoted argument at `at` without its quotes, which may be escaped and have a prefix (`@"…"`, `r'…'`).
pub(super) fn quoted_argument(rest: &[u8], at: usize) -> Option<Range<usize>> {
    let argument = rest.get(at..)?;
    let blanks = argument.iter().take(64).take_while(|byte| byte.is_ascii_whitespace()).count();
    let prefix = argument.iter().skip(blanks).take(2).take_while(|byte| b"@$bBfFrRuU".contains(byte)).count();
    let backslashes = argument.iter().skip(blanks + prefix).take(8).take_while(|byte| **byte == b'\\').count();
    let quote_at = at + blanks + prefix + backslashes;
    rest.get(quote_at).filter(|byte| b"\"'".contains(byte))?;
    let (content, close) = read_string(rest, quote_at)?;
    // A JSON key is not an argument
    (rest.get(close + 1) != Some(&b':')).then_some(content)
}

/// The content of the string whose quote, perhaps escaped, is at `at`, and the position of its closing quote; quotes
/// with more backslashes are part of the string.
pub(super) fn read_string(rest: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let count_backslashes_before =
        |at: usize| rest.get(..at).unwrap_or_default().iter().rev().take(16).take_while(|byte| **byte == b'\\').count();
    let quote = *rest.get(at)?;
    let (start, opening_backslashes) = (at + 1, count_backslashes_before(at));
    // In C#'s `@"C:\"`, a backslash is literal
    let is_verbatim = rest.get(..at - opening_backslashes)?.ends_with(b"@");
    let mut end = start;
    loop {
        end += rest.get(end..)?.iter().position(|byte| *byte == quote || *byte == b'\n')?;
        if rest.get(end) == Some(&b'\n') {
            return None;
        }
        let backslashes = count_backslashes_before(end).min(end - start);
        if is_verbatim
            || (backslashes.saturating_sub(opening_backslashes) / (opening_backslashes + 1)).is_multiple_of(2)
        {
            return Some((start..end - backslashes.min(opening_backslashes), end));
        }
        end += 1;
    }
}
