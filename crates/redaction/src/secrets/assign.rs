//! Finds `KEY=VALUE` in any notation: passwords, tokens, keys, headers with credentials, cookies. Most secrets have no
//! shape of their own and are recognised by their key. The key is checked before its value is read; in prose, a value
//! needs a separator and must not be a plain word. `pairs` reads the notations.

use std::ops::Range;

use super::super::pairs::{self, KeyValuePair, PairSeparator, ends_with, key_around, read_pair};
use super::super::scan::{TextScan, bytes_ahead};
use super::super::stems::StemMatch;
use super::byte_counts::ByteCounts;
use super::pair_context::{self, LONG_VALUE, PairContext, is_key_a_value};
use super::secret_keys::{KeyKindCache, SecretKind, classify_key};
use super::secret_value::is_secret_value;
use super::value_facts::{ValueFacts, contains_any_case, is_path};
use super::word_score::is_words;
use super::{headers, provider_values, secret_lists};

/// Checks the key around `word`. Returns the position from which the search for keys continues.
pub(super) fn check_key(scan: &TextScan<'_>, word: &StemMatch, key_kinds: &mut KeyKindCache) -> usize {
    let text = scan.text.as_bytes();
    if !may_be_key(scan, word) {
        check_prose(scan, word);
        return word.start;
    }
    let key = key_around(text, word.start..word.end);
    let Some((kind, start)) = classify_with_word_before(scan, &key, key_kinds) else { return key.end };
    let found = read_pair(text, key.clone());
    let is_parameter = found.as_ref().is_some_and(|pair| pair_context::is_parameter(scan, pair));
    let is_signature =
        kind == SecretKind::Parameter && found.as_ref().is_some_and(|pair| pair_context::is_signature(scan, pair));
    let found = found.filter(|pair| {
        (kind != SecretKind::Parameter || is_parameter || is_signature || is_titled(scan, pair))
            && !is_key_a_value(scan, pair)
            && !(pair.sep == PairSeparator::Call && has_no_secret_first(scan, pair, kind))
    });
    let Some(mut pair) = found else {
        check_prose(scan, word);
        return key.end;
    };
    let kind = match kind {
        SecretKind::Parameter if is_signature => SecretKind::Secret,
        SecretKind::Parameter if !is_parameter => SecretKind::Weak,
        kind => kind,
    };
    if kind == SecretKind::Token && pair.key.start == start && is_parser_message(scan, &pair) {
        return key.end;
    }
    pair.key.start = start;
    if secret_lists::opens_list(scan, &pair) {
        return secret_lists::claim_items(scan, &pair, kind);
    }
    if matches!(kind, SecretKind::Header | SecretKind::Cookie) {
        return headers::check_header(scan, &pair, kind).max(key.end);
    }
    claim_value(scan, &pair, &key, (kind, is_parameter))
}

/// Claims the value of `pair` if it is plausible for a key of this kind; `key` is the whole key. Returns the position
/// from which the search for keys continues.
fn claim_value(
    scan: &TextScan<'_>,
    pair: &KeyValuePair,
    key: &Range<usize>,
    (kind, is_parameter): (SecretKind, bool),
) -> usize {
    let context = PairContext::around(scan, pair, is_parameter);
    let value = context.value_range(scan, pair, kind);
    let content = scan.bytes(value.clone());
    if equals_key(content, scan.bytes(pair.key.clone())) || !is_secret_value(kind, content, pair, &context) {
        return if pair.quote.is_none() && value.len() > LONG_VALUE { value.end } else { key.end };
    }
    let rule = scan.detector.families.rule_for_key(kind, scan.bytes(key.clone()));
    let Some(rule) = rule else { return pair.value.start.max(key.end) };
    let end = value.end;
    let added = match pair.is_bare_json() && content.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
        true => scan.claim_bare(rule, value),
        false => scan.claim(rule, value),
    };
    (if added { end } else { pair.value.start }).max(key.end)
}

/// Whether a value repeats its key, as the name of a setting does: `DB_PASSWORD = "DB_PASSWORD"`.
fn equals_key(value: &[u8], key: &[u8]) -> bool {
    let is_setting_name = value.contains(&b'_') || value.iter().all(u8::is_ascii_uppercase);
    is_setting_name && value.eq_ignore_ascii_case(key)
}

/// Whether the first argument of a call is no secret: the call is a getter (`keyring.get_password("service", "user")`),
/// or a user comes first (`verify_password("alice", x)`).
fn has_no_secret_first(scan: &TextScan<'_>, pair: &KeyValuePair, kind: SecretKind) -> bool {
    let key = scan.bytes(pair.key.clone());
    let name = key.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    let is_verb = name.get(..3).is_some_and(|verb| verb.eq_ignore_ascii_case(b"get"));
    let is_getter = is_verb && name.get(3).is_none_or(|next| *next == b'_' || next.is_ascii_uppercase());
    let value = scan.bytes(pair.value.clone());
    let after = scan.bytes(pair.value.end..pair.value.end + 12);
    let has_second = after.iter().find(|byte| !b"\\\"' ".contains(byte)) == Some(&b',');
    let facts = ValueFacts::of(value);
    let may_be_user = facts.is_words() || kind == SecretKind::Secret && !facts.is_random();
    is_getter || has_second && may_be_user
}

/// Whether a parser reports a piece of text: `unexpected token: foo1`. A random value counts anyway.
fn is_parser_message(scan: &TextScan<'_>, pair: &KeyValuePair) -> bool {
    let head = scan.bytes(pair.key.start.saturating_sub(14)..pair.key.start).trim_ascii_end();
    let report_words = [&b"unexpected"[..], b"invalid", b"illegal", b"unknown", b"unrecognized", b"bad", b"undefined"];
    report_words.iter().any(|word| ends_with(head, word)) && !ValueFacts::of(scan.bytes(pair.value.clone())).is_random()
}

/// Whether the key begins with a capital letter, `Key=…`, as logs write credentials; a lower-case `key=` is a look-up
/// key.
fn is_titled(scan: &TextScan<'_>, pair: &KeyValuePair) -> bool {
    let key = scan.bytes(pair.key.clone());
    (key == b"Key" || key == b"KEY") && pair.sep == PairSeparator::Equals && !pair.json_key
}

/// Searches for a random token near a word of prose.
fn check_prose(scan: &TextScan<'_>, word: &StemMatch) {
    let (before, after) = (scan.byte_before(word.start, 1), scan.byte(word.end));
    if before != b' ' || !matches!(after, b' ' | b',' | b'.' | b':') || word.end - word.start > 12 {
        return;
    }
    if matches!(classify_key(scan.bytes(word.start..word.end)), Some(kind) if kind != SecretKind::Weak) {
        provider_values::claim_random_token(scan, &(word.start..word.end));
    }
}

/// The kind of a key and its start. If the key alone is too weak, it includes the word before it (`api key`, `seed
/// phrase`).
fn classify_with_word_before(
    scan: &TextScan<'_>,
    key: &Range<usize>,
    key_kinds: &mut KeyKindCache,
) -> Option<(SecretKind, usize)> {
    let text = scan.text.as_bytes();
    let own_kind = key_kinds.classify(text, key.clone());
    if !matches!(own_kind, None | Some(SecretKind::Parameter))
        || scan.byte_before(key.start, 1) != b' '
        || !scan.byte_before(key.start, 2).is_ascii_alphabetic()
    {
        return own_kind.map(|kind| (kind, key.start));
    }
    let head = scan.bytes(key.start.saturating_sub(16)..key.start - 1);
    let word_len = head.iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let start = key.start - 1 - word_len;
    match key_kinds.classify(text, start..key.end) {
        Some(kind @ (SecretKind::Secret | SecretKind::Password)) => Some((kind, start)),
        _ => own_kind.map(|kind| (kind, key.start)),
    }
}

/// Whether a word may be a key, unlike in `tokenizer`, `the key to`, `pass a`. A few bytes decide, because most words
/// are none and reading a pair is slow.
fn may_be_key(scan: &TextScan<'_>, word: &StemMatch) -> bool {
    let (last, next) = (scan.byte_before(word.end, 1), scan.byte(word.end));
    let continues_word = (last.is_ascii_lowercase() && next.is_ascii_lowercase())
        || (last.is_ascii_uppercase() && next.is_ascii_uppercase());
    if continues_word {
        return false;
    }
    match next {
        b' ' | b'\t' => {
            let second = scan.byte(word.end + 1);
            b"=:|<-\"'`?\\ \t".contains(&second) || scan.byte_before(word.start, 1) == b'-' || {
                let rest = bytes_ahead(scan, word.end + 1, 48);
                let begins_with =
                    |text: &&str| rest.get(..text.len()).is_some_and(|head| head.eq_ignore_ascii_case(text.as_bytes()));
                line_list!("secrets.words_before_values").iter().any(begins_with)
                    || matches!(rest.first(), Some(b'l' | b'e' | b'i' | b'j' | 0xC3))
                        && line_list!("secrets.is_in_other_languages").iter().any(begins_with)
                    || begins_with_mixed_token(rest)
                    || is_environment(scan, word)
                    || rest.contains(&b'=')
                    || contains_any_case(scan.bytes(word.start.saturating_sub(48)..word.start), b"login ")
            }
        }
        // `{password, "x"}`: a pair in Erlang
        b',' if scan.byte_before(word.start, 1) == b'{' => scan.byte(word.end + 1) == b' ',
        b'.' | b',' => scan.byte(word.end + 1).is_ascii_alphanumeric() || scan.byte(word.end + 1) == b'=',
        b'\n' | b'\r' => is_named_or_cell(scan, word),
        b';' | b'/' | b'{' | b'}' | b'+' | b'%' | b'@' | b'$' | b'~' | b'^' => false,
        _ => true,
    }
}

/// Whether the word is in YAML's `name: KEY` with a sibling `value: v`, or in an HTML table cell.
fn is_named_or_cell(scan: &TextScan<'_>, word: &StemMatch) -> bool {
    let rest = bytes_ahead(scan, word.end, 64);
    let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let text = scan.text.as_bytes();
    rest.get(blanks..).is_some_and(|rest| rest.starts_with(b"value:") || rest.starts_with(b"</t"))
        || pairs::is_named_by_sibling(text, &key_around(text, word.start..word.end))
}

/// Whether the word is in `ENV DB_PASSWORD v` of a Dockerfile.
fn is_environment(scan: &TextScan<'_>, word: &StemMatch) -> bool {
    let start = pairs::key_start(scan.text.as_bytes(), word.start);
    scan.bytes(start.saturating_sub(4)..start) == b"ENV "
}

/// Whether the text after a word is a mixed token rather than a word: `password aB3dE6gH`.
fn begins_with_mixed_token(rest: &[u8]) -> bool {
    let len = rest.iter().take_while(|byte| !byte.is_ascii_whitespace()).count();
    let token = rest.get(..len).unwrap_or_default();
    let counts = ByteCounts::count(token);
    len >= 8 && counts.digits > 0 && counts.upper > 0 && counts.lower > 0 && !is_words(token) && !is_path(token)
}
