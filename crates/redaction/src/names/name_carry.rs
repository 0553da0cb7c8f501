//! Finds a name that was found once everywhere in the same text: each of its words that is not a common word. A record
//! introduces a name, and prose around it repeats it. One pass searches all names, at most [`MOST`] words; a text
//! without a seed costs nothing.

use std::ops::Range;

use aho_corasick::packed::{Config, MatchKind};

use crate::scan::{PrivateClaims, TextScan};

use super::name_lists;

/// Most words that are searched.
const MOST: usize = 64;
/// Up to so many words are searched one by one, in texts up to so many bytes.
const FEW: usize = 4;
const SHORT: usize = 4 << 10;

/// Claims further occurrences of the words of `seeds`.
pub(super) fn claim_repeated_names(scan: &TextScan<'_>, rule: u16, seeds: &[Range<usize>], claims: &mut PrivateClaims) {
    if seeds.is_empty() {
        return;
    }
    let mut names: Vec<&str> = Vec::new();
    for word in seeds.iter().flat_map(|seed| carried_words(scan.part(seed.clone()))) {
        if names.len() < MOST && !names.contains(&word) {
            names.push(word);
        }
    }
    claim_words(scan, rule, names, claims);
}

/// The words of a name that are searched on their own.
pub(crate) fn carried_words(name: &str) -> impl Iterator<Item = &str> {
    name.split([' ', ',', '.', '+', '"', '\\', '/']).filter(|word| is_carried_word(word))
}

/// Claims all occurrences of words of names.
pub(crate) fn claim_words(scan: &TextScan<'_>, rule: u16, mut names: Vec<&str>, claims: &mut PrivateClaims) {
    if names.is_empty() {
        return;
    }
    // Longest first, so that `Annabel` is not found as `Anna`
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    // Building a searcher would cost more
    if names.len() <= FEW && scan.text.len() < SHORT {
        return claim_one_by_one(scan, rule, &names, claims);
    }
    let searcher = Config::new().match_kind(MatchKind::LeftmostFirst).builder().extend(&names).build();
    let Some(searcher) = searcher else { return claim_one_by_one(scan, rule, &names, claims) };
    for found in searcher.find_iter(scan.text) {
        claim_word(scan, rule, found.start()..found.end(), claims);
    }
}

/// Searches one by one: for few words, or where no vector search is available.
fn claim_one_by_one(scan: &TextScan<'_>, rule: u16, names: &[&str], claims: &mut PrivateClaims) {
    for name in names {
        for at in memchr::memmem::find_iter(scan.text.as_bytes(), name) {
            claim_word(scan, rule, at..at + name.len(), claims);
        }
    }
}

fn claim_word(scan: &TextScan<'_>, rule: u16, range: Range<usize>, claims: &mut PrivateClaims) {
    let text = |range: Range<usize>| scan.part(range);
    let before = text(0..range.start).chars().next_back();
    let behind = text(range.end..scan.text.len()).chars().next();
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if super::listed::is_behind_place_word(scan, range.start) {
        return;
    }
    if (part(before) && !scan.is_escape_letter(range.start)) || part(behind) {
        return;
    }
    // The second part of `X-Ray` is not a name
    let (letter, further) = (scan.byte_before(range.start, 2), scan.byte_before(range.start, 3));
    if before == Some('-') && letter.is_ascii_uppercase() && !further.is_ascii_alphanumeric() {
        return;
    }
    claims.add(scan, rule, range);
}

/// Whether a word of a name is searched on its own.
fn is_carried_word(word: &str) -> bool {
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    let whole = word.chars().all(|c| c.is_alphabetic() || matches!(c, '-' | '\'' | '’'));
    let upper = word.starts_with(char::is_uppercase);
    let known = letters == 3 && name_lists::is_given_name(word);
    whole
        && upper
        && (letters >= 4 || known)
        && letters <= 24
        && (name_lists::is_given_name(word) || !name_lists::is_common_word(word))
}
