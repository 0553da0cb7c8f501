//! Finds `KEY=VALUE` in any notation: passwords, tokens, keys, headers with credentials, cookies. Most secrets have no
//! shape of their own and are recognised by their key. The key is checked before its value is read; in prose, a value
//! needs a separator and must not be a plain word. `pairs` reads the notations.

use std::ops::Range;

use super::super::pairs::{
    KeyValuePair, PairReadCache, PairSeparator, ends_with, key_around, pair_before_name, read_pair,
};
use super::super::rule::RuleFamily;
use super::super::scan::{PrivateClaims, TextScan};
use super::super::stems::StemMatch;
use super::key_candidate::may_be_key;
use super::known_calls::SecretArgument;
use super::pair_context::{LONG_VALUE, PairContext, end_of_checked, is_key_a_value};
use super::secret_check::is_secret_value;
use super::secret_keys::{KeyKindCache, SecretKind, classify_key};
use super::value_checks::is_random;
use super::{
    adjacent_values, calls, fallback, headers, provider_values, secret_lists, stated_passwords, url_parameters,
    variables,
};

/// Checks the key around `word`. Returns the position from which the search for keys continues.
pub(super) fn check_key(
    scan: &TextScan<'_>,
    word: &StemMatch,
    key_kinds: &mut KeyKindCache,
    claims: &mut PrivateClaims,
) -> usize {
    let text = scan.text.as_bytes();
    if !may_be_key(scan, word) {
        check_prose(scan, word, claims);
        return word.start;
    }
    let key = key_around(text, word.start..word.end);
    let Some((kind, start)) = classify_with_word_before(scan, &key, key_kinds) else { return key.end };
    let found = read_key_value(text, &key, &mut key_kinds.pair_cache);
    let is_parameter = found.as_ref().is_some_and(|pair| url_parameters::is_parameter(scan, pair));
    let is_signature =
        kind == SecretKind::Parameter && found.as_ref().is_some_and(|pair| url_parameters::is_signature(scan, pair));
    let found = found.filter(|pair| {
        (kind != SecretKind::Parameter || is_parameter || is_signature || is_titled(scan, pair))
            && !is_key_a_value(scan, pair)
    });
    let Some(mut pair) = found else {
        if scan.byte(key.end) == b':' && scan.byte(key.end + 1) == b'\n' {
            return secret_lists::claim_list_below(scan, &(start..key.end), kind, claims);
        }
        variables::claim_default_value(scan, &key, kind, claims);
        stated_passwords::claim_form_part(scan, &key, kind, claims);
        check_prose(scan, word, claims);
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
    fallback::use_fallback_literal(scan, &mut pair);
    if secret_lists::opens_list(scan, &pair) {
        return secret_lists::claim_items(scan, &pair, kind, claims);
    }
    if let Some(range) = secret_lists::login_password(scan, &pair, kind)
        && let Some(rule) = scan.rule(RuleFamily::Password)
    {
        claims.add(scan, rule, range);
        return end_of_checked(&pair, &key);
    }
    if secret_lists::is_login_tuple(scan, &pair, kind) {
        calls::check_call(scan, pair.value.start, SecretArgument::SECOND, &mut key_kinds.unquoted, claims);
        return end_of_checked(&pair, &key);
    }
    if adjacent_values::claim_parallel_values(scan, &pair, claims) || calls::has_no_password(scan, &mut pair, kind) {
        return end_of_checked(&pair, &key);
    }
    if matches!(kind, SecretKind::Header | SecretKind::Cookie) {
        return headers::check_header(scan, &pair, kind, claims).max(key.end);
    }
    claim_value(scan, &pair, &key, (kind, is_parameter), claims)
}

/// Claims the value of `pair` if it is plausible for a key of this kind; `key` is the whole key. Returns the position
/// from which the search for keys continues.
fn claim_value(
    scan: &TextScan<'_>,
    pair: &KeyValuePair,
    key: &Range<usize>,
    (kind, is_parameter): (SecretKind, bool),
    claims: &mut PrivateClaims,
) -> usize {
    let context = PairContext::around(scan, pair, is_parameter);
    let value = context.value_range(scan, pair, kind);
    let content = scan.bytes(value.clone());
    if kind == SecretKind::Weak
        && secret_lists::is_docker_auth(scan, pair)
        && let Some(rule) = scan.rule(RuleFamily::BasicCredentials)
    {
        claims.add(scan, rule, value);
        return key.end;
    }
    if equals_key(content, scan.bytes(pair.key.clone())) || !is_secret_value(kind, content, pair, &context) {
        return if pair.quote.is_none() && value.len() > LONG_VALUE { value.end } else { key.end };
    }
    let rule = scan.detector.families.rule_for_key(kind, scan.bytes(key.clone()));
    let Some(rule) = rule else { return pair.value.start.max(key.end) };
    let end = value.end;
    let added = match pair.is_bare_json() && content.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
        true => claims.add_bare(scan, rule, value),
        false => claims.add(scan, rule, value),
    };
    if added && pair.quote.is_some() {
        adjacent_values::claim_planned_value(scan, end, rule, claims);
    }
    (if added { end } else { pair.value.start }).max(key.end)
}

/// The value of `key`: after it, or before it if the key is the value of `name` (`{"value": "v", "name": "KEY"}`).
fn read_key_value(text: &[u8], key: &Range<usize>, cache: &mut PairReadCache) -> Option<KeyValuePair> {
    match read_pair(text, key.clone(), cache) {
        Some(pair) if pair.sep == PairSeparator::Sibling => Some(pair),
        found => pair_before_name(text, key).or(found),
    }
}

/// Whether a value repeats its key, as the name of a setting does: `DB_PASSWORD = "DB_PASSWORD"`.
fn equals_key(value: &[u8], key: &[u8]) -> bool {
    let is_setting_name = value.contains(&b'_') || value.iter().all(u8::is_ascii_uppercase);
    is_setting_name && value.eq_ignore_ascii_case(key)
}

/// Whether a parser reports a piece of text: `unexpected token: foo1`. A random value counts anyway.
fn is_parser_message(scan: &TextScan<'_>, pair: &KeyValuePair) -> bool {
    let head = scan.bytes(pair.key.start.saturating_sub(14)..pair.key.start).trim_ascii_end();
    let report_words = [&b"unexpected"[..], b"invalid", b"illegal", b"unknown", b"unrecognized", b"bad", b"undefined"];
    report_words.iter().any(|word| ends_with(head, word)) && !is_random(scan.bytes(pair.value.clone()))
}

/// Whether the key begins with a capital letter, `Key=…`, as logs write credentials; a lower-case `key=` is a look-up
/// key.
fn is_titled(scan: &TextScan<'_>, pair: &KeyValuePair) -> bool {
    let key = scan.bytes(pair.key.clone());
    (key == b"Key" || key == b"KEY") && pair.sep == PairSeparator::Equals && !pair.json_key
}

/// Searches for a random token near a word of prose.
fn check_prose(scan: &TextScan<'_>, word: &StemMatch, claims: &mut PrivateClaims) {
    let (before, after) = (scan.byte_before(word.start, 1), scan.byte(word.end));
    if before == b' ' && scan.byte_before(word.start, 2) == b'=' {
        stated_passwords::claim_compared_value(scan, word.start..word.end, claims);
    }
    if before != b' ' || !matches!(after, b' ' | b',' | b'.' | b':') || word.end - word.start > 12 {
        return;
    }
    if matches!(classify_key(scan.bytes(word.start..word.end)), Some(kind) if kind != SecretKind::Weak) {
        provider_values::claim_random_token(scan, &(word.start..word.end), claims);
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
