//! **What**: which values can be nobody's words: numbers, dates, hashes, generated ids. **Why**: under a key that
//! nobody listed such a value leaves at once; everything else has to repeat first. **Invariants**: text that was turned
//! into hexadecimal or base64 is still text; a name with a number behind it is still a name.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use otlp::Value;

use super::shape::{LABEL_BYTES, is_label_value, is_placeholder};

#[cfg(test)]
mod tests;

/// What may stand before an id or a number: words that say of what kind it is.
const PREFIXES: [&str; 48] = [
    "asst", "attempt", "batch", "build", "call", "chatcmpl", "chunk", "cmpl", "conv", "dep", "doc", "emb", "event",
    "evt", "fc", "file", "ft", "gen", "id", "item", "job", "msg", "node", "page", "part", "pod", "r", "release", "req",
    "resp", "rev", "rs", "run", "sess", "session", "sha", "sha256", "shard", "span", "step", "task", "thread",
    "ticket", "toolu", "trace", "ver", "version", "worker",
];
/// What may stand behind a number; `t` and `z` are those of `20261125T080000Z`.
const UNITS: [&str; 33] = [
    "%", "b", "d", "eur", "gb", "ghz", "gib", "h", "hz", "k", "kb", "khz", "kib", "m", "mb", "mhz", "mi", "mib", "min",
    "ms", "ns", "px", "s", "sec", "t", "tb", "tib", "tok", "us", "usd", "w", "x", "z",
];
/// What may stand behind a version, with a number or without.
const STAGES: [&str; 9] = ["a", "alpha", "b", "beta", "dev", "post", "pre", "preview", "rc"];
/// Words of switches and outcomes.
const WORDS: [&str; 15] =
    ["None", "Yes", "No", "true", "false", "null", "none", "yes", "no", "on", "off", "ok", "error", "True", "False"];

/// Most digits of a number: those of 128 bits.
const DIGITS: usize = 39;
/// Most groups of thousands: more are a list of numbers.
const THOUSANDS: usize = 5;
/// Fewest characters of a generated id, and so many of them for each digit at most.
const GENERATED: (usize, usize) = (12, 8);
/// So many lower-case letters in a row are a word.
const WORD: usize = 5;
/// So many runs of digits in an id, or a change of class after every second character, and no person wrote it.
const DIGIT_RUNS: usize = 3;
/// Fewest characters of encoded text of which anything can be said.
const ENCODED: usize = 8;

/// Whether a value can be nobody's words: a number, a date, a hash, a generated id.
pub(super) fn is_opaque_value(value: Value<'_>) -> bool {
    match value {
        Value::Str(text) => is_opaque(text),
        _ => is_label_value(value),
    }
}

pub(super) fn is_opaque(text: &str) -> bool {
    if text.len() > LABEL_BYTES || !text.is_ascii() {
        return false;
    }
    let id = |text: &str| (is_number(text) || is_hash(text) || is_generated(text)) && !is_encoded_text(text);
    let behind = text.split_once(['_', '-', ':']).filter(|(prefix, _)| PREFIXES.contains(prefix));
    text.is_empty()
        || is_placeholder(text)
        || WORDS.contains(&text)
        || id(text)
        || behind.is_some_and(|(_, rest)| id(rest))
}

/// Whether a text is a number, a date, a time or a version: `12`, `-3.5e7`, `1.5ms`, `2026-11-25T08:00:00Z`,
/// `v1.2.3-rc1`, `3/4`.
pub fn is_number(text: &str) -> bool {
    is_quantity(text) || is_date(text) || is_version(text) || is_pair(text)
}

/// How many digits a text begins with, and what is behind them.
fn digits(text: &str) -> (usize, &str) {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    (text.len() - rest.len(), rest)
}

/// What is behind digits, if there are so many of them.
fn behind_digits(text: &str, many: usize) -> Option<&str> {
    let (count, rest) = digits(text);
    (count == many).then_some(rest)
}

/// A number with its sign, groups of thousands, fraction, exponent and unit; or some of them in a row (`1h30m`).
fn is_quantity(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut rest = text.strip_prefix('$').unwrap_or(text);
    for _ in 0..4 {
        let (count, behind) = digits(rest);
        if count == 0 || count > DIGITS {
            return false;
        }
        rest = behind;
        let mut thousands = 1;
        while count <= 3
            && let Some(behind) = rest.strip_prefix(',').and_then(|rest| behind_digits(rest, 3))
        {
            (rest, thousands) = (behind, thousands + 1);
        }
        if thousands > THOUSANDS {
            return false;
        }
        if let Some((1..=DIGITS, behind)) = rest.strip_prefix('.').map(digits) {
            rest = behind;
        }
        if let Some(power) = rest.strip_prefix(['e', 'E'])
            && let (1..=4, behind) = digits(power.strip_prefix(['+', '-']).unwrap_or(power))
        {
            rest = behind;
        }
        let next = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, behind) = rest.split_at(next);
        if !unit.is_empty() && !UNITS.contains(&unit.to_ascii_lowercase().as_str()) {
            return false;
        }
        if behind.is_empty() {
            return true;
        }
        rest = behind;
    }
    false
}

/// A date, a time, or both, as RFC 3339 and its neighbours write them.
fn is_date(text: &str) -> bool {
    let date = |text: &'_ str| {
        let rest = behind_digits(text, 4)?.strip_prefix(['-', '/'])?;
        let rest = behind_digits(rest, 2)?.strip_prefix(['-', '/'])?;
        behind_digits(rest, 2).map(str::len)
    };
    let rest = date(text).and_then(|left| text.get(text.len() - left..));
    match rest {
        Some("" | "Z") => true,
        Some(rest) => rest.strip_prefix(['T', 't', '_']).is_some_and(is_time),
        None => is_time(text),
    }
}

fn is_time(text: &str) -> bool {
    let clock = text.bytes().take_while(|byte| byte.is_ascii_digit() || b":.".contains(byte)).count();
    let (time, zone) = text.split_at(clock);
    let mut parts = time.split(':');
    let pairs = parts.by_ref().take(2).filter(|part| part.len() == 2 && !part.contains('.')).count();
    let seconds = parts.next().is_none_or(|part| part.len() <= 12 && part.starts_with(|c: char| c.is_ascii_digit()));
    let is_zone = match zone.strip_prefix(['+', '-']) {
        Some(zone) => matches!(zone.len(), 2 | 4 | 5) && zone.bytes().all(|byte| byte.is_ascii_digit() || byte == b':'),
        None => matches!(zone, "" | "Z" | "z"),
    };
    pairs == 2 && seconds && parts.next().is_none() && is_zone
}

/// Two to four numbers with points between them, and the stage of the release.
fn is_version(text: &str) -> bool {
    let mut rest = text.strip_prefix('v').unwrap_or(text);
    for part in 0..5 {
        let (count, behind) = digits(rest);
        if !(1..=DIGITS).contains(&count) || part == 4 {
            return false;
        }
        match behind.strip_prefix('.') {
            Some(next) if next.starts_with(|c: char| c.is_ascii_digit()) => rest = next,
            _ => {
                let stage = behind.trim_start_matches(['-', '+', '.']);
                let stage = stage.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(['-', '.']);
                let is_stage = STAGES.contains(&stage) || (stage.is_empty() && behind.is_empty());
                return is_stage && (part > 0 || text.starts_with('v'));
            }
        }
    }
    false
}

/// Two numbers: `3/4`, `10-20`, `16:9`.
fn is_pair(text: &str) -> bool {
    let is_digits = |part| matches!(digits(part), (1..=DIGITS, ""));
    text.split_once(['/', '-', ':']).is_some_and(|(one, other)| is_digits(one) && is_digits(other))
}

/// Hexadecimal digits: in one piece, letters and digits mixed; or grouped as in a UUID or a `traceparent`.
fn is_hash(text: &str) -> bool {
    const GROUPS: [&[usize]; 2] = [&[8, 4, 4, 4, 12], &[2, 32, 16, 2]];
    let (text, prefixed) = text.strip_prefix("0x").map_or((text, false), |rest| (rest, true));
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') || text.len() < if prefixed { 1 } else { 7 } {
        return false;
    }
    if text.contains('-') {
        return GROUPS.iter().any(|group| text.split('-').map(str::len).eq(group.iter().copied()));
    }
    // `Ada19850` is one word and one number
    let runs = runs(text, |byte| byte.is_ascii_digit());
    prefixed || (runs.0 > 0 && runs.0 + runs.1 >= 3)
}

/// How many runs of bytes there are of a kind, and how many of others.
fn runs(text: &str, is: impl Fn(u8) -> bool) -> (usize, usize) {
    let of = text.as_bytes().chunk_by(|one, other| is(*one) == is(*other));
    of.fold((0, 0), |(yes, no), run| match run.first().is_some_and(|byte| is(*byte)) {
        true => (yes + 1, no),
        false => (yes, no + 1),
    })
}

/// Letters and digits mixed as no word mixes them.
fn is_generated(text: &str) -> bool {
    let count = text.bytes().filter(u8::is_ascii_digit).count();
    let word = text.split(|c: char| !c.is_ascii_lowercase()).any(|run| run.len() >= WORD);
    let upper = text.split(|c: char| !c.is_ascii_uppercase()).any(|run| run.len() > 2 * WORD);
    // `John_Smith_1985`: a word ends where its mark stands
    let pieces = text.split(['-', '_']).any(|piece| piece.len() > 2 && piece.bytes().all(|b| b.is_ascii_alphabetic()));
    let alphabet = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let class = |byte: &u8| (byte.is_ascii_digit(), byte.is_ascii_uppercase(), byte.is_ascii_lowercase());
    let changes = text.as_bytes().chunk_by(|one, other| class(one) == class(other)).count();
    let mixed = runs(text, |byte| byte.is_ascii_digit()).0 >= DIGIT_RUNS || 2 * changes > text.len();
    let fits = text.len() >= GENERATED.0
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && count * GENERATED.1 >= text.len();
    fits && alphabet && mixed && !word && !upper && !pieces
}

/// Whether the bytes that hexadecimal or base64 digits stand for are a text.
fn is_encoded_text(text: &str) -> bool {
    if text.len() < ENCODED {
        return false;
    }
    // groups of four are whole bytes
    let bare = text.trim_end_matches('=');
    let whole = bare.get(..bare.len() / 4 * 4).unwrap_or(bare);
    let hex = || {
        let even = text.as_bytes().as_chunks::<2>().0;
        let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        even.iter().map(byte).collect::<Option<Vec<u8>>>()
    };
    let lenient = |engine: &base64::engine::GeneralPurpose| engine.decode(whole).ok();
    [hex(), lenient(&STANDARD_NO_PAD), lenient(&URL_SAFE_NO_PAD)].into_iter().flatten().any(|bytes| is_words(&bytes))
}

/// Printable, most of it letters and blanks.
fn is_words(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (all, letters) = (text.chars().count(), text.chars().filter(|c| c.is_alphabetic() || *c == ' ').count());
    all > 3 && !text.chars().any(|c| c.is_control() && !c.is_whitespace()) && 2 * letters >= all
}
