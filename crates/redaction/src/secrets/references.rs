//! Recognises what stands in a value's place and is none: `null`, `***`, `${X}`, `<token>`, `process.env.X`, `f(x)`.
//! The words and patterns are data.

use std::sync::LazyLock;

use regex_automata::meta::Regex;

use super::key_word_lists::PrefixSet;
use crate::sets::ByteSet;
use crate::wordlists;

/// Most bytes of a value in which an example's mark is searched.
const MAX_HEAD: usize = 160;

static REFERENCES: LazyLock<Option<Regex>> = LazyLock::new(|| whole_value("secrets.references"));
static CODE: LazyLock<Option<Regex>> = LazyLock::new(|| whole_value("secrets.code"));

/// One pattern for values that any pattern of a list fits as a whole. A test compiles them.
fn whole_value(list: &str) -> Option<Regex> {
    let patterns: Vec<_> = wordlists::lines(list).map(|pattern| format!("(?:{pattern})")).collect();
    crate::regex::compile(&format!("(?s)\\A(?:{})\\z", patterns.join("|")), false).ok()
}

/// Whether a value is hidden, missing, or names where the secret is; unquoted, also whether it is code.
pub(super) fn is_reference(value: &[u8], is_quoted: bool) -> bool {
    let value = value.trim_ascii();
    let Some(first) = value.first() else { return true };
    let masks = value.iter().filter(|byte| matches!(byte, b'*' | b'x' | b'X')).count();
    let fits = |patterns: &Option<Regex>| patterns.as_ref().is_none_or(|patterns| patterns.is_match(value));
    value.iter().all(|byte| byte == first)
        || masks * 2 > value.len() + 2
        || is_no_value(value)
        || once!(PrefixSet, PrefixSet::new(wordlists::lines("secrets.reference_prefixes"))).matches_start(value)
        || is_example(value)
        || fits(&REFERENCES)
        || !is_quoted && fits(&CODE)
}

/// Whether a value is a word for no value or a type. Swift's have a mark: `String!`, `String?`.
pub(super) fn is_no_value(value: &[u8]) -> bool {
    let word = value.strip_suffix(b"!").or_else(|| value.strip_suffix(b"?")).unwrap_or(value);
    word_set!("secrets.non_values").contains(word)
}

fn is_example(value: &[u8]) -> bool {
    static STARTS: LazyLock<ByteSet> = LazyLock::new(|| {
        let first_bytes = wordlists::lines("secrets.placeholders").filter_map(|mark| mark.bytes().next());
        ByteSet::of(first_bytes.flat_map(|byte| [byte, byte.to_ascii_uppercase()]))
    });
    let head = value.get(..value.len().min(MAX_HEAD)).unwrap_or_default();
    let marks = once!(PrefixSet, PrefixSet::new(wordlists::lines("secrets.placeholders")));
    (0..head.len())
        .filter_map(|at| head.get(at..))
        .any(|rest| rest.first().is_some_and(|byte| STARTS.contains(*byte)) && marks.matches_start(rest))
}
