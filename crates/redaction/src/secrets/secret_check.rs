//! Decides whether a value is the secret that its key names, or only looks like one: code, prose, paths and names of
//! secrets are not secrets. Pure functions. `assign` and `secret_lists` find keys and values.

use super::pair_context::PairContext;
use super::prose_passwords;
use super::secret_keys::SecretKind;
use super::templates::is_broken_template;
use super::value_checks::{
    ByteCounts, cannot_be_secret, contains_any_case, is_path, is_prose, is_prose_or_code_word, is_random, is_salt,
    is_sentence, is_twilio_id, is_uuid, is_version, is_wordlike,
};
use crate::pairs::{KeyValuePair, PairSeparator};

/// Whether the value is secret, given the kind of its key.
pub(super) fn is_secret_value(kind: SecretKind, value: &[u8], pair: &KeyValuePair, context: &PairContext) -> bool {
    let counts = ByteCounts::count(value);
    let is_joint = |at: usize| matches!(value.get(at..at + 2), Some(b"::" | b"->"));
    let is_module_path = || pair.quote.is_none() && memchr::memchr2_iter(b':', b'-', value).any(is_joint);
    let may_be_name = pair.sep == PairSeparator::Is || pair.sep == PairSeparator::Space && value.contains(&b'_');
    let is_code_in_backticks =
        may_be_name && pair.quote == Some(b'`') && !prose_passwords::is_literal_password(value, &counts);
    let is_prose_possible = kind != SecretKind::Password
        || matches!(pair.sep, PairSeparator::Colon | PairSeparator::Space | PairSeparator::Is) && pair.quote.is_none();
    let min_len = if context.is_parameter { 3 } else { 4 };
    if value.len() < min_len
        || begins_with_syntax(value, pair)
        || context.is_type
        || (is_prose_possible && is_prose_or_code_word(value))
        || cannot_be_secret(value)
        || pair.quote.is_none() && is_version(value)
        || is_module_path()
        || is_code_in_backticks
    {
        return false;
    }
    let is_flag_in_list = pair.sep == PairSeparator::Comma && context.is_flag && !value.starts_with(b"-");
    let is_strict = matches!(pair.sep, PairSeparator::Comma | PairSeparator::Compare) && !is_flag_in_list
        || (pair.sep == PairSeparator::Cell && counts.blanks > 0);
    match kind {
        SecretKind::Password if !is_strict => is_password(value, &counts, pair, context),
        // `bind '…' pass '…'`: a quoted value full of special characters is no test result
        SecretKind::Pass
            if is_strict
                || matches!(pair.sep, PairSeparator::Space | PairSeparator::Is | PairSeparator::Call)
                    && !context.is_flag =>
        {
            pair.quote.is_some() && counts.blanks == 0 && counts.digits > 0 && counts.marks > counts.joints + 2
        }
        SecretKind::Pass => {
            let may_be_test_result = pair.sep == PairSeparator::Colon && pair.quote.is_none();
            (!may_be_test_result || (counts.digits > 0 && counts.letters() > 0 && !context.is_upper))
                && is_password(value, &counts, pair, context)
        }
        SecretKind::Pin => {
            counts.digits == counts.len && (4..=8).contains(&counts.len) && pair.sep != PairSeparator::Space
        }
        SecretKind::Parameter if context.is_always_secret => {
            value.len() >= 4 && counts.blanks == 0 && code_bracket(value, pair).is_none()
        }
        SecretKind::Parameter => {
            value.len() >= 8
                && counts.blanks == 0
                && (counts.digits > 0 && counts.letters() > 0)
                && (!is_wordlike(value) || counts.hex)
        }
        SecretKind::Secret | SecretKind::Weak | SecretKind::Token
            if pair.sep == PairSeparator::Comma && is_salt(value, &counts) =>
        {
            true
        }
        SecretKind::Weak
            if pair.quote.is_none()
                && (counts.upper == 0 && value.contains(&b'_') && counts.digits * 4 < counts.len) =>
        {
            false
        }
        SecretKind::Weak => {
            is_random(value) && !is_uuid(value) && !is_twilio_id(value) && code_bracket(value, pair).is_none()
        }
        // Excludes numbers, dates and words, which describe passwords
        SecretKind::Doubtful => {
            let is_mixed = counts.digits > 0 && counts.upper > 0 && counts.lower > 0 && counts.marks > counts.joints;
            counts.blanks == 0
                && code_bracket(value, pair).is_none()
                && !is_uuid(value)
                && (is_mixed || is_random(value))
        }
        SecretKind::Password if (pair.sep == PairSeparator::Compare || context.is_stored) && pair.quote.is_some() => {
            prose_passwords::is_compared_password(value, &counts)
        }
        SecretKind::Password => counts.blanks == 0 && counts.kind_count() >= 2 && !is_wordlike(value),
        SecretKind::Secret | SecretKind::Token => is_secret(kind, value, &counts, pair, context),
        SecretKind::Header | SecretKind::Cookie => false,
    }
}

/// Whether a text that is the whole value of a key is secret, judged as in JSON. Numbers with few digits are not.
pub(super) fn is_secret_under(kind: SecretKind, key: &[u8], value: &[u8]) -> bool {
    let pair =
        KeyValuePair { key: 0..0, sep: PairSeparator::Colon, quote: Some(b'"'), json_key: true, value: 0..value.len() };
    let context = PairContext::whole_value(!key.iter().any(u8::is_ascii_lowercase));
    let is_short_number = kind != SecretKind::Pin && value.len() < 6 && value.iter().all(u8::is_ascii_digit);
    !is_short_number
        && !matches!(kind, SecretKind::Header | SecretKind::Cookie | SecretKind::Parameter)
        && is_secret_value(kind, value, &pair, &context)
}

/// Whether an unquoted value is an object, an array, code or YAML syntax (`{`, `[`, `(`, `|`, `>`, `&`, `*`, `!`, `@`).
fn begins_with_syntax(value: &[u8], pair: &KeyValuePair) -> bool {
    pair.quote.is_none() && value.first().is_some_and(|byte| b"{[(|>&*!@".contains(byte)) && !is_broken_template(value)
}

/// Position of the bracket if the value is code: `f(x)`, `a[0]`.
fn code_bracket(value: &[u8], pair: &KeyValuePair) -> Option<usize> {
    let at = if pair.quote.is_none() { memchr::memchr3(b'(', b'[', b'{', value)? } else { return None };
    let name = value.get(..at).unwrap_or_default();
    if value.get(at) == Some(&b'{') {
        // A struct literal in Go or Rust: `pkg.Type{Field`
        let is_type_byte = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'.';
        return (name.contains(&b'.') && name.iter().all(is_type_byte)).then_some(at);
    }
    if value.get(at) == Some(&b'[')
        && !name.starts_with(b"$")
        && continues_after_bracket(value.get(at..).unwrap_or_default())
    {
        return None;
    }
    (!name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.$:!?".contains(byte))).then_some(at)
}

/// Whether a letter or digit follows right after the closing bracket, unlike in code.
fn continues_after_bracket(rest: &[u8]) -> bool {
    let mut depth = 0_usize;
    let close = rest.iter().position(|byte| {
        depth += usize::from(b"([{".contains(byte));
        depth -= usize::from(b")]}".contains(byte)).min(depth);
        depth == 0
    });
    close.and_then(|close| rest.get(close + 1)).is_some_and(u8::is_ascii_alphanumeric)
}

/// Whether a value is an identifier of code: `a::b`, or a name such as `a.b`, `aB`, `a_b` with at most two digits.
fn is_identifier(value: &[u8], counts: &ByteCounts) -> bool {
    let has_name_bytes = value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(byte));
    if memchr::memchr_iter(b':', value).any(|at| value.get(at + 1) == Some(&b':')) {
        return true;
    }
    let names_secret = byte_list!("secrets.identifiers").iter().any(|word| contains_any_case(value, word));
    has_name_bytes && (counts.is_only_letters() || counts.digits == 0 || names_secret) && counts.digits <= 2
}

fn is_password(value: &[u8], counts: &ByteCounts, pair: &KeyValuePair, context: &PairContext) -> bool {
    // Words of another script after a key in that script are text of a form
    let is_form_text = context.is_foreign && counts.letters() + counts.digits == 0 && !value.is_ascii();
    if is_path(value) && value.starts_with(b"/") || is_form_text {
        return false;
    }
    let is_mixed = counts.digits > 0 || counts.marks > counts.joints;
    if pair.quote.is_some() {
        return is_quoted_password(value, counts, pair, is_mixed || context.is_flag);
    }
    if code_bracket(value, pair).is_some() || counts.blanks > 0 && !context.is_at_line_start {
        return false;
    }
    let is_code = is_identifier(value, counts);
    let has_name_word = [&b"pass"[..], b"pwd", b"secret", b"token", b"user", b"get", b"arg"]
        .iter()
        .any(|word| contains_any_case(value, word));
    match pair.sep {
        PairSeparator::Is => {
            is_mixed && counts.letters() > 0 && !is_wordlike(value)
                || prose_passwords::is_word_password(value, counts, context.is_last_word || context.is_argument)
        }
        PairSeparator::Space if context.is_flag => {
            let is_random_like = counts.upper > 2 && counts.lower > 2 && counts.len >= 12 && !is_wordlike(value);
            !value.starts_with(b"-") && (is_mixed || is_random_like || counts.upper == 0 && context.is_last_word)
        }
        PairSeparator::Space => is_mixed && counts.letters() > 0,
        PairSeparator::Call | PairSeparator::Comma | PairSeparator::Compare => false,
        PairSeparator::Equals if context.is_parameter || context.is_in_list => true,
        PairSeparator::Equals if context.is_argument => is_mixed && !is_code,
        PairSeparator::Equals if context.is_spaced => {
            is_mixed && !is_code
                || (context.is_at_line_end && !has_name_word && !value.contains(&b'.') && !is_camel_case(counts, value))
        }
        PairSeparator::Equals => {
            !is_code
                || !value.contains(&b'.') && (!has_name_word || counts.upper == 0 && counts.len >= 10)
                || context.is_upper
        }
        PairSeparator::Arrow | PairSeparator::Colon if context.is_argument => {
            is_mixed && !is_code && counts.letters() + counts.digits > 3
        }
        PairSeparator::Arrow | PairSeparator::Colon => {
            (is_mixed && (!is_code || (context.is_at_line_start && context.is_at_line_end && !value.contains(&b'.'))))
                || (context.is_at_line_start
                    && context.is_at_line_end
                    && !has_name_word
                    && counts.upper == 0
                    && !value.contains(&b'.'))
        }
        PairSeparator::Element if is_camel_case(counts, value) => true,
        PairSeparator::Cell | PairSeparator::Element | PairSeparator::Sibling => {
            is_mixed || counts.upper == 0 && !(counts.blanks > 0 && is_prose(value))
        }
    }
}

/// Whether a value is one identifier in camel case.
fn is_camel_case(counts: &ByteCounts, value: &[u8]) -> bool {
    counts.is_only_letters()
        && counts.upper > 0
        && counts.lower > 0
        && value.first().is_some_and(u8::is_ascii_lowercase)
}

fn is_quoted_password(value: &[u8], counts: &ByteCounts, pair: &KeyValuePair, is_mixed: bool) -> bool {
    let ends_in_colon = value.ends_with(b":");
    let non_ascii = value.iter().filter(|byte| !byte.is_ascii()).count();
    let is_title_word = counts.letters() + non_ascii == counts.len
        && counts.upper == 1
        && value.first().is_some_and(u8::is_ascii_uppercase);
    // A CSS selector begins with `#`
    let selector = value.strip_prefix(b"#").unwrap_or(value);
    let counts = &ByteCounts::count(selector);
    let word_count = selector.split(|byte| b"-_. []/#".contains(byte)).filter(|part| !part.is_empty()).count();
    let names_itself = word_count > 1
        && [&b"pass"[..], b"pwd", b"secret"].iter().any(|word| contains_any_case(value, word))
        && counts.digits == 0
        && counts.marks == counts.joints + selector.iter().filter(|byte| b"/#".contains(byte)).count();
    if ends_in_colon || names_itself || (is_title_word && pair.sep == PairSeparator::Colon) {
        return false;
    }
    match pair.sep {
        PairSeparator::Comma => is_mixed && counts.digits + counts.marks > counts.joints,
        PairSeparator::Space => is_mixed || value.len() >= 6 && counts.blanks == 0 && counts.upper == 0,
        _ if counts.blanks > 0 => {
            counts.blanks <= 12
                && !is_prose(value)
                && !is_sentence(value, counts)
                && (is_mixed || counts.upper == 0)
                && counts.blanks * 3 <= counts.len
        }
        _ => is_mostly_ascii(selector),
    }
}

/// Whether a value is mostly ASCII, unlike labels in other languages.
fn is_mostly_ascii(value: &[u8]) -> bool {
    value.iter().filter(|byte| !byte.is_ascii()).count() * 3 <= value.len()
}

fn is_secret(kind: SecretKind, value: &[u8], counts: &ByteCounts, pair: &KeyValuePair, context: &PairContext) -> bool {
    let is_strict =
        matches!(pair.sep, PairSeparator::Comma | PairSeparator::Compare | PairSeparator::Is | PairSeparator::Cell)
            || (pair.sep == PairSeparator::Space && !context.is_flag);
    let may_be_words =
        counts.lower + counts.blanks == counts.len && pair.quote.is_some() && counts.blanks <= 3 && value.len() >= 10;
    if may_be_words && counts.blanks > 0 && kind == SecretKind::Secret {
        let names_secret =
            [&b"key"[..], b"token", b"secret", b"pass"].iter().any(|word| contains_any_case(value, word));
        return !is_prose(value)
            && !names_secret
            && matches!(pair.sep, PairSeparator::Colon | PairSeparator::Equals | PairSeparator::Arrow);
    }
    if is_broken_template(value) || is_bootstrap_token(value, counts) {
        return true;
    }
    if context.is_parameter && value.len() < 8 {
        return pair.quote.is_none()
            && context.is_always_secret
            && counts.blanks == 0
            && code_bracket(value, pair).is_none();
    }
    if value.len() < 8
        || counts.blanks > 0
        || code_bracket(value, pair).is_some()
        || is_path(value)
        || is_example(value)
    {
        return false;
    }
    if counts.digits == counts.len {
        return counts.len >= 14 && counts.distinct > 3 && kind == SecretKind::Secret;
    }
    let is_quoted = pair.quote.is_some();
    if !is_quoted
        && (pair.sep == PairSeparator::Compare
            || (is_code_name(value, counts) && (context.is_spaced || !context.is_upper)))
    {
        return false;
    }
    if is_random(value) {
        return true;
    }
    let is_mixed = counts.digits > 0 && counts.letters() > 0;
    if is_strict || kind == SecretKind::Token {
        return is_mixed && !is_wordlike(value)
            || (pair.quote.is_none() && context.is_parameter && (is_mixed || context.is_always_secret));
    }
    let names_secret = [&b"key"[..], b"token", b"secret", b"api", b"pass", b"name", b"auth"]
        .iter()
        .any(|word| contains_any_case(value, word));
    match pair.quote {
        Some(_) if names_secret && counts.digits == 0 && counts.marks == counts.joints => false,
        // The name of a message: `e2.api.client.secret.key`
        Some(_) if names_secret && value.iter().filter(|byte| **byte == b'.').count() > 2 && is_wordlike(value) => {
            false
        }
        Some(_) => {
            (counts.kind_count() >= 2 && !is_title(value, counts))
                || (counts.is_only_letters()
                    && counts.upper == 0
                    && !context.is_argument
                    && !matches!(pair.sep, PairSeparator::Colon | PairSeparator::Call))
        }
        None if context.is_parameter => true,
        None if is_identifier(value, counts) => {
            context.is_upper && !context.is_spaced && counts.upper == 0 && (counts.joints == 0 || !names_secret)
        }
        None => {
            is_mixed
                || counts.marks > counts.joints
                    && counts.kind_count() >= 2
                    && !context.is_argument
                    && !(value.contains(&b'/') && is_wordlike(value))
        }
    }
}

/// Whether a value is a bootstrap token of Kubernetes: `abcdef.0123456789abcdef`.
fn is_bootstrap_token(value: &[u8], counts: &ByteCounts) -> bool {
    counts.len == 23
        && value.get(6) == Some(&b'.')
        && counts.marks == 1
        && counts.upper == 0
        && counts.digits > 3
        && counts.lower > 3
}

/// Whether a value is a module path or class: `rust_openssl.hpke.X1`, `PKCS7KeyTypes`.
fn is_code_name(value: &[u8], counts: &ByteCounts) -> bool {
    let has_name_bytes = value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(byte));
    let first_part = value.split(|byte| *byte == b'.').next().unwrap_or_default();
    let is_module_path = first_part.len() < value.len()
        && first_part.len() > 2
        && is_wordlike(first_part)
        && first_part.first().is_some_and(u8::is_ascii_alphabetic);
    let names_secret = [&b"Key"[..], b"Token", b"Secret", b"Auth", b"key", b"token"]
        .iter()
        .any(|word| value.windows(word.len()).any(|part| part == *word));
    // A random text may also contain such a word
    let digit_groups = value
        .chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit())
        .filter(|part| part.first().is_some_and(u8::is_ascii_digit));
    has_name_bytes
        && (is_module_path
            || (names_secret
                && counts.lower > counts.upper
                && counts.digits * 3 < counts.len
                && digit_groups.count() < 4))
}

/// Whether a value is a name such as `ACCESS_TOKEN`, or a documentation example.
fn is_example(value: &[u8]) -> bool {
    let trailing_digits = value.iter().rev().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    let name = value.get(..value.len() - trailing_digits).unwrap_or_default();
    let has_own_number = trailing_digits == 0 || name.ends_with(b"_");
    let is_constant =
        has_own_number && name.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_') && name.contains(&b'_');
    is_constant || value.windows(7).any(|part| part == b"EXAMPLE")
}

/// Whether a value has the words of a title or class name.
fn is_title(value: &[u8], counts: &ByteCounts) -> bool {
    counts.digits == 0 && counts.marks == counts.joints && is_wordlike(value)
}
