//! Decides which part of a statement to a database stays: its form, with `?` in place of literals. A statement that is
//! not read with certainty keeps its first word, if that begins statements; a statement to a cache keeps its commands.
//! The literals of an agent's statements are what users said, while on-call engineers need tables and conditions.
//!
//! The result is bounded, and applying the function again changes nothing.
//! `statements` in `config/dialects.yaml` lists systems; `config/words.yaml` has commands and first words.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::address::REMOVED_MARK;
use super::label_shape;
use super::words::LISTS;

mod caches;
mod form;

/// A longer statement keeps its first word only.
const MAX_STATEMENT_BYTES: usize = 64 << 10;
/// First words of GraphQL documents.
const GRAPHQL_WORDS: [&str; 4] = ["query", "mutation", "subscription", "fragment"];

/// The system that an item talks to, as far as its statements are read differently. The first one counts if the item
/// names several.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StatementSystem {
    /// A cache, whose statements contain the stored data.
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

/// The words that decide how statements are read.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatementLists {
    /// Attributes that name the system.
    pub(super) system: Vec<String>,
    /// Words, one of which the name of such a system contains.
    systems: BTreeMap<StatementSystem, Vec<String>>,
}

impl StatementLists {
    /// The system with these names.
    pub(super) fn classify_system<'s>(&self, names: impl Iterator<Item = &'s str>) -> StatementSystem {
        let classify = |name: &str| {
            let name = name.to_lowercase();
            let has_word = |words: &[String]| words.iter().any(|word| name.contains(word.as_str()));
            self.systems.iter().find(|(_, words)| has_word(words)).map_or(StatementSystem::Other, |(system, _)| *system)
        };
        names.map(classify).min().unwrap_or_default()
    }
}

/// The part of a statement that stays. `None` if all of it stays.
pub(super) fn shorten_statement(system: StatementSystem, text: &str) -> Option<String> {
    let is_cache = match system {
        StatementSystem::Cache => true,
        StatementSystem::Unnamed => caches::is_cache_statement(text),
        _ => false,
    };
    if is_cache {
        return caches::shorten_commands(text);
    }
    if text.trim().is_empty() || label_shape::is_placeholder(text) {
        return None;
    }
    let is_bounded = text.len() <= MAX_STATEMENT_BYTES;
    let form = is_bounded.then(|| form::write_json(text).or_else(|| write_form(system, text))).flatten();
    let out = form.unwrap_or_else(|| match split_first_word(text).0 {
        word if is_first_word(word) => Cow::Owned(format!("{word} {REMOVED_MARK}")),
        _ => Cow::Borrowed(REMOVED_MARK),
    });
    (out != text).then(|| out.into_owned())
}

/// `None`: the statement is not read with certainty.
fn write_form(system: StatementSystem, text: &str) -> Option<Cow<'_, str>> {
    let is_graphql = text.trim_start().starts_with('{') || GRAPHQL_WORDS.contains(&split_first_word(text).0);
    let has_backslashes = is_graphql || system == StatementSystem::Backslashes;
    let is_listed = has_backslashes || system == StatementSystem::DoubledQuotes;
    // Whether `\'` ends a text, and whether `#` begins a comment, depends on the system.
    let is_ambiguous = !is_listed && (text.contains("\\'") || text.contains("\\\""));
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
    let is_known = is_graphql || is_call || is_first_word(split_first_word(&form).0);
    is_known.then_some(form)
}

/// Returns true for a word that begins statements.
fn is_first_word(word: &str) -> bool {
    LISTS.statement_words.contains_in_any_case(word)
}

/// The first word of a statement, which may be in parentheses, and the rest.
fn split_first_word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests;
