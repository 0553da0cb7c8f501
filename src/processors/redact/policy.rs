//! **What**: how a value is treated for the key it stands under, and the cuts. **Invariants**: a cut text fits its
//! cap with its mark, so that a second pass changes nothing. **Not here**: rules (`redaction`), key lists (`genai`).

use crate::genai::{Role, Vocabulary};
use crate::otlp::Signal;

/// How a value is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Rules, and the cap of values.
    Scan,
    /// The same with the cap of error texts.
    ErrorText,
    /// An id: whole value becomes a keyed pseudonym when a rule matches, else it stays.
    Identity,
    /// A path or command: rules, and the user's part of home directories goes.
    Path,
    /// A version: shape alone (four numbers) is no address.
    Version,
    /// A credential: the attribute goes.
    Drop,
}

pub(super) fn treatment(vocabulary: &Vocabulary, signal: Signal, key: &str) -> Treatment {
    let content_on_metric = signal == Signal::Metrics && vocabulary.content_part(key).is_some();
    if content_on_metric || credential(key) {
        return Treatment::Drop;
    }
    match vocabulary.role(key) {
        Role::Secret => Treatment::Drop,
        Role::ErrorText => Treatment::ErrorText,
        _ if vocabulary.is_identity(key) => Treatment::Identity,
        _ if key.ends_with("version") => Treatment::Version,
        Role::Pii if key != "host.name" => Treatment::Path,
        _ => Treatment::Scan,
    }
}

/// Header names that carry credentials, wherever they stand: the last segment of the key decides.
fn credential(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key);
    let is = |name: &str| last.eq_ignore_ascii_case(name);
    let dashed = |suffix: &str| {
        last.len() > suffix.len() + 2
            && last.get(..2).is_some_and(|head| head.eq_ignore_ascii_case("x-"))
            && last.get(last.len() - suffix.len()..).is_some_and(|tail| tail.eq_ignore_ascii_case(suffix))
    };
    is("authorization")
        || is("proxy-authorization")
        || is("cookie")
        || is("set-cookie")
        || dashed("-key")
        || dashed("-token")
}

/// Whether bytes that are no text have the width of an id (of a span, trace, digest) and are no wide characters of
/// plain text, which are half zeros or more.
pub(super) fn is_id(bytes: &[u8]) -> bool {
    let zeros = bytes.iter().filter(|byte| **byte == 0).count();
    let printable = |byte: &u8| matches!(byte, b' '..=b'~');
    let wide =
        zeros * 2 >= bytes.len() && zeros < bytes.len() && bytes.iter().all(|byte| *byte == 0 || printable(byte));
    matches!(bytes.len(), 8 | 16 | 32) && !wide
}

const USERNAME: &str = "[USERNAME]";

/// Puts `[USERNAME]` in place of the user's part of `/home/x`, `/Users/x` and `C:\Users\x`.
pub(super) fn hide_home(text: &str) -> Option<String> {
    let mut out: Option<String> = None;
    let mut from = 0;
    while let Some((at, len)) = next_home(text, from) {
        let start = at + len;
        let rest = text.get(start..).unwrap_or("");
        let end = rest.find(|c: char| c == '/' || c == '\\' || c.is_whitespace() || "\"',:;)]}".contains(c));
        let end = start + end.unwrap_or(rest.len());
        let user = text.get(start..end).unwrap_or("");
        let keep = user.is_empty() || user.starts_with('[') || user == "Shared" || user == "Public";
        let out = out.get_or_insert_with(String::new);
        out.push_str(text.get(from..start).unwrap_or(""));
        out.push_str(if keep { user } else { USERNAME });
        from = end;
    }
    let mut out = out?;
    out.push_str(text.get(from..).unwrap_or(""));
    (out != text).then_some(out)
}

/// Where the next root of home directories begins, and its length; each byte is looked at once.
fn next_home(text: &str, from: usize) -> Option<(usize, usize)> {
    /// Longer ones first.
    const ROOTS: [&str; 4] = ["\\\\Users\\\\", "\\Users\\", "/home/", "/Users/"];
    let rest = text.get(from..)?;
    memchr::memchr2_iter(b'/', b'\\', rest.as_bytes()).find_map(|at| {
        let here = rest.get(at..)?;
        ROOTS.iter().find(|root| here.starts_with(**root)).map(|root| (from + at, root.len()))
    })
}

/// What stands at the end of a text that was cut.
const MARK: &str = "…[TRUNCATED]";

/// `text` cut to `limit` bytes with its mark, or none when it fits.
pub(super) fn cap(text: &str, limit: usize) -> Option<String> {
    if text.len() <= limit {
        return None;
    }
    let mut end = limit.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut out = String::with_capacity(limit);
    out.push_str(text.get(..end).unwrap_or(""));
    out.push_str(MARK);
    Some(out)
}
