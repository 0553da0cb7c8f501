//! [`SecretCue`]: the kind of secret that a known word leads to. `secrets::secret_stems` lists the words,
//! `secrets::claim_secrets` dispatches on the cue.

use crate::rule::RuleFamily;

/// The kind of secret that a known word leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecretCue {
    /// A key that may name a secret.
    Key,
    /// A provider's name, or the start of an AWS key id, and the rule of the values after it.
    Provider(RuleFamily),
    /// A command; the number of its row in `command_arguments::COMMANDS`.
    Command(usize),
    /// `BEGIN` of a key block.
    Begin,
    /// `END` of a key block, whose beginning may be missing.
    End,
    /// A seed phrase may follow.
    SeedPhrase,
}
