//! Tests of pattern heads. That no match is rejected is tested against a naive search (`differential`).

use super::super::heads::Head;
use super::rules;

/// A text that no match begins with is rejected, one that a match may begin with is not, also for matches of different
/// lengths.
#[test]
fn heads_refuse_what_begins_no_match() {
    let head = Head::new("sk-(?:ant-[a-z]{3,}|[A-Z]{2,4})");
    for (text, fits) in [("sk-ant-abc", true), ("sk-AB", true), ("sk-A-", false), ("sk-sk-sk-", false), ("sk-A", false)]
    {
        assert_eq!(head.fits(text.as_bytes()), fits, "{text}");
    }
    let head = Head::new(r"(?i)ab(?:c|\b)[0-9]?");
    assert!(head.fits(b"AB") && head.fits(b"ab!") && !head.fits(b"a") && !head.fits(b"ba"));
}

/// The head of every built-in pattern rejects some texts; otherwise it would be useless.
#[test]
fn heads_of_built_in_patterns_are_known() {
    for rule in rules().iter().filter(|rule| !rule.pattern.is_empty()) {
        let head = Head::new(&rule.pattern);
        assert!(!head.fits(b"") && !head.fits("\u{1}".repeat(64).as_bytes()), "{}", rule.name);
    }
}
