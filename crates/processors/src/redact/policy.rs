//! Decides how a value is treated depending on its key, and cuts long texts. A cut text fits its cap including the
//! mark, so a second pass changes nothing. Rules are in the crate `redaction`, key lists in `genai`.

use std::ops::Range;

use genai::{KeyRole, Vocabulary};
use kernel::pseudonym::is_pseudonym;
use kernel::stack_frames;
use otlp::Signal;
use redaction::is_uuid;

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

/// Decides the treatment of the values under a key.
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
    const MIN_HEX_CHARS: usize = 16;
    const MIN_BASE64_CHARS: usize = 22;
    /// More lower-case letters in a row are a word.
    const MAX_LOWER_CASE_RUN: usize = 5;
    let digits = id.strip_prefix("h-").unwrap_or(id);
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex && digits.len() >= MIN_HEX_CHARS && digits.bytes().any(|byte| !byte.is_ascii_digit()) {
        return true;
    }
    if is_uuid(id) {
        return true;
    }
    let has = |is: fn(&u8) -> bool| id.as_bytes().iter().any(is);
    let is_base64 = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let is_mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
    let has_word = id.split(|c: char| !c.is_ascii_lowercase()).any(|run| run.len() > MAX_LOWER_CASE_RUN);
    // `John_Smith_1985_Boston`: a piece without digits is a name, and a single number is a year or a counter.
    let has_name =
        id.split(['-', '_']).any(|piece| piece.len() > 2 && piece.bytes().all(|byte| byte.is_ascii_alphabetic()));
    let numbers = id.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty()).count();
    id.len() >= MIN_BASE64_CHARS && is_base64 && is_mixed && !has_word && !has_name && numbers > 1
}

/// Attributes in which tollgate writes pseudonyms. Their keys end like those of credentials.
const OWN_PSEUDONYM_KEYS: [&str; 5] = [
    "tollgate.run.key",
    "tollgate.run.session_key",
    "tollgate.run.user_key",
    "tollgate.session.continues_key",
    "tollgate.budget.key",
];

/// Returns true for a pseudonym that tollgate itself wrote, which no rule may take for a credential.
pub(super) fn is_own_pseudonym(key: &str, text: &str) -> bool {
    OWN_PSEUDONYM_KEYS.contains(&key) && is_pseudonym(text)
}

/// Returns true for the names of headers that carry credentials. Only the key's segment after the last dot counts.
fn is_credential_header(key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or(key).to_ascii_lowercase();
    // `x-…-key`
    let custom = name.strip_prefix("x-").and_then(|rest| rest.strip_suffix("-key").or(rest.strip_suffix("-token")));
    matches!(&*name, "authorization" | "proxy-authorization" | "cookie" | "set-cookie")
        || custom.is_some_and(|middle| !middle.is_empty())
}

const USERNAME_PLACEHOLDER: &str = "[USERNAME]";

/// Puts `[USERNAME]` in place of the user name in `/home/x`, `/Users/x` and `C:\Users\x`.
pub(super) fn hide_home_user(text: &str) -> Option<String> {
    let mut out: Option<String> = None;
    let mut copied = 0;
    while let Some(start) = find_home_root(text, copied) {
        let rest = text.get(start..).unwrap_or("");
        let end = rest.find(|c: char| c == '/' || c == '\\' || c.is_whitespace() || "\"',:;)]}".contains(c));
        let end = start + end.unwrap_or(rest.len());
        let user = text.get(start..end).unwrap_or("");
        let is_kept = user.is_empty() || user.starts_with('[') || user == "Shared" || user == "Public";
        let out = out.get_or_insert_with(String::new);
        out.push_str(text.get(copied..start).unwrap_or(""));
        out.push_str(if is_kept { user } else { USERNAME_PLACEHOLDER });
        copied = end;
    }
    let mut out = out?;
    out.push_str(text.get(copied..).unwrap_or(""));
    (out != text).then_some(out)
}

/// The end of the next root of home directories from `from` on, where the user name starts.
fn find_home_root(text: &str, from: usize) -> Option<usize> {
    /// Longer roots first.
    const ROOTS: [&str; 4] = ["\\\\Users\\\\", "\\Users\\", "/home/", "/Users/"];
    let rest = text.get(from..)?;
    memchr::memchr2_iter(b'/', b'\\', rest.as_bytes()).find_map(|at| {
        let path = rest.get(at..)?;
        ROOTS.iter().find(|root| path.starts_with(**root)).map(|root| from + at + root.len())
    })
}

/// The mark at the end of a text that was cut.
const TRUNCATION_MARK: &str = "…[TRUNCATED]";

/// `text` cut to `limit` bytes including the mark. `None` if it fits.
pub(super) fn cap_text(text: &str, limit: usize) -> Option<String> {
    if text.len() <= limit {
        return None;
    }
    let end = text.floor_char_boundary(limit.saturating_sub(TRUNCATION_MARK.len()));
    Some(format!("{}{TRUNCATION_MARK}", text.get(..end).unwrap_or("")))
}

/// `text` cut to `limit` bytes with its stack frames kept as far as possible: other lines are cut first, then frames in
/// the middle. `None` if it fits.
pub(super) fn cap_error_text(text: &str, limit: usize) -> Option<String> {
    if text.len() <= limit {
        return None;
    }
    let lines: Vec<(Range<usize>, bool)> = stack_frames::classify_lines(text).collect();
    if !lines.iter().any(|(_, is_frame)| *is_frame) {
        return cap_text(text, limit);
    }
    let mut kept = KeptLines { text, budget: limit, kept_bytes: vec![0; lines.len()], lines: &lines };
    let (frames, others): (Vec<usize>, Vec<usize>) =
        (0..lines.len()).partition(|line| lines.get(*line).is_some_and(|(_, is_frame)| *is_frame));
    // The error message is the first or the last line that is not a frame.
    others.first().into_iter().chain(others.last()).for_each(|line| kept.keep(*line, limit / 8));
    let (mut top, mut bottom) = (frames.iter(), frames.iter().rev());
    for _ in 0..frames.len().div_ceil(2) {
        top.next().into_iter().chain(bottom.next()).for_each(|line| kept.keep(*line, usize::MAX));
    }
    others.iter().for_each(|line| kept.keep(*line, usize::MAX));
    Some(kept.join())
}

/// Decides how many bytes of each line of a text are kept.
struct KeptLines<'t> {
    text: &'t str,
    /// Each line, and whether it is a stack frame.
    lines: &'t [(Range<usize>, bool)],
    kept_bytes: Vec<usize>,
    /// Number of bytes that may still be kept.
    budget: usize,
}

/// The cost of a cut: the mark and a line end.
const TRUNCATION_COST: usize = TRUNCATION_MARK.len() + 1;

impl KeptLines<'_> {
    /// Keeps up to `max` bytes of a line, if they fit together with the marks of the cuts around it. A frame is kept as
    /// a whole or not at all.
    fn keep(&mut self, line: usize, max: usize) {
        let (Some((range, is_frame)), Some(kept)) = (self.lines.get(line), self.kept_bytes.get_mut(line)) else {
            return;
        };
        let length = range.len().min(max);
        let available = self.budget.saturating_sub(TRUNCATION_COST * 2);
        let length = if *is_frame && length > available { 0 } else { length.min(available) };
        if *kept == 0 && length > 0 {
            *kept = length;
            self.budget = available.saturating_sub(length) + if length == range.len() { TRUNCATION_COST } else { 0 };
        }
    }

    fn join(&self) -> String {
        let mut out = String::with_capacity(self.text.len().min(1 << 20));
        let mut is_marked = false;
        for ((range, _), kept) in self.lines.iter().zip(&self.kept_bytes) {
            let line = self.text.get(range.clone()).unwrap_or_default();
            let end = line.floor_char_boundary(*kept);
            out.push_str(line.get(..end).unwrap_or_default());
            // Adjacent lines that are not kept share one mark.
            is_marked &= end == 0;
            if end < line.len() && !is_marked {
                out.push_str(TRUNCATION_MARK);
                out.push_str(if line.ends_with('\n') { "\n" } else { "" });
                is_marked = true;
            }
        }
        out
    }
}
