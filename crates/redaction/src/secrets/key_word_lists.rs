//! Looks up all lists that contain a key's word at once, because a word is checked against a dozen lists; and matches
//! prefixes of values. `secret_keys` chooses the lists.

use std::collections::BTreeMap;

use crate::sets::WordMap;

/// A list of words, used as a bit.
#[derive(Clone, Copy)]
pub(super) enum KeyWordList {
    /// `key`.
    Key,
    /// `token`.
    Token,
    /// `pass`.
    Pass,
    /// `phrase`.
    Phrase,
    /// Words before `phrase` that make it a secret.
    PhraseOf,
    /// `allow`: a key for permissions is a switch.
    Allow,
    /// Words for passwords.
    Password,
    /// Words for other secrets.
    Secret,
    /// Words before `key` that make it a secret.
    KeyOf,
    /// Words before `key` that make it harmless.
    KeyNot,
    /// Words before `token` that make it harmless.
    TokenNot,
    /// Last words of keys that only describe a secret.
    About,
    /// Last words of keys that describe a secret or hold it.
    Doubtful,
    /// Last words that add nothing.
    Neutral,
}

impl KeyWordList {
    /// Whether the list is one of `lists`.
    pub(super) fn is_in(self, lists: u16) -> bool {
        lists >> (self as u16) & 1 == 1
    }
}

/// The words of all lists, each with the lists that contain it.
pub(super) fn build_word_map(lists: impl Iterator<Item = (KeyWordList, &'static str)>) -> WordMap<u16> {
    let mut words: BTreeMap<&'static str, u16> = BTreeMap::new();
    for (list, text) in lists {
        text.split_ascii_whitespace().for_each(|word| *words.entry(word).or_default() |= 1 << (list as u16));
    }
    WordMap::from_entries(words.into_iter().collect())
}

/// Lower-case prefixes grouped by their first byte, which rejects nearly all texts.
pub(super) struct PrefixSet(Vec<Vec<&'static [u8]>>);

impl PrefixSet {
    /// Groups the prefixes.
    pub(super) fn new(prefixes: impl Iterator<Item = &'static str>) -> Self {
        let mut by_first_byte = vec![Vec::new(); 256];
        for prefix in prefixes.map(str::as_bytes) {
            let group = prefix.first().and_then(|first| by_first_byte.get_mut(usize::from(*first)));
            group.into_iter().for_each(|group| group.push(prefix));
        }
        Self(by_first_byte)
    }

    /// Whether `text` begins with one of the prefixes, ignoring case.
    pub(super) fn matches_start(&self, text: &[u8]) -> bool {
        let group = text.first().and_then(|first| self.0.get(usize::from(first.to_ascii_lowercase())));
        let begins_with =
            |prefix: &&[u8]| text.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
        group.is_some_and(|group| group.iter().any(begins_with))
    }
}
