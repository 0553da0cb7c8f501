//! Finds the parts directly attached to a street line, at most [`MAX_PARTS`]: unit, place, state, postcode, country.
//! Places without a street line stay in the text.

use std::sync::LazyLock;

use crate::scan::TextScan;
use crate::wordlists;

/// Most parts after a street line.
const MAX_PARTS: usize = 6;
/// States of the USA, provinces of Canada and Australia.
pub(crate) static STATES: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::words("addresses.state_codes").collect());

/// Kinds of attached parts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AddressPart {
    /// A unit, part of the street line.
    Unit,
    /// A place; counts only with a state or postcode before or after it.
    Place,
    /// A state, postcode or country.
    Code,
}

/// Returns the end of an address whose street line ends at `end`.
pub(super) fn address_end(scan: &TextScan<'_>, end: usize) -> usize {
    let (mut at, mut best_end) = (end, end);
    let mut has_code = false;
    for _ in 0..MAX_PARTS {
        let Some(next) = skip_separator(scan, at) else { break };
        let after_comma = scan.part(at..next).contains([',', '\n', '\\']);
        let Some((len, part)) = read_part(text_ahead(scan, next), after_comma) else { break };
        at = next + len;
        match part {
            AddressPart::Unit => best_end = at,
            AddressPart::Code => {
                best_end = at;
                has_code = true;
            }
            // `10115 Berlin`
            AddressPart::Place if has_code && !after_comma => best_end = at,
            AddressPart::Place if has_code => {
                best_end = if b"\n\".)\\".contains(&scan.byte(at)) { at } else { best_end };
                break;
            }
            AddressPart::Place => {}
        }
    }
    best_end
}

/// The next 48 bytes.
fn text_ahead<'s>(scan: &'s TextScan<'_>, from: usize) -> &'s str {
    scan.text_after(from, 48)
}

/// Whether a place, state or lettered postcode follows a street.
pub(super) fn is_followed_by_place(scan: &TextScan<'_>, end: usize) -> bool {
    let parts_end = address_end(scan, end);
    scan.bytes(end..parts_end).iter().any(u8::is_ascii_alphabetic)
}

/// Whether a city with a state abbreviation and a five-digit code follows `end`: `, Chicago, IL 60640`.
pub(super) fn has_us_zip_code(scan: &TextScan<'_>, end: usize) -> bool {
    let text = scan.part(end..address_end(scan, end)).trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    let digits = scan.bytes(end + text.len()..end + text.len() + 5);
    let Some((city, state)) = text.strip_suffix(' ').and_then(|text| text.rsplit_once(' ')) else { return false };
    city.contains(char::is_alphabetic)
        && digits.len() == 5
        && digits.iter().all(u8::is_ascii_digit)
        && STATES.contains(&state)
}

/// Whether a unit follows `end`.
pub(super) fn has_unit(scan: &TextScan<'_>, end: usize) -> bool {
    let part = skip_separator(scan, end).and_then(|next| read_part(text_ahead(scan, next), false));
    part.is_some_and(|(_, part)| part == AddressPart::Unit)
}

/// Skips the separator between two parts at `at`; `None` if there is none.
fn skip_separator(scan: &TextScan<'_>, at: usize) -> Option<usize> {
    let rest = scan.bytes(at..at + 6);
    let mut len = rest.iter().take_while(|byte| b",. -".contains(byte)).count();
    match rest.get(len) {
        Some(b'\n') => len += 1,
        Some(b'\\') if rest.get(len + 1) == Some(&b'n') => len += 2,
        _ => {}
    }
    (1..=4).contains(&len).then_some(at + len).filter(|_| rest.first() != Some(&b'-'))
}

/// Reads the part of an address at the start of a text. `after_comma`: a comma or line break came before it.
fn read_part(rest: &str, after_comma: bool) -> Option<(usize, AddressPart)> {
    // `Apt. 4B`, `Suite 300`, `#12`, `Apt. 3rd Flr.`; `2nd floor`; directions
    let unit = code_pattern!(
        concat!(
            r"(?:<0>[ .#:]{1,3}|#[ .#:]{0,2})(?:\d{1,3}[A-Za-z]{2} (?i:floor|flr|fl)(?-u:\b)\.?",
            r"|(?:[A-Za-z\d-]{0,7}\d[A-Za-z\d-]{0,7}|[A-Z]-[A-Z]|[A-Za-z])(?-u:\b|$))",
            r"|\d{1,3}[A-Za-z][tdhTDH] (?i:(?:flr|fl)(?-u:\b)\.?|floor(?-u:\b))|(?:NW|NE|SW|SE)(?-u:\b)"
        ),
        "addresses.units"
    );
    let lettered_unit = code_pattern!(r"[A-Z]-\d{1,3}(?-u:\b)");
    if let Some(len) = unit.match_len(rest).or_else(|| lettered_unit.match_len(rest).filter(|_| after_comma)) {
        return Some((len, AddressPart::Unit));
    }
    // USA; Netherlands; Brazil; four to six digits; Sweden; Poland; Canada; Britain
    let postcode = code_pattern!(concat!(
        r"\d{5}-\d{4}|(?:\d{4} [A-Z]{2}|\d{5}-\d{3}|\d{4,6})(?-u:\b)|(\d{3} \d\d) [A-Z\P{ASCII}]",
        r"|(?:\d\d-\d{3}|[A-Z]\d[A-Z] ?\d[A-Z]\d|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2})(?-u:\b)"
    ));
    if let Some(len) = postcode.match_len(rest) {
        return Some((len, AddressPart::Code));
    }
    let word = rest.split([' ', ',', '.', '\n', '"', '\\', ';', ')', '<', '\'']).next().unwrap_or("");
    if STATES.contains(&word) {
        return Some((word.len(), AddressPart::Code));
    }
    let is_at_start = |name: &&&str| {
        rest.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name))
            && !rest.get(name.len()..).unwrap_or("").starts_with(char::is_alphanumeric)
    };
    if after_comma
        && let Some(name) =
            line_list!("addresses.countries").iter().chain(line_list!("addresses.state_names")).find(is_at_start)
    {
        return Some((name.len(), AddressPart::Code));
    }
    let mut len = 0;
    for (index, word) in rest.split(' ').enumerate().take(4) {
        let bare = word.split([',', '\n', '"', '\\', ';', ')', '<', '\'']).next().unwrap_or("");
        let is_small = word_list!("addresses.place_function_words").contains(&bare);
        let is_capitalised =
            bare.starts_with(char::is_uppercase) && bare.chars().all(|c| c.is_alphabetic() || "-.'’".contains(c));
        if !(is_capitalised || (is_small && index > 0)) || STATES.contains(&bare) {
            break;
        }
        len += bare.len() + usize::from(index > 0);
        if bare.len() < word.len() {
            break;
        }
    }
    (len > 1).then_some((len, AddressPart::Place))
}
