//! Tests of patterns that are read as steps: the results equal the automaton's, and only unambiguous patterns qualify.

use std::ops::Range;

use proptest::prelude::*;
use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};

use super::super::regex::parse;
use super::super::step_sequence::StepSequence;
use super::rules;

fn steps(pattern: &str) -> Option<StepSequence> {
    StepSequence::from_hir(&parse(pattern, false).expect("a pattern"))
}

fn automaton(pattern: &str) -> Regex {
    let syntax = syntax::Config::new().unicode(false).utf8(false);
    Regex::builder().syntax(syntax).build(pattern).expect("a pattern")
}

/// The match at the start of `text`, and its group or the whole match, as the automaton finds them.
fn found(regex: &Regex, text: &[u8]) -> Option<(usize, Range<usize>)> {
    let mut captures = regex.create_captures();
    regex.search_captures(&Input::new(text).anchored(Anchored::Yes), &mut captures);
    let whole = captures.get_match()?;
    Some((whole.len(), captures.get_group(1).map_or(whole.range(), |group| group.range())))
}

/// Pieces of a built-in pattern, mixed with others, to make near-matches.
fn pieces(pattern: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let begin: String = pattern
        .trim_start_matches("(?i)")
        .chars()
        .take_while(|char| char.is_ascii_alphanumeric() || "-_".contains(*char))
        .collect();
    let piece =
        prop_oneof!["[A-Za-z0-9]{1,44}", "[a-f0-9]{1,66}", "[A-Z0-9]{1,22}", "[-_=.:/ ]{1,3}", Just(begin.clone())];
    prop::collection::vec(piece, 0..6).prop_map(move |pieces| [begin.as_bytes(), pieces.concat().as_bytes()].concat())
}

/// A pattern does not qualify if a set of variable count may also match what follows, or if it needs more than steps.
#[test]
fn patterns_with_a_choice_are_no_rows() {
    for pattern in
        ["a{1,3}a", "[ab]*b", "a?b?a", "ab|cd", "a+?b", "(?:ab)+", r"a\b", "(a)(b)", "[a-z]{2,}[0-9]?[m-p]", "^a"]
    {
        assert!(steps(pattern).is_none(), "{pattern}");
    }
    for pattern in ["a{2}a", "a{1,3}b", "[ab]*c?[de]", "(?i)Basic\\s{1,3}([a-z]{4,}={0,2})", "a{3,}"] {
        assert!(steps(pattern).is_some(), "{pattern}");
    }
}

/// Steps respect their counts, and the group is where the automaton's is.
#[test]
fn rows_count_as_they_are_told() {
    for (pattern, text) in [
        ("a{1,3}b", "aab"),
        ("a{1,3}b", "aaaab"),
        ("a{2,}", "a"),
        ("[ab]{2,3}", "abab"),
        ("x([0-9]{2,4})=?", "x12345="),
        ("x([0-9]{2,4})=?", "x123=="),
        ("([ab]*)c?[de]", "d"),
        ("([ab]*)c?[de]", "abbacd"),
        ("a", ""),
    ] {
        let row = steps(pattern).expect("a row").find(text.as_bytes());
        assert_eq!(row, found(&automaton(pattern), text.as_bytes()), "{pattern} on {text}");
    }
}

/// Some built-in patterns qualify, and each gives exactly the automaton's matches.
#[test]
fn rows_find_what_automata_find() {
    let all = rules();
    let patterns: Vec<&str> =
        all.iter().map(|rule| rule.pattern.as_str()).filter(|pattern| !pattern.is_empty()).collect();
    let rows: Vec<(&str, StepSequence)> =
        patterns.iter().filter_map(|pattern| Some((*pattern, steps(pattern)?))).collect();
    assert!(rows.len() > 5, "{} of {}", rows.len(), patterns.len());
    for (pattern, row) in rows {
        let regex = automaton(pattern);
        proptest!(ProptestConfig::with_cases(64), |(text in pieces(pattern))| {
            prop_assert_eq!(row.find(&text), found(&regex, &text), "{}", pattern);
        });
    }
}
