//! **What**: names of persons as parts of ids: `maria.huber`, `user:maria`. **Why**: there they have no capital
//! letters. **Invariants**: two words are a name only if the lists know one of them as such and neither as a common
//! word. **Not here**: how ids are parted (`composite`).

use std::sync::LazyLock;

use super::cues::is_organisation;
use super::words::{is_common, is_family, is_given_lower};
use crate::sets::Words;
use crate::wordlists;

/// Programs and models with the name of a person.
static PROGRAMS: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.programs_in_ids")));

/// Words before the name of a person in an id.
static PERSONS: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.persons_in_ids")));

/// Whether a word is a given name, and not a common word or the name of a program.
fn is_given(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    is_given_lower(&lower) && !is_common(&lower) && !PROGRAMS.has(&lower)
}

/// Whether two words beside each other are a person's names, in either order.
pub(crate) fn id_names(first: &str, second: &str) -> bool {
    let name = |given: &str, family: &str| {
        let initial = family.len() == 1;
        let known = is_family(family) || !is_common(family) && family.len() > 2;
        is_given(given) && known && !initial && !is_organisation(family) && !PROGRAMS.has(family)
    };
    name(first, second) || is_family(first) && !is_common(first) && is_given(second)
}

/// Whether a given name stands behind a word for persons: `patient-maria`.
pub(crate) fn is_given_word(before: &str, word: &str) -> bool {
    PERSONS.has(before) && is_given(word)
}
