//! [`WordAction`]: the effect of a known word in a text. It is shared by the table of words (`stems`), the pass that
//! finds them (`anchors`) and the families that use them (`find`).

use super::rule::RuleFamily;
use super::secrets::secret_cue::SecretCue;

/// The effect of a known word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WordAction {
    /// It begins matches of a rule's pattern.
    Pattern(u16),
    /// It is a context word of a rule.
    Context(u16),
    /// Matches of a rule near it do not count.
    NotNear(u16),
    /// It may be a word of a key whose value is private.
    Key,
    /// It is a cue of a rule's family.
    Cue(u16),
    /// It is a context word of a family of numbers.
    Number(RuleFamily),
    /// It is a context word of a family of numbers in prose, but not inside keys.
    NumberProse(RuleFamily),
    /// It leads to secrets that are found by code.
    Secret(SecretCue),
}
