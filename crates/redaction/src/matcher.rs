//! **What**: [`Matcher`], what reads one pattern. **Why**: most patterns are never tried, so that each is compiled
//! when it is. **Not here**: where it is tried (`patterns`), what the first bytes refuse (`heads`).

use std::sync::OnceLock;

use regex_automata::meta::Regex;

use super::heads::Head;
use super::regex::{compile, parse};
use super::steps::Steps;

/// What reads a pattern. Made when the pattern is tried for the first time: most of 150 shapes of tokens never are.
pub(super) struct Matcher {
    source: Box<str>,
    made: OnceLock<Option<Made>>,
}

/// What a pattern was made.
pub(super) enum Made {
    /// Of a pattern that is tried where its words begin.
    Steps(Steps),
    /// And what its matches begin with.
    Automaton(Regex, Head),
}

impl Matcher {
    /// Of a built-in pattern that is tried where its words begin; a test compiles each.
    pub(super) fn new(source: &str) -> Self {
        Self { source: source.into(), made: OnceLock::new() }
    }

    /// None where it does not compile.
    pub(super) fn made(&self) -> Option<&Made> {
        let steps = || Steps::of(&parse(&self.source, false)?).map(Made::Steps);
        let automaton = || Some(Made::Automaton(compile(&self.source, false).ok()?, Head::new(&self.source)));
        self.made.get_or_init(|| steps().or_else(automaton)).as_ref()
    }
}

impl From<Regex> for Matcher {
    fn from(regex: Regex) -> Self {
        Self { source: "".into(), made: OnceLock::from(Some(Made::Automaton(regex, Head::default()))) }
    }
}

impl Made {
    /// Whether a match may begin as `rest` does, as far as the automaton's first bytes tell.
    #[cfg(test)]
    pub(super) fn may_begin(&self, rest: &[u8]) -> bool {
        match self {
            Self::Steps(_) => true,
            Self::Automaton(_, head) => head.fits(rest),
        }
    }
}
