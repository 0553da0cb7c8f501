//! [`Matcher`] compiles a pattern when it is first tried, because most of some 150 patterns never are. `patterns`
//! decides where to try it, `heads` rejects by the first bytes.

use std::sync::OnceLock;

use regex_automata::meta::Regex;

use super::heads::Head;
use super::regex::{compile, parse};
use super::steps::Steps;

/// A pattern with its matcher, which is compiled at the first use.
pub(super) struct Matcher {
    source: Box<str>,
    made: OnceLock<Option<Made>>,
}

/// A compiled pattern.
pub(super) enum Made {
    /// A row of byte sets, read step by step.
    Steps(Steps),
    /// An automaton, with the first bytes of its matches.
    Automaton(Regex, Head),
}

impl Matcher {
    /// For a built-in pattern that is tried at its first words; a test checks that each compiles.
    pub(super) fn new(source: &str) -> Self {
        Self { source: source.into(), made: OnceLock::new() }
    }

    /// Returns the compiled pattern; `None` if it does not compile.
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
    /// Whether a match may begin at the start of `rest`, judged by the automaton's head.
    #[cfg(test)]
    pub(super) fn may_begin(&self, rest: &[u8]) -> bool {
        match self {
            Self::Steps(_) => true,
            Self::Automaton(_, head) => head.fits(rest),
        }
    }
}
