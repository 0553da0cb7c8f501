//! **What**: whether a listed name is that of a thing: all of a `name` or `title` beside keys that only goods have.
//! **Invariants**: asked of names that would be claimed only; at most [`REACH`] bytes on either side are read. **Not
//! here**: keys that say "person" (`keys`).

use std::ops::Range;
use std::sync::LazyLock;

use super::words;
use crate::scan::Scan;
use crate::sets::Words;
use crate::wordlists;

/// Bytes in which keys beside a name are looked for, on either side.
const REACH: usize = 240;

/// Keys that things have names under.
static NAMES: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.keys_of_names")));
/// Keys that only things have.
static THINGS: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.keys_of_things")));
/// Keys that things have, and what persons buy: two of them say thing, or one beside a name whose second word is
/// common.
static MAYBE: LazyLock<Words> = LazyLock::new(|| Words::new("price stock inventory quantity qty brand"));
/// Keys that persons have.
static PERSONS: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.keys_of_persons")));

/// Whether the name at `range` begins the value of a thing's key.
pub(crate) fn is_named(scan: &Scan<'_>, range: &Range<usize>) -> bool {
    let head = scan.part(scan.widen(range.start.saturating_sub(REACH)..range.start).start..range.start);
    let Some((before, key)) = key(head) else { return false };
    if !NAMES.has(key) {
        return false;
    }
    let behind = scan.part(range.end..scan.widen(range.end..scan.text.len().min(range.end + REACH)).end);
    let before = before.rsplit(['{', '}']).next().unwrap_or("");
    let behind = behind.split('}').next().unwrap_or("");
    let second = scan.part(range.clone()).split(' ').nth(1);
    let mut things = usize::from(second.is_some_and(words::is_common));
    for key in keys(before).chain(keys(behind)) {
        if PERSONS.has(key) {
            return false;
        }
        things += if THINGS.has(key) { 2 } else { usize::from(MAYBE.has(key)) };
    }
    things > 1
}

/// The key that ends `head` as one whose value comes next, and what stands before it.
fn key(head: &str) -> Option<(&str, &str)> {
    let quotes = ['"', '\'', '\\'];
    let head = head.trim_end_matches(quotes).trim_end_matches(' ').strip_suffix([':', '='])?;
    let head = head.trim_end_matches(' ').trim_end_matches(quotes);
    let from = head
        .rfind(|c: char| !is_in_key(c))
        .map_or(0, |at| at + head.get(at..).and_then(|c| c.chars().next()).map_or(1, char::len_utf8));
    head.split_at_checked(from)
}

/// Words with a quote, `:` or `=` behind them.
fn keys(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(|c: char| !is_in_key(c)).filter_map(|part| part.strip_suffix(['"', '\'', '\\', ':', '=']))
}

fn is_in_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
