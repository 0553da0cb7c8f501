//! [`PatternMatcher`] compiles a pattern when it is first tried, because most of some 150 patterns never are.
//! `patterns` decides where to try it, `pattern_head` rejects by the first bytes.

use std::sync::OnceLock;

use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input};

use super::pattern_head::PatternHead;
use super::regex::{compile, parse};
use super::step_sequence::StepSequence;

/// A pattern with its matcher, which is compiled at the first use.
pub(super) struct PatternMatcher {
    source: Box<str>,
    compiled: OnceLock<Option<CompiledPattern>>,
}

/// A compiled pattern.
pub(super) enum CompiledPattern {
    /// A row of byte sets, read step by step.
    Steps(StepSequence),
    /// An automaton, with the first bytes of its matches.
    Automaton(Regex, PatternHead),
}

impl PatternMatcher {
    /// For a built-in pattern that is tried at its first words; a test checks that each compiles.
    pub(super) fn new(source: &str) -> Self {
        Self { source: source.into(), compiled: OnceLock::new() }
    }

    /// For a pattern that must match a whole text.
    pub(super) fn whole(source: &str) -> Self {
        Self::new(&format!(r"(?:{source})\z"))
    }

    /// Whether the pattern matches at the start of a text.
    pub(super) fn fits(&self, text: &[u8]) -> bool {
        match self.compiled() {
            Some(CompiledPattern::Automaton(regex, head)) => {
                head.may_match(text) && regex.is_match(Input::new(text).anchored(Anchored::Yes))
            }
            Some(CompiledPattern::Steps(steps)) => steps.find(text).is_some(),
            None => false,
        }
    }

    /// Returns the compiled pattern; `None` if it does not compile.
    pub(super) fn compiled(&self) -> Option<&CompiledPattern> {
        let steps = || StepSequence::from_hir(&parse(&self.source, false)?).map(CompiledPattern::Steps);
        let automaton =
            || Some(CompiledPattern::Automaton(compile(&self.source, false).ok()?, PatternHead::new(&self.source)));
        self.compiled.get_or_init(|| steps().or_else(automaton)).as_ref()
    }
}

impl From<Regex> for PatternMatcher {
    fn from(regex: Regex) -> Self {
        Self {
            source: "".into(),
            compiled: OnceLock::from(Some(CompiledPattern::Automaton(regex, PatternHead::default()))),
        }
    }
}
