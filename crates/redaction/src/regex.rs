//! Parses and compiles patterns. A pattern that could match the empty text, is too large, or needs look-around is
//! refused with a one-line reason. The engine runs in linear time. Rules are compiled in `compile`, patterns run in
//! `patterns`.

use std::sync::LazyLock;

use regex_automata::meta::{self, Regex};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Hir;

use super::error::RuleErrorKind;
use super::wordlists;

/// Largest compiled pattern, in bytes.
const MAX_PATTERN: usize = 1 << 20;
/// Most bytes of the lazily built automaton; when it is larger, it is built anew.
pub(super) const MAX_CACHE: usize = 4 << 20;

pub(super) fn parse(pattern: &str, unicode: bool) -> Option<Hir> {
    ParserBuilder::new().unicode(unicode).utf8(unicode).build().parse(pattern).ok()
}

/// A pattern that is compiled when it is first tried, because most of some 150 patterns never are. `None`: it does not
/// compile; a test checks that each built-in one does.
pub(super) type LazyPattern = LazyLock<Option<Regex>, Box<dyn FnOnce() -> Option<Regex> + Send>>;

/// A pattern that `make` compiles at its first use.
pub(super) fn lazy(make: impl FnOnce() -> Option<Regex> + Send + 'static) -> LazyPattern {
    LazyLock::new(Box::new(make))
}

/// A pattern that must match a whole text; compiled at its first use.
pub(super) struct WholePattern(LazyPattern);

impl WholePattern {
    pub(super) fn new(source: &str) -> Self {
        let source = format!(r"(?s)\A(?:{source})\z");
        Self(lazy(move || compile(&source, false).ok()))
    }

    pub(super) fn compiles(&self) -> bool {
        self.0.is_some()
    }

    /// Whether a text matches. A pattern that does not compile matches nothing.
    pub(super) fn fits(&self, text: &[u8]) -> bool {
        self.0.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

fn is_look_around(error: &regex_syntax::Error) -> bool {
    let kind = regex_syntax::ast::ErrorKind::UnsupportedLookAround;
    matches!(error, regex_syntax::Error::Parse(error) if *error.kind() == kind)
}

pub(super) fn compile(pattern: &str, unicode: bool) -> Result<Regex, RuleErrorKind> {
    let syntax = syntax::Config::new().unicode(unicode).utf8(unicode);
    let config = meta::Config::new()
        .utf8_empty(unicode)
        .nfa_size_limit(Some(MAX_PATTERN))
        .onepass_size_limit(Some(MAX_PATTERN))
        .hybrid_cache_capacity(MAX_CACHE);
    let regex = Regex::builder().syntax(syntax).configure(config).build(pattern).map_err(|error| {
        if error.syntax_error().is_some_and(is_look_around) {
            return RuleErrorKind::LookAround;
        }
        let text = error.syntax_error().map_or_else(|| error.to_string(), ToString::to_string);
        let reason = text.lines().last().unwrap_or("the pattern is not a valid regular expression");
        RuleErrorKind::Syntax(reason.trim().trim_start_matches("error: ").to_owned())
    })?;
    if parse(pattern, unicode).is_some_and(|hir| hir.properties().minimum_len() == Some(0))
        || regex.is_match("")
        || regex.group_info().pattern_len() != 1
    {
        return Err(RuleErrorKind::MatchesEmpty);
    }
    Ok(regex)
}

/// A pattern of code, compiled once. `<0>`, `<1>` and so on stand for the words of lists, without regard to case.
macro_rules! code_pattern {
    ($pattern:expr $(, $list:literal)*) => {
        once!(crate::regex::CodePattern, crate::regex::CodePattern::new($pattern, &[$($list),*]))
    };
}

/// A pattern that code matches at the start of texts.
pub(super) struct CodePattern(Option<Regex>);

impl CodePattern {
    /// Compiles a pattern; a test checks that each compiles.
    pub(super) fn new(pattern: &str, lists: &[&str]) -> Self {
        let mut source = format!(r"\A(?:{pattern})");
        for (index, list) in lists.iter().enumerate() {
            let mut entries: Vec<String> = wordlists::words(list).map(regex_syntax::escape).collect();
            // The longest entry has to match
            entries.sort_by_key(|entry| std::cmp::Reverse(entry.len()));
            source = source.replace(&format!("<{index}>"), &format!("(?i:{})", entries.join("|")));
        }
        let regex = compile(&source, true);
        debug_assert!(regex.is_ok(), "{source}");
        Self(regex.ok())
    }

    /// Length of the match at the start of a text: up to the end of its group, if it has one.
    pub(super) fn match_len(&self, text: &str) -> Option<usize> {
        let regex = self.0.as_ref()?;
        if regex.captures_len() == 1 {
            return regex.find(Input::new(text).anchored(Anchored::Yes)).map(|found| found.end());
        }
        let mut captures = regex.create_captures();
        regex.captures(text, &mut captures);
        captures.iter().flatten().last().map(|group| group.end)
    }
}
