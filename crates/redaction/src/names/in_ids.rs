//! Finds names of persons in parts of ids, where they are in lower case: `maria.huber`, `user:maria`. Two words are a
//! name only if one is a listed given name and the other could be a family name. `composite_ids` splits the ids.

use std::sync::LazyLock;

use super::name_cues::is_organisation_word;
use super::name_lists::{is_common_word, is_family_name, is_lower_given_name};
use crate::sets::WordSet;

/// Programs and models named like a person.
static PROGRAMS: LazyLock<WordSet> = LazyLock::new(|| WordSet::listed("names.programs_in_ids"));

/// Whether a word is a given name, and neither a common word nor a program.
fn is_certain_given_name(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    is_lower_given_name(&lower) && !is_common_word(&lower) && !PROGRAMS.contains(&lower)
}

/// Whether two adjacent words are a person's names, in either order.
pub(crate) fn are_person_names(first: &str, second: &str) -> bool {
    let is_full_name = |given: &str, family: &str| {
        let may_be_family_name = is_family_name(family) || !is_common_word(family) && family.len() > 2;
        is_certain_given_name(given)
            && may_be_family_name
            && family.len() != 1
            && !is_organisation_word(family)
            && !PROGRAMS.contains(family)
    };
    is_full_name(first, second) || is_family_name(first) && !is_common_word(first) && is_certain_given_name(second)
}

/// Whether a given name follows a word for persons: `patient-maria`.
pub(crate) fn is_announced_given_name(before: &str, word: &str) -> bool {
    word_set!("names.persons_in_ids").contains(before) && is_certain_given_name(word)
}
