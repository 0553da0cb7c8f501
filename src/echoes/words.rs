//! **What**: words, and which tokens of a text are names: paths, addresses, ids, types of exceptions. **Invariants**: decided
//! by form alone; a sentence is never a name. **Not here**: names that the batch knows (`mend`'s labels).

use std::ops::Range;

/// Least length of a repeated stretch, characters.
pub(super) const CHARACTERS: usize = 24;
/// Least words of a repeated stretch.
pub(super) const WORDS: usize = 4;
/// Least tokens (between white space) of a repeated stretch: one alone is a name, whatever is in it.
pub(super) const TOKENS: usize = 2;

/// Whether a text is long enough to repeat a stretch of content; tokens that are in `labels`, and names, do not count.
pub fn may_quote(text: &str, labels: &[Option<&str>]) -> bool {
    if text.len() < CHARACTERS {
        return false;
    }
    let (mut count, mut prose) = (0, 0);
    for token in text.split_whitespace() {
        if labels.contains(&Some(token)) || is_name(bare(token)) {
            continue;
        }
        prose += 1;
        count += words(token).count();
        if count >= WORDS && prose >= TOKENS {
            return true;
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

/// The tokens of a text, without the quotes and brackets around them.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = text.get(from..)?;
        let start = from + rest.find(|char: char| !char.is_whitespace())?;
        let rest = text.get(start..)?;
        let end = start + rest.find(char::is_whitespace).unwrap_or(rest.len());
        from = end;
        let token = text.get(start..end)?;
        let head = token.len() - token.trim_start_matches(around).len();
        let inner = bare(token);
        Some(start + head..start + head + inner.len())
    })
}

fn around(char: char) -> bool {
    "\"'`()[]{}<>,;".contains(char)
}

fn bare(token: &str) -> &str {
    token.trim_matches(around).trim_end_matches(['.', ':', '!', '?'])
}

/// Whether a token is a path, an address or an id.
pub(super) fn is_name(token: &str) -> bool {
    is_path(token) || is_id(token)
}

fn is_path(token: &str) -> bool {
    let rooted = ["/", "./", "../", "~/", "\\\\"].iter().any(|root| token.starts_with(root));
    let drive = token.get(1..3).is_some_and(|next| matches!(next, ":\\" | ":/"));
    let slashes = token.bytes().filter(|byte| matches!(byte, b'/' | b'\\')).count();
    token.contains("://") || ((rooted || drive) && token.len() > 2) || (slashes > 0 && named_file(token)) || slashes > 2
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
