//! **What**: texts for an auditor's terminal. **Why**: what a client wrote must not drive the terminal that shows it:
//! C0, C1, DEL and marks that turn the direction of writing are shown, not sent. Also the plural of what is counted.
//! **Not here**: what is shown.

/// Whether a terminal might act on `c`, or show nothing for it: control characters, direction marks, invisible marks.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// A line of text with such characters as `\u{…}`; tabs stay.
pub fn clean(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c {
            '\t' => vec!['\t'],
            c if is_unsafe(c) => c.escape_unicode().collect(),
            c => vec![c],
        })
        .collect()
}

/// What [`clean`] made such a text of, for who copied what was shown: only what it escapes is taken back.
pub fn unclean(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, behind)) = rest.split_once("\\u{") {
        let shown = behind.split_once('}').and_then(|(digits, behind)| {
            let c = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)?;
            is_unsafe(c).then_some((c, behind))
        });
        out.push_str(before);
        rest = match shown {
            Some((c, behind)) => {
                out.push(c);
                behind
            }
            None => {
                out.push_str("\\u{");
                behind
            }
        };
    }
    out + rest
}

/// The same JSON (lines of it) with such characters as `\uXXXX`.
pub fn escaped(json: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unsafe(c) && c != '\n' {
            // writing to a String can't fail; all of them are in the first plane
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// So many things: `1 line`, `2 lines`. For words that take an `s`.
pub fn counted(count: impl TryInto<u64>, thing: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
