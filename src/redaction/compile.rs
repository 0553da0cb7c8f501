//! **What**: rules compiled for matching. **Invariants**: a pattern that could match the empty text, is too large or
//! needs look-around is refused, with one line that says why; the pattern engine is linear. **Not here**: matching (`find`).

use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex_automata::meta::{self, Regex};
use regex_automata::util::syntax;

use super::rule::{Bounds, Class, Custom, RuleData};
use super::validate::Validator;

/// Largest compiled pattern, bytes.
const MAX_PATTERN: usize = 1 << 20;

/// A rule that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// The rule's name.
    pub rule: String,
    /// Why, in one line.
    pub what: String,
}

/// One compiled rule.
pub(super) struct Rule {
    pub(super) name: Arc<str>,
    pub(super) placeholder: Arc<str>,
    pub(super) class: Class,
    pub(super) bounds: Bounds,
    pub(super) validator: Validator,
    pub(super) digits: usize,
    /// Whether a literal of the gate must occur.
    pub(super) gated: bool,
    pub(super) regex: Regex,
    /// Whether group 1 is what is private.
    pub(super) group: bool,
}

/// A set of rules ready to search. Shared by threads.
pub struct Detector {
    pub(super) rules: Vec<Rule>,
    /// All gate literals, and the rule of each.
    pub(super) literals: Option<AhoCorasick>,
    pub(super) literal_rules: Vec<Vec<usize>>,
}

impl Detector {
    /// Compiles built-in rules and users' rules.
    ///
    /// # Errors
    /// Every rule that can't be used.
    pub fn new(rules: &[RuleData], custom: &[Custom]) -> Result<Self, Vec<RuleError>> {
        let (mut compiled, mut errors, mut literals): (Vec<Rule>, Vec<RuleError>, Vec<(String, usize)>) =
            (Vec::new(), Vec::new(), Vec::new());
        for rule in rules {
            match builtin(rule) {
                Ok(ready) => {
                    literals.extend(rule.gate.literals.iter().map(|literal| (literal.clone(), compiled.len())));
                    compiled.push(ready);
                }
                Err(what) => errors.push(RuleError { rule: rule.name.clone(), what }),
            }
        }
        for rule in custom {
            match users(rule) {
                Ok(ready) => compiled.push(ready),
                Err(what) => errors.push(RuleError { rule: rule.name.clone(), what }),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let (literals, literal_rules) = gate(literals);
        Ok(Self { rules: compiled, literals, literal_rules })
    }

    /// Names of all rules, for metrics.
    pub fn rule_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rules.iter().map(|rule| &rule.name)
    }
}

/// Equal literals share one automaton entry.
fn gate(literals: Vec<(String, usize)>) -> (Option<AhoCorasick>, Vec<Vec<usize>>) {
    let (mut texts, mut rules): (Vec<String>, Vec<Vec<usize>>) = (Vec::new(), Vec::new());
    for (literal, rule) in literals {
        match texts.iter().position(|text| text.eq_ignore_ascii_case(&literal)) {
            Some(at) => rules.get_mut(at).into_iter().for_each(|list| list.push(rule)),
            None => {
                texts.push(literal);
                rules.push(vec![rule]);
            }
        }
    }
    let automaton = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::Standard)
        .kind(Some(AhoCorasickKind::DFA))
        .build(&texts)
        .ok();
    (automaton.filter(|_| !texts.is_empty()), rules)
}

fn builtin(rule: &RuleData) -> Result<Rule, String> {
    let regex = compile(&rule.pattern, false)?;
    Ok(Rule {
        name: rule.name.as_str().into(),
        placeholder: format!("[{}]", rule.placeholder).into(),
        class: rule.class,
        bounds: rule.bounds,
        validator: rule.validator,
        digits: rule.gate.digits,
        gated: !rule.gate.literals.is_empty(),
        group: regex.captures_len() > 1,
        regex,
    })
}

fn users(rule: &Custom) -> Result<Rule, String> {
    let valid = (2..=41).contains(&rule.name.len())
        && rule.name.starts_with(|c: char| c.is_ascii_uppercase())
        && rule.name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if !valid {
        return Err("the name must be 2 to 41 capital letters, digits and `_`, e.g. `ACCOUNT_ID`".to_owned());
    }
    let regex = compile(&rule.pattern, true)?;
    Ok(Rule {
        name: rule.name.to_ascii_lowercase().into(),
        placeholder: format!("[{}]", rule.name).into(),
        class: Class::Custom,
        bounds: Bounds::None,
        validator: Validator::None,
        digits: 0,
        gated: false,
        group: regex.captures_len() > 1,
        regex,
    })
}

fn compile(pattern: &str, unicode: bool) -> Result<Regex, String> {
    let syntax = syntax::Config::new().unicode(unicode).utf8(unicode);
    let config = meta::Config::new()
        .utf8_empty(unicode)
        .nfa_size_limit(Some(MAX_PATTERN))
        .onepass_size_limit(Some(MAX_PATTERN))
        .hybrid_cache_capacity(4 << 20);
    let regex = Regex::builder().syntax(syntax).configure(config).build(pattern).map_err(|error| {
        let text = error.syntax_error().map_or_else(|| error.to_string(), ToString::to_string);
        text.lines().last().unwrap_or("not a valid pattern").trim().trim_start_matches("error: ").to_owned()
    })?;
    if regex.is_match("") || regex.group_info().pattern_len() != 1 {
        return Err("the pattern matches the empty text".to_owned());
    }
    Ok(regex)
}
