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

/// Whether a word may come before a unit number.
pub(crate) fn is_unit(word: &str) -> bool {
    word_list!("addresses.units").iter().any(|unit| unit.eq_ignore_ascii_case(word))
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
    let word = rest.split([' ', ',', '.', '\n', '"', '\\', ';', ')', '<', '\'']).next().unwrap_or("");
    if word.is_empty() && !rest.starts_with('#') {
        return None;
    }
    if let Some(len) =
        unit_len(rest, word).or_else(|| storey_len(rest, word)).or_else(|| lettered_unit_len(word, after_comma))
    {
        return Some((len, AddressPart::Unit));
    }
    if let Some(len) = postcode_len(rest) {
        return Some((len, AddressPart::Code));
    }
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

/// `Apt. 4B`, `Suite 300`, `#12`. `word` is the first word of `rest`, also in the next functions.
fn unit_len(rest: &str, word: &str) -> Option<usize> {
    let word_len = match (is_unit(word), rest.starts_with('#')) {
        (true, _) => word.len(),
        (_, true) => 0,
        _ => return None,
    };
    let after = rest.get(word_len..)?;
    let blanks = after.bytes().take(3).take_while(|byte| b" .#:".contains(byte)).count();
    let id_len = after.get(blanks..)?.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'-').count();
    let id = after.get(blanks..blanks + id_len)?;
    let has_digit = id.bytes().any(|byte| byte.is_ascii_digit());
    let is_letter_pair = || matches!(id.as_bytes(), [a, b'-', b] if a.is_ascii_uppercase() && b.is_ascii_uppercase());
    // `Apt. 3rd Flr.`
    let len = storey_len(after.get(blanks..)?, id).unwrap_or(id_len);
    (blanks > 0 && id_len <= 8 && (has_digit || id_len == 1 || is_letter_pair())).then_some(word_len + blanks + len)
}

/// `2nd floor`, `3rd fl.`: an ordinal before a word for floor.
fn storey_len(rest: &str, word: &str) -> Option<usize> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let is_ordinal =
        (1..4).contains(&digits) && word.len() == digits + 2 && word.ends_with(['t', 'd', 'h', 'T', 'D', 'H']);
    let after = rest.get(word.len()..).filter(|_| is_ordinal)?.strip_prefix(' ')?;
    let (name, rest) = after.split_at_checked(after.bytes().take_while(u8::is_ascii_alphabetic).count())?;
    let is_storey = ["floor", "flr", "fl"].iter().any(|storey| storey.eq_ignore_ascii_case(name));
    let dot = usize::from(name.len() < 5 && rest.starts_with('.'));
    is_storey.then_some(word.len() + 1 + name.len() + dot)
}

/// Directions such as `NW`, and after a comma also `C-5`.
fn lettered_unit_len(word: &str, after_comma: bool) -> Option<usize> {
    let is_numbered = matches!(word.as_bytes(), [letter, b'-', digits @ ..]
        if letter.is_ascii_uppercase() && (1..4).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit));
    (matches!(word, "NW" | "NE" | "SW" | "SE") || after_comma && is_numbered).then_some(word.len())
}

/// Postcodes of four to six digits, and those of the USA, the Netherlands, Brazil, Sweden, Poland, Canada and Britain.
fn postcode_len(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let digits = bytes.iter().take(7).take_while(|byte| byte.is_ascii_digit()).count();
    let byte_at = |index: usize| bytes.get(index).copied().unwrap_or(b' ');
    let ends_at = |len: usize| !byte_at(len).is_ascii_alphanumeric();
    let has_three_digits = |start: usize| (start..start + 3).all(|index| byte_at(index).is_ascii_digit());
    if (4..=6).contains(&digits) {
        if digits == 5
            && byte_at(5) == b'-'
            && bytes.iter().skip(6).take(4).filter(|byte| byte.is_ascii_digit()).count() == 4
        {
            return Some(10);
        }
        // `1012 AB`
        if digits == 4
            && byte_at(4) == b' '
            && byte_at(5).is_ascii_uppercase()
            && byte_at(6).is_ascii_uppercase()
            && ends_at(7)
        {
            return Some(7);
        }
        let is_brazilian = digits == 5 && byte_at(5) == b'-' && has_three_digits(6) && ends_at(9);
        if is_brazilian {
            return Some(9);
        }
        return ends_at(digits).then_some(digits);
    }
    // `111 23 Stockholm`
    if digits == 3
        && byte_at(3) == b' '
        && byte_at(4).is_ascii_digit()
        && byte_at(5).is_ascii_digit()
        && byte_at(6) == b' '
    {
        return (byte_at(7).is_ascii_uppercase() || !byte_at(7).is_ascii()).then_some(6);
    }
    let is_polish = digits == 2 && byte_at(2) == b'-' && has_three_digits(3) && ends_at(6);
    if is_polish {
        return Some(6);
    }
    if !byte_at(0).is_ascii_uppercase() {
        return None;
    }
    // `SW1A 1AA`, `M5V 2T6`
    let canadian = || {
        let blank = usize::from(byte_at(3) == b' ');
        let [a, b, c, d, e, f] =
            [byte_at(0), byte_at(1), byte_at(2), byte_at(3 + blank), byte_at(4 + blank), byte_at(5 + blank)];
        let letters = a.is_ascii_uppercase() && c.is_ascii_uppercase() && e.is_ascii_uppercase();
        let digits = b.is_ascii_digit() && d.is_ascii_digit() && f.is_ascii_digit();
        (letters && digits && ends_at(6 + blank)).then_some(6 + blank)
    };
    if let Some(len) = canadian() {
        return Some(len);
    }
    let head = bytes.iter().take(4).take_while(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()).count();
    let blank = usize::from(byte_at(head) == b' ');
    let tail = head + blank;
    let (a, b, c) = (byte_at(tail), byte_at(tail + 1), byte_at(tail + 2));
    let is_british = a.is_ascii_digit() && b.is_ascii_uppercase() && c.is_ascii_uppercase();
    let has_digit = bytes.get(..head)?.iter().any(u8::is_ascii_digit);
    (is_british && has_digit && head >= 2 && ends_at(tail + 3)).then_some(tail + 3)
}
