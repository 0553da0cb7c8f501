//! Decides how a value is treated depending on its key, and cuts long texts. A cut text fits its cap including the
//! mark, so a second pass changes nothing. Rules are in the crate `redaction`, key lists in `genai`.

use std::ops::Range;

use echoes::stack_frames;
use genai::{KeyRole, Vocabulary};
use otlp::Signal;
use redaction::is_uuid;

/// The treatment of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Rules, and the cap for values.
    Scan,
    /// Rules, and the cap for error texts.
    ErrorText,
    /// An id: the whole value becomes a keyed pseudonym if a rule matches, otherwise it stays.
    Identity,
    /// A user's id or name: becomes a keyed pseudonym unless it is already opaque.
    Person,
    /// A path or command: rules, and user names in home directories are replaced.
    Path,
    /// A version: four numbers alone are not an address.
    Version,
    /// A credential: the attribute is removed.
    Drop,
}

pub(super) fn treatment_for_key(vocabulary: &Vocabulary, signal: Signal, key: &str) -> Treatment {
    let content_on_metric = signal == Signal::Metrics && vocabulary.content_part(key).is_some();
    if content_on_metric || is_credential_header(key) {
        return Treatment::Drop;
    }
    match vocabulary.role(key) {
        KeyRole::Secret => Treatment::Drop,
        KeyRole::ErrorText => Treatment::ErrorText,
        _ if vocabulary.is_person(key) => Treatment::Person,
        _ if vocabulary.is_identity(key) => Treatment::Identity,
        _ if key.ends_with("version") => Treatment::Version,
        KeyRole::Pii if key != "host.name" => Treatment::Path,
        _ => Treatment::Scan,
    }
}

/// Returns true if a user id does not reveal the person: a UUID, hex digits, or base64url that looks random.
pub(super) fn is_opaque(id: &str) -> bool {
    /// Minimum number of characters, in hex and in base64url.
    const WIDTHS: (usize, usize) = (16, 22);
    /// More lower-case letters than this in a row are a word.
    const WORD: usize = 5;
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bare = id.strip_prefix("h-").unwrap_or(id);
    if hex(bare) && bare.len() >= WIDTHS.0 && bare.bytes().any(|byte| !byte.is_ascii_digit()) {
        return true;
    }
    if is_uuid(id) {
        return true;
    }
    let has = |is: fn(&u8) -> bool| id.as_bytes().iter().any(is);
    let alphabet = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
    let word = id.split(|c: char| !c.is_ascii_lowercase()).any(|run| run.len() > WORD);
    // `John_Smith_1985_Boston`: pieces are words, and digits occur in one place only.
    let name =
        id.split(['-', '_']).any(|piece| piece.len() > 2 && piece.bytes().all(|byte| byte.is_ascii_alphabetic()));
    let numbers = id.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty()).count();
    id.len() >= WIDTHS.1 && alphabet && mixed && !word && !name && numbers > 1
}

/// Returns true for header names that carry credentials. Only the last segment of the key counts.
fn is_credential_header(key: &str) -> bool {
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

const USERNAME: &str = "[USERNAME]";

/// Puts `[USERNAME]` in place of the user name in `/home/x`, `/Users/x` and `C:\Users\x`.
pub(super) fn hide_home_user(text: &str) -> Option<String> {
    let mut out: Option<String> = None;
    let mut from = 0;
    while let Some((at, len)) = find_home_root(text, from) {
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

/// The position and length of the next root of home directories. Each byte is examined once.
fn find_home_root(text: &str, from: usize) -> Option<(usize, usize)> {
    /// Longer roots first.
    const ROOTS: [&str; 4] = ["\\\\Users\\\\", "\\Users\\", "/home/", "/Users/"];
    let rest = text.get(from..)?;
    memchr::memchr2_iter(b'/', b'\\', rest.as_bytes()).find_map(|at| {
        let here = rest.get(at..)?;
        ROOTS.iter().find(|root| here.starts_with(**root)).map(|root| (from + at, root.len()))
    })
}

/// The mark at the end of a text that was cut.
const TRUNCATION_MARK: &str = "…[TRUNCATED]";

/// `text` cut to `limit` bytes including the mark. `None` if it fits.
pub(super) fn cap_text(text: &str, limit: usize) -> Option<String> {
    if text.len() <= limit {
        return None;
    }
    let mut end = limit.saturating_sub(TRUNCATION_MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut out = String::with_capacity(limit);
    out.push_str(text.get(..end).unwrap_or(""));
    out.push_str(TRUNCATION_MARK);
    Some(out)
}

/// `text` cut to `limit` bytes with its stack frames kept as far as possible: other lines are cut first, then frames in
/// the middle.
pub(super) fn cap_error_text(text: &str, limit: usize) -> Option<String> {
    if text.len() <= limit {
        return None;
    }
    let lines: Vec<(Range<usize>, bool)> = stack_frames::classify_lines(text).collect();
    if !lines.iter().any(|(_, frame)| *frame) {
        return cap_text(text, limit);
    }
    let mut kept = KeptLines { text, budget: limit, kept: vec![0; lines.len()], lines: &lines };
    let others = |take: bool| lines.iter().enumerate().filter(move |(_, (_, frame))| *frame == take).map(|(at, _)| at);
    // The error message is the first or the last line that is not a frame.
    let (first, last) = (others(false).next(), others(false).next_back());
    first.into_iter().for_each(|at| kept.keep(at, limit / 8));
    last.into_iter().for_each(|at| kept.keep(at, limit / 8));
    let frames: Vec<usize> = others(true).collect();
    let (mut top, mut bottom) = (frames.iter(), frames.iter().rev());
    for _ in 0..frames.len().div_ceil(2) {
        top.next().into_iter().chain(bottom.next()).for_each(|at| kept.keep(*at, usize::MAX));
    }
    others(false).for_each(|at| kept.keep(at, usize::MAX));
    Some(kept.joined())
}

/// The lines of a text, and how many bytes of each are kept.
struct KeptLines<'t> {
    text: &'t str,
    lines: &'t [(Range<usize>, bool)],
    kept: Vec<usize>,
    budget: usize,
}

/// The cost of a cut: the mark and a line end.
const TRUNCATION_COST: usize = TRUNCATION_MARK.len() + 1;

impl KeptLines<'_> {
    /// Keeps up to `most` bytes of a line, if they fit together with a mark.
    fn keep(&mut self, at: usize, most: usize) {
        let (Some((range, frame)), Some(kept)) = (self.lines.get(at), self.kept.get_mut(at)) else { return };
        let length = range.len().min(most);
        let left = self.budget.saturating_sub(TRUNCATION_COST * 2);
        let length = if *frame && length > left { 0 } else { length.min(left) };
        if *kept == 0 && length > 0 {
            *kept = length;
            self.budget = left.saturating_sub(length) + if length == range.len() { TRUNCATION_COST } else { 0 };
        }
    }

    fn joined(&self) -> String {
        let mut out = String::with_capacity(self.text.len().min(1 << 20));
        let mut cut = false;
        for ((range, _), kept) in self.lines.iter().zip(&self.kept) {
            let line = self.text.get(range.clone()).unwrap_or_default();
            let end = (0..=*kept).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
            out.push_str(line.get(..end).unwrap_or_default());
            cut &= end == 0;
            if end < line.len() && !cut {
                out.push_str(TRUNCATION_MARK);
                out.push_str(if line.ends_with('\n') { "\n" } else { "" });
                cut = true;
            }
        }
        out
    }
}
