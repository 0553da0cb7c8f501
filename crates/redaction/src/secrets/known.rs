//! **What**: calls that take a secret without a key: their names, which argument it is, and what that must look like.
//! **Why**: `jwt.sign(x, "…")` and `login("user", "…")` have no word for what stands there. **Invariants**: names are
//! in small letters, from the beginning of a word; the more a name is also used for something else, the more its
//! argument must look like a secret. **Not here**: how arguments are read (`calls`).

use std::sync::LazyLock;

use crate::wordlists;

/// What an argument must look like to be hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fits {
    /// A password, whatever it looks like.
    Password,
    /// A password that no word alone is.
    Mixed,
    /// As [`Fits::Mixed`], and all arguments before it are strings.
    Third,
    /// What signs or encrypts: no name of an algorithm, no word for a secret.
    Secret,
    /// A key: random.
    Key,
    /// A key that may be a UUID.
    Uuid,
}

/// Which argument of a call is secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// How many arguments stand before it.
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
    /// What the tables of calls call it.
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

/// Names of calls, whether their case counts, and what they take.
pub(super) fn all() -> impl Iterator<Item = (&'static str, bool, Taken)> {
    let each = |list: &str, exact: bool| {
        wordlists::rows(list)
            .filter_map(|(takes, names)| Some((named(takes)?, names)))
            .flat_map(move |(taken, names)| names.split(' ').map(move |name| (name, exact, taken)))
    };
    each("secrets.calls", false).chain(each("secrets.calls_exact", true))
}

/// `1 secret`: how many arguments stand before it, and what it must look like.
fn named(takes: &str) -> Option<Taken> {
    let (argument, fits) = takes.split_once(' ')?;
    Some(taken(argument.parse().ok()?, Fits::named(fits)?))
}

/// Calls whose argument `"…".toCharArray()` is a password, by the ends of their names.
pub(super) static CHARACTERS: LazyLock<Vec<&[u8]>> = LazyLock::new(|| wordlists::bytes("secrets.character_calls"));
