//! [`WordAction`]: the effect of a known word in a text. It is shared by the table of words (`stems`), the pass that
//! finds them (`anchors`) and the families that use them (`find`).

use super::rule::RuleFamily;
use super::secrets::command_arguments::ArgumentRule;

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

/// The kind of secret that a known word leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecretCue {
    /// A key that may name a secret.
    Key,
    /// A provider's name.
    Provider,
    /// A command that takes secrets at these places.
    Command(&'static [ArgumentRule]),
    /// `BEGIN` of a key block.
    Begin,
    /// `END` of a key block, whose beginning may be missing.
    End,
    /// An AWS key id; its secret may be near.
    AwsKeyId,
    /// `aws`; a secret may follow.
    Aws,
    /// `atlasv1` in a Terraform Cloud token.
    TerraformToken,
    /// A seed phrase may follow.
    SeedPhrase,
}
