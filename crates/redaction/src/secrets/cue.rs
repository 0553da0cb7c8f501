//! **What**: [`Cue`], what a word of secrets begins. **Not here**: the words (`secrets::stems`), who looks
//! (`secrets::find`).

use super::forms::{Form, Takes};
use super::known::Taken;

/// What a word of secrets begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cue {
    /// A key that may announce a secret.
    Key,
    /// A provider's name.
    Provider,
    /// A command.
    Command(Takes),
    /// A command, or a part of one, that takes a secret by its place.
    Shell(Form),
    /// `log in with`: a user and a password may follow.
    Login,
    /// A password may follow on a line below.
    Follows,
    /// `BEGIN` of a block.
    Begin,
    /// `END` of a block, whose beginning may have been cut off.
    End,
    /// A PuTTY key file.
    Putty,
    /// An AWS key id: its secret stands near.
    Akia,
    /// `aws`: its secret may stand behind.
    Aws,
    /// `atlasv1` within a token of Terraform's cloud.
    Atlas,
    /// A call that takes a secret.
    Call(Taken),
    /// Java's `toCharArray` of a string.
    Characters,
    /// A seed phrase may follow.
    Phrase,
    /// PostgreSQL's file of passwords.
    Pgpass,
}
