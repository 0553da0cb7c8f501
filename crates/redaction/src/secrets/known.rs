//! Calls that take a secret without a key, such as `jwt.sign(x, "…")` and `login("user", "…")`: their names, the
//! position of the argument, and its required form. Names are in lower case, from the start of a word; the more common
//! a name is for other purposes, the stricter the form. `calls` reads the arguments.

use std::sync::LazyLock;

use crate::wordlists;

/// Required form of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fits {
    /// A password of any form.
    Password,
    /// A password that is not a single plain word.
    Mixed,
    /// Like [`Fits::Mixed`], and all arguments before it are strings.
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
pub(crate) struct Taken {
    /// Number of arguments before it.
    pub(super) argument: usize,
    pub(super) fits: Fits,
}

impl Taken {
    /// The password behind a user.
    pub(super) const SECOND: Self = taken(1, Fits::Password);
}

const fn taken(argument: usize, fits: Fits) -> Taken {
    Taken { argument, fits }
}

impl Fits {
    /// Looks up the name used in the tables of calls.
    fn named(name: &str) -> Option<Self> {
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
pub(super) fn all() -> impl Iterator<Item = (&'static str, bool, Taken)> {
    let each = |list: &str, exact: bool| {
        wordlists::rows(list)
            .filter_map(|(takes, names)| Some((named(takes)?, names)))
            .flat_map(move |(taken, names)| names.split(' ').map(move |name| (name, exact, taken)))
    };
    each("secrets.calls", false).chain(each("secrets.calls_exact", true))
}

/// Parses `1 secret`: the number of arguments before, and the required form.
fn named(takes: &str) -> Option<Taken> {
    let (argument, fits) = takes.split_once(' ')?;
    Some(taken(argument.parse().ok()?, Fits::named(fits)?))
}

/// Name endings of calls whose argument `"…".toCharArray()` is a password.
pub(super) static CHARACTERS: LazyLock<Vec<&[u8]>> = LazyLock::new(|| wordlists::bytes("secrets.character_calls"));
