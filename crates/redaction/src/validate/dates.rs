//! Valid dates of birth. Pure functions. `numbers::announced` reads the notations.

use std::sync::LazyLock;

use crate::wordlists;

/// Whether this is a valid day from 1900 to 2099.
pub(crate) fn is_day(year: u32, month: u32, day: u32) -> bool {
    let is_leap_year = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last_day = match month {
        2 if is_leap_year => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1900..2100).contains(&year) && (1..=last_day).contains(&day)
}

/// Month names in several languages, by their first letters.
pub(crate) static MONTHS: LazyLock<Vec<(&str, u32)>> =
    LazyLock::new(|| wordlists::words_of_rows("numbers.months", |month| month.parse().ok()).collect());

/// The month named by a word, in full or by three or four letters.
pub(crate) fn month_of_name(word: &str) -> Option<u32> {
    let may_be_short = (3..=4).contains(&word.chars().count());
    let first = word.chars().next().and_then(|first| first.to_lowercase().next());
    let is_named = |name: &str| {
        let mut letters = name.chars();
        let is_prefix = word.chars().flat_map(char::to_lowercase).all(|letter| letters.next() == Some(letter));
        is_prefix && (may_be_short || letters.next().is_none())
    };
    MONTHS.iter().find(|(name, _)| name.chars().next() == first && is_named(name)).map(|(_, month)| *month)
}
