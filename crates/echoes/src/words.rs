//! Splits texts into words and tokens, and recognises tokens that are names: paths, URLs, ids, exception types. The
//! decision uses the form alone, and a sentence is never a name. `replacement` adds the names known from the batch as
//! labels.

use std::ops::Range;

use super::fold::{FoldedUnit, blank_length, fold_unit, match_wide_character};

/// Replacement for repeated content.
pub const CONTENT_PLACEHOLDER: &str = kernel::CONTENT;
/// Least length of a repeated range, in characters.
pub(super) const LEAST_CHARACTERS: usize = 24;
/// Least number of words in a repeated range.
pub(super) const LEAST_WORDS: usize = 4;
/// Least number of tokens (split at white space and at data punctuation) in a repeated range: a single token is a name,
/// whatever it contains.
pub(super) const LEAST_TOKENS: usize = 2;

/// Whether a text is long enough to repeat content. Names and tokens in `labels` do not count.
pub fn may_quote(text: &str, labels: &[Option<&str>]) -> bool {
    if text.len() < LEAST_CHARACTERS {
        return false;
    }
    let (mut count, mut prose) = (0, 0);
    for token in text.split_whitespace() {
        if labels.contains(&Some(token)) {
            continue;
        }
        for inner in tokens(token).filter_map(|range| token.get(range)) {
            if labels.contains(&Some(inner)) || is_name(inner) {
                continue;
            }
            let more = words(inner).count();
            prose += usize::from(more > 0) + usize::from(more > 1 && inner.starts_with(is_unspaced));
            count += more;
            if count >= LEAST_WORDS && prose >= LEAST_TOKENS {
                return true;
            }
        }
    }
    false
}

/// A letter of a script without blanks between words: Chinese, Japanese, Thai, Lao, Burmese, Khmer. Each counts as a
/// word and as two characters, so a repeated range has at least twelve of them.
pub(super) fn is_unspaced(char: char) -> bool {
    matches!(char,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3005}'..='\u{3007}'
        | '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9f}' | '\u{20000}'..='\u{3ffff}')
}

/// Length of a text in characters, in the units of [`LEAST_CHARACTERS`].
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
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + text.get(from..)?.find(is_word_char)?;
        let rest = text.get(start..)?;
        let end = match rest.chars().next().filter(|char| is_unspaced(*char)) {
            Some(char) => char.len_utf8(),
            None => {
                rest.find(|char| !(is_word_char(char) || is_invisible(char)) || is_unspaced(char)).unwrap_or(rest.len())
            }
        };
        let end = start + end;
        from = end;
        Some(start..end)
    })
}

/// Returns the tokens of a text: split at white space and data punctuation, without surrounding brackets. A URL's
/// scheme, host and path are one token; its query is split further.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let mut rest = text.get(from..)?;
        while let length @ 1.. = separator_length(rest) {
            rest = rest.get(length..)?;
        }
        let start = text.len() - rest.len();
        let token = rest.get(..token_length(rest)).filter(|token| !token.is_empty())?;
        from = start + token.len();
        let head = token.len() - token.trim_start_matches(is_bracket_or_quote).len();
        Some(start + head..start + head + trim_punctuation(token).len())
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

/// Most consecutive letters of an unspaced script in a path's name: one fewer than a range that may be content.
const LETTERS: usize = LEAST_CHARACTERS / 2 - 1;

/// Length of the token at the start of a text. In a Windows path, `\n` is not an escape; `+` and `%20` do not split a
/// path, or a URL before its query. A token ends where an unspaced script begins or ends, except inside a path.
fn token_length(rest: &str) -> usize {
    let inner = rest.trim_start_matches(is_bracket_or_quote);
    let unspaced = inner.starts_with(is_unspaced);
    let windows = is_network_share(inner) || has_drive(inner);
    let path = is_rooted(inner) || windows;
    let (mut address, mut letters) = (false, 0);
    // A previous replacement never belongs to the token next to it
    if rest.starts_with(CONTENT_PLACEHOLDER) {
        return CONTENT_PLACEHOLDER.len();
    }
    for (at, char) in rest.char_indices() {
        let tail = rest.get(at..).unwrap_or_default();
        if char == '[' && tail.starts_with(CONTENT_PLACEHOLDER) {
            return at;
        }
        address |= tail.starts_with("://");
        let part = match char {
            '\\' => !windows && blank_length(tail.as_bytes()) > 0,
            '%' => !path && !address && blank_length(tail.as_bytes()) > 0,
            '+' => !path && !address,
            '?' | '#' if address => true,
            _ => is_separator(char),
        };
        if part {
            return at;
        }
        letters = if is_unspaced(char) { letters + char.len_utf8() } else { 0 };
        let switches = match path {
            true => letters > LETTERS * '一'.len_utf8(),
            false => is_unspaced(char) != unspaced && !is_bracket_or_quote(char),
        };
        if switches {
            return (at + char.len_utf8()).saturating_sub(if path { letters } else { char.len_utf8() });
        }
    }
    rest.len()
}

/// Whether two words belong to different tokens; `gap`: the range between them.
pub(super) fn are_separate_tokens(text: &str, gap: Range<usize>) -> bool {
    let last = gap.end.saturating_sub(1).max(gap.start);
    // Letters of an unspaced script are adjacent
    text.get(gap).is_some_and(|gap| gap.is_empty() || gap.contains(is_separator))
        || text.get(last..).is_some_and(|rest| rest.starts_with(['\\', '%']) && blank_length(rest.as_bytes()) > 0)
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
        let here = rest.get(at..).unwrap_or_default();
        let (length, slash) = match fold_unit(here) {
            Some((length, put)) => (length, matches!(put, FoldedUnit::Nothing)),
            None => (1, true),
        };
        count += usize::from(slash);
        rest = here.get(length..).unwrap_or_default();
    }
    count
}

fn has_drive(token: &str) -> bool {
    token.get(1..3).is_some_and(|next| matches!(next, ":\\" | ":/"))
}

/// `src/main.rs`, `docs/a/b.md:12`
fn has_file_name(token: &str) -> bool {
    let last = token.rsplit(['/', '\\']).next().unwrap_or_default();
    let last = last.split(':').next().unwrap_or_default();
    last.rsplit_once('.').is_some_and(|(stem, ending)| {
        !stem.is_empty() && (1..=6).contains(&ending.len()) && ending.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// UUIDs, hashes, numbers, `toolu_…`, `req_…`.
fn is_id(token: &str) -> bool {
    let hex = token.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = token.bytes().filter(|byte| *byte == b'-').count();
    let digits = token.bytes().filter(u8::is_ascii_digit).count();
    if hex + dashes == token.len() && hex >= 8 && digits > 0 {
        return true;
    }
    let Some((kind, rest)) = token.split_once('_') else { return false };
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let mixed = rest.bytes().any(|byte| byte.is_ascii_digit());
    (2..=8).contains(&kind.len())
        && kind.bytes().all(|byte| byte.is_ascii_lowercase())
        && rest.len() >= 10
        && mixed
        && plain(rest)
}

/// Whether a token at the start of a line is an exception type, given the text after it: `ToolFailed:`, `ENOENT:`.
pub(super) fn is_exception_type(token: &str, rest: &str) -> bool {
    let named = |name: &str| {
        let capitals = name.bytes().filter(u8::is_ascii_uppercase).count();
        let code = name.len() >= 4 && capitals == name.len();
        let ends = ["Error", "Exception", "Failure", "Failed", "Warning", "Interrupt", "Exit", "Panic"];
        code || capitals >= 2 || ends.iter().any(|end| name.ends_with(end))
    };
    let token = token.trim_end_matches(':');
    let plain = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:$".contains(&byte));
    let last = token.rsplit(['.', ':', '$']).next().unwrap_or_default();
    rest.starts_with(':') && plain && token.len() <= 128 && named(last)
}
