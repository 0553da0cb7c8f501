//! [`SecretCue`]: the kind of secret that a known word leads to. `secrets::secret_stems` lists the words,
//! `secrets::claim_secrets` dispatches on the cue.

use super::command_arguments::ArgumentRule;

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
    /// A PuTTY key file.
    Putty,
    /// An AWS key id; its secret may be near.
    AwsKeyId,
    /// `aws`; a secret may follow.
    Aws,
    /// `atlasv1` in a Terraform Cloud token.
    TerraformToken,
    /// A seed phrase may follow.
    SeedPhrase,
}
