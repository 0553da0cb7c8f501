//! Finds numbered roads and streets without a street word by a word near before them or a place with its code after
//! them. `street` calls these functions, for numbered roads before its own grammar and otherwise after it.

use std::ops::Range;
use std::sync::LazyLock;

use crate::scan::TextScan;
use crate::sets::WordSet;

use super::address_parts::{self, is_followed_by_place};
use super::house_numbers::{is_announced, is_year};

static DIRECTIONS: LazyLock<WordSet> = LazyLock::new(|| WordSet::listed("addresses.road_directions"));
/// `511 State Route 690`: the length of a numbered road at the start of `rest`, which begins at `at` after a house
/// number.
pub(super) fn numbered_road_len(scan: &TextScan<'_>, number: &Range<usize>, at: usize, rest: &str) -> Option<usize> {
    let (len, is_unambiguous) = match_numbered_road(rest)?;
    let is_capitalised = rest.starts_with(|c: char| c.is_ascii_uppercase());
    let is_road_announced = || is_capitalised && is_unambiguous && is_announced(scan, number.start);
    let is_address =
        !is_year(scan.bytes(number.clone())) && (is_road_announced() || is_followed_by_place(scan, at + len));
    is_address.then_some(len)
}

/// `1248 W Carmen` before `, Chicago, IL 60640`: like [`numbered_road_len`], for a street without a street word.
pub(super) fn plain_street_len(scan: &TextScan<'_>, number: &Range<usize>, at: usize, rest: &str) -> Option<usize> {
    let (len, has_direction) = match_plain_street(rest).filter(|_| scan.byte(number.end) != b',')?;
    let has_zip_code = || !is_year(scan.bytes(number.clone())) && address_parts::has_us_zip_code(scan, at + len);
    (has_zip_code() || has_direction && address_parts::has_unit(scan, at + len)).then_some(len)
}

/// Length of a numbered road at the start of `rest`, and whether its form is unambiguous.
fn match_numbered_road(rest: &str) -> Option<(usize, bool)> {
    let owned = code_pattern!(
        r"(?:(?:<2>|<3>)\.? ){0,3}(?:<0>|<3>\.? (?:<0>|<1>))\.?(?: <1>\.?)? \d{1,4}[A-Z]?(?-u:\b)",
        "addresses.numbered_roads",
        "addresses.numbered_roads_after_owner",
        "addresses.road_directions",
        "addresses.road_owners"
    );
    let plain = code_pattern!(r"<0>\.? \d{1,4}[A-Z]?(?-u:\b)", "addresses.numbered_roads_after_owner");
    owned.match_len(rest).map(|len| (len, true)).or_else(|| plain.match_len(rest).map(|len| (len, false)))
}

/// Length of one to three capitalised or ordinal words, optionally after a direction, and whether there is a direction.
fn match_plain_street(rest: &str) -> Option<(usize, bool)> {
    let (mut offset, mut names, mut has_direction, mut end) = (0, 0, false, 0);
    for (index, word) in rest.split(' ').enumerate().take(5) {
        let bare = word.trim_end_matches([',', '.', '!', '?', '\\']);
        let is_capitalised =
            bare.starts_with(char::is_uppercase) && bare.chars().all(|c| c.is_alphabetic() || "-'’.".contains(c));
        let is_ordinal = bare.len() > 2
            && bare.starts_with(|c: char| c.is_ascii_digit())
            && bare.ends_with(['t', 'd', 'h', 'T', 'D', 'H']);
        if !(is_capitalised || is_ordinal) || word_set!("addresses.units").contains(bare) {
            break;
        }
        has_direction |= index == 0 && DIRECTIONS.contains(bare);
        names += usize::from(index > 0 || !has_direction);
        end = offset + bare.len();
        offset += word.len() + 1;
        if bare.len() < word.len() && !(word.ends_with('.') && bare.len() < 4) {
            break;
        }
    }
    ((1..4).contains(&names)).then_some((end, has_direction))
}
