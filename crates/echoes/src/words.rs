//! Splits texts into words and tokens, and recognises tokens that are names: paths, URLs, ids, exception types. The
//! decision uses the form alone, and a sentence is never a name. `replacement` adds the names known from the batch as
//! labels.

use std::ops::Range;

use super::fold::{FoldedUnit, blank_length, fold_unit, match_wide_character};

/// Replacement for an echo.
pub const CONTENT_PLACEHOLDER: &str = kernel::CONTENT;
/// Least length of an echo, in characters.
pub(super) const LEAST_CHARACTERS: usize = 24;
/// Least number of words in an echo.
pub(super) const LEAST_WORDS: usize = 4;
/// Least number of tokens (see [`tokens`]) in an echo: a single token is a name, whatever it contains.
pub(super) const LEAST_TOKENS: usize = 2;

/// Whether a text is long enough to contain an echo. Names and tokens in `labels` do not count.
pub fn may_quote(text: &str, labels: &[Option<&str>]) -> bool {
    if text.len() < LEAST_CHARACTERS {
        return false;
    }
    let (mut word_count, mut token_count) = (0, 0);
    for outer in text.split_whitespace() {
        if labels.contains(&Some(outer)) {
            continue;
        }
        for token in tokens(outer).filter_map(|range| outer.get(range)) {
            if labels.contains(&Some(token)) || is_name(token) {
                continue;
            }
            let words_here = words(token).count();
            // Each letter of an unspaced script is a token of its own
            token_count += usize::from(words_here > 0) + usize::from(words_here > 1 && token.starts_with(is_unspaced));
            word_count += words_here;
            if word_count >= LEAST_WORDS && token_count >= LEAST_TOKENS {
                return true;
            }
        }
    }
    false
}

/// Whether a letter is of a script without blanks between words: Chinese, Japanese, Thai, Lao, Burmese, Khmer. Each
/// such letter counts as a word and as two characters, so an echo has at least twelve of them.
pub(super) fn is_unspaced(char: char) -> bool {
    matches!(char,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3005}'..='\u{3007}'
        | '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9f}' | '\u{20000}'..='\u{3ffff}')
}

/// Length of a text in characters, where a letter of an unspaced script counts twice.
pub(super) fn weighted_length(text: &str) -> usize {
    text.chars().map(|char| 1 + usize::from(is_unspaced(char))).sum()
}

fn is_word_char(char: char) -> bool {
    char.is_alphanumeric() || char == '_' || is_unspaced(char)
}

/// Whether a character has no width, and so does not split a word.
fn is_invisible(char: char) -> bool {
    !char.is_ascii()
        && matches!(match_wide_character(char.encode_utf8(&mut [0; 4]).as_bytes()), Some((_, FoldedUnit::Nothing)))
}

/// Returns the words of a text: runs of letters, digits and `_`; each letter of an unspaced script by itself.
pub(super) fn words(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut next_start = 0;
    std::iter::from_fn(move || {
        let start = next_start + text.get(next_start..)?.find(is_word_char)?;
        let rest = text.get(start..)?;
        let length = match rest.chars().next().filter(|char| is_unspaced(*char)) {
            Some(char) => char.len_utf8(),
            None => {
                rest.find(|char| !(is_word_char(char) || is_invisible(char)) || is_unspaced(char)).unwrap_or(rest.len())
            }
        };
        next_start = start + length;
        Some(start..next_start)
    })
}

/// Returns the tokens of a text: split at white space and data punctuation, without surrounding brackets. A URL's
/// scheme, host and path are one token; its query is split further.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut next_start = 0;
    std::iter::from_fn(move || {
        let mut rest = text.get(next_start..)?;
        while let length @ 1.. = separator_length(rest) {
            rest = rest.get(length..)?;
        }
        let start = text.len() - rest.len();
        let token = rest.get(..token_length(rest)).filter(|token| !token.is_empty())?;
        next_start = start + token.len();
        let inner_start = next_start - token.trim_start_matches(is_bracket_or_quote).len();
        Some(inner_start..inner_start + trim_punctuation(token).len())
    })
}

/// Length of the white space (raw or escaped) or data punctuation at the start of a text; 0 if there is none.
fn separator_length(rest: &str) -> usize {
    match blank_length(rest.as_bytes()) {
        0 => rest.chars().next().filter(|char| is_separator(*char)).map_or(0, char::len_utf8),
        length => length,
    }
}

/// Characters between the values of JSON, a list, a form or a table.
fn is_separator(char: char) -> bool {
    char.is_whitespace() || "\"'`{}<>;,=&|+".contains(char)
}

/// Limit for consecutive letters of an unspaced script in a path: one fewer than an echo has.
const MAX_LETTERS_IN_PATH: usize = LEAST_CHARACTERS / 2 - 1;

/// Length of the token at the start of a text. In a Windows path, `\n` is not an escape. `+` and `%20` split neither a
/// path nor the part of a URL before its query. A token ends where an unspaced script begins or ends, but a path only
/// where such a script goes on for more than [`MAX_LETTERS_IN_PATH`] letters.
fn token_length(rest: &str) -> usize {
    let inner = rest.trim_start_matches(is_bracket_or_quote);
    let begins_unspaced = inner.starts_with(is_unspaced);
    let is_windows_path = is_network_share(inner) || has_drive(inner);
    let is_path = is_rooted(inner) || is_windows_path;
    let (mut is_url, mut unspaced_bytes) = (false, 0);
    // A previous replacement never belongs to the token next to it
    if rest.starts_with(CONTENT_PLACEHOLDER) {
        return CONTENT_PLACEHOLDER.len();
    }
    for (at, char) in rest.char_indices() {
        let tail = rest.get(at..).unwrap_or_default();
        if char == '[' && tail.starts_with(CONTENT_PLACEHOLDER) {
            return at;
        }
        is_url |= tail.starts_with("://");
        let separates = match char {
            '\\' => !is_windows_path && blank_length(tail.as_bytes()) > 0,
            '%' => !is_path && !is_url && blank_length(tail.as_bytes()) > 0,
            '+' => !is_path && !is_url,
            '?' | '#' if is_url => true,
            _ => is_separator(char),
        };
        if separates {
            return at;
        }
        unspaced_bytes = if is_unspaced(char) { unspaced_bytes + char.len_utf8() } else { 0 };
        let after_char = at + char.len_utf8();
        if is_path && unspaced_bytes > MAX_LETTERS_IN_PATH * '一'.len_utf8() {
            return after_char.saturating_sub(unspaced_bytes);
        }
        if !is_path && is_unspaced(char) != begins_unspaced && !is_bracket_or_quote(char) {
            return at;
        }
    }
    rest.len()
}

/// Whether two words belong to different tokens; `gap`: the range between them.
pub(super) fn are_separate_tokens(text: &str, gap: Range<usize>) -> bool {
    let last_byte = gap.end.saturating_sub(1).max(gap.start);
    // An empty gap is between letters of an unspaced script. An escape (`\n`, `%20`) may reach into the second word
    text.get(gap).is_some_and(|gap| gap.is_empty() || gap.contains(is_separator))
        || text.get(last_byte..).is_some_and(|rest| rest.starts_with(['\\', '%']) && blank_length(rest.as_bytes()) > 0)
}

fn is_bracket_or_quote(char: char) -> bool {
    "\"'`()[]{}<>,;".contains(char)
}

fn trim_punctuation(token: &str) -> &str {
    token.trim_matches(is_bracket_or_quote).trim_end_matches(['.', ':', '!', '?', '\\'])
}

/// Whether a token is a path, a URL or an id.
pub(super) fn is_name(token: &str) -> bool {
    is_path(token) || is_id(token)
}

fn is_path(token: &str) -> bool {
    let slashes = count_slashes(token);
    token.contains("://")
        || ((is_rooted(token) || has_drive(token)) && token.len() > 2)
        || (slashes > 0 && has_file_name(token))
        || slashes > 2
}

fn is_rooted(token: &str) -> bool {
    ["/", "./", "../", "~/"].iter().any(|root| token.starts_with(root)) || is_network_share(token)
}

/// `\\server\share`, unless the backslashes belong to an escaped letter.
fn is_network_share(token: &str) -> bool {
    token.starts_with("\\\\")
        && !matches!(fold_unit(token.as_bytes()), Some((_, FoldedUnit::Byte(_) | FoldedUnit::Char(_))))
}

/// Number of slashes that separate parts of a token; escaped letters do not count.
fn count_slashes(token: &str) -> usize {
    let (mut rest, mut count) = (token.as_bytes(), 0);
    while let Some(at) = memchr::memchr2(b'/', b'\\', rest) {
        let from_slash = rest.get(at..).unwrap_or_default();
        let (length, is_separator) = match fold_unit(from_slash) {
            Some((length, unit)) => (length, matches!(unit, FoldedUnit::Nothing)),
            None => (1, true),
        };
        count += usize::from(is_separator);
        rest = from_slash.get(length..).unwrap_or_default();
    }
    count
}

fn has_drive(token: &str) -> bool {
    token.get(1..3).is_some_and(|after_letter| matches!(after_letter, ":\\" | ":/"))
}

/// `src/main.rs`, `docs/a/b.md:12`
fn has_file_name(token: &str) -> bool {
    let name = token.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = name.split(':').next().unwrap_or_default();
    name.rsplit_once('.').is_some_and(|(stem, ending)| {
        !stem.is_empty() && (1..=6).contains(&ending.len()) && ending.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// UUIDs, hashes, numbers, `toolu_…`, `req_…`.
fn is_id(token: &str) -> bool {
    let hex_digits = token.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = token.bytes().filter(|byte| *byte == b'-').count();
    let digits = token.bytes().filter(u8::is_ascii_digit).count();
    if hex_digits + dashes == token.len() && hex_digits >= 8 && digits > 0 {
        return true;
    }
    let Some((kind, rest)) = token.split_once('_') else { return false };
    let is_alphanumeric = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let has_digit = rest.bytes().any(|byte| byte.is_ascii_digit());
    (2..=8).contains(&kind.len())
        && kind.bytes().all(|byte| byte.is_ascii_lowercase())
        && rest.len() >= 10
        && has_digit
        && is_alphanumeric(rest)
}

/// Whether a token at the start of a line is an exception type, given the text after it: `ToolFailed:`, `ENOENT:`.
pub(super) fn is_exception_type(token: &str, rest: &str) -> bool {
    let is_type_name = |name: &str| {
        let capital_count = name.bytes().filter(u8::is_ascii_uppercase).count();
        let is_error_code = name.len() >= 4 && capital_count == name.len();
        const ENDINGS: [&str; 8] = ["Error", "Exception", "Failure", "Failed", "Warning", "Interrupt", "Exit", "Panic"];
        is_error_code || capital_count >= 2 || ENDINGS.iter().any(|ending| name.ends_with(ending))
    };
    let token = token.trim_end_matches(':');
    let is_plain = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:$".contains(&byte));
    let type_name = token.rsplit(['.', ':', '$']).next().unwrap_or_default();
    rest.starts_with(':') && is_plain && token.len() <= 128 && is_type_name(type_name)
}
