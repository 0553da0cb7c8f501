//! **What**: which lists the word of a key is in, by one look-up. **Why**: a word is asked for a dozen lists.
//! **Not here**: the lists (`keys`).

use std::collections::BTreeMap;

use crate::redaction::sets::Map;

/// A list of words, as a bit.
#[derive(Clone, Copy)]
pub(super) enum List {
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
    /// `allow`: what is allowed is a switch.
    Allow,
    /// Passwords.
    Password,
    /// Other secrets.
    Secret,
    /// Words before `key` that make it a secret.
    KeyOf,
    /// Words before `key` that make it none.
    KeyNot,
    /// Words before `token` that make it none.
    TokenNot,
    /// Last words of keys that only talk about a secret.
    About,
    /// Last words of keys that talk about a secret or hold it.
    Doubtful,
    /// Last words that add nothing.
    Neutral,
}

impl List {
    /// Whether the list is one of `lists`.
    pub(super) fn is_in(self, lists: u16) -> bool {
        lists >> (self as u16) & 1 == 1
    }
}

/// The words of all lists, and the lists that each is in.
pub(super) fn lexicon(lists: impl Iterator<Item = (List, &'static str)>) -> Map<u16> {
    let mut words: BTreeMap<&'static str, u16> = BTreeMap::new();
    for (list, text) in lists {
        text.split_ascii_whitespace().for_each(|word| *words.entry(word).or_default() |= 1 << (list as u16));
    }
    Map::mapped(words.into_iter().collect())
}
