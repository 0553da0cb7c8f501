//! Finds the parts directly attached to a street line: unit, place, state, postcode, country; at most [`MOST`] of them.
//! Places without a street line stay in the text.

use std::sync::LazyLock;

use crate::scan::TextScan;
use crate::wordlists;

/// Most parts behind a street line.
const MOST: usize = 6;
/// Words before a unit number.
static UNITS: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::words("addresses.units").collect());
/// Countries that may end an address.
static COUNTRIES: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::lines("addresses.countries").collect());
/// States of the USA, provinces of Canada and Australia.
pub(crate) static STATES: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::words("addresses.state_codes").collect());
static LONG_STATES: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::lines("addresses.state_names").collect());

/// Kinds of attached parts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AddressPart {
    /// A unit, part of the street line.
    Unit,
    /// A place; counts only with a state or postcode before or behind it.
    Place,
    /// A state, postcode or country.
    Code,
}

/// Returns the end of an address whose street line ends at `end`.
pub(super) fn address_end(scan: &TextScan<'_>, end: usize) -> usize {
    let (mut at, mut best) = (end, end);
    let mut coded = false;
    for _ in 0..MOST {
        let Some(next) = skip_separator(scan, at) else { break };
        let rest = scan.part(next..scan.widen_to_characters(next..scan.text.len().min(next + 48)).end);
        let comma = scan.part(at..next).contains([',', '\n', '\\']);
        let Some((len, part)) = read_part(rest, comma) else { break };
        at = next + len;
        match part {
            AddressPart::Unit => best = at,
            AddressPart::Code => {
                best = at;
                coded = true;
            }
            // `10115 Berlin`
            AddressPart::Place if coded && !comma => best = at,
            AddressPart::Place if coded => {
                let next = scan.byte(at);
                best = if b"\n\".)\\".contains(&next) { at } else { best };
                break;
            }
            AddressPart::Place => {}
        }
    }
    best
}

/// Whether a city with a state abbreviation and a five-digit code follows `end`: `, Chicago, IL 60640`.
pub(super) fn has_us_zip_code(scan: &TextScan<'_>, end: usize) -> bool {
    let text = scan.part(end..address_end(scan, end)).trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    let digits = scan.bytes(end + text.len()..end + text.len() + 5);
    let Some((city, state)) = text.strip_suffix(' ').and_then(|text| text.rsplit_once(' ')) else { return false };
    let city = city.contains(char::is_alphabetic);
    city && digits.len() == 5 && digits.iter().all(u8::is_ascii_digit) && STATES.contains(&state)
}

/// Whether a place and a postcode follow `end`: `, Barnag 8291`.
pub(super) fn has_place_and_postcode(scan: &TextScan<'_>, end: usize) -> bool {
    let text = scan.bytes(end..address_end(scan, end));
    text.iter().any(u8::is_ascii_alphabetic) && text.iter().filter(|byte| byte.is_ascii_digit()).count() > 3
}

/// Whether a unit follows `end`.
pub(super) fn has_unit(scan: &TextScan<'_>, end: usize) -> bool {
    let rest = skip_separator(scan, end)
        .map(|next| scan.part(next..scan.widen_to_characters(next..scan.text.len().min(next + 48)).end));
    rest.and_then(|rest| read_part(rest, false)).is_some_and(|(_, part)| part == AddressPart::Unit)
}

/// Whether a word may come before a unit number.
pub(crate) fn is_unit(word: &str) -> bool {
    UNITS.iter().any(|unit| unit.eq_ignore_ascii_case(word))
}

/// Skips the separator between two parts at `at`; `None` if there is none.
fn skip_separator(scan: &TextScan<'_>, at: usize) -> Option<usize> {
    let rest = scan.bytes(at..scan.text.len().min(at + 6));
    let mut len = rest.iter().take_while(|byte| b",. -".contains(byte)).count();
    match rest.get(len) {
        Some(b'\n') => len += 1,
        Some(b'\\') if rest.get(len + 1) == Some(&b'n') => len += 2,
        _ => {}
    }
    (1..=4).contains(&len).then_some(at + len).filter(|_| rest.first() != Some(&b'-'))
}

/// Lower-case words within place names: `Rio de Janeiro`.
static SMALL: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::words("addresses.place_function_words").collect());

/// Reads the part of an address at the start of a text. `comma`: a comma or line break came before it.
fn read_part(rest: &str, comma: bool) -> Option<(usize, AddressPart)> {
    let word = rest.split([' ', ',', '.', '\n', '"', '\\', ';', ')', '<', '\'']).next().unwrap_or("");
    if word.is_empty() && !rest.starts_with('#') {
        return None;
    }
    if let Some(len) =
        unit_len(rest, word).or_else(|| storey_len(rest, word)).or_else(|| lettered_unit_len(word, comma))
    {
        return Some((len, AddressPart::Unit));
    }
    if let Some(len) = postcode_len(rest) {
        return Some((len, AddressPart::Code));
    }
    if STATES.contains(&word) {
        return Some((word.len(), AddressPart::Code));
    }
    let named = |name: &&&str| {
        rest.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name))
            && !rest.get(name.len()..).unwrap_or("").starts_with(char::is_alphanumeric)
    };
    if comma && let Some(name) = COUNTRIES.iter().chain(&*LONG_STATES).find(named) {
        return Some((name.len(), AddressPart::Code));
    }
    let mut len = 0;
    for (index, word) in rest.split(' ').enumerate().take(4) {
        let bare = word.split([',', '\n', '"', '\\', ';', ')', '<', '\'']).next().unwrap_or("");
        let small = SMALL.contains(&bare);
        let capital =
            bare.starts_with(char::is_uppercase) && bare.chars().all(|c| c.is_alphabetic() || "-.'’".contains(c));
        if !(capital || (small && index > 0)) || STATES.contains(&bare) {
            break;
        }
        len += bare.len() + usize::from(index > 0);
        if bare.len() < word.len() {
            break;
        }
    }
    (len > 1).then_some((len, AddressPart::Place))
}

/// `Apt. 4B`, `Suite 300`, `#12`.
fn unit_len(rest: &str, word: &str) -> Option<usize> {
    let known = is_unit(word);
    let from = match (known, rest.starts_with('#')) {
        (true, _) => word.len(),
        (_, true) => 0,
        _ => return None,
    };
    let behind = rest.get(from..)?;
    let blanks = behind.bytes().take(3).take_while(|byte| b" .#:".contains(byte)).count();
    let id = behind.get(blanks..)?.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'-').count();
    let text = behind.get(blanks..blanks + id)?;
    let digit = text.bytes().any(|byte| byte.is_ascii_digit());
    let letters = || matches!(text.as_bytes(), [a, b'-', b] if a.is_ascii_uppercase() && b.is_ascii_uppercase());
    // `Apt. 3rd Flr.`
    let storey = storey_len(behind.get(blanks..)?, text).unwrap_or(id);
    (blanks > 0 && id <= 8 && (digit || id == 1 || letters())).then_some(from + blanks + storey)
}

/// `2nd floor`, `3rd fl.`: an ordinal before a word for floor.
fn storey_len(rest: &str, word: &str) -> Option<usize> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let ordinal =
        (1..4).contains(&digits) && word.len() == digits + 2 && word.ends_with(['t', 'd', 'h', 'T', 'D', 'H']);
    let behind = rest.get(word.len()..).filter(|_| ordinal)?.strip_prefix(' ')?;
    let name = behind.bytes().take_while(u8::is_ascii_alphabetic).count();
    let known = ["floor", "flr", "fl"]
        .iter()
        .any(|storey| behind.get(..name).is_some_and(|word| word.eq_ignore_ascii_case(storey)));
    let dot = usize::from(name < 5 && behind.get(name..).is_some_and(|rest| rest.starts_with('.')));
    known.then_some(word.len() + 1 + name + dot)
}

/// `NW`; after a comma also `C-5`.
fn lettered_unit_len(word: &str, comma: bool) -> Option<usize> {
    let numbered = matches!(word.as_bytes(), [letter, b'-', digits @ ..]
        if letter.is_ascii_uppercase() && (1..4).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit));
    (matches!(word, "NW" | "NE" | "SW" | "SE") || comma && numbered).then_some(word.len())
}

/// Postcodes of the USA, Britain, Canada and the Netherlands, and others of four to six digits.
fn postcode_len(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let digits = bytes.iter().take(7).take_while(|byte| byte.is_ascii_digit()).count();
    let at = |index: usize| bytes.get(index).copied().unwrap_or(b' ');
    let ends = |len: usize| !at(len).is_ascii_alphanumeric();
    if (4..=6).contains(&digits) {
        if digits == 5
            && at(5) == b'-'
            && bytes.iter().skip(6).take(4).filter(|byte| byte.is_ascii_digit()).count() == 4
        {
            return Some(10);
        }
        // `1012 AB`
        if digits == 4 && at(4) == b' ' && at(5).is_ascii_uppercase() && at(6).is_ascii_uppercase() && ends(7) {
            return Some(7);
        }
        let brazil = digits == 5 && at(5) == b'-' && bytes.iter().skip(6).take(3).all(u8::is_ascii_digit) && ends(9);
        if brazil {
            return Some(9);
        }
        return ends(digits).then_some(digits);
    }
    // `111 23 Stockholm`
    if digits == 3 && at(3) == b' ' && at(4).is_ascii_digit() && at(5).is_ascii_digit() && at(6) == b' ' {
        return (at(7).is_ascii_uppercase() || !at(7).is_ascii()).then_some(6);
    }
    let hyphened = digits == 2 && at(2) == b'-' && bytes.iter().skip(3).take(3).all(u8::is_ascii_digit) && ends(6);
    if hyphened {
        return Some(6);
    }
    if !at(0).is_ascii_uppercase() {
        return None;
    }
    // `SW1A 1AA`, `M5V 2T6`
    let canadian = || {
        let blank = usize::from(at(3) == b' ');
        let [a, b, c, d, e, f] = [at(0), at(1), at(2), at(3 + blank), at(4 + blank), at(5 + blank)];
        let letters = a.is_ascii_uppercase() && c.is_ascii_uppercase() && e.is_ascii_uppercase();
        let digits = b.is_ascii_digit() && d.is_ascii_digit() && f.is_ascii_digit();
        (letters && digits && ends(6 + blank)).then_some(6 + blank)
    };
    if let Some(len) = canadian() {
        return Some(len);
    }
    let head = bytes.iter().take(4).take_while(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()).count();
    let blank = usize::from(at(head) == b' ');
    let tail = head + blank;
    let (a, b, c) = (at(tail), at(tail + 1), at(tail + 2));
    let british = a.is_ascii_digit() && b.is_ascii_uppercase() && c.is_ascii_uppercase();
    let digit = bytes.get(..head)?.iter().any(u8::is_ascii_digit);
    (british && digit && head >= 2 && ends(tail + 3)).then_some(tail + 3)
}
