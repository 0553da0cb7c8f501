//! Provides the word lists and tables of `config/rules/lists/*.txt` by name. Words that hint at a street, a provider or
//! a command are data, so adding one needs no code. Macros such as `word_set!` parse a list once; no search reads its
//! text. The four lists of names are in `names::name_lists`; notation, and lists of fewer than eight words that belong
//! to one rule's logic, are in the code. `tests::wordlists` checks the files.

use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error;

/// All files; the head of each describes its format.
pub(crate) const FILES: [&str; 6] = [
    include_str!("../../../config/rules/lists/addresses.txt"),
    include_str!("../../../config/rules/lists/keys.txt"),
    include_str!("../../../config/rules/lists/names.txt"),
    include_str!("../../../config/rules/lists/notation.txt"),
    include_str!("../../../config/rules/lists/numbers.txt"),
    include_str!("../../../config/rules/lists/secrets.txt"),
];

/// A value that is made once, when the place of this macro is first reached.
macro_rules! once {
    ($type:ty, $make:expr) => {{
        static VALUE: std::sync::LazyLock<$type> = std::sync::LazyLock::new(|| $make);
        &*VALUE
    }};
}

/// [`words`], made once.
macro_rules! word_list {
    ($list:literal) => {
        once!(Vec<&str>, crate::wordlists::words($list).collect())
    };
}

/// [`lines`], made once.
macro_rules! line_list {
    ($list:literal) => {
        once!(Vec<&str>, crate::wordlists::lines($list).collect())
    };
}

/// [`bytes`], made once.
macro_rules! byte_list {
    ($list:literal) => {
        once!(Vec<&[u8]>, crate::wordlists::bytes($list))
    };
}

/// All lists by name, sorted.
static LISTS: LazyLock<Vec<(&str, &str)>> = LazyLock::new(|| {
    let mut lists: Vec<_> = FILES.iter().flat_map(|file| file.split("\n[").skip(1)).filter_map(parse_section).collect();
    lists.sort_unstable();
    lists
});

/// Splits one section into name and entries, without the flags after the name and the comment lines.
fn parse_section(text: &'static str) -> Option<(&'static str, &'static str)> {
    let (head, mut body) = text.split_once("]\n")?;
    while let Some((_, rest)) = body.strip_prefix("# ").and_then(|comment| comment.split_once('\n')) {
        body = rest;
    }
    Some((head.split(' ').next()?, body.trim_end()))
}

/// The raw entries of a list; empty for an unknown name (a test checks that every name in the code exists).
pub(crate) fn text(name: &str) -> &'static str {
    let found = LISTS.binary_search_by_key(&name, |(name, _)| name).ok().and_then(|at| LISTS.get(at));
    found.map_or("", |(_, body)| body)
}

/// The words of a list.
pub(crate) fn words(name: &str) -> impl Iterator<Item = &'static str> + use<> {
    text(name).split_ascii_whitespace()
}

/// The words of a list as bytes.
pub(crate) fn bytes(name: &str) -> Vec<&'static [u8]> {
    words(name).map(str::as_bytes).collect()
}

/// The lines of a list. One in double quotes keeps the blanks at its ends.
pub(crate) fn lines(name: &str) -> impl Iterator<Item = &'static str> + use<> {
    text(name).lines().map(|line| line.strip_prefix('"').and_then(|line| line.strip_suffix('"')).unwrap_or(line))
}

/// The rows of a table, `left = right`.
pub(crate) fn rows(name: &str) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
    text(name).lines().filter_map(|line| line.split_once(" = "))
}

/// The variant of an enum that a word of a table names.
pub(crate) fn variant<'n, T: Deserialize<'n>>(name: &'n str) -> Option<T> {
    T::deserialize(IntoDeserializer::<'n, Error>::into_deserializer(name)).ok()
}

/// The rows of a table whose left side is read by `parse`, with each word of the right side.
pub(crate) fn words_of_rows<T: Copy, P: Fn(&'static str) -> Option<T>>(
    name: &str,
    parse: P,
) -> impl Iterator<Item = (&'static str, T)> + use<T, P> {
    let rows = rows(name).filter_map(move |(left, words)| Some((parse(left)?, words)));
    rows.flat_map(|(left, words)| words.split(' ').map(move |word| (word, left)))
}
