//! Finds names of persons in parts of ids, where they are in lower case: `maria.huber`, `user:maria`. Two words are a
//! name only if the lists know one of them and neither is a common word. `composite` splits the ids.

use std::sync::LazyLock;

use super::cues::is_organisation;
use super::words::{is_common, is_family, is_given_lower};
use crate::sets::Words;
use crate::wordlists;

/// Programs and models named like a person.
static PROGRAMS: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.programs_in_ids")));

/// Words before a person's name in an id.
static PERSONS: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.persons_in_ids")));

/// Whether a word is a given name, and neither a common word nor a program.
fn is_given(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    is_given_lower(&lower) && !is_common(&lower) && !PROGRAMS.has(&lower)
}

/// Whether two adjacent words are a person's names, in either order.
pub(crate) fn id_names(first: &str, second: &str) -> bool {
    let name = |given: &str, family: &str| {
        let initial = family.len() == 1;
        let known = is_family(family) || !is_common(family) && family.len() > 2;
        is_given(given) && known && !initial && !is_organisation(family) && !PROGRAMS.has(family)
    };
    name(first, second) || is_family(first) && !is_common(first) && is_given(second)
}

/// Whether a given name follows a word for persons: `patient-maria`.
pub(crate) fn is_given_word(before: &str, word: &str) -> bool {
    PERSONS.has(before) && is_given(word)
}
