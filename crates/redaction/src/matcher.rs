//! [`PatternMatcher`] compiles a pattern when it is first tried, because most of some 150 patterns never are.
//! `patterns` decides where to try it.

use std::sync::OnceLock;

use regex_automata::meta::Regex;

use super::regex::compile;

/// A pattern with its automaton, which is compiled at the first use.
pub(super) struct PatternMatcher {
    source: Box<str>,
    compiled: OnceLock<Option<Regex>>,
}

impl PatternMatcher {
    /// For a built-in pattern that is tried at its first words; a test checks that each compiles.
    pub(super) fn new(source: &str) -> Self {
        Self { source: source.into(), compiled: OnceLock::new() }
    }

    /// The automaton; `None` if the pattern does not compile.
    pub(super) fn compiled(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| compile(&self.source, false).ok()).as_ref()
    }
}

impl From<Regex> for PatternMatcher {
    fn from(regex: Regex) -> Self {
        Self { source: "".into(), compiled: OnceLock::from(Some(regex)) }
    }
}
