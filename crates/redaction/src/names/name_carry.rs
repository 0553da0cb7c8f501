//! Carries a name that was found to the rest of its text: a record introduces a name, and prose around it repeats each
//! of its words. Common words are not searched, nor more than [`MAX_WORDS`]; a text without a name costs nothing.

use std::ops::Range;

use aho_corasick::packed::{Config, MatchKind};

use crate::scan::{PrivateClaims, TextScan};

use super::name_lists;

/// Most words that are searched.
const MAX_WORDS: usize = 64;
/// Up to so many words are searched one by one, in texts up to so many bytes.
const MAX_SEPARATE_WORDS: usize = 4;
const MAX_SEPARATE_TEXT: usize = 4 << 10;

/// Claims further occurrences of the words of the names at `found`.
pub(super) fn claim_repeated_names(scan: &TextScan<'_>, rule: u16, found: &[Range<usize>], claims: &mut PrivateClaims) {
    if found.is_empty() {
        return;
    }
    let mut words: Vec<&str> = Vec::new();
    for word in found.iter().flat_map(|name| carried_words(scan.part(name.clone()))) {
        if words.len() < MAX_WORDS && !words.contains(&word) {
            words.push(word);
        }
    }
    claim_words(scan, rule, words, claims);
}

/// The words of a name that are searched on their own.
pub(crate) fn carried_words(name: &str) -> impl Iterator<Item = &str> {
    name.split([' ', ',', '.', '+', '"', '\\', '/']).filter(|word| is_carried_word(word))
}

/// Claims all occurrences of words of names.
pub(crate) fn claim_words(scan: &TextScan<'_>, rule: u16, mut words: Vec<&str>, claims: &mut PrivateClaims) {
    if words.is_empty() {
        return;
    }
    // Longest first, so that `Annabel` is not found as `Anna`
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    // Building a searcher would cost more
    if words.len() <= MAX_SEPARATE_WORDS && scan.text.len() < MAX_SEPARATE_TEXT {
        return claim_one_by_one(scan, rule, &words, claims);
    }
    let searcher = Config::new().match_kind(MatchKind::LeftmostFirst).builder().extend(&words).build();
    let Some(searcher) = searcher else { return claim_one_by_one(scan, rule, &words, claims) };
    for occurrence in searcher.find_iter(scan.text) {
        claim_word(scan, rule, occurrence.start()..occurrence.end(), claims);
    }
}

/// Searches one by one: for few words, or where no vector search is available.
fn claim_one_by_one(scan: &TextScan<'_>, rule: u16, words: &[&str], claims: &mut PrivateClaims) {
    for word in words {
        for at in memchr::memmem::find_iter(scan.text.as_bytes(), word) {
            claim_word(scan, rule, at..at + word.len(), claims);
        }
    }
}

fn claim_word(scan: &TextScan<'_>, rule: u16, range: Range<usize>, claims: &mut PrivateClaims) {
    let before = scan.part(0..range.start).chars().next_back();
    let after = scan.part(range.end..scan.text.len()).chars().next();
    let is_in_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if super::listed::follows_place_word(scan, range.start) {
        return;
    }
    if (is_in_word(before) && !scan.is_escape_letter(range.start)) || is_in_word(after) {
        return;
    }
    // The second part of `X-Ray` is not a name
    let (second, third) = (scan.byte_before(range.start, 2), scan.byte_before(range.start, 3));
    if before == Some('-') && second.is_ascii_uppercase() && !third.is_ascii_alphanumeric() {
        return;
    }
    claims.add(scan, rule, range);
}

/// Whether a word of a name is searched on its own.
fn is_carried_word(word: &str) -> bool {
    let letter_count = word.chars().filter(|c| c.is_alphabetic()).count();
    let is_one_word = word.chars().all(|c| c.is_alphabetic() || matches!(c, '-' | '\'' | '’'));
    let is_capitalised = word.starts_with(char::is_uppercase);
    let is_short_given_name = letter_count == 3 && name_lists::is_given_name(word);
    is_one_word
        && is_capitalised
        && (letter_count >= 4 || is_short_given_name)
        && letter_count <= 24
        && (name_lists::is_given_name(word) || !name_lists::is_common_word(word))
}
