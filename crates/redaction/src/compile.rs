//! Compiles rules into a [`Detector`]. An unusable rule is refused with a one-line reason. Patterns are compiled in
//! `regex`, matching is in `find`.

use std::sync::Arc;

use regex_automata::meta::Regex;
use regex_syntax::hir::literal::{ExtractKind, Extractor};

use super::action::WordAction;
use super::detector::{CompiledRule, Detector, RulePattern, SearchOptions};
use super::error::{RuleError, RuleErrorKind};
use super::keys::table::KeyTable;
use super::literal_search::{self, LiteralSearch};
use super::number_forms::{AnnouncedForm, WrittenForms};
use super::regex::{compile, lazy, parse};
use super::rule::{CustomRule, CustomValidator, FamilyRules, MatchBounds, RuleClass, RuleData, RuleFamily, RunShapes};
use super::scan::CONTEXT_REACH;
use super::secrets;
use super::stems::{SHORTEST, Stem, Stems};
use super::validate::Validator;
use super::validate::id_check::CompiledCheck;
use super::wordlists;

/// Most rules in a detector.
const MAX_RULES: usize = 20_000;

impl Detector {
    /// Compiles built-in rules and users' rules.
    ///
    /// # Errors
    /// All rules that can't be used, each with its reason.
    pub fn new(rules: &[RuleData], custom: &[CustomRule]) -> Result<Self, Vec<RuleError>> {
        let mut builder = DetectorBuilder {
            rules: vec![empty_rule("unscanned", "UNSCANNED", RuleClass::Custom)],
            ..DetectorBuilder::default()
        };
        rules.iter().for_each(|rule| builder.written_forms.add(rule));
        for rule in rules.iter().filter(|rule| rule.on) {
            builder.add_rule(&rule.name, |index, stems| {
                compile_builtin_rule(rule, index, stems).map_err(|fault| vec![fault])
            });
            let Ok(index) = u16::try_from(builder.rules.len().saturating_sub(1)) else { continue };
            rule.at_runs.iter().for_each(|shape| builder.at_runs.add(shape, index));
            if let Some(family) = rule.family {
                builder.families.set(family, index);
                builder.add_keys_and_cues(rule, index);
            }
        }
        for rule in custom {
            let index = builder.rules.len();
            builder.add_rule(&rule.name, |index, stems| compile_users_rule(rule, index, stems));
            let words =
                users_first_words(&rule.pattern).filter(|_| index < builder.rules.len() && !rule.pattern.is_empty());
            let Ok(index) = u16::try_from(index) else { continue };
            builder.users_words.extend(words.into_iter().flatten().map(|word| (word, index)));
            if usize::from(index) < builder.rules.len() && !rule.keys.is_empty() {
                builder.add_keys_and_cues(&keys_as_rule(rule), index);
            }
        }
        if builder.rules.len() > MAX_RULES {
            builder.errors.push(RuleError { rule: String::new(), kind: RuleErrorKind::TooManyRules(MAX_RULES) });
        }
        if !builder.errors.is_empty() {
            return Err(builder.errors);
        }
        let users_words = LiteralSearch::new(builder.users_words.clone());
        for (_, index) in builder.users_words.iter().filter(|_| !users_words.is_empty()) {
            if let Some(pattern) = builder.rules.get_mut(usize::from(*index)).and_then(|rule| rule.pattern.as_mut()) {
                pattern.unanchored = false;
            }
        }
        builder.stems.extend(secrets::secret_stems(&builder.families));
        let mut stems = Stems::new(builder.stems);
        stems.suffix_word_action = secrets::suffix_word_action(&builder.families);
        stems.has_given_names = builder.families.rule(RuleFamily::NameListed).is_some();
        let is_unanchored = |rule: &CompiledRule| rule.pattern.as_ref().is_some_and(|pattern| pattern.unanchored);
        let placeholder_name = |rule: &CompiledRule| rule.placeholder.trim_matches(['[', ']']).into();
        Ok(Self {
            unanchored: (0..).zip(&builder.rules).filter(|(_, rule)| is_unanchored(rule)).map(|(at, _)| at).collect(),
            at_runs: builder.at_runs,
            placeholders: builder.rules.iter().map(placeholder_name).collect(),
            rules: builder.rules,
            users_words,
            stems,
            foreign_words: builder.foreign_words,
            families: builder.families,
            written_forms: builder.written_forms,
            keys: builder.keys,
            options: SearchOptions::default(),
        })
    }
}

/// A detector under construction.
#[derive(Default)]
struct DetectorBuilder {
    rules: Vec<CompiledRule>,
    errors: Vec<RuleError>,
    stems: Vec<Stem>,
    users_words: Vec<(Vec<u8>, u16)>,
    at_runs: RunShapes,
    foreign_words: Vec<(Box<str>, RuleFamily)>,
    families: FamilyRules,
    written_forms: WrittenForms,
    keys: KeyTable,
    /// Key words that already have a stem.
    key_stems: Vec<String>,
}

impl DetectorBuilder {
    /// Adds the keys, cues and foreign words of a family's rule.
    fn add_keys_and_cues(&mut self, rule: &RuleData, index: u16) {
        if let Err(kind) = self.keys.add(rule, index) {
            self.errors.push(RuleError { rule: rule.name.clone(), kind });
        }
        // The anchor pass finds only words that begin with an ASCII letter; other words are searched from the number
        let foreign_words = rule.context.iter().filter(|word| !word.starts_with(|c: char| c.is_ascii()));
        self.foreign_words.extend(
            rule.family
                .into_iter()
                .flat_map(|family| foreign_words.clone().map(move |word| (word.as_str().into(), family))),
        );
        let cue_stem = |cue: &String| Stem::new(cue.as_bytes(), false, true, WordAction::Cue(index));
        self.stems.extend(rule.cues.iter().map(cue_stem));
        for key in &rule.keys {
            // A key is found by its last word; if that is short or has digits, by its first one
            let name = key.trim_start_matches("*_");
            let last = name.rsplit('_').next().unwrap_or(name);
            let anchor = if last.len() < 4 || last.bytes().any(|byte| byte.is_ascii_digit()) { name } else { last };
            let anchor = anchor.split('_').next().unwrap_or(anchor);
            if !self.key_stems.iter().any(|known| known == anchor) {
                self.key_stems.push(anchor.to_owned());
                self.stems.push(Stem::new(anchor.as_bytes(), false, anchor.len() < 4, WordAction::Key));
            }
        }
    }

    fn add_rule(
        &mut self,
        name: &str,
        make: impl FnOnce(u16, &mut Vec<Stem>) -> Result<CompiledRule, Vec<RuleErrorKind>>,
    ) {
        let index = self.rules.len();
        match make(u16::try_from(index).unwrap_or(u16::MAX), &mut self.stems) {
            Ok(rule) => self.rules.push(rule),
            Err(faults) => {
                self.errors.extend(faults.into_iter().map(|kind| RuleError { rule: name.to_owned(), kind }));
            }
        }
    }
}

/// A context word as it is, and with `_`, `-` and nothing in place of its blanks.
fn spellings(word: &str) -> impl Iterator<Item = String> {
    let joints = if word.contains(' ') { &[" ", "_", "-", ""][..] } else { &[" "] };
    joints.iter().map(move |joint| word.replace(' ', joint))
}

fn compile_builtin_rule(rule: &RuleData, index: u16, stems: &mut Vec<Stem>) -> Result<CompiledRule, RuleErrorKind> {
    let pattern = match (rule.pattern.is_empty(), rule.family) {
        (false, _) => {
            let hir = parse(&rule.pattern, false).ok_or(RuleErrorKind::InvalidPattern)?;
            let has_group = hir.properties().explicit_captures_len() > 0;
            if rule.bounds == MatchBounds::None && !has_group {
                return Err(RuleErrorKind::NoBounds);
            }
            if rule.at_runs.is_empty() {
                let words = first_words(&rule.pattern).ok_or(RuleErrorKind::NoFirstWord)?;
                let stem = |(text, exact): (Vec<u8>, bool)| Stem::new(&text, exact, false, WordAction::Pattern(index));
                stems.extend(words.into_iter().map(stem));
            }
            let source = rule.pattern.clone();
            Some(RulePattern { regex: lazy(move || compile(&source, false).ok()), unanchored: false })
        }
        (true, Some(_)) => None,
        (true, None) => return Err(RuleErrorKind::NoPatternOrFamily),
    };
    let context_action = rule.family.map_or(WordAction::Context(index), WordAction::Number);
    let prose_action = rule.family.map_or(WordAction::Context(index), WordAction::NumberProse);
    let words = rule
        .context
        .iter()
        .map(|word| (word, context_action))
        .chain(rule.prose.iter().map(|word| (word, prose_action)));
    for (word, action) in words {
        let is_exact = word.starts_with(|c: char| c.is_ascii_uppercase());
        // Words of prose have no other spellings
        let spellings = spellings(word).take(if action == context_action { 4 } else { 1 });
        stems.extend(spellings.map(|word| Stem::new(word.as_bytes(), is_exact, true, action)));
    }
    Ok(CompiledRule {
        family: rule.family,
        bounds: rule.bounds,
        validator: rule.validator,
        needs_context: !rule.context.is_empty(),
        values: rule.values.iter().map(AnnouncedForm::new).collect(),
        allow: compile_allow_patterns(&rule.allow)?,
        pattern,
        ..empty_rule(&rule.name, &rule.placeholder, rule.class)
    })
}

/// The words that a built-in pattern begins with, and whether their case counts. `None` if it can begin otherwise.
fn first_words(pattern: &str) -> Option<Vec<(Vec<u8>, bool)>> {
    let exact = !pattern.contains("(?i");
    let mut prefixes = match_prefixes(pattern, false)?;
    if !exact {
        prefixes.iter_mut().for_each(|text| text.make_ascii_lowercase());
    }
    prefixes.sort();
    prefixes.dedup();
    // A word that starts with another is found by the shorter one
    let mut words: Vec<Vec<u8>> = Vec::new();
    for text in prefixes {
        if words.last().is_none_or(|last| !text.starts_with(last)) {
            words.push(text);
        }
    }
    let usable = words.iter().all(|text| text.len() >= SHORTEST && text.first().is_some_and(u8::is_ascii_alphabetic));
    (usable && !words.is_empty()).then(|| words.into_iter().map(|text| (text, exact)).collect())
}

/// The possible prefixes of a match.
fn match_prefixes(pattern: &str, unicode: bool) -> Option<Vec<Vec<u8>>> {
    let hir = parse(pattern, unicode)?;
    let mut extractor = Extractor::new();
    extractor.kind(ExtractKind::Prefix).limit_class(16).limit_total(512).limit_literal_len(12);
    Some(extractor.extract(&hir).literals()?.iter().map(|literal| literal.as_bytes().to_vec()).collect())
}

/// The words that a user's pattern begins with; `None` if they are too many or too short.
fn users_first_words(pattern: &str) -> Option<Vec<Vec<u8>>> {
    /// Most words of one rule.
    const MAX_WORDS: usize = 32;
    let mut words = match_prefixes(pattern, true)?;
    let shortest = words.iter().map(Vec::len).min().unwrap_or(0);
    if words.len() > MAX_WORDS {
        words.iter_mut().for_each(|text| text.truncate(literal_search::SHORTEST));
        words.sort();
        words.dedup();
    }
    (shortest >= literal_search::SHORTEST && words.len() <= MAX_WORDS).then_some(words)
}

/// A rule that finds nothing by itself.
fn empty_rule(name: &str, placeholder: &str, class: RuleClass) -> CompiledRule {
    CompiledRule {
        name: name.into(),
        placeholder: format!("[{placeholder}]").into(),
        class,
        context_reach: CONTEXT_REACH,
        ..CompiledRule::default()
    }
}

/// Compiles a user's rule, or returns everything that is wrong with it.
fn compile_users_rule(
    rule: &CustomRule,
    index: u16,
    stems: &mut Vec<Stem>,
) -> Result<CompiledRule, Vec<RuleErrorKind>> {
    let mut faults = Vec::new();
    let is_valid_name = (2..=41).contains(&rule.name.len())
        && rule.name.starts_with(|c: char| c.is_ascii_uppercase())
        && rule.name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if !is_valid_name {
        faults.push(RuleErrorKind::InvalidName);
    }
    if rule.pattern.is_empty() && (rule.keys.is_empty() || !rule.near.is_empty() || !rule.validator.is_none()) {
        faults.push(RuleErrorKind::NothingToFind);
    }
    let compiled = (!rule.pattern.is_empty()).then(|| compile_users_pattern(rule)).transpose();
    let pattern = compiled.map_err(|fault| faults.push(fault)).unwrap_or_default();
    let is_short =
        |word: &String| word.len() < SHORTEST || !word.starts_with(|first: char| first.is_ascii_alphanumeric());
    if rule.near.iter().chain(&rule.not_near).any(is_short) {
        faults.push(RuleErrorKind::ShortNearWord);
    }
    let (validator, check) = compile_validator(&rule.validator).map_err(|fault| faults.push(fault)).unwrap_or_default();
    let allow = compile_allow_patterns(&rule.allow).map_err(|fault| faults.push(fault)).unwrap_or_default();
    if !faults.is_empty() {
        return Err(faults);
    }
    let near = rule.near.iter().map(|word| (word, WordAction::Context(index)));
    for (word, action) in near.chain(rule.not_near.iter().map(|word| (word, WordAction::NotNear(index)))) {
        let lower = word.to_ascii_lowercase();
        stems.extend(spellings(&lower).map(|word| Stem::new(word.as_bytes(), false, true, action)));
    }
    Ok(CompiledRule {
        validator,
        check,
        needs_context: !rule.near.is_empty(),
        has_suppressing_words: !rule.not_near.is_empty(),
        context_reach: rule.within.map_or(CONTEXT_REACH, |bytes| (bytes.into(), bytes.into())),
        allow,
        pattern,
        ..empty_rule(&rule.name.to_ascii_lowercase(), &rule.name, RuleClass::Custom)
    })
}

fn compile_users_pattern(rule: &CustomRule) -> Result<RulePattern, RuleErrorKind> {
    let regex = compile(&rule.pattern, true)?;
    let is_unrestricted = rule.near.is_empty() && rule.validator.is_none();
    if matches_everything(&regex) {
        return Err(RuleErrorKind::MatchesEverything);
    }
    if is_unrestricted
        && parse(&rule.pattern, true).and_then(|hir| hir.properties().minimum_len()).is_some_and(|len| len < 2)
    {
        return Err(RuleErrorKind::MatchesSingle);
    }
    if is_unrestricted && matches_prose(&regex) {
        return Err(RuleErrorKind::MatchesProse);
    }
    Ok(RulePattern { regex: lazy(move || Some(regex)), unanchored: true })
}

/// The keys of a user's rule in the form of a built-in rule.
fn keys_as_rule(rule: &CustomRule) -> RuleData {
    RuleData {
        name: rule.name.clone(),
        placeholder: rule.name.clone(),
        on: true,
        family: Some(RuleFamily::Keys),
        keys: rule.keys.clone(),
        ..RuleData::default()
    }
}

/// The check of a user's rule: code, data, or an id of the built-in rules.
fn compile_validator(validator: &CustomValidator) -> Result<(Validator, Option<Arc<CompiledCheck>>), RuleErrorKind> {
    match validator {
        CustomValidator::Name(name) if name.is_empty() => Ok((Validator::None, None)),
        CustomValidator::Name(name) => match wordlists::variant(name) {
            Some(validator) => Ok((validator, None)),
            None => {
                let rules = super::builtin_rules().unwrap_or_default();
                let id = rules.iter().flat_map(|rule| &rule.ids).find(|id| id.name == *name);
                let check = id.and_then(|id| CompiledCheck::new(&id.check)).ok_or(RuleErrorKind::UnknownValidator)?;
                Ok((Validator::None, Some(check.into())))
            }
        },
        CustomValidator::Check(check) => {
            let check = CompiledCheck::from_user(check).map_err(RuleErrorKind::InvalidCheck)?;
            Ok((Validator::None, Some(check.into())))
        }
    }
}

/// Compiles the patterns of matches to leave in place.
fn compile_allow_patterns(patterns: &[String]) -> Result<Option<Regex>, RuleErrorKind> {
    for pattern in patterns {
        let compiled = compile(pattern, true).map_err(|kind| match kind {
            RuleErrorKind::Syntax(message) => RuleErrorKind::AllowSyntax(message),
            RuleErrorKind::LookAround => RuleErrorKind::AllowSyntax("look-around is not supported".to_owned()),
            RuleErrorKind::MatchesEmpty => RuleErrorKind::AllowsEmpty,
            kind => kind,
        })?;
        if matches_everything(&compiled) {
            return Err(RuleErrorKind::AllowsEverything);
        }
    }
    let joined: Vec<String> = patterns.iter().map(|pattern| format!("(?:{pattern})")).collect();
    if joined.is_empty() { Ok(None) } else { compile(&format!(r"\A(?:{})\z", joined.join("|")), true).map(Some) }
}

/// Whether a pattern matches in any text, which makes it useless as a rule.
fn matches_everything(regex: &Regex) -> bool {
    ["a", "Z", "7", "-", "é", " \t"].iter().all(|piece| regex.is_match(&piece.repeat(64)))
}

/// Whether a pattern matches most of an ordinary sentence.
fn matches_prose(regex: &Regex) -> bool {
    const SENTENCE: &str = "The 3 orders of 12 May were sent to a server, and it still waits for an answer";
    let matched_bytes: usize = regex.find_iter(SENTENCE).map(|found| found.len()).sum();
    matched_bytes * 2 > SENTENCE.len()
}
