//! Finds `KEY=VALUE` in any notation: passwords, tokens, keys, headers with credentials, cookies. Most secrets have no
//! shape of their own and are recognised by their key. The key is checked before its value is read; in prose, a value
//! needs a separator and must not be a plain word. `pairs` reads the notations.

use std::ops::Range;

use super::super::pairs::{KeyValuePair, PairSeparator, ends_with, key_around, read_pair};
use super::super::rule::RuleFamily;
use super::super::scan::TextScan;
use super::super::stems::StemMatch;
use super::key_candidate::may_be_key;
use super::pair_context::{LONG_VALUE, PairContext, is_key_a_value};
use super::secret_keys::{KeyKindCache, SecretKind, classify_key};
use super::secret_value::is_secret_value;
use super::value_facts::ValueFacts;
use super::{headers, provider_values, secret_lists, url_parameters};

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
    let is_parameter = found.as_ref().is_some_and(|pair| url_parameters::is_parameter(scan, pair));
    let is_signature =
        kind == SecretKind::Parameter && found.as_ref().is_some_and(|pair| url_parameters::is_signature(scan, pair));
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
    if kind == SecretKind::Weak
        && secret_lists::is_docker_auth(scan, pair)
        && let Some(rule) = scan.rule(RuleFamily::BasicCredentials)
    {
        scan.claim(rule, value);
        return key.end;
    }
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
