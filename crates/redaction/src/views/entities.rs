//! HTML and XML entities: numeric ones, and the names that occur in values. `html` chooses the windows.

use crate::wordlists;

const MAX_ENTITY: usize = 12;

/// Whether there is an entity at `at`.
pub(crate) fn is_entity(bytes: &[u8], at: usize) -> bool {
    read_entity(bytes.get(at..).unwrap_or_default()).is_some()
}

/// The entity at the start of `bytes`: its length and its character.
pub(super) fn read_entity(bytes: &[u8]) -> Option<(usize, char)> {
    let name = bytes.get(1..bytes.len().min(MAX_ENTITY))?;
    let end = 1 + name.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'#')?;
    if bytes.get(end) != Some(&b';') {
        return None;
    }
    let char = match bytes.get(1..end)? {
        [b'#', b'x' | b'X', digits @ ..] => char_of_code(digits, 16)?,
        [b'#', digits @ ..] => char_of_code(digits, 10)?,
        name => {
            let codes = once!(Vec<(&str, u32)>, {
                wordlists::words_of_rows("notation.entities", |code| u32::from_str_radix(code, 16).ok()).collect()
            });
            char::from_u32(codes.iter().find(|(known, _)| known.as_bytes() == name)?.1)?
        }
    };
    Some((end + 1, char))
}

fn char_of_code(digits: &[u8], radix: u32) -> Option<char> {
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_alphanumeric()))?;
    let char = char::from_u32(u32::from_str_radix(digits, radix).ok()?)?;
    (!char.is_control() || matches!(char, '\n' | '\r' | '\t' | '\u{1b}')).then_some(char)
}
