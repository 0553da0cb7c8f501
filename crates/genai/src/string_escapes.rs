//! Strings as JSON and Python write them, with quotes and escapes. Linear; a backslash sequence that is not an escape
//! stands for its character. `structured_text` parses the structure around strings.

use std::borrow::Cow;

/// Removes a string's quotes (a truncated string has only the opening one), or the `=` after a name without quotes.
pub(super) fn strip_quotes(raw: &str) -> &str {
    let Some(quote) = raw.chars().next().filter(|first| matches!(first, '"' | '\'')) else {
        return raw.trim().trim_end_matches('=').trim_end();
    };
    let inner = raw.get(1..).unwrap_or_default();
    inner.strip_suffix(quote).unwrap_or(inner)
}

/// Decodes a string's escapes, as JSON and Python write them.
pub fn unescape(raw: &str) -> Cow<'_, str> {
    if next_escape(raw) == raw.len() {
        return raw.into();
    }
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    let mut high_surrogate: Option<u32> = None;
    loop {
        // up to the next escape all is copied at once, unless half a surrogate pair waits for its other half
        if high_surrogate.is_none() {
            let rest = chars.as_str();
            let (plain, escape) = rest.split_at(next_escape(rest));
            out.push_str(plain);
            chars = escape.chars();
        }
        let Some(c) = chars.next() else { break };
        let code = match c {
            '\\' => match chars.next() {
                Some('n') => u32::from(b'\n'),
                Some('t') => u32::from(b'\t'),
                Some('r') => u32::from(b'\r'),
                Some('b') => 8,
                Some('f') => 12,
                Some('u') => take_hex(&mut chars, 4),
                Some('x') => take_hex(&mut chars, 2),
                Some('U') => take_hex(&mut chars, 8),
                Some(other) => u32::from(other),
                None => break,
            },
            c => u32::from(c),
        };
        match (high_surrogate.take(), code) {
            (None, 0xd800..=0xdbff) => high_surrogate = Some(code),
            (Some(high), 0xdc00..=0xdfff) => {
                let combined = 0x10000 + ((high - 0xd800) << 10) + (code - 0xdc00);
                out.push(char::from_u32(combined).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            (_, code) => out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }
    out.into()
}

fn next_escape(text: &str) -> usize {
    memchr::memchr(b'\\', text.as_bytes()).unwrap_or(text.len())
}

fn take_hex(chars: &mut std::str::Chars<'_>, digits: usize) -> u32 {
    let text = chars.as_str();
    let Some((head, rest)) = text.split_at_checked(digits) else { return 0xfffd };
    match u32::from_str_radix(head, 16) {
        Ok(code) => {
            *chars = rest.chars();
            code
        }
        Err(_) => 0xfffd,
    }
}

/// Appends `text` to `out` as a quoted, escaped string.
pub(super) fn escape(text: &str, quote: char, out: &mut String) {
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 => {
                out.push_str("\\u00");
                kernel::hex::push(out, &[c as u8]);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}
