//! [`RuleError`]: a rule that can't be used, and the reason. The texts are one line and contain nothing of the rule
//! except the regex engine's message about its syntax. The checks are in `compile`, `regex` and `keys::table`.

use thiserror::Error;

/// A rule that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{kind}", if rule.is_empty() { String::new() } else { format!("rule `{rule}`: ") })]
pub struct RuleError {
    /// The rule's name; empty if the error concerns the whole set.
    pub rule: String,
    /// The reason.
    pub(crate) kind: RuleErrorKind,
}

/// Why a rule can't be used, as one line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum RuleErrorKind {
    #[error("there are more than {0} rules: remove some")]
    TooManyRules(usize),
    #[error("more than {0} rules have `beside` or `against`: remove some")]
    TooManySiblingRules(usize),
    #[error("a rule must have a `pattern` or a `family`")]
    NoPatternOrFamily,
    #[error("the pattern is not a valid regular expression")]
    InvalidPattern,
    #[error("a `pattern` must have `bounds`, or a group around the private part")]
    NoBounds,
    #[error("every match of a `pattern` must begin with a fixed word of at least two letters, or be tried `at_runs`")]
    NoFirstWord,
    #[error("the name must be 2 to 41 capital letters, digits and `_`, e.g. `ACCOUNT_ID`")]
    InvalidName,
    #[error("a rule must have a `pattern`, `keys` or both; `near` and `validator` need a `pattern`")]
    NothingToFind,
    #[error(
        "each word in `near` and `not_near` must have at least two characters and begin with an ASCII letter or digit"
    )]
    ShortNearWord,
    #[error("unknown validator: use a name such as `credit_card` (docs/how-to/redaction-rules.md), or a check as data")]
    UnknownValidator,
    /// A check as data that would not work; the text says what to change.
    #[error("the check: {0}")]
    InvalidCheck(&'static str),
    /// The pattern does not compile; the text is the regex engine's message.
    #[error("{0}: {remedy}", remedy = syntax_remedy(.0))]
    Syntax(String),
    #[error(
        "look-around is not supported: list nearby words in `near`, or match them too and put the private part in a group"
    )]
    LookAround,
    #[error("the pattern matches the empty text, as `a*` does: use `a+`, or add characters that must occur")]
    MatchesEmpty,
    #[error("the pattern matches any text: make it more specific")]
    MatchesEverything,
    #[error("the pattern matches single characters: require more with `{{4,}}`, or add `near` or `validator`")]
    MatchesSingle,
    #[error("the pattern matches most of an ordinary sentence: make it more specific, or add `near` or `validator`")]
    MatchesProse,
    #[error("{0}: {remedy}", remedy = syntax_remedy(.0))]
    AllowSyntax(String),
    #[error("a pattern in `allow` matches the empty text: make it match at least one character")]
    AllowsEmpty,
    #[error("a pattern in `allow` matches any text: make it more specific")]
    AllowsEverything,
}

/// The remedy for a message of the regex engine.
fn syntax_remedy(message: &str) -> &'static str {
    let remedies = [
        ("unclosed group", "add `)`, or write `\\(` for the character"),
        ("unopened group", "remove `)`, or write `\\)` for the character"),
        ("unclosed character class", "add `]`, or write `\\[` for the character"),
        ("unclosed counted repetition", "add `}`, or write `\\{` for the character"),
        ("repetition operator missing expression", "write something to repeat before it, or `\\*` for the character"),
        ("repetition quantifier expects a valid decimal", "write a number as in `{4}`, or `\\{` for the character"),
        ("unrecognized escape sequence", "write `\\\\` for a backslash, or the character without one"),
        ("incomplete escape sequence", "write `\\\\` for a backslash"),
        ("backreferences are not supported", "write the repeated part again, as in `(ab|cd)-(ab|cd)`"),
        ("invalid character class range", "write the smaller character first, as in `[a-z]`"),
    ];
    let found = remedies.iter().find(|(start, _)| message.starts_with(start));
    found.map_or("the syntax is that of the Rust crate `regex`, such as `B[0-9]{4}`", |(_, remedy)| remedy)
}

impl RuleError {
    /// The reason without the rule's name, as one line.
    pub fn reason(&self) -> String {
        self.kind.to_string()
    }

    /// The field of the rule that is at fault; empty if it is the whole rule.
    pub fn field(&self) -> &'static str {
        use RuleErrorKind as Kind;
        match self.kind {
            Kind::TooManyRules(_) | Kind::TooManySiblingRules(_) | Kind::NoPatternOrFamily | Kind::NothingToFind => "",
            Kind::InvalidName => "name",
            Kind::ShortNearWord => "near",
            Kind::UnknownValidator | Kind::InvalidCheck(_) => "validator",
            Kind::AllowSyntax(_) | Kind::AllowsEmpty | Kind::AllowsEverything => "allow",
            _ => "pattern",
        }
    }
}
