//! Carries a name that was found to the rest of its text: a record introduces a name, and prose around it repeats each
//! of its words. Common words are not searched, nor more than [`MAX_WORDS`]; a text without a name costs nothing.

use std::ops::Range;

use crate::scan::TextScan;
use crate::value_carry::{find_forms, is_delimited};

use super::name_lists;

/// Most words that are searched.
const MAX_WORDS: usize = 64;

/// Claims further occurrences of the words of the names at `found`.
pub(super) fn claim_repeated_names(scan: &TextScan<'_>, rule: u16, found: &[Range<usize>]) {
    let mut words: Vec<&str> = Vec::new();
    for word in found.iter().flat_map(|name| carried_words(scan.part(name.clone()))) {
        if words.len() < MAX_WORDS && !words.contains(&word) {
            words.push(word);
        }
    }
    claim_words(scan, rule, &words);
}

/// The words of a name that are searched on their own.
pub(crate) fn carried_words(name: &str) -> impl Iterator<Item = &str> {
    name.split([' ', ',', '.', '+', '"', '\\', '/']).filter(|word| is_carried_word(word))
}

/// Claims all occurrences of words of names, except after a word for a place and the second part of `X-Ray`.
pub(crate) fn claim_words(scan: &TextScan<'_>, rule: u16, words: &[&str]) {
    let is_name = |range: &Range<usize>| {
        let [third, second, before] = [3, 2, 1].map(|distance| scan.byte_before(range.start, distance));
        is_delimited(scan.text, range)
            && !super::listed::follows_place_word(scan, range.start)
            && !(before == b'-' && second.is_ascii_uppercase() && !third.is_ascii_alphanumeric())
    };
    if words.is_empty() {
        return;
    }
    let mut hits = Vec::new();
    find_forms(scan.text, words.iter().map(|word| ((*word).to_owned(), rule)).collect(), &mut hits, is_name);
    for hit in hits {
        scan.add_claim(hit);
    }
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
