//! The word lists of `config/words.yaml`, read from a JSON copy that a test generates.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// The kind of an opaque value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OpaqueKind {
    /// A switch or an outcome.
    Word,
    /// A number, date, version or address. The exact value may identify a person.
    Number,
    /// A generated id, which identifies nothing by itself.
    Id,
}

/// Words in small letters, sorted.
#[derive(Default, Deserialize)]
pub(crate) struct WordList(Vec<Box<str>>);

impl WordList {
    pub(crate) fn contains(&self, word: &str) -> bool {
        self.0.binary_search_by(|known| (**known).cmp(word)).is_ok()
    }

    pub(crate) fn contains_in_any_case(&self, word: &str) -> bool {
        let lower = || word.bytes().map(|byte| byte.to_ascii_lowercase());
        self.0.binary_search_by(|known| known.bytes().cmp(lower())).is_ok()
    }
}

/// `config/words.yaml`, which describes the lists.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WordLists {
    pub(crate) neutral: WordList,
    pub(crate) route: WordList,
    pub(crate) domains: WordList,
    pub(crate) directories: WordList,
    pub(crate) source_endings: WordList,
    pub(crate) id_prefixes: WordList,
    pub(crate) clause_words: WordList,
    pub(crate) clause_starts: WordList,
    pub(crate) cache_commands: WordList,
    pub(crate) statement_words: WordList,
    pub(crate) name_keys: WordList,
    pub(crate) forms: BTreeMap<OpaqueKind, Vec<String>>,
}

/// An unreadable file would let nothing stay; tests read every list.
pub(crate) static LISTS: LazyLock<WordLists> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../../config/words.json")).unwrap_or_default());
