//! Decides which part of a statement to a database stays: its form, with `?` in place of literals. A statement that is
//! not read with certainty keeps its first word, if that begins statements; a statement to a cache keeps its commands.
//! The literals of an agent's statements are what users said, while on-call engineers need tables and conditions.
//!
//! The result is bounded, and applying the function again changes nothing.
//! `statements` in `config/dialects.yaml` lists systems, commands and first words.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;

use super::address::REMOVED_MARK;
use super::label_shape;

mod caches;
mod form;

/// A longer statement keeps its first word only.
const MAX_STATEMENT_BYTES: usize = 64 << 10;
/// Maximum size of a listed word, bytes.
const MAX_WORD_BYTES: usize = 32;
/// First words of GraphQL documents.
const GRAPHQL_WORDS: [&str; 4] = ["query", "mutation", "subscription", "fragment"];

/// The system that an item talks to, as far as its statements are read differently. The first one counts if the item
/// names several.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum StatementSystem {
    /// A cache.
    Cache,
    /// A quote inside a text is doubled, and double quotes enclose names.
    DoubledQuotes,
    /// A quote inside a text follows a backslash, and double quotes enclose texts.
    Backslashes,
    /// A system that no list names.
    Other,
    /// The item does not name its system.
    #[default]
    Unnamed,
}

/// The words that decide how statements are read. A system is in a list if its name contains one of the list's words.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatementLists {
    /// Attributes that name the system.
    pub(super) system: Vec<String>,
    /// Caches, whose statements contain the stored data.
    pub(super) caches: Vec<String>,
    /// Databases in which a quote inside a text is doubled, and double quotes enclose names.
    pub(super) doubled_quotes: Vec<String>,
    /// Databases in which a quote inside a text follows a backslash, and double quotes enclose texts.
    pub(super) backslashes: Vec<String>,
    /// Commands of caches, in capitals.
    pub(super) commands: HashSet<String>,
    /// First words of other statements, in capitals.
    pub(super) verbs: HashSet<String>,
}

impl StatementLists {
    /// The system with these names.
    pub(super) fn classify_system<'s>(&self, names: impl Iterator<Item = &'s str>) -> StatementSystem {
        let kinds = [
            (StatementSystem::Cache, &self.caches),
            (StatementSystem::DoubledQuotes, &self.doubled_quotes),
            (StatementSystem::Backslashes, &self.backslashes),
        ];
        let classify = |name: &str| {
            let name = name.to_lowercase();
            let names = |words: &Vec<String>| words.iter().any(|word| name.contains(word.as_str()));
            kinds.iter().find(|(_, words)| names(words)).map_or(StatementSystem::Other, |(system, _)| *system)
        };
        names.map(classify).min().unwrap_or_default()
    }

    /// The part of a statement that stays. `None` if all of it stays.
    pub(super) fn shorten_statement(&self, system: StatementSystem, text: &str) -> Option<String> {
        let is_cache = match system {
            StatementSystem::Cache => true,
            StatementSystem::Unnamed => self.is_cache_statement(text),
            _ => false,
        };
        if is_cache {
            return self.shorten_commands(text);
        }
        if text.trim().is_empty() || label_shape::is_placeholder(text) {
            return None;
        }
        let is_bounded = text.len() <= MAX_STATEMENT_BYTES;
        let form = is_bounded.then(|| form::write_json(text).or_else(|| self.write_form(system, text))).flatten();
        let out = form.unwrap_or_else(|| Cow::Owned(self.keep_first_word(text)));
        (out != text).then(|| out.into_owned())
    }

    /// `None`: the statement is not read with certainty.
    fn write_form<'t>(&self, system: StatementSystem, text: &'t str) -> Option<Cow<'t, str>> {
        let is_graphql = text.trim_start().starts_with('{') || GRAPHQL_WORDS.contains(&split_first_word(text).0);
        let has_backslashes = is_graphql || system == StatementSystem::Backslashes;
        let is_listed = has_backslashes || system == StatementSystem::DoubledQuotes;
        // Whether `\'` ends a text, and whether `#` begins a comment, depends on the system.
        let is_ambiguous = !is_listed && ["\\'", "\\\""].into_iter().any(|mark| text.contains(mark));
        if is_ambiguous || (!has_backslashes && text.contains('#')) {
            return None;
        }
        // `rate(…)`, `db.users.find(…)`
        let (word, rest) = split_first_word(text.trim_start());
        let is_member = || rest.strip_prefix('.').is_some_and(|rest| rest.starts_with(char::is_alphanumeric));
        let is_call = system != StatementSystem::Unnamed
            && !word.is_empty()
            && (rest.starts_with(['(', '{', '[']) || (is_member() && rest.contains('(')));
        let form = form::write_form(text, has_backslashes, is_graphql, is_call)?;
        let (word, _) = split_first_word(&form);
        let is_known = is_graphql || is_call || self.is_verb(word);
        is_known.then_some(form)
    }

    fn keep_first_word(&self, text: &str) -> String {
        let (word, _) = split_first_word(text);
        match self.is_verb(word) {
            true => format!("{word} {REMOVED_MARK}"),
            false => REMOVED_MARK.to_owned(),
        }
    }

    fn is_verb(&self, word: &str) -> bool {
        word.len() <= MAX_WORD_BYTES && self.verbs.contains(word.to_ascii_uppercase().as_str())
    }
}

/// The first word of a statement, which may be in parentheses, and the rest.
fn split_first_word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests;
