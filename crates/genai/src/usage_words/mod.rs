//! Reads from the words of a key which tokens it counts, so that a spelling that no list knows is read too: words in
//! any order, case and notation (`input_cached_tokens`, `cacheWriteInputTokens`, `prompt_tokens_details.audio_tokens`).
//!
//! Words and namespaces are data (`usage_words` in `config/dialects.yaml`). A dialect's own lists are read first. A key
//! with an unknown word counts nothing by guess: it is reported as unrecognized.

use std::collections::BTreeMap;

use foldhash::HashMap;
use serde::Deserialize;
use serde_json::Value as Json;

use super::facts::TokenBucket;
use super::words::divide_words;

/// Maximum size of a key that is read, bytes.
const MAX_KEY_BYTES: usize = 128;
/// Maximum number of members read of one structure, and its maximum depth, also of words that are written as one.
const MAX_MEMBERS: usize = 1024;
const MAX_DEPTH: usize = 8;

/// What the words of a key say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UsageKey {
    /// A count of tokens. `bare`: the key is in no namespace for usage, so only dialects that read any spelling do.
    Tokens { bucket: TokenBucket, bare: bool },
    /// Below a namespace for usage, but its words do not say what it counts.
    Unrecognized,
    /// Structure whose leaves are counts.
    Structure,
}

/// The meaning of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WordMeaning {
    Token,
    /// Says nothing about what is counted.
    Filler,
    Input,
    Output,
    Cache,
    Read,
    /// `cached`: both [`Cache`](Self::Cache) and [`Read`](Self::Read).
    Cached,
    Write,
    FiveMinutes,
    OneHour,
    Text,
    Audio,
    Image,
    Video,
    Reasoning,
    Total,
    /// The number is a part that no price depends on, or no count of tokens: money, a ratio, a limit.
    NotCounted,
}

/// `usage_words` of `config/dialects.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageWordsDefinition {
    /// Prefixes whose keys are counts.
    namespaces: Vec<String>,
    /// Attributes with structure below which counts are found: by vendor, or below `usage`.
    structures: Vec<String>,
    words: BTreeMap<WordMeaning, Vec<String>>,
}

/// The words and namespaces for counts of tokens.
#[derive(Default)]
pub(super) struct UsageWords {
    namespaces: Vec<Box<str>>,
    structures: Vec<Box<str>>,
    words: HashMap<Box<str>, WordMeaning>,
    /// By what the words of the bucket's own name say.
    buckets: HashMap<Meanings, TokenBucket>,
    /// Length of the longest word, bytes.
    longest: usize,
}

/// The meanings of a key's words, a bit each.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Meanings(u32);

impl Meanings {
    fn add(self, word: WordMeaning) -> Self {
        match word {
            WordMeaning::Cached => self.add(WordMeaning::Cache).add(WordMeaning::Read),
            word => Self(self.0 | 1 << word as u32),
        }
    }

    fn has(self, word: WordMeaning) -> bool {
        self.0 & 1 << word as u32 != 0
    }

    /// Returns true for what no price depends on: the text among cached tokens has the price of the others.
    fn is_no_count(self) -> bool {
        self.has(WordMeaning::NotCounted) || (self.has(WordMeaning::Cache) && self.has(WordMeaning::Text))
    }

    fn without(self, word: WordMeaning) -> Self {
        Self(self.0 & !(1 << word as u32))
    }

    /// The meanings that decide what is counted, without those that others imply.
    fn deciding(self) -> Self {
        use WordMeaning as W;
        let mut deciding = self.without(W::Token).without(W::Filler);
        if self.has(W::FiveMinutes) || self.has(W::OneHour) {
            deciding = deciding.add(W::Write);
        }
        for (word, implied) in [(W::Cache, W::Input), (W::Reasoning, W::Output)] {
            deciding = if self.has(word) { deciding.without(implied) } else { deciding };
        }
        let parts = deciding.without(W::Total);
        if parts == Self::default() { deciding } else { parts }
    }
}

impl UsageWords {
    pub(super) fn new(data: &UsageWordsDefinition) -> Self {
        let words = data.words.iter().flat_map(|(meaning, words)| words.iter().map(|word| (word.as_str(), *meaning)));
        let mut words = Self {
            namespaces: data.namespaces.iter().map(|name| format!("{name}.").into()).collect(),
            structures: data.structures.iter().map(|name| name.as_str().into()).collect(),
            words: words.map(|(word, meaning)| (word.into(), meaning)).collect(),
            buckets: HashMap::default(),
            longest: data.words.values().flatten().map(String::len).max().unwrap_or(0),
        };
        let named = TokenBucket::ALL.iter().filter_map(|bucket| Some((words.meanings(bucket.as_str())?, *bucket)));
        words.buckets = named.map(|(meanings, bucket)| (meanings.deciding(), bucket)).collect();
        words
    }

    /// What an attribute's key counts. `None` if it is no count of tokens.
    pub(super) fn read(&self, key: &str) -> Option<UsageKey> {
        if key.len() > MAX_KEY_BYTES {
            return None;
        }
        if self.is_structure(key) {
            return Some(UsageKey::Structure);
        }
        let named = self.below_namespace(key);
        // `app.usage.input_tokens` may be a model's, `app.daily.usage.input_tokens` is not
        let usage = || key.rsplit_once(".usage.").or_else(|| Some(("", key.strip_prefix("usage.")?)));
        let (before, rest) = named.map(|rest| ("", rest)).or_else(usage).unwrap_or(("", key));
        let is_sum = || {
            split_words(before)
                .any(|word| self.words.get(&*word.to_ascii_lowercase()) == Some(&WordMeaning::NotCounted))
        };
        let (bare, meanings) = (named.is_none(), self.meanings(rest));
        let is_count =
            |meanings: &Meanings| !meanings.is_no_count() && (!bare || meanings.has(WordMeaning::Token)) && !is_sum();
        if meanings.is_some_and(|meanings| !is_count(&meanings)) {
            return None;
        }
        let bucket = meanings.and_then(|meanings| self.bucket(meanings));
        bucket.map(|bucket| UsageKey::Tokens { bucket, bare }).or(named.map(|_| UsageKey::Unrecognized))
    }

    fn bucket(&self, meanings: Meanings) -> Option<TokenBucket> {
        self.buckets.get(&meanings.deciding()).copied()
    }

    fn is_structure(&self, key: &str) -> bool {
        self.structures.iter().any(|name| **name == *key)
    }

    /// The rest of a key below a namespace for usage.
    fn below_namespace<'k>(&self, key: &'k str) -> Option<&'k str> {
        let is_start = |prefix: &str| key.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        self.namespaces.iter().find(|prefix| is_start(prefix)).and_then(|prefix| key.get(prefix.len()..))
    }

    /// The meanings of all words of `text`. `None` if one is unknown.
    fn meanings(&self, text: &str) -> Option<Meanings> {
        split_words(text).try_fold(Meanings::default(), |meanings, word| {
            let words = divide_words((&self.words, self.longest), &word.to_ascii_lowercase(), MAX_DEPTH)?;
            Some(words.into_iter().fold(meanings, |meanings, word| meanings.add(*word)))
        })
    }

    /// Calls `found` with each count inside the structure of the attribute `key`; for a number below `usage` whose
    /// path is unrecognized, with the path. Outside of a `usage` a key needs a word for "token", and the first level
    /// there may be a vendor's name.
    pub(super) fn read_structure(
        &self,
        key: &str,
        json: &Json,
        found: &mut impl FnMut(Result<TokenBucket, &str>, &Json),
    ) {
        let path = self.below_namespace(key).filter(|_| !self.is_structure(key));
        let in_usage = path.is_some() || key.split('.').any(|step| step.starts_with("usage"));
        self.read_level(json, path.unwrap_or(""), (in_usage, MAX_DEPTH), &mut { MAX_MEMBERS }, found);
    }

    fn read_level(
        &self,
        json: &Json,
        path: &str,
        (in_usage, depth): (bool, usize),
        members_left: &mut usize,
        found: &mut impl FnMut(Result<TokenBucket, &str>, &Json),
    ) {
        if *members_left == 0 || depth == 0 || path.len() > MAX_KEY_BYTES {
            return;
        }
        *members_left -= 1;
        match json {
            Json::Object(map) => {
                // Google's lists name the medium in a member: `{"modality": "AUDIO", "tokenCount": 3}`.
                let medium = map.get("modality").and_then(Json::as_str).filter(|medium| medium.len() <= self.longest);
                for (key, value) in map.iter().filter(|(key, _)| key.len() <= MAX_KEY_BYTES) {
                    let starts_usage = split_words(key).next().is_some_and(|word| word.eq_ignore_ascii_case("usage"));
                    // a name that the words read is no vendor's
                    let may_be_vendor = depth == MAX_DEPTH && !in_usage && value.is_object() && !starts_usage;
                    let is_vendor = may_be_vendor && self.meanings(key).is_none();
                    let below =
                        if is_vendor { String::new() } else { format!("{path}.{key}.{}", medium.unwrap_or_default()) };
                    self.read_level(value, &below, (in_usage || starts_usage, depth - 1), members_left, found);
                }
            }
            Json::Array(list) => {
                list.iter().for_each(|one| self.read_level(one, path, (in_usage, depth - 1), members_left, found));
            }
            Json::Number(_) => match self.meanings(path) {
                Some(meanings) if meanings.is_no_count() => {}
                Some(meanings) if in_usage || meanings.has(WordMeaning::Token) => {
                    found(self.bucket(meanings).ok_or(path), json);
                }
                None if in_usage => found(Err(path), json),
                _ => {}
            },
            _ => {}
        }
    }
}

/// The words of a key: `cacheWrite.input_tokens` → `cache`, `Write`, `input`, `tokens`. A number begins a word (`5m`).
fn split_words(text: &str) -> impl Iterator<Item = &str> {
    let same_word = |byte: &u8, next: &u8| {
        let both = byte.is_ascii_alphanumeric() && next.is_ascii_alphanumeric();
        let new_word = byte.is_ascii_lowercase() && next.is_ascii_uppercase();
        both && !new_word && (byte.is_ascii_digit() || !next.is_ascii_digit())
    };
    let words = text.as_bytes().chunk_by(same_word).filter_map(|word| std::str::from_utf8(word).ok());
    words.filter(|word| word.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests;
