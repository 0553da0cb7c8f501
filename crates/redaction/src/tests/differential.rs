//! Compares the engine with a naive one, which tries each pattern at each start of a word without stems, filters or
//! masks. The first words of a rule are derived from its pattern; if one were missing, a secret would not be found.

use std::ops::Range;
use std::sync::LazyLock;

use proptest::prelude::*;
use regex_automata::{Anchored, Input};

use super::super::action::WordAction;
use super::super::anchors::Anchors;
use super::super::rule::MatchBounds;
use super::super::stems::StemMatch;
use super::super::{Detector, RuleData, SearchScratch};
use super::{detector, rules};

/// The positions at which patterns are tried because of a word.
fn tries(detector: &Detector, text: &str) -> Vec<usize> {
    let mut anchors = Anchors::default();
    anchors.find(text.as_bytes(), &detector.stems);
    let tried = |word: &StemMatch| matches!(word.action, WordAction::Pattern(_)).then_some(word.start);
    anchors.words.iter().filter_map(tried).collect()
}

/// Whether a word begins at `at`, or a part of a camelCase word, or text after an escape.
fn begins(text: &[u8], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map_or(b' ', |at| text[at]);
    let camel = text[at].is_ascii_uppercase() && before(1).is_ascii_lowercase();
    text[at].is_ascii_alphanumeric() && (!before(1).is_ascii_alphanumeric() || camel || before(2) == b'\\')
}

/// Ranges that the pattern of `rule` alone matches, without its checks.
fn naive(rule: &RuleData, text: &str) -> Vec<Range<usize>> {
    let syntax = regex_automata::util::syntax::Config::new().unicode(false).utf8(false);
    let config = regex_automata::meta::Config::new().utf8_empty(false);
    let regex =
        regex_automata::meta::Regex::builder().syntax(syntax).configure(config).build(&rule.pattern).expect("builds");
    let at = |at: usize| regex.search(&Input::new(text.as_bytes()).span(at..text.len()).anchored(Anchored::Yes));
    (0..text.len()).filter(|start| begins(text.as_bytes(), *start)).filter_map(at).map(|found| found.range()).collect()
}

/// Every range that a naive search finds for one rule, and that passes its checks, must be found by the engine with
/// that rule alone, and be replaced by the engine with all rules.
fn agree(all: &Detector, alone: &[(RuleData, Detector)], text: &str) -> Result<(), String> {
    let mut scratch = SearchScratch::new();
    let hidden = all.find(text, &mut scratch).to_vec();
    for (rule, engine) in alone {
        if naive(rule, text).is_empty() {
            continue;
        }
        let mut scratch = SearchScratch::new();
        for hit in engine.find(text, &mut scratch) {
            let covered = hit.range.clone().all(|at| hidden.iter().any(|hit| hit.range.contains(&at)));
            if !covered {
                return Err(format!("{}: found alone at {:?}, not among all", rule.name, hit.range));
            }
        }
    }
    Ok(())
}

/// Each rule with its own engine, compiled once.
fn alone() -> &'static [(RuleData, Detector)] {
    static ALONE: LazyLock<Vec<(RuleData, Detector)>> = LazyLock::new(compiled);
    &ALONE
}

fn compiled() -> Vec<(RuleData, Detector)> {
    let patterns = rules().into_iter().filter(|rule| !rule.pattern.is_empty() && rule.at_runs.is_empty() && rule.on);
    let one = |rule: RuleData| {
        let engine = Detector::new(std::slice::from_ref(&rule), &[]).map_err(|errors| errors.len()).expect("compiles");
        (rule, engine)
    };
    patterns.map(one).collect()
}

/// The first words of each pattern are complete: each marked value of each rule is found where a plain search finds it,
/// also in lower and upper case if the pattern ignores case.
#[test]
fn words_of_patterns_are_complete() {
    let mut gaps = Vec::new();
    for (rule, engine) in alone() {
        for hit in &rule.hits {
            let plain = hit.replace(['«', '»'], "");
            let mut texts = vec![plain.clone()];
            if rule.pattern.contains("(?i") {
                texts.extend([plain.to_ascii_lowercase(), plain.to_ascii_uppercase()]);
            }
            for text in texts {
                let found = naive(rule, &text);
                let tried = tries(engine, &text);
                if found.iter().any(|range| !tried.contains(&range.start)) {
                    gaps.push(format!("{}: {found:?} but tried at {tried:?}", rule.name));
                }
            }
        }
    }
    assert!(gaps.is_empty(), "{}", gaps.join("\n"));
}

/// Adding rules never loses a finding: whatever a rule finds alone is replaced when all rules are enabled.
#[test]
fn rules_do_not_shadow_each_other() {
    let (all, alone) = (detector(), alone());
    let texts: Vec<String> =
        rules().iter().flat_map(|rule| rule.hits.clone()).map(|hit| hit.replace(['«', '»'], "")).collect();
    let joints = [" ", "\n", "\", \"", "&x="];
    let pairs: Vec<String> =
        texts.windows(2).zip(joints.iter().cycle()).map(|(pair, joint)| pair.join(joint)).collect();
    let check = |share: &[String]| {
        share.iter().for_each(|text| agree(all, alone, text).unwrap_or_else(|gap| panic!("{gap}")));
    };
    // The longest test of the crate, so it runs on several threads
    std::thread::scope(|scope| {
        pairs.chunks(pairs.len().div_ceil(8)).for_each(|share| drop(scope.spawn(|| check(share))))
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// A generated text of any pattern is tried at its start, at any position.
    #[test]
    fn made_texts_are_tried(seed in any::<u64>(), before in "( |\"|=|_|x\\.|\\\\n)") {
        let alone = alone();
        let Some((rule, engine)) = alone.get(usize::try_from(seed % alone.len() as u64).unwrap_or(0)) else { return Ok(()) };
        let strategy = proptest::string::bytes_regex(&format!("(?s-u){}", rule.pattern));
        let Ok(strategy) = strategy else { return Ok(()) };
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        for _ in 0..(seed % 5) + 1 {
            let Ok(value) = strategy.new_tree(&mut runner) else { continue };
            let Ok(value) = String::from_utf8(proptest::strategy::ValueTree::current(&value)) else { continue };
            let text = format!("{before}{value} end");
            let found = naive(rule, &text);
            let tried = tries(engine, &text);
            prop_assert!(found.iter().all(|range| tried.contains(&range.start)), "{}", rule.name);
        }
    }
}

/// No built-in pattern is tried at every byte: a rule file with a pattern without a first word, or one that may begin
/// within a word, is refused.
#[test]
fn built_in_patterns_begin_with_words() {
    let refused = |pattern: &str, bounds: MatchBounds| {
        let known = rules().into_iter().find(|rule| !rule.pattern.is_empty()).expect("a rule");
        let rule = RuleData { pattern: pattern.to_owned(), bounds, ..known };
        Detector::new(&[rule], &[])
            .err()
            .map(|errors| errors.into_iter().map(|error| error.kind.to_string()).collect::<String>())
    };
    for (pattern, bounds, why) in [
        ("[a-z]{3}[0-9]{4}", MatchBounds::Token, "must begin with a fixed word"),
        ("[0-9]abc", MatchBounds::Token, "must begin with a fixed word"),
        ("abc[0-9]{4}", MatchBounds::None, "`bounds`, or a group"),
    ] {
        assert!(refused(pattern, bounds).is_some_and(|said| said.contains(why)), "{pattern}");
    }
    assert_eq!(refused("abc[0-9]{4}", MatchBounds::Token), None);
    assert_eq!(refused("abc([0-9]{4})", MatchBounds::None), None);
}
