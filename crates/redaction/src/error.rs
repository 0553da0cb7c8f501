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
    pub kind: RuleErrorKind,
}

/// Why a rule can't be used, as one line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RuleErrorKind {
    /// The set has too many rules.
    #[error("there are more than {0} rules: remove some")]
    TooManyRules(usize),
    /// Too many rules depend on sibling keys.
    #[error("more than {0} rules have `beside` or `against`: remove some")]
    TooManySiblingRules(usize),
    /// A built-in rule has neither a pattern nor a family, or both.
    #[error("a rule must have either a `pattern` or a `family`, not both")]
    PatternOrFamily,
    /// A built-in pattern does not parse.
    #[error("the pattern is not a valid regular expression")]
    InvalidPattern,
    /// A built-in pattern may begin within a word, and has no group.
    #[error("a `pattern` must have `bounds`, or a group around the private part")]
    NoBounds,
    /// A built-in pattern would have to be tried at every byte.
    #[error("every match of a `pattern` must begin with a fixed word of at least two letters")]
    NoFirstWord,
    /// The name of a user's rule can't be used as a placeholder.
    #[error("the name must be 2 to 41 capital letters, digits and `_`, e.g. `ACCOUNT_ID`")]
    InvalidName,
    /// A user's rule has nothing to find, or restricts a pattern that it does not have.
    #[error("a rule must have a `pattern`, `keys` or both; `near` and `validator` need a `pattern`")]
    NothingToFind,
    /// A word of `near` or `not_near` is too short to be found.
    #[error(
        "each word in `near` and `not_near` must have at least two characters and begin with an ASCII letter or digit"
    )]
    ShortNearWord,
    /// No validator has this name.
    #[error("unknown validator: use a name such as `credit_card` (docs/how-to/redaction-rules.md), or a check as data")]
    UnknownValidator,
    /// A check as data can't be used.
    #[error("a check needs a valid `pattern`, a `modulus` of 2 or more in each sum, and a known `algorithm`, if any")]
    InvalidCheck,
    /// The pattern does not compile; the text is the regex engine's message.
    #[error("{0}: {remedy}", remedy = syntax_remedy(.0))]
    Syntax(String),
    /// The pattern uses look-around, which the engine can't run in linear time.
    #[error(
        "look-around is not supported: list nearby words in `near`, or match them too and put the private part in a group"
    )]
    LookAround,
    /// The pattern matches the empty text.
    #[error("the pattern matches the empty text, as `a*` does: use `a+`, or add characters that must occur")]
    MatchesEmpty,
    /// The pattern matches in any text.
    #[error("the pattern matches any text: make it more specific")]
    MatchesEverything,
    /// The pattern matches a single character.
    #[error("the pattern matches single characters: require more with `{{4,}}`, or add `near` or `validator`")]
    MatchesSingle,
    /// The pattern matches most of an ordinary sentence.
    #[error("the pattern matches most of an ordinary sentence: make it more specific, or add `near` or `validator`")]
    MatchesProse,
    /// A pattern of `allow` does not compile; the text is the regex engine's message.
    #[error("{0}: {remedy}", remedy = syntax_remedy(.0))]
    AllowSyntax(String),
    /// A pattern of `allow` matches the empty text.
    #[error("a pattern in `allow` matches the empty text: make it match at least one character")]
    AllowsEmpty,
    /// A pattern of `allow` matches any text.
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

impl RuleErrorKind {
    /// The field of the rule that is at fault; empty if it is the whole rule.
    pub fn field(&self) -> &'static str {
        match self {
            Self::TooManyRules(_) | Self::TooManySiblingRules(_) => "",
            Self::PatternOrFamily | Self::NothingToFind => "",
            Self::InvalidName => "name",
            Self::ShortNearWord => "near",
            Self::UnknownValidator | Self::InvalidCheck => "validator",
            Self::InvalidPattern | Self::NoBounds | Self::NoFirstWord | Self::Syntax(_) => "pattern",
            Self::LookAround | Self::MatchesEmpty | Self::MatchesEverything => "pattern",
            Self::MatchesSingle | Self::MatchesProse => "pattern",
            Self::AllowSyntax(_) | Self::AllowsEmpty | Self::AllowsEverything => "allow",
        }
    }
}
