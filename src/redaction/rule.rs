//! **What**: a rule as data. **Not here**: compiling (`compile`), the checks behind `validator` (`validate`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::validate::Validator;

/// How sure a rule is: the order in which overlapping hits win, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Written by the user.
    Custom,
    /// A credential with a shape of its own.
    Secret,
    /// An id whose checksum was verified.
    Checksum,
    /// A value that a word before it announces.
    Cued,
    /// Shape alone.
    Shape,
}

/// What must stand beside a match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bounds {
    /// Anything.
    #[default]
    None,
    /// No letter, digit or `_` on either side.
    Word,
    /// No letter or digit before; anything after (a cut token still leaks).
    Token,
    /// As `Word`, and no `.`, `-`, `/` or `:` that goes on to another digit.
    Number,
    /// As `Word`, and no `.` or `-` that goes on to another digit: a port or path may follow.
    Address,
}

/// When a rule's pattern is tried at all: cheap facts about a text.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gate {
    /// At least one of these occurs (ASCII case is ignored).
    pub literals: Vec<String>,
    /// At least so many ASCII digits occur.
    pub digits: usize,
}

/// One rule of `config/rules/*.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleData {
    /// Unique name; metric label.
    pub name: String,
    /// `EMAIL` for `[EMAIL]`.
    pub placeholder: String,
    /// Its class.
    pub class: Class,
    /// Its gate.
    #[serde(default)]
    pub gate: Gate,
    /// Byte-oriented pattern (no look-around). With a group, the first group is what is private.
    pub pattern: String,
    /// What must stand beside the match.
    #[serde(default)]
    pub bounds: Bounds,
    /// A further check by name.
    #[serde(default)]
    pub validator: Validator,
    /// Example texts; the private part stands in «…». Each is a test.
    #[serde(default)]
    pub hits: Vec<String>,
    /// Look-alikes that must stay. Each is a test.
    #[serde(default)]
    pub misses: Vec<String>,
}

/// A rule in a user's configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// Placeholder without brackets, e.g. `ACCOUNT_ID`: capital letters, digits and `_`.
    pub name: String,
    /// Regular expression (linear time: no look-around, no back-references). With a group, the first group goes.
    pub pattern: String,
}
