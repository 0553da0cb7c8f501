//! Calls that take a secret without a key, such as `jwt.sign(x, "…")` and `login("user", "…")`: their names, the
//! position of the argument, and its required form. Names are in lower case, from the start of a word; the more common
//! a name is for other purposes, the stricter the form. `calls` reads the arguments.

use std::sync::LazyLock;

use crate::wordlists;

/// Required form of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArgumentForm {
    /// A password of any form.
    Password,
    /// A password that is not a single plain word.
    Mixed,
    /// Like [`ArgumentForm::Mixed`], and all arguments before it are strings.
    Third,
    /// A secret for signing or encryption: not an algorithm's name or a word for a secret.
    Secret,
    /// A random key.
    Key,
    /// A key that may be a UUID.
    Uuid,
}

/// The secret argument of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SecretArgument {
    /// Number of arguments before it.
    pub(super) argument: usize,
    pub(super) form: ArgumentForm,
}

impl SecretArgument {
    /// The password behind a user.
    pub(super) const SECOND: Self = secret_argument(1, ArgumentForm::Password);
}

const fn secret_argument(argument: usize, fits: ArgumentForm) -> SecretArgument {
    SecretArgument { argument, form: fits }
}

impl ArgumentForm {
    /// Looks up the name used in the tables of calls.
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "password" => Self::Password,
            "mixed" => Self::Mixed,
            "third" => Self::Third,
            "secret" => Self::Secret,
            "key" => Self::Key,
            "uuid" => Self::Uuid,
            _ => return None,
        })
    }
}

/// Names of calls, whether case counts, and their secret arguments.
pub(super) fn all_calls() -> impl Iterator<Item = (&'static str, bool, SecretArgument)> {
    let each = |list: &str, exact: bool| {
        wordlists::rows(list)
            .filter_map(|(takes, names)| Some((parse_argument(takes)?, names)))
            .flat_map(move |(taken, names)| names.split(' ').map(move |name| (name, exact, taken)))
    };
    each("secrets.calls", false).chain(each("secrets.calls_case_sensitive", true))
}

/// Parses `1 secret`: the number of arguments before, and the required form.
fn parse_argument(takes: &str) -> Option<SecretArgument> {
    let (argument, fits) = takes.split_once(' ')?;
    Some(secret_argument(argument.parse().ok()?, ArgumentForm::from_name(fits)?))
}

/// Name endings of calls whose argument `"…".toCharArray()` is a password.
pub(super) static CHAR_ARRAY_CALLS: LazyLock<Vec<&[u8]>> =
    LazyLock::new(|| wordlists::bytes("secrets.character_calls"));
