//! [`RuleError`]: a rule that can't be used, and the reason. The texts are one line and contain nothing of the rule
//! except the regex engine's message about its syntax. The checks are in `compile`, `regex` and `keys::table`.

use thiserror::Error;

/// A rule that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{what}", if rule.is_empty() { String::new() } else { format!("rule `{rule}`: ") })]
pub struct RuleError {
    /// The rule's name; empty if the error concerns the whole set.
    pub rule: String,
    /// The reason.
    pub what: RuleErrorKind,
}

/// Why a rule can't be used, as one line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RuleErrorKind {
    /// The set has too many rules.
    #[error("more than {0} rules")]
    TooManyRules(usize),
    /// All rules together have too many keys.
    #[error("more than {0} keys in all rules")]
    TooManyKeys(u16),
    /// Too many rules depend on sibling keys.
    #[error("more than {0} rules ask for keys beside theirs")]
    TooManyBeside(usize),
    /// A built-in rule has neither a pattern nor a family, or both.
    #[error("a rule has either a `pattern` or a `family`")]
    PatternOrFamily,
    /// A built-in pattern does not parse.
    #[error("not a valid pattern")]
    InvalidPattern,
    /// A built-in pattern may begin within a word, and has no group.
    #[error("a `pattern` has `bounds`, or a group for what is private")]
    NoBounds,
    /// A built-in pattern would have to be tried at every byte.
    #[error("each match of a `pattern` begins with a known word")]
    NoFirstWord,
    /// The name of a user's rule can't be used as a placeholder.
    #[error("the name must be 2 to 41 capital letters, digits and `_`, e.g. `ACCOUNT_ID`")]
    InvalidName,
    /// A user's rule has nothing to find, or restricts a pattern that it does not have.
    #[error("a rule has a `pattern`, or `keys`, or both; `near` and `validator` are of the pattern")]
    NothingToFind,
    /// A word of `near` is too short to be found.
    #[error("a word of `near` has at least two letters")]
    ShortNearWord,
    /// No validator has this name.
    #[error("there is no such validator")]
    UnknownValidator,
    /// The pattern does not compile; the text is the regex engine's message.
    #[error("{0}")]
    Syntax(String),
    /// The pattern uses look-around, which the engine can't run in linear time.
    #[error(
        "look-around is not supported: name words beside it in `near`, or match them too and put what is private in a group"
    )]
    LookAround,
    /// The pattern matches the empty text.
    #[error("the pattern matches the empty text, as `a*` does: write `a+`, or more beside it")]
    MatchesEmpty,
    /// The pattern matches in any text.
    #[error("the pattern matches everything: say what the matches have in common")]
    MatchesEverything,
    /// The pattern matches a single character.
    #[error("the pattern matches single characters: say how many at least (`{{4,}}`), or give `near` or `validator`")]
    MatchesSingle,
    /// The pattern matches most of an ordinary sentence.
    #[error(
        "the pattern matches most of any sentence: say what the matches have in common, or give `near` or `validator`"
    )]
    MatchesProse,
    /// A pattern of `allow` does not compile; the text is the regex engine's message.
    #[error("{0}")]
    AllowSyntax(String),
    /// A pattern of `allow` matches the empty text.
    #[error("a pattern of `allow` matches the empty text")]
    AllowsEmpty,
    /// A pattern of `allow` matches any text.
    #[error("a pattern of `allow` matches everything")]
    AllowsEverything,
}

impl RuleErrorKind {
    /// The field of the rule that is at fault; empty if it is the whole rule.
    pub fn field(&self) -> &'static str {
        match self {
            Self::TooManyRules(_) | Self::TooManyKeys(_) | Self::TooManyBeside(_) => "",
            Self::PatternOrFamily | Self::NothingToFind => "",
            Self::InvalidName => "name",
            Self::ShortNearWord => "near",
            Self::UnknownValidator => "validator",
            Self::InvalidPattern | Self::NoBounds | Self::NoFirstWord | Self::Syntax(_) => "pattern",
            Self::LookAround | Self::MatchesEmpty | Self::MatchesEverything => "pattern",
            Self::MatchesSingle | Self::MatchesProse => "pattern",
            Self::AllowSyntax(_) | Self::AllowsEmpty | Self::AllowsEverything => "allow",
        }
    }
}

impl From<RuleErrorKind> for String {
    fn from(kind: RuleErrorKind) -> Self {
        kind.to_string()
    }
}
