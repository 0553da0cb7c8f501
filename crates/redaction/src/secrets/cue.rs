//! [`Cue`]: the kind of secret that a known word leads to. The words are in `secrets::stems`; `secrets::find`
//! dispatches on the cue.

use super::forms::{Form, Takes};
use super::known::Taken;

/// The kind of secret that a known word leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cue {
    /// A key that may name a secret.
    Key,
    /// A provider's name.
    Provider,
    /// A command.
    Command(Takes),
    /// A command, or part of one, that takes a secret at a certain position.
    Shell(Form),
    /// `log in with`: a user and a password may follow.
    Login,
    /// A password may follow on a line below.
    Follows,
    /// `BEGIN` of a key block.
    Begin,
    /// `END` of a key block, whose beginning may be missing.
    End,
    /// A PuTTY key file.
    Putty,
    /// An AWS key id; its secret may be near.
    Akia,
    /// `aws`; a secret may follow.
    Aws,
    /// `atlasv1` in a Terraform Cloud token.
    Atlas,
    /// A call that takes a secret.
    Call(Taken),
    /// Java's `toCharArray` on a string.
    Characters,
    /// A seed phrase may follow.
    Phrase,
    /// PostgreSQL's password file.
    Pgpass,
}
