//! Tests of the error texts for users' rules, word for word, because users search for them and the documentation quotes
//! them.

use super::super::{Custom, Detector};

/// Each fault of a user's rule has its own text, which must not change.
#[test]
fn faults_of_rules_keep_their_texts() {
    let rule =
        |name: &str, pattern: &str| Custom { name: name.to_owned(), pattern: pattern.to_owned(), ..Custom::default() };
    let allowing = |pattern: &str| Custom { allow: vec![pattern.to_owned()], ..rule("CASE", "case-[0-9]+") };
    let single = "the pattern matches single characters: say how many at least (`{4,}`), or give `near` or `validator`";
    for (rule, text) in [
        (rule("case", "a1"), "the name must be 2 to 41 capital letters, digits and `_`, e.g. `ACCOUNT_ID`"),
        (rule("CASE", ""), "a rule has a `pattern`, or `keys`, or both; `near` and `validator` are of the pattern"),
        (rule("CASE", "a*"), "the pattern matches the empty text, as `a*` does: write `a+`, or more beside it"),
        (rule("CASE", "."), "the pattern matches everything: say what the matches have in common"),
        (rule("CASE", r"\w+"), single),
        (rule("CASE", r"\d"), single),
        (
            rule("CASE", r"\w{2,}"),
            "the pattern matches most of any sentence: say what the matches have in common, or give `near` or `validator`",
        ),
        (rule("CASE", "("), "unclosed group"),
        (
            rule("CASE", "(?=a)b"),
            "look-around is not supported: name words beside it in `near`, or match them too and put what is private in a group",
        ),
        (
            Custom { near: vec!["x".to_owned()], ..rule("CASE", "case-[0-9]+") },
            "a word of `near` has at least two letters",
        ),
        (Custom { validator: "sum".to_owned(), ..rule("CASE", "case-[0-9]+") }, "there is no such validator"),
        (allowing(r"\S+|\s+"), "a pattern of `allow` matches everything"),
        (allowing("["), "unclosed character class"),
    ] {
        let errors = Detector::new(&[], std::slice::from_ref(&rule)).err().expect("is refused");
        assert_eq!(errors.len(), 1);
        assert_eq!((errors[0].rule.as_str(), errors[0].what.to_string().as_str()), (rule.name.as_str(), text));
        assert_eq!(errors[0].to_string(), format!("rule `{}`: {text}", rule.name));
    }
}

/// All faults of a rule are reported at once.
#[test]
fn all_faults_of_a_rule_are_told() {
    let rule = Custom {
        name: "case".to_owned(),
        pattern: "(".to_owned(),
        near: vec!["x".to_owned()],
        validator: "sum".to_owned(),
        allow: vec!["[".to_owned()],
        ..Custom::default()
    };
    let errors = Detector::new(&[], std::slice::from_ref(&rule)).err().expect("is refused");
    let fields: Vec<&str> = errors.iter().map(|error| error.what.field()).collect();
    assert_eq!(fields, ["name", "pattern", "near", "validator", "allow"]);
}
