//! [`is_thing_name`]: whether a name belongs to a thing, because it begins the value of `name` or `title` and the
//! sibling keys are those of goods. Runs only for names that would be claimed, and reads at most [`MAX_DISTANCE`] bytes
//! on either side. Keys of persons are in `keys`.

use std::ops::Range;

use super::name_lists;
use crate::scan::TextScan;
use crate::sets::WordSet;

/// Bytes on either side in which sibling keys are searched.
const MAX_DISTANCE: usize = 240;

/// Whether the name at `range` begins the value of a thing's key.
pub(crate) fn is_thing_name(scan: &TextScan<'_>, range: &Range<usize>) -> bool {
    let head = scan.text_before(range.start, MAX_DISTANCE);
    let Some((before, key)) = key_at_end(head) else { return false };
    if !word_set!("names.thing_name_keys").contains(key) {
        return false;
    }
    let after = scan.text_after(range.end, MAX_DISTANCE);
    let before = before.rsplit(['{', '}']).next().unwrap_or("");
    let after = after.split('}').next().unwrap_or("");
    let second_word = scan.part(range.clone()).split(' ').nth(1);
    let mut evidence = usize::from(second_word.is_some_and(name_lists::is_common_word));
    for key in keys_in(before).chain(keys_in(after)) {
        if word_set!("names.person_record_keys").contains(key) {
            return false;
        }
        evidence += if word_set!("names.thing_record_keys").contains(key) {
            2
        } else {
            // Keys of purchases: two of them indicate a thing, or one if the name's second word is common
            usize::from(once!(WordSet, WordSet::new("price stock inventory quantity qty brand")).contains(key))
        };
    }
    evidence > 1
}

/// The key at the end of `head` whose value comes next, and the text before it.
fn key_at_end(head: &str) -> Option<(&str, &str)> {
    let quotes = ['"', '\'', '\\'];
    let head = head.trim_end_matches(quotes).trim_end_matches(' ').strip_suffix([':', '='])?;
    let head = head.trim_end_matches(' ').trim_end_matches(quotes);
    let from = head
        .rfind(|c: char| !is_in_key(c))
        .map_or(0, |at| at + head.get(at..).and_then(|c| c.chars().next()).map_or(1, char::len_utf8));
    head.split_at_checked(from)
}

/// Words followed by a quote, `:` or `=`.
fn keys_in(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(|c: char| !is_in_key(c)).filter_map(|part| part.strip_suffix(['"', '\'', '\\', ':', '=']))
}

fn is_in_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
