//! The word lists of `config/words.yaml`.

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

/// Words of `config/words.yaml`, in small letters.
#[derive(Default, Deserialize)]
#[serde(from = "String")]
pub(crate) struct WordList(Vec<Box<str>>);

impl From<String> for WordList {
    fn from(text: String) -> Self {
        let mut words: Vec<Box<str>> = text.split(',').map(|word| word.trim().into()).collect();
        words.sort_unstable();
        Self(words)
    }
}

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
    pub(crate) name_keys: WordList,
    pub(crate) forms: BTreeMap<OpaqueKind, Vec<String>>,
    pub(crate) form_parts: BTreeMap<String, String>,
}

/// An unreadable file would let nothing stay; tests read every list.
pub(crate) static LISTS: LazyLock<WordLists> = LazyLock::new(|| {
    let text = include_str!("../../../../config/words.yaml");
    config::load::parse_data("config/words.yaml", text).unwrap_or_default()
});
