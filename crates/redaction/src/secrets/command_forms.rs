//! The commands that take a secret, and by which option or at which position, as listed in `secrets.txt`. `commands`
//! and `shell` read the command lines.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::wordlists;

/// The option by which a command takes a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SecretOption {
    /// `-u user:password`, `--user`, `-U`.
    User,
    /// `-pX`, without a blank.
    Glued,
    /// `-p X` or `-pX`.
    P,
    /// `-a X`.
    A,
    /// `-P X`, `-PX`.
    BigP,
    /// `-w X`.
    W,
    /// `-U user%password`.
    Percent,
    /// `--from-literal=key=X`.
    Literal,
    /// `/pass:X`, `/rp X`.
    Switch,
}

/// Commands with the option that each takes.
pub(crate) static COMMANDS: LazyLock<Vec<(&str, SecretOption)>> =
    LazyLock::new(|| wordlists::words_of_rows("secrets.commands", wordlists::variant).collect());

/// How a command takes a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SecretPosition {
    /// After one of these flags (listed without `-`, separated by blanks).
    Flags(&'static str),
    /// After one of these words (separated by blanks) and so many further arguments.
    AfterWord(&'static str, usize),
    /// The argument after so many others.
    Argument(usize),
    /// From its standard input.
    #[serde(rename = "fed")]
    Stdin,
    /// From its standard input, if the name begins the command.
    #[serde(rename = "fed_first")]
    StdinOfFirstCommand,
    /// Lines `user:password` from its standard input.
    #[serde(rename = "fed_pairs")]
    StdinPairs,
    /// `key=value`, whatever the key.
    Pairs,
    /// `key=value`, if the value is random.
    Settings,
    /// `htpasswd -b file user password`.
    Htpasswd,
    /// `openssl … -pass pass:x`, `enc -k x`.
    Openssl,
    /// `--value x` together with `SecureString`.
    Parameter,
    /// `/user:u x`.
    #[serde(rename = "share")]
    WindowsShare,
    /// `user/password@…`.
    Slash,
    /// `-u user,password`.
    Comma,
    /// The last argument, together with `--secret`.
    Last,
}

/// Commands, or parts of them, with the way each takes a secret.
pub(crate) static FORMS: LazyLock<Vec<(&str, SecretPosition)>> = LazyLock::new(|| {
    wordlists::rows("secrets.command_forms")
        .filter_map(|(name, form)| Some((name, SecretPosition::from_entry(form)?)))
        .collect()
});

impl SecretPosition {
    /// Parses an entry of the table: a name and its arguments.
    fn from_entry(text: &'static str) -> Option<Self> {
        let (form, rest) = text.split_once(' ').unwrap_or((text, ""));
        Some(match form {
            "flags" => Self::Flags(rest),
            "behind" => {
                let (skipped, words) = rest.split_once(' ')?;
                Self::AfterWord(words, skipped.parse().ok()?)
            }
            "argument" => Self::Argument(rest.parse().ok()?),
            _ => return wordlists::variant(form),
        })
    }
}
