//! Tests of the error texts for users' rules, word for word, because users search for them and the documentation quotes
//! them.

use super::super::{CustomRule, Detector};

/// Each fault of a user's rule has its own text, which must not change.
#[test]
fn faults_of_rules_keep_their_texts() {
    let rule = |name: &str, pattern: &str| CustomRule {
        name: name.to_owned(),
        pattern: pattern.to_owned(),
        ..CustomRule::default()
    };
    let allowing = |pattern: &str| CustomRule { allow: vec![pattern.to_owned()], ..rule("CASE", "case-[0-9]+") };
    let single = "the pattern matches single characters: require more with `{4,}`, or add `near` or `validator`";
    for (rule, text) in [
        (rule("case", "a1"), "the name must be 2 to 41 capital letters, digits and `_`, e.g. `ACCOUNT_ID`"),
        (rule("CASE", ""), "a rule must have a `pattern`, `keys` or both; `near` and `validator` need a `pattern`"),
        (
            rule("CASE", "a*"),
            "the pattern matches the empty text, as `a*` does: use `a+`, or add characters that must occur",
        ),
        (rule("CASE", "."), "the pattern matches any text: make it more specific"),
        (rule("CASE", r"\w+"), single),
        (rule("CASE", r"\d"), single),
        (
            rule("CASE", r"\w{2,}"),
            "the pattern matches most of an ordinary sentence: make it more specific, or add `near` or `validator`",
        ),
        (rule("CASE", "("), r"unclosed group: add `)`, or write `\(` for the character"),
        (
            rule("CASE", r"(a)\1"),
            "backreferences are not supported: write the repeated part again, as in `(ab|cd)-(ab|cd)`",
        ),
        (
            rule("CASE", "(?=a)b"),
            "look-around is not supported: list nearby words in `near`, or match them too and put the private part in a group",
        ),
        (
            CustomRule { near: vec!["x".to_owned()], ..rule("CASE", "case-[0-9]+") },
            "each word in `near` must have at least two characters and begin with an ASCII letter or digit",
        ),
        (
            CustomRule { validator: "sum".to_owned(), ..rule("CASE", "case-[0-9]+") },
            "unknown validator: use a name such as `credit_card` (see `config/rules`)",
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
        name: "case".to_owned(),
        pattern: "(".to_owned(),
        near: vec!["x".to_owned()],
        validator: "sum".to_owned(),
        allow: vec!["[".to_owned()],
        ..CustomRule::default()
    };
    let errors = Detector::new(&[], std::slice::from_ref(&rule)).err().expect("is refused");
    let fields: Vec<&str> = errors.iter().map(|error| error.kind.field()).collect();
    assert_eq!(fields, ["name", "pattern", "near", "validator", "allow"]);
}
