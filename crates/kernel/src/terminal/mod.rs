//! Makes texts safe for a terminal: text written by a client must not control the terminal that shows it, so control
//! characters, direction marks and invisible marks are shown as escapes. Also forms plurals for counts.

/// Whether a terminal might act on `c`, or show nothing for it: control characters, direction marks, invisible marks.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Replaces unsafe characters ([`is_unsafe`]) in a line of text with `\u{…}`; tabs stay.
pub fn escape_unsafe(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c {
            '\t' => vec!['\t'],
            c if is_unsafe(c) => c.escape_unicode().collect(),
            c => vec![c],
        })
        .collect()
}

/// Reverses [`escape_unsafe`] for a text that a user copied from the terminal; only escapes that [`escape_unsafe`]
/// makes are reversed.
pub fn unescape_unsafe(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once("\\u{") {
        let escaped = after.split_once('}').and_then(|(digits, after)| {
            let c = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)?;
            is_unsafe(c).then_some((c, after))
        });
        out.push_str(before);
        rest = match escaped {
            Some((c, after)) => {
                out.push(c);
                after
            }
            None => {
                out.push_str("\\u{");
                after
            }
        };
    }
    out + rest
}

/// Replaces unsafe characters in JSON (or lines of it) with `\uXXXX`, which does not change its meaning.
pub fn escape_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unsafe(c) && c != '\n' { push_json_escape(&mut out, c) } else { out.push(c) }
    }
    out
}

/// Appends `c` as JSON escapes it: `\uXXXX`, two UTF-16 units for a character beyond the first plane.
pub fn push_json_escape(out: &mut String, c: char) {
    use std::fmt::Write as _;
    for unit in c.encode_utf16(&mut [0; 2]) {
        let _ = write!(out, "\\u{unit:04x}");
    }
}

/// A count with its noun: `1 line`, `2 lines`. For nouns that take an `s`.
pub fn format_count(count: impl TryInto<u64>, thing: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// A size as `512 bytes`, `48 kB`, `3 MB`.
pub fn format_bytes(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} bytes"),
        10_000..=999_999 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

#[cfg(test)]
mod tests;
