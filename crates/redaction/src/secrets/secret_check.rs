//! Decides whether a value is the secret that its key names, or only looks like one: code, prose, paths and names of
//! secrets are not secrets. Pure functions. `assign` and `secret_lists` find keys and values.

use std::sync::LazyLock;

use super::pair_context::PairContext;
use super::prose_passwords;
use super::secret_keys::SecretKind;
use super::templates::is_broken_template;
use super::value_checks::{
    ByteCounts, cannot_be_secret, contains_any_case, is_path, is_prose, is_prose_or_code_word, is_random, is_salt,
    is_sentence, is_twilio_id, is_uuid, is_version, is_wordlike,
};
use crate::pairs::{KeyValuePair, PairSeparator};
use crate::wordlists;

/// Whether the value is secret, given the kind of its key.
pub(super) fn is_secret_value(kind: SecretKind, value: &[u8], pair: &KeyValuePair, place: &PairContext) -> bool {
    let look = ByteCounts::count(value);
    let joins = |at: usize| matches!(value.get(at..at + 2), Some(b"::" | b"->"));
    let modules = || pair.quote.is_none() && memchr::memchr2_iter(b':', b'-', value).any(joins);
    let named = pair.sep == PairSeparator::Is || pair.sep == PairSeparator::Space && value.contains(&b'_');
    let ticks = named && pair.quote == Some(b'`') && !prose_passwords::is_literal_password(value, &look);
    let talk = kind != SecretKind::Password
        || matches!(pair.sep, PairSeparator::Colon | PairSeparator::Space | PairSeparator::Is) && pair.quote.is_none();
    let least = if place.parameter { 3 } else { 4 };
    if value.len() < least
        || is_bracket(value, pair)
        || place.typed
        || (talk && is_prose_or_code_word(value))
        || cannot_be_secret(value)
        || pair.quote.is_none() && is_version(value)
        || modules()
        || ticks
    {
        return false;
    }
    let flag = pair.sep == PairSeparator::Comma && place.flag && !value.starts_with(b"-");
    let strict = matches!(pair.sep, PairSeparator::Comma | PairSeparator::Compare) && !flag
        || (pair.sep == PairSeparator::Cell && look.blanks > 0);
    match kind {
        SecretKind::Password if !strict => is_password(value, &look, pair, place),
        // `bind '…' pass '…'`: a quoted value full of special characters is not a test result
        SecretKind::Pass
            if strict
                || matches!(pair.sep, PairSeparator::Space | PairSeparator::Is | PairSeparator::Call)
                    && !place.flag =>
        {
            pair.quote.is_some() && look.blanks == 0 && look.digits > 0 && look.marks > look.joints + 2
        }
        SecretKind::Pass => {
            let quiet = pair.sep == PairSeparator::Colon && pair.quote.is_none();
            (!quiet || (look.digits > 0 && look.letters() > 0 && !place.upper))
                && is_password(value, &look, pair, place)
        }
        SecretKind::Pin => look.digits == look.len && (4..=8).contains(&look.len) && pair.sep != PairSeparator::Space,
        SecretKind::Parameter if place.is_always_secret => {
            value.len() >= 4 && look.blanks == 0 && code_bracket(value, pair).is_none()
        }
        SecretKind::Parameter => {
            value.len() >= 8
                && look.blanks == 0
                && (look.digits > 0 && look.letters() > 0)
                && (!is_wordlike(value) || look.hex)
        }
        SecretKind::Secret | SecretKind::Weak | SecretKind::Token
            if pair.sep == PairSeparator::Comma && is_salt(value, &look) =>
        {
            true
        }
        SecretKind::Weak
            if pair.quote.is_none() && (look.upper == 0 && value.contains(&b'_') && look.digits * 4 < look.len) =>
        {
            false
        }
        SecretKind::Weak => {
            is_random(value) && !is_uuid(value) && !is_twilio_id(value) && code_bracket(value, pair).is_none()
        }
        // Excludes numbers, dates and words, which describe passwords
        SecretKind::Doubtful => {
            let mixed = look.digits > 0 && look.upper > 0 && look.lower > 0 && look.marks > look.joints;
            look.blanks == 0 && code_bracket(value, pair).is_none() && !is_uuid(value) && (mixed || is_random(value))
        }
        SecretKind::Password if (pair.sep == PairSeparator::Compare || place.stored) && pair.quote.is_some() => {
            prose_passwords::is_compared_password(value, &look)
        }
        SecretKind::Password => look.blanks == 0 && look.class_count() >= 2 && !is_wordlike(value),
        SecretKind::Secret | SecretKind::Token => is_secret(kind, value, &look, pair, place),
        SecretKind::Header | SecretKind::Cookie => false,
    }
}

/// Whether a text that is the whole value of a key is secret, judged as in JSON. Numbers with few digits are not.
pub(super) fn is_secret_under(kind: SecretKind, key: &[u8], value: &[u8]) -> bool {
    let pair =
        KeyValuePair { key: 0..0, sep: PairSeparator::Colon, quote: Some(b'"'), json_key: true, value: 0..value.len() };
    let place = PairContext::whole_value(!key.iter().any(u8::is_ascii_lowercase));
    let few = kind != SecretKind::Pin && value.len() < 6 && value.iter().all(u8::is_ascii_digit);
    !few && !matches!(kind, SecretKind::Header | SecretKind::Cookie | SecretKind::Parameter)
        && is_secret_value(kind, value, &pair, &place)
}

/// Whether a value is an object or array (`{`, `[`).
fn is_bracket(value: &[u8], pair: &KeyValuePair) -> bool {
    pair.quote.is_none() && value.first().is_some_and(|byte| b"{[(|>&*!@".contains(byte)) && !is_broken_template(value)
}

/// Position of the bracket if the value is code: `f(x)`, `a[0]`.
fn code_bracket(value: &[u8], pair: &KeyValuePair) -> Option<usize> {
    let at = if pair.quote.is_none() { memchr::memchr3(b'(', b'[', b'{', value)? } else { return None };
    let name = value.get(..at).unwrap_or_default();
    if value.get(at) == Some(&b'{') {
        // A struct literal in Go or Rust: `pkg.Type{Field`
        let typed = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'.';
        return (name.contains(&b'.') && name.iter().all(typed)).then_some(at);
    }
    if value.get(at) == Some(&b'[')
        && !name.starts_with(b"$")
        && continues_behind_bracket(value.get(at..).unwrap_or_default())
    {
        return None;
    }
    (!name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.$:!?".contains(byte))).then_some(at)
}

/// Whether letters or digits follow right behind the closing bracket, unlike in code.
fn continues_behind_bracket(rest: &[u8]) -> bool {
    let mut open = 0_usize;
    let close = rest.iter().position(|byte| {
        open += usize::from(b"([{".contains(byte));
        open -= usize::from(b")]}".contains(byte)).min(open);
        open == 0
    });
    close.and_then(|close| rest.get(close + 1)).is_some_and(u8::is_ascii_alphanumeric)
}

/// Words in the names that code gives to secrets.
static IDENTIFIERS: LazyLock<Vec<&[u8]>> = LazyLock::new(|| wordlists::bytes("secrets.identifiers"));

/// Whether a value is an identifier of code: letters such as `a.b`, `aB`, `a_b`.
fn is_identifier(value: &[u8], look: &ByteCounts) -> bool {
    let named = value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(byte));
    if memchr::memchr_iter(b':', value).any(|at| value.get(at + 1) == Some(&b':')) {
        return true;
    }
    let told = IDENTIFIERS.iter().any(|word| contains_any_case(value, word));
    named && (look.is_only_letters() || look.digits == 0 || told) && look.digits <= 2
}

fn is_password(value: &[u8], look: &ByteCounts, pair: &KeyValuePair, place: &PairContext) -> bool {
    // Words of another script behind a key in that script are text of a form
    let foreign = place.is_foreign && look.letters() + look.digits == 0 && !value.is_ascii();
    if is_path(value) && value.starts_with(b"/") || foreign {
        return false;
    }
    let mixed = look.digits > 0 || look.marks > look.joints;
    if pair.quote.is_some() {
        return is_quoted_password(value, look, pair, mixed || place.flag);
    }
    if code_bracket(value, pair).is_some() || look.blanks > 0 && !place.line_start {
        return false;
    }
    let code = is_identifier(value, look);
    let told = [&b"pass"[..], b"pwd", b"secret", b"token", b"user", b"get", b"arg"]
        .iter()
        .any(|word| contains_any_case(value, word));
    match pair.sep {
        PairSeparator::Is => {
            mixed && look.letters() > 0 && !is_wordlike(value)
                || prose_passwords::is_word_password(value, look, place.last_word || place.argument)
        }
        PairSeparator::Space if place.flag => {
            let random = look.upper > 2 && look.lower > 2 && look.len >= 12 && !is_wordlike(value);
            !value.starts_with(b"-") && (mixed || random || look.upper == 0 && place.last_word)
        }
        PairSeparator::Space => mixed && look.letters() > 0,
        PairSeparator::Call | PairSeparator::Comma | PairSeparator::Compare => false,
        PairSeparator::Equals if place.parameter || place.list => true,
        PairSeparator::Equals if place.argument => mixed && !code,
        PairSeparator::Equals if place.spaced => {
            mixed && !code || (place.line_end && !told && !value.contains(&b'.') && !is_camel_case(look, value))
        }
        PairSeparator::Equals => {
            !code || !value.contains(&b'.') && (!told || look.upper == 0 && look.len >= 10) || place.upper
        }
        PairSeparator::Arrow | PairSeparator::Colon if place.argument => {
            mixed && !code && look.letters() + look.digits > 3
        }
        PairSeparator::Arrow | PairSeparator::Colon => {
            (mixed && (!code || (place.line_start && place.line_end && !value.contains(&b'.'))))
                || (place.line_start && place.line_end && !told && look.upper == 0 && !value.contains(&b'.'))
        }
        PairSeparator::Element if is_camel_case(look, value) => true,
        PairSeparator::Cell | PairSeparator::Element | PairSeparator::Sibling => {
            mixed || look.upper == 0 && !(look.blanks > 0 && is_prose(value))
        }
    }
}

/// Whether a value is one identifier in camel case.
fn is_camel_case(look: &ByteCounts, value: &[u8]) -> bool {
    look.is_only_letters() && look.upper > 0 && look.lower > 0 && value.first().is_some_and(u8::is_ascii_lowercase)
}

fn is_quoted_password(value: &[u8], look: &ByteCounts, pair: &KeyValuePair, mixed: bool) -> bool {
    let ends_in_colon = value.ends_with(b":");
    let high = value.iter().filter(|byte| !byte.is_ascii()).count();
    let title =
        look.letters() + high == look.len && look.upper == 1 && value.first().is_some_and(u8::is_ascii_uppercase);
    // A CSS selector
    let name = value.strip_prefix(b"#").unwrap_or(value);
    let look = &ByteCounts::count(name);
    let parts = name.split(|byte| b"-_. []/#".contains(byte)).filter(|part| !part.is_empty()).count();
    let names_itself = parts > 1
        && [&b"pass"[..], b"pwd", b"secret"].iter().any(|word| contains_any_case(value, word))
        && look.digits == 0
        && look.marks == look.joints + name.iter().filter(|byte| b"/#".contains(byte)).count();
    if ends_in_colon || names_itself || (title && pair.sep == PairSeparator::Colon) {
        return false;
    }
    match pair.sep {
        PairSeparator::Comma => mixed && look.digits + look.marks > look.joints,
        PairSeparator::Space => mixed || value.len() >= 6 && look.blanks == 0 && look.upper == 0,
        _ if look.blanks > 0 => {
            look.blanks <= 12
                && !is_prose(value)
                && !is_sentence(value, look)
                && (mixed || look.upper == 0)
                && look.blanks * 3 <= look.len
        }
        _ => look.is_mostly_ascii(value),
    }
}

trait NonAsciiShare {
    fn is_mostly_ascii(&self, value: &[u8]) -> bool;
}

impl NonAsciiShare for ByteCounts {
    /// Whether a value is mostly ASCII, unlike labels in other languages.
    fn is_mostly_ascii(&self, value: &[u8]) -> bool {
        value.iter().filter(|byte| !byte.is_ascii()).count() * 3 <= self.len
    }
}

fn is_secret(kind: SecretKind, value: &[u8], look: &ByteCounts, pair: &KeyValuePair, place: &PairContext) -> bool {
    let strict =
        matches!(pair.sep, PairSeparator::Comma | PairSeparator::Compare | PairSeparator::Is | PairSeparator::Cell)
            || (pair.sep == PairSeparator::Space && !place.flag);
    let words = look.lower + look.blanks == look.len && pair.quote.is_some() && look.blanks <= 3 && value.len() >= 10;
    if words && look.blanks > 0 && kind == SecretKind::Secret {
        let named = [&b"key"[..], b"token", b"secret", b"pass"].iter().any(|word| contains_any_case(value, word));
        return !is_prose(value)
            && !named
            && matches!(pair.sep, PairSeparator::Colon | PairSeparator::Equals | PairSeparator::Arrow);
    }
    if is_broken_template(value) {
        return true;
    }
    if is_bootstrap(value, look) {
        return true;
    }
    if place.parameter && value.len() < 8 {
        return pair.quote.is_none()
            && place.is_always_secret
            && look.blanks == 0
            && code_bracket(value, pair).is_none();
    }
    if value.len() < 8 || look.blanks > 0 || code_bracket(value, pair).is_some() || is_path(value) || is_example(value)
    {
        return false;
    }
    if look.digits == look.len {
        return look.len >= 14 && look.distinct > 3 && kind == SecretKind::Secret;
    }
    let quoted = pair.quote.is_some();
    if !quoted && (pair.sep == PairSeparator::Compare || (is_code_name(value, look) && (place.spaced || !place.upper)))
    {
        return false;
    }
    if is_random(value) {
        return true;
    }
    let mixed = look.digits > 0 && look.letters() > 0;
    if strict || kind == SecretKind::Token {
        return mixed && !is_wordlike(value)
            || (pair.quote.is_none() && place.parameter && (mixed || place.is_always_secret));
    }
    let named = [&b"key"[..], b"token", b"secret", b"api", b"pass", b"name", b"auth"]
        .iter()
        .any(|word| contains_any_case(value, word));
    match pair.quote {
        Some(_) if named && look.digits == 0 && look.marks == look.joints => false,
        // The name of a message: `e2.api.client.secret.key`
        Some(_) if named && value.iter().filter(|byte| **byte == b'.').count() > 2 && is_wordlike(value) => false,
        Some(_) => {
            (look.class_count() >= 2 && !is_title(value, look))
                || (look.is_only_letters()
                    && look.upper == 0
                    && !place.argument
                    && !matches!(pair.sep, PairSeparator::Colon | PairSeparator::Call))
        }
        None if place.parameter => true,
        None if is_identifier(value, look) => {
            place.upper && !place.spaced && look.upper == 0 && (look.joints == 0 || !named)
        }
        None => {
            mixed
                || look.marks > look.joints
                    && look.class_count() >= 2
                    && !place.argument
                    && !(value.contains(&b'/') && is_wordlike(value))
        }
    }
}

/// Whether a value is a bootstrap token of Kubernetes: `abcdef.0123456789abcdef`.
fn is_bootstrap(value: &[u8], look: &ByteCounts) -> bool {
    look.len == 23
        && value.get(6) == Some(&b'.')
        && look.marks == 1
        && look.upper == 0
        && look.digits > 3
        && look.lower > 3
}

/// Whether a value is a module path or class: `rust_openssl.hpke.X1`, `PKCS7KeyTypes`.
fn is_code_name(value: &[u8], look: &ByteCounts) -> bool {
    let named = value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(byte));
    let first = value.split(|byte| *byte == b'.').next().unwrap_or_default();
    let module = first.len() < value.len()
        && first.len() > 2
        && is_wordlike(first)
        && first.first().is_some_and(u8::is_ascii_alphabetic);
    let told = [&b"Key"[..], b"Token", b"Secret", b"Auth", b"key", b"token"]
        .iter()
        .any(|word| value.windows(word.len()).any(|part| part == *word));
    // A random text may also contain such a word
    let numbers = value
        .chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit())
        .filter(|part| part.first().is_some_and(u8::is_ascii_digit));
    named && (module || (told && look.lower > look.upper && look.digits * 3 < look.len && numbers.count() < 4))
}

/// Whether a value is a name such as `ACCESS_TOKEN`, or a documentation example.
fn is_example(value: &[u8]) -> bool {
    let number = value.iter().rev().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    let name = value.get(..value.len() - number).unwrap_or_default();
    let numbered = number == 0 || name.ends_with(b"_");
    let capitals =
        numbered && name.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_') && name.contains(&b'_');
    capitals || value.windows(7).any(|part| part == b"EXAMPLE")
}

/// Whether a value has the words of a title or class name.
fn is_title(value: &[u8], look: &ByteCounts) -> bool {
    look.digits == 0 && look.marks == look.joints && is_wordlike(value)
}
