//! **What**: words, and which tokens of a text are names: paths, addresses, ids, types of exceptions. **Invariants**: decided
//! by form alone; a sentence is never a name. **Not here**: names that the batch knows (`mend`'s labels).

use std::ops::Range;

use super::blanks::blank;

/// Least length of a repeated stretch, characters.
pub(super) const CHARACTERS: usize = 24;
/// Least words of a repeated stretch.
pub(super) const WORDS: usize = 4;
/// Least tokens (between white space or marks of data) of a repeated stretch: one alone is a name, whatever is in it.
pub(super) const TOKENS: usize = 2;

/// Whether a text is long enough to repeat a stretch of content; tokens that are in `labels`, and names, do not count.
pub fn may_quote(text: &str, labels: &[Option<&str>]) -> bool {
    if text.len() < CHARACTERS {
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
            prose += usize::from(more > 0);
            count += more;
            if count >= WORDS && prose >= TOKENS {
                return true;
            }
        }
    }
    false
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// The words of a text: letters, digits and `_`.
pub(super) fn words(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + text.get(from..)?.find(is_word)?;
        let rest = text.get(start..)?;
        let end = start + rest.find(|char| !is_word(char)).unwrap_or(rest.len());
        from = end;
        Some(start..end)
    })
}

/// The tokens of a text: what stands between white space and marks of data, without the brackets around it. Of an address
/// the host with the path is one, and the query others.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let mut rest = text.get(from..)?;
        while let length @ 1.. = mark(rest) {
            rest = rest.get(length..)?;
        }
        let start = text.len() - rest.len();
        let token = rest.get(..token_length(rest)).filter(|token| !token.is_empty())?;
        from = start + token.len();
        let head = token.len() - token.trim_start_matches(around).len();
        Some(start + head..start + head + bare(token).len())
    })
}

/// Length of the white space (also escaped) or mark of data at the beginning of a text; 0: there is none.
fn mark(rest: &str) -> usize {
    match blank(rest.as_bytes()) {
        0 => rest.chars().next().filter(|char| is_mark(*char)).map_or(0, char::len_utf8),
        length => length,
    }
}

/// What stands between the values of JSON, of a list, a form or a table.
fn is_mark(char: char) -> bool {
    char.is_whitespace() || "\"'`{}<>;,=&|".contains(char)
}

/// Length of the token at the beginning of a text. `\n` in a path of Windows is no escape.
fn token_length(rest: &str) -> usize {
    let inner = rest.trim_start_matches(around);
    let windows = inner.starts_with("\\\\") || drive(inner);
    let mut address = false;
    let end = rest.char_indices().find(|(at, char)| {
        let tail = rest.get(*at..).unwrap_or_default();
        address |= tail.starts_with("://");
        let escape = *char == '\\' && !windows && blank(tail.as_bytes()) > 0;
        is_mark(*char) || escape || (address && matches!(char, '?' | '#'))
    });
    end.map_or(rest.len(), |(at, _)| at)
}

/// Whether two words are of two tokens; `gap`: what stands between them.
pub(super) fn apart(text: &str, gap: Range<usize>) -> bool {
    let last = gap.end.saturating_sub(1).max(gap.start);
    text.get(gap).is_some_and(|gap| gap.contains(is_mark))
        || text.get(last..).is_some_and(|rest| rest.starts_with('\\') && blank(rest.as_bytes()) > 0)
}

fn around(char: char) -> bool {
    "\"'`()[]{}<>,;".contains(char)
}

fn bare(token: &str) -> &str {
    token.trim_matches(around).trim_end_matches(['.', ':', '!', '?', '\\'])
}

/// Whether a token is a path, an address or an id.
pub(super) fn is_name(token: &str) -> bool {
    is_path(token) || is_id(token)
}

fn is_path(token: &str) -> bool {
    let rooted = ["/", "./", "../", "~/", "\\\\"].iter().any(|root| token.starts_with(root));
    let slashes = token.bytes().filter(|byte| matches!(byte, b'/' | b'\\')).count();
    token.contains("://")
        || ((rooted || drive(token)) && token.len() > 2)
        || (slashes > 0 && named_file(token))
        || slashes > 2
}

fn drive(token: &str) -> bool {
    token.get(1..3).is_some_and(|next| matches!(next, ":\\" | ":/"))
}

/// `src/main.rs`, `docs/a/b.md:12`
fn named_file(token: &str) -> bool {
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

/// Whether a token at the start of a line, with what follows it, is the type of an exception: `ToolFailed:`, `ENOENT:`.
pub(super) fn is_type(token: &str, rest: &str) -> bool {
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
