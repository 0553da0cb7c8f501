//! [`SecretCue`]: the kind of secret that a known word leads to. `secrets::secret_stems` lists the words,
//! `secrets::claim_secrets` dispatches on the cue.

use super::command_forms::{SecretOption, SecretPosition};
use super::known_calls::SecretArgument;

/// The kind of secret that a known word leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecretCue {
    /// A key that may name a secret.
    Key,
    /// A provider's name.
    Provider,
    /// A command.
    Command(SecretOption),
    /// A command, or part of one, that takes a secret at a certain position.
    Shell(SecretPosition),
    /// `log in with`: a user and a password may follow.
    Login,
    /// A password may follow on a line below.
    PasswordBelow,
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
    /// A call that takes a secret.
    Call(SecretArgument),
    /// Java's `toCharArray` on a string.
    CharArray,
    /// A seed phrase may follow.
    SeedPhrase,
    /// PostgreSQL's password file.
    Pgpass,
}
