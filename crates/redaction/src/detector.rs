//! **What**: [`Detector`], a set of rules ready to search, and what each rule is then. **Why**: whoever searches
//! needs no compiler of rules, and a text under search knows its rules. **Not here**: how it is made (`compile`),
//! searching (`find`).

use std::collections::HashSet;
use std::sync::Arc;

use regex_automata::meta::Regex;

use super::choices::Choices;
use super::keys::table::KeyTable;
use super::literals::Literals;
use super::matcher::Matcher;
use super::resolve::Hit;
use super::rule::{Bounds, Class, Families, Family};
use super::secrets::rules::Rules;
use super::stems::Stems;
use super::validate::Validator;

/// One compiled rule.
pub(super) struct Rule {
    pub(super) name: Arc<str>,
    pub(super) placeholder: Arc<str>,
    /// Whose findings names are looked for beside, or are names: asked for each finding, so that no text is compared.
    pub(super) says: Says,
    pub(super) class: Class,
    /// What finds it, if that is code.
    pub(super) family: Option<Family>,
    pub(super) bounds: Bounds,
    pub(super) validator: Validator,
    /// Whether a word of its context must stand near.
    pub(super) context: bool,
    /// Matches that stay.
    pub(super) allow: Option<Regex>,
    /// Its pattern; families have none.
    pub(super) pattern: Option<Pattern>,
}

/// What a placeholder says of a value, as far as names go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// It is an e-mail address.
    Mail,
    /// It is a person's name.
    Person,
    /// Neither.
    Other,
}

impl Says {
    pub(super) fn of(placeholder: &str) -> Self {
        match placeholder {
            "EMAIL" => Self::Mail,
            "PERSON" => Self::Person,
            _ => Self::Other,
        }
    }
}

/// What a rule looks for.
pub(super) struct Pattern {
    pub(super) matcher: Matcher,
    /// Tried anywhere; else where its words begin, as all that are built in are.
    pub(super) loose: bool,
}

/// A set of rules ready to search. Shared by threads.
pub struct Detector {
    pub(super) rules: Vec<Rule>,
    /// Words that begin something.
    pub(super) stems: Stems,
    /// Words that users' patterns begin with.
    pub(super) users: Literals,
    /// Context of families of numbers in scripts that have no capital letters or no blanks: found only right before a
    /// number.
    pub(super) foreign: Vec<(Box<str>, Family)>,
    /// The rules that code finds.
    pub(super) families: Families,
    /// Those of secrets.
    pub(super) secrets: Rules,
    /// The rules with loose patterns.
    pub(super) loose: Vec<usize>,
    /// Placeholders without their brackets.
    pub(super) placeholders: HashSet<Box<str>>,
    /// The keys whose values are private.
    pub(super) keys: KeyTable,
    /// What users chose beside the rules.
    pub(super) choices: Choices,
}

/// The rule of what was not searched because of a bound. Always there, before all others.
pub(super) const UNSCANNED: u16 = 0;

impl Detector {
    /// Index of the rule of what was not searched.
    pub const UNSCANNED_RULE: usize = UNSCANNED as usize;

    /// The same rules with other choices.
    #[must_use]
    pub fn choosing(self, choices: Choices) -> Self {
        Self { choices, ..self }
    }

    /// Whether a hit is what could not be searched, rather than what a rule found.
    pub fn is_unscanned(&self, hit: &Hit) -> bool {
        hit.rule == usize::from(UNSCANNED)
    }

    /// Names of all rules, for metrics.
    pub fn rule_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rules.iter().map(|rule| &rule.name)
    }
}
