//! **What**: commands that take a secret by its place, and how each does, as `secrets.txt` lists them. **Not here**:
//! how a command line is read (`commands`, `shell`).

use std::sync::LazyLock;

use crate::wordlists;

/// What a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// `-u user:password`, `--user`, `-U`.
    User,
    /// `-pX` glued.
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

/// Commands and what they take.
pub(super) static COMMANDS: LazyLock<Vec<(&str, Takes)>> = LazyLock::new(|| {
    let of = |(takes, names): (&'static str, &'static str)| {
        Takes::named(takes).into_iter().flat_map(move |takes| names.split(' ').map(move |name| (name, takes)))
    };
    wordlists::rows("secrets.commands").flat_map(of).collect()
});

impl Takes {
    /// What the table calls it.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "user" => Self::User,
            "glued" => Self::Glued,
            "p" => Self::P,
            "a" => Self::A,
            "big_p" => Self::BigP,
            "w" => Self::W,
            "percent" => Self::Percent,
            "literal" => Self::Literal,
            "switch" => Self::Switch,
            _ => return None,
        })
    }
}

/// How a command takes a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Behind one of these flags, parted by blanks; without `-`.
    Flags(&'static str),
    /// Behind one of these words, parted by blanks, and so many arguments.
    Behind(&'static str, usize),
    /// So many arguments behind the name.
    Argument(usize),
    /// From its input.
    Fed,
    /// From its input, where the name begins the command.
    FedFirst,
    /// Lines `user:password` from its input.
    FedPairs,
    /// `key=value`, whatever the key.
    Pairs,
    /// `key=value`, if the value is random.
    Settings,
    /// `htpasswd -b file user password`.
    Htpasswd,
    /// `openssl … -pass pass:x`, `enc -k x`.
    Openssl,
    /// `--value x` beside `SecureString`.
    Parameter,
    /// `/user:u x`.
    Share,
    /// `user/password@…`.
    Slash,
    /// `-u user,password`.
    Comma,
    /// The last argument, beside `--secret`.
    Last,
}

/// Commands, or parts of them, and how they take a secret.
pub(super) static FORMS: LazyLock<Vec<(&str, Form)>> = LazyLock::new(|| {
    wordlists::rows("secrets.command_forms").filter_map(|(name, form)| Some((name, Form::named(form)?))).collect()
});

impl Form {
    /// What the table calls it, with what stands behind that.
    fn named(text: &'static str) -> Option<Self> {
        let (form, rest) = text.split_once(' ').unwrap_or((text, ""));
        Some(match form {
            "flags" => Self::Flags(rest),
            "behind" => {
                let (skipped, words) = rest.split_once(' ')?;
                Self::Behind(words, skipped.parse().ok()?)
            }
            "argument" => Self::Argument(rest.parse().ok()?),
            "fed" => Self::Fed,
            "fed_first" => Self::FedFirst,
            "fed_pairs" => Self::FedPairs,
            "pairs" => Self::Pairs,
            "settings" => Self::Settings,
            "htpasswd" => Self::Htpasswd,
            "openssl" => Self::Openssl,
            "parameter" => Self::Parameter,
            "share" => Self::Share,
            "slash" => Self::Slash,
            "comma" => Self::Comma,
            "last" => Self::Last,
            _ => return None,
        })
    }
}
