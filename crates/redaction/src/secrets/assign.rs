//! Finds `KEY=VALUE` in any notation: passwords, tokens, keys, headers with credentials, cookies. Most secrets have no
//! shape of their own and are recognised by their key. The key is checked before its value is read; in prose, a value
//! needs a separator and must not be a plain word. `pairs` reads the notations.

use std::ops::Range;

use super::super::pairs::{Pair, Read, Sep, ends_with, key_around, pair, value_before};
use super::super::scan::{Claims, Scan};
use super::super::stems::WordAt;
use super::judge::judge;
use super::keys::{Asked, Kind, kind};
use super::known::Taken;
use super::place::{LONG, Place, is_told, passed};
use super::rules::Rules;
use super::values::random;
use super::word::may_be_key;
use super::{beside, calls, fallback, headers, lists, near, params, told, variables};

/// Checks the key around `word`. Returns the end of the text that needs no further check.
pub(super) fn look(scan: &Scan<'_>, word: &WordAt, rules: &Rules, asked: &mut Asked, claims: &mut Claims) -> usize {
    let text = scan.text.as_bytes();
    if !may_be_key(scan, word) {
        in_prose(scan, word, rules, claims);
        return word.at;
    }
    let key = key_around(text, word.at..word.end);
    let Some((kind, start)) = kind_of(scan, &key, asked) else { return key.end };
    let found = read(text, &key, &mut asked.read);
    let parameter = found.as_ref().is_some_and(|pair| params::is_parameter(scan, pair));
    let signed = kind == Kind::Parameter && found.as_ref().is_some_and(|pair| params::is_signature(scan, pair));
    let found = found.filter(|pair| {
        (kind != Kind::Parameter || parameter || signed || is_titled(scan, pair)) && !is_told(scan, pair)
    });
    let Some(mut pair) = found else {
        if scan.byte(key.end) == b':' && scan.byte(key.end + 1) == b'\n' {
            return lists::below(scan, &(start..key.end), kind, rules, claims);
        }
        variables::look(scan, &key, kind, rules, claims);
        told::part(scan, &key, kind, rules, claims);
        in_prose(scan, word, rules, claims);
        return key.end;
    };
    let kind = match kind {
        Kind::Parameter if signed => Kind::Secret,
        Kind::Parameter if !parameter => Kind::Weak,
        kind => kind,
    };
    if kind == Kind::Token && pair.key.start == start && is_reported(scan, &pair) {
        return key.end;
    }
    pair.key.start = start;
    fallback::take(scan, &mut pair);
    if lists::is_opened(scan, &pair) {
        return lists::items(scan, &pair, kind, rules, claims);
    }
    if let Some(range) = lists::login(scan, &pair, kind)
        && let Some(rule) = rules.password
    {
        if !range.is_empty() {
            claims.add(scan, rule, range);
        }
        return passed(&pair, &key);
    }
    if lists::is_login(scan, &pair, kind) {
        calls::look(scan, pair.value.start, Taken::SECOND, &mut asked.unquoted, rules, claims);
        return passed(&pair, &key);
    }
    if beside::parallel(scan, &pair, rules, claims) || calls::is_taken(scan, &mut pair, kind) {
        return passed(&pair, &key);
    }
    if matches!(kind, Kind::Header | Kind::Cookie) {
        return headers::look(scan, &pair, kind, rules, claims).max(key.end);
    }
    claim_value(scan, &pair, &key, (kind, parameter), rules, claims)
}

/// Claims the value of `pair` if it is plausible for a key of this kind; `key` is the whole key. Returns the end of the
/// text that needs no further check.
fn claim_value(
    scan: &Scan<'_>,
    pair: &Pair,
    key: &Range<usize>,
    (kind, parameter): (Kind, bool),
    rules: &Rules,
    claims: &mut Claims,
) -> usize {
    let place = Place::of(scan, pair, parameter);
    let value = place.value(scan, pair, kind);
    let found = scan.bytes(value.clone());
    if kind == Kind::Weak
        && lists::is_basic(scan, pair)
        && let Some(rule) = rules.basic
    {
        claims.add(scan, rule, value);
        return key.end;
    }
    if is_itself(found, scan.bytes(pair.key.clone())) || !judge(kind, found, pair, &place) {
        return if pair.quote.is_none() && value.len() > LONG { value.end } else { key.end };
    }
    let Some(rule) = rules.of_pair(kind, scan.bytes(key.clone())) else { return pair.value.start.max(key.end) };
    let end = value.end;
    let added = match pair.is_bare_json() && found.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
        true => claims.add_bare(scan, rule, value),
        false => claims.add(scan, rule, value),
    };
    if added && pair.quote.is_some() {
        beside::planned(scan, end, rule, claims);
    }
    (if added { end } else { pair.value.start }).max(key.end)
}

/// The value of `key`: behind it, or before it if the key is the value of `name`.
fn read(text: &[u8], key: &Range<usize>, read: &mut Read) -> Option<Pair> {
    match pair(text, key.clone(), read) {
        Some(pair) if pair.sep == Sep::Sibling => Some(pair),
        found => value_before(text, key).or(found),
    }
}

/// `DB_PASSWORD = "DB_PASSWORD"`, `PASSWORD = "PASSWORD"`: the value is the name of a setting.
fn is_itself(value: &[u8], key: &[u8]) -> bool {
    let name = value.contains(&b'_') || value.iter().all(u8::is_ascii_uppercase);
    name && value.eq_ignore_ascii_case(key)
}

/// `unexpected token: foo1`: a parser reports a piece of text; a random value counts anyway.
fn is_reported(scan: &Scan<'_>, pair: &Pair) -> bool {
    let head = scan.bytes(pair.key.start.saturating_sub(14)..pair.key.start).trim_ascii_end();
    let reports = [&b"unexpected"[..], b"invalid", b"illegal", b"unknown", b"unrecognized", b"bad", b"undefined"];
    reports.iter().any(|word| ends_with(head, word)) && !random(scan.bytes(pair.value.clone()))
}

/// `Key=…` with a capital letter, as logs write credentials; a lower-case `key=` is a look-up key.
fn is_titled(scan: &Scan<'_>, pair: &Pair) -> bool {
    let key = scan.bytes(pair.key.clone());
    (key == b"Key" || key == b"KEY") && pair.sep == Sep::Equals && !pair.json_key
}

/// Searches for a random token near a word of prose.
fn in_prose(scan: &Scan<'_>, word: &WordAt, rules: &Rules, claims: &mut Claims) {
    let (before, next) = (scan.before(word.at, 1), scan.byte(word.end));
    if before == b' ' && scan.before(word.at, 2) == b'=' {
        told::before(scan, word.at..word.end, rules, claims);
    }
    if before != b' ' || !matches!(next, b' ' | b',' | b'.' | b':') || word.end - word.at > 12 {
        return;
    }
    if let Some(rule) =
        rules.entropy.filter(|_| matches!(kind(scan.bytes(word.at..word.end)), Some(kind) if kind != Kind::Weak))
    {
        near::entropy(scan, &(word.at..word.end), rule, claims);
    }
}

/// The kind of a key, with the word before it if the key alone is too weak (`api key`, `seed phrase`), and the start of
/// these words.
fn kind_of(scan: &Scan<'_>, key: &Range<usize>, asked: &mut Asked) -> Option<(Kind, usize)> {
    let text = scan.text.as_bytes();
    let alone = asked.kind(text, key.clone());
    if !matches!(alone, None | Some(Kind::Parameter))
        || scan.before(key.start, 1) != b' '
        || !scan.before(key.start, 2).is_ascii_alphabetic()
    {
        return alone.map(|kind| (kind, key.start));
    }
    let head = scan.bytes(key.start.saturating_sub(16)..key.start - 1);
    let word = head.iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let start = key.start - 1 - word;
    match asked.kind(text, start..key.end) {
        Some(kind @ (Kind::Secret | Kind::Password)) => Some((kind, start)),
        _ => alone.map(|kind| (kind, key.start)),
    }
}
