//! **What**: which lists the word of a key is in, by one look-up; texts that values begin with. **Why**: a word is
//! asked for a dozen lists. **Not here**: the lists (`keys`).

use std::collections::BTreeMap;

use crate::sets::Map;

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

/// Texts in small letters by the byte that they begin with: nearly none of them begins as what is asked.
pub(super) struct ByFirst(Vec<Vec<&'static [u8]>>);

impl ByFirst {
    /// These texts.
    pub(super) fn of(texts: impl Iterator<Item = &'static str>) -> Self {
        let mut made = vec![Vec::new(); 256];
        for text in texts.map(str::as_bytes) {
            let slot = text.first().and_then(|first| made.get_mut(usize::from(*first)));
            slot.into_iter().for_each(|texts| texts.push(text));
        }
        Self(made)
    }

    /// Whether `text` begins with one of them, in letters of any case.
    pub(super) fn begin(&self, text: &[u8]) -> bool {
        let of = |first: &u8| self.0.get(usize::from(first.to_ascii_lowercase()));
        let begins = |known: &&[u8]| text.get(..known.len()).is_some_and(|head| head.eq_ignore_ascii_case(known));
        text.first().and_then(of).is_some_and(|texts| texts.iter().any(begins))
    }
}
