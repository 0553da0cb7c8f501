//! Calls that take a secret without a key, such as `jwt.sign(x, "…")` and `login("user", "…")`: their names, the
//! position of the argument, and its required form. Names are in lower case, from the start of a word; the more common
//! a name is for other purposes, the stricter the form. `calls` reads the arguments.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::wordlists;

/// Required form of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    pub(super) index: usize,
    pub(super) form: ArgumentForm,
}

impl SecretArgument {
    /// The password after a user.
    pub(super) const SECOND: Self = Self { index: 1, form: ArgumentForm::Password };
}

/// The calls: each name, whether its case counts, and its secret argument.
pub(crate) fn all_calls() -> impl Iterator<Item = (&'static str, bool, SecretArgument)> {
    let calls_of_list = |list: &str, is_exact: bool| {
        wordlists::words_of_rows(list, parse_argument).map(move |(name, argument)| (name, is_exact, argument))
    };
    calls_of_list("secrets.calls", false).chain(calls_of_list("secrets.calls_case_sensitive", true))
}

/// Parses `1 secret`: the number of arguments before, and the required form.
fn parse_argument(entry: &'static str) -> Option<SecretArgument> {
    let (index, form) = entry.split_once(' ')?;
    Some(SecretArgument { index: index.parse().ok()?, form: wordlists::variant(form)? })
}

/// Name endings of calls whose argument `"…".toCharArray()` is a password.
pub(super) static CHAR_ARRAY_CALLS: LazyLock<Vec<&[u8]>> =
    LazyLock::new(|| wordlists::bytes("secrets.character_calls"));
