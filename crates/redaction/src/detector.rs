//! [`Detector`]: a set of compiled rules, ready to search. `compile` builds it from rule data, `find` searches with it.

use std::collections::HashSet;
use std::sync::Arc;

use regex_automata::meta::Regex;

use super::keys::table::KeyTable;
use super::literal_search::LiteralSearch;
use super::number_forms::{AnnouncedForm, WrittenForms};
use super::regex::LazyPattern;
use super::resolve::RedactionHit;
use super::rule::{FamilyRules, MatchBounds, RuleClass, RuleFamily, RunShapes};
use super::stems::Stems;
use super::validate::Validator;
use super::validate::id_check::CompiledCheck;

#[derive(Default)]
pub(super) struct CompiledRule {
    pub(super) name: Arc<str>,
    pub(super) placeholder: Arc<str>,
    pub(super) class: RuleClass,
    /// The code that finds matches, if there is any.
    pub(super) family: Option<RuleFamily>,
    pub(super) bounds: MatchBounds,
    pub(super) validator: Validator,
    /// A check that is data.
    pub(super) check: Option<Arc<CompiledCheck>>,
    /// Whether a context word must be near a match.
    pub(super) needs_context: bool,
    /// Whether a match does not count near some words.
    pub(super) has_suppressing_words: bool,
    /// Most bytes before and after a match in which those words may be.
    pub(super) context_reach: (usize, usize),
    /// Forms of the values that its context words announce.
    pub(super) values: Vec<AnnouncedForm>,
    /// Matches to leave in place.
    pub(super) allow: Option<Regex>,
    pub(super) pattern: Option<RulePattern>,
}

impl CompiledRule {
    /// Whether its placeholder is `[name]`.
    pub(super) fn has_placeholder(&self, name: &str) -> bool {
        self.placeholder.trim_matches(['[', ']']) == name
    }
}

pub(super) struct RulePattern {
    pub(super) regex: LazyPattern,
    /// Whether it is tried at every position, instead of at its first words. Never so for built-in patterns.
    pub(super) unanchored: bool,
}

/// A set of rules ready to search. Can be shared between threads.
pub struct Detector {
    pub(super) rules: Vec<CompiledRule>,
    /// Known words, with the action of each.
    pub(super) stems: Stems,
    /// Words that users' patterns begin with.
    pub(super) users_words: LiteralSearch,
    /// Context words of numbers that begin with a non-ASCII letter, which the anchor pass can't find; matched only
    /// right before a number.
    pub(super) foreign_words: Vec<(Box<str>, RuleFamily)>,
    /// Rules that are found by code.
    pub(super) families: FamilyRules,
    /// Ids that are found by their form and check.
    pub(super) written_forms: WrittenForms,
    /// Runs with digits at which patterns are tried, each with the index of its rule, by the byte next to them.
    pub(super) at_runs: RunShapes,
    /// Indices of rules whose patterns are tried at every position.
    pub(super) unanchored: Vec<u16>,
    /// Placeholders without their brackets.
    pub(super) placeholders: HashSet<Box<str>>,
    /// The keys whose values are private.
    pub(super) keys: KeyTable,
    /// Search options set by the user.
    pub(super) options: SearchOptions,
}

kernel::with_defaults! {
    /// Search options.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SearchOptions {
        /// Number of nested encodings that are decoded; text nested deeper becomes `[UNSCANNED]`.
        pub depth: u8 = 4,
        /// Whether IP addresses of private networks are private.
        pub private_addresses: bool,
        /// Whether further occurrences of a found value in the same text are replaced.
        pub redact_repeats: bool = true,
    }
}

impl SearchOptions {
    /// Largest allowed [`Self::depth`].
    pub const MAX_DEPTH: u8 = 8;
}

/// The rule for text that was not searched because a limit was reached. Always the first.
pub(super) const UNSCANNED: u16 = 0;

impl Detector {
    /// Index of the rule for text that was not searched.
    pub const UNSCANNED_RULE: usize = UNSCANNED as usize;

    /// Replaces the search options.
    #[must_use]
    pub fn with_options(self, options: SearchOptions) -> Self {
        Self { options, ..self }
    }

    /// A rule by its index.
    pub(super) fn compiled_rule(&self, rule: u16) -> Option<&CompiledRule> {
        self.rules.get(usize::from(rule))
    }

    /// Whether a hit is text that could not be searched, rather than a finding.
    pub fn is_unscanned(&self, hit: &RedactionHit) -> bool {
        hit.rule == UNSCANNED
    }

    /// Names of all rules, used as metric labels.
    pub fn rule_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rules.iter().map(|rule| &rule.name)
    }
}
