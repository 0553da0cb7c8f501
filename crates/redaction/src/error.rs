//! **What**: [`RuleError`], a rule that can't be used, and why. **Invariants**: texts are one line and hold nothing
//! of a rule but what the pattern engine says of its syntax. **Not here**: what is checked (`compile`, `regex`,
//! `keys::table`).

use thiserror::Error;

/// A rule that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{what}", if rule.is_empty() { String::new() } else { format!("rule `{rule}`: ") })]
pub struct RuleError {
    /// The rule's name; empty if the error concerns the whole set.
    pub rule: String,
    /// What is wrong.
    pub what: RuleErrorKind,
}

/// Why a rule can't be used, in one line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RuleErrorKind {
    /// The set has too many rules.
    #[error("more than {0} rules")]
    TooManyRules(usize),
    /// The rules have too many keys together.
    #[error("more than {0} keys in all rules")]
    TooManyKeys(u16),
    /// Too many rules weigh the keys beside theirs.
    #[error("more than {0} rules ask for keys beside theirs")]
    TooManyBeside(usize),
    /// A built-in rule has neither or both.
    #[error("a rule has either a `pattern` or a `family`")]
    PatternOrFamily,
    /// A built-in pattern does not parse.
    #[error("not a valid pattern")]
    InvalidPattern,
    /// A built-in pattern may begin within a word and has no group.
    #[error("a `pattern` has `bounds`, or a group for what is private")]
    NoBounds,
    /// A built-in pattern would be tried at every byte.
    #[error("each match of a `pattern` begins with a known word")]
    NoFirstWord,
    /// The name of a user's rule is no placeholder.
    #[error("the name must be 2 to 41 capital letters, digits and `_`, e.g. `ACCOUNT_ID`")]
    InvalidName,
    /// A user's rule finds nothing, or narrows a pattern that it lacks.
    #[error("a rule has a `pattern`, or `keys`, or both; `near` and `validator` are of the pattern")]
    NothingToFind,
    /// A word of `near` can't be looked for.
    #[error("a word of `near` has at least two letters")]
    ShortNearWord,
    /// No validator has the name.
    #[error("there is no such validator")]
    UnknownValidator,
    /// The pattern does not compile; in the words of the pattern engine.
    #[error("{0}")]
    Syntax(String),
    /// The pattern asks what stands beside a match, which the engine can't in linear time.
    #[error(
        "look-around is not supported: name words beside it in `near`, or match them too and put what is private in a group"
    )]
    LookAround,
    /// The pattern may match nothing.
    #[error("the pattern matches the empty text, as `a*` does: write `a+`, or more beside it")]
    MatchesEmpty,
    /// The pattern finds something in any text.
    #[error("the pattern matches everything: say what the matches have in common")]
    MatchesEverything,
    /// The pattern is content with one character.
    #[error("the pattern matches single characters: say how many at least (`{{4,}}`), or give `near` or `validator`")]
    MatchesSingle,
    /// The pattern finds most of what any sentence says.
    #[error(
        "the pattern matches most of any sentence: say what the matches have in common, or give `near` or `validator`"
    )]
    MatchesProse,
    /// A pattern of `allow` does not compile; in the words of the pattern engine.
    #[error("{0}")]
    AllowSyntax(String),
    /// A pattern of `allow` may match nothing.
    #[error("a pattern of `allow` matches the empty text")]
    AllowsEmpty,
    /// A pattern of `allow` fits any text.
    #[error("a pattern of `allow` matches everything")]
    AllowsEverything,
}

impl RuleErrorKind {
    /// The key of the rule that is at fault; empty: the rule as a whole.
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
