//! Tests of pattern heads. That no match is rejected is tested against a naive search (`differential`).

use super::super::pattern_head::PatternHead;
use super::rules;

/// A text that no match begins with is rejected, one that a match may begin with is not, also for matches of different
/// lengths.
#[test]
fn heads_refuse_what_begins_no_match() {
    let head = PatternHead::new("sk-(?:ant-[a-z]{3,}|[A-Z]{2,4})");
    for (text, fits) in [("sk-ant-abc", true), ("sk-AB", true), ("sk-A-", false), ("sk-sk-sk-", false), ("sk-A", false)]
    {
        assert_eq!(head.may_match(text.as_bytes()), fits, "{text}");
    }
    let head = PatternHead::new(r"(?i)ab(?:c|\b)[0-9]?");
    assert!(head.may_match(b"AB") && head.may_match(b"ab!") && !head.may_match(b"a") && !head.may_match(b"ba"));
}

/// The head of every built-in pattern rejects some texts; otherwise it would be useless.
#[test]
fn heads_of_built_in_patterns_are_known() {
    for rule in rules().iter().filter(|rule| !rule.pattern.is_empty()) {
        let head = PatternHead::new(&rule.pattern);
        assert!(!head.may_match(b"") && !head.may_match("\u{1}".repeat(64).as_bytes()), "{}", rule.name);
    }
}
