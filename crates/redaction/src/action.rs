//! **What**: [`Action`], what a known word of a text begins. **Why**: the table of words, the pass that finds them
//! and the families that look at them share nothing else. **Not here**: the words (`stems`), who looks (`find`).

use super::rule::Family;
use super::secrets::cue::Cue;

/// What a word begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The pattern of a rule.
    Pattern(u16),
    /// It is context of a rule.
    Context(u16),
    /// It may be the word of a key whose value is private.
    Key,
    /// `VALUES`: rows of a table may follow its columns.
    Values,
    /// It announces what the family of a rule looks for.
    Cue(u16),
    /// It is context of a family of numbers.
    Number(Family),
    /// It is context of a family of numbers in prose, not within keys.
    NumberProse(Family),
    /// Secrets that code finds.
    Secret(Cue),
}
