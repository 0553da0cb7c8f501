//! Tests of the error texts for users' rules, word for word, because users search for them and the documentation quotes
//! them.

use super::super::rule::CustomValidator;
use super::super::{CustomRule, Detector};
use super::custom;

/// Each fault of a user's rule has its own text, which must not change.
#[test]
fn faults_of_rules_keep_their_texts() {
    let allowing = |pattern: &str| CustomRule { allow: vec![pattern.to_owned()], ..custom("CASE", "case-[0-9]+") };
    let single = "the pattern matches single characters: require more with `{4,}`, or add `near` or `validator`";
    for (rule, text) in [
        (custom("case", "a1"), "the name must be 2 to 41 capital letters, digits and `_`, e.g. `ACCOUNT_ID`"),
        (custom("CASE", ""), "a rule must have a `pattern`, `keys` or both; `near` and `validator` need a `pattern`"),
        (
            custom("CASE", "a*"),
            "the pattern matches the empty text, as `a*` does: use `a+`, or add characters that must occur",
        ),
        (custom("CASE", "."), "the pattern matches any text: make it more specific"),
        (custom("CASE", r"\w+"), single),
        (custom("CASE", r"\d"), single),
        (
            custom("CASE", r"\w{2,}"),
            "the pattern matches most of an ordinary sentence: make it more specific, or add `near` or `validator`",
        ),
        (custom("CASE", "("), r"unclosed group: add `)`, or write `\(` for the character"),
        (
            custom("CASE", r"(a)\1"),
            "backreferences are not supported: write the repeated part again, as in `(ab|cd)-(ab|cd)`",
        ),
        (
            custom("CASE", "(?=a)b"),
            "look-around is not supported: list nearby words in `near`, or match them too and put the private part in a group",
        ),
        (
            CustomRule { near: vec!["x".to_owned()], ..custom("CASE", "case-[0-9]+") },
            "each word in `near` and `not_near` must have at least two characters and begin with an ASCII letter or digit",
        ),
        (
            CustomRule { validator: CustomValidator::Name("sum".to_owned()), ..custom("CASE", "case-[0-9]+") },
            "unknown validator: use a name such as `credit_card` (docs/how-to/redaction-rules.md), or a check as data",
        ),
        (allowing(r"\S+|\s+"), "a pattern in `allow` matches any text: make it more specific"),
        (allowing("["), r"unclosed character class: add `]`, or write `\[` for the character"),
    ] {
        let errors = Detector::new(&[], std::slice::from_ref(&rule)).err().expect("is refused");
        assert_eq!(errors.len(), 1);
        assert_eq!((errors[0].rule.as_str(), errors[0].kind.to_string().as_str()), (rule.name.as_str(), text));
        assert_eq!(errors[0].to_string(), format!("rule `{}`: {text}", rule.name));
    }
}

/// All faults of a rule are reported at once.
#[test]
fn all_faults_of_a_rule_are_told() {
    let rule = CustomRule {
        near: vec!["x".to_owned()],
        validator: CustomValidator::Name("sum".to_owned()),
        allow: vec!["[".to_owned()],
        ..custom("case", "(")
    };
    let errors = Detector::new(&[], std::slice::from_ref(&rule)).err().expect("is refused");
    let fields: Vec<&str> = errors.iter().map(|error| error.field()).collect();
    assert_eq!(fields, ["name", "pattern", "near", "validator", "allow"]);
}
