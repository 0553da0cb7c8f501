//! Looks up all lists that contain a key's word at once, because a word is checked against a dozen lists; and matches
//! prefixes of values. The lists are in `keys`.

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
    pub(super) fn new(texts: impl Iterator<Item = &'static str>) -> Self {
        let mut made = vec![Vec::new(); 256];
        for text in texts.map(str::as_bytes) {
            let slot = text.first().and_then(|first| made.get_mut(usize::from(*first)));
            slot.into_iter().for_each(|texts| texts.push(text));
        }
        Self(made)
    }

    /// Whether `text` begins with one of the prefixes, ignoring case.
    pub(super) fn matches_start(&self, text: &[u8]) -> bool {
        let of = |first: &u8| self.0.get(usize::from(first.to_ascii_lowercase()));
        let begins = |known: &&[u8]| text.get(..known.len()).is_some_and(|head| head.eq_ignore_ascii_case(known));
        text.first().and_then(of).is_some_and(|texts| texts.iter().any(begins))
    }
}
