//! Splits a command line into words, quoted or not. The line may also be a list of strings (`"-p", "x"`). Linear; an
//! unquoted word ends where the string around the command does. `shell` and `commands` interpret the words.

use std::ops::Range;

use super::calls;

/// Iterator over the words of a line, without their quotes.
#[derive(Clone)]
pub(super) struct CommandWords<'a> {
    line: &'a [u8],
    at: usize,
    /// Whether the line is a list of strings.
    is_list: bool,
}

impl<'a> CommandWords<'a> {
    /// The words of `line`, which begins right after a word.
    pub(super) fn new(line: &'a [u8]) -> Self {
        let escapes = line.iter().take(8).take_while(|byte| **byte == b'\\').count();
        let is_quoted = line.get(escapes).is_some_and(|byte| b"\"'".contains(byte));
        let after_quote = line.get(escapes + 1..).unwrap_or_default().trim_ascii_start();
        let is_list = is_quoted && after_quote.first() == Some(&b',');
        Self { line, at: if is_list { escapes + 1 } else { 0 }, is_list }
    }
}

impl Iterator for CommandWords<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let mut rest = self.line.get(self.at..)?;
        loop {
            let separators: &[u8] = if self.is_list { b" \t\n," } else { b" \t\n" };
            let blanks = rest.iter().take_while(|byte| separators.contains(byte)).count();
            rest = rest.get(blanks..)?;
            // A backslash before a line break continues the line
            let backslashes = rest.iter().take_while(|byte| **byte == b'\\').count();
            let is_continued = backslashes % 2 == 1
                && (rest.get(backslashes) == Some(&b'\n') || backslashes > 1 && rest.get(backslashes) == Some(&b'n'));
            rest = rest.get(if is_continued { backslashes + 1 } else { 0 }..)?;
            if !is_continued {
                break;
            }
        }
        let start = self.line.len() - rest.len();
        let escapes = rest.iter().take(8).take_while(|byte| **byte == b'\\').count();
        if rest.get(escapes).is_some_and(|byte| b"\"'".contains(byte)) {
            let (range, close) = calls::read_string(self.line, start + escapes)?;
            self.at = close + 1;
            return Some(range);
        }
        let is_end = |offset: usize| match rest.get(offset) {
            None => true,
            Some(b'\\') => {
                rest.get(offset + 1).is_some_and(|next| b"nrt\"'\\\n".contains(next)) && !rest.starts_with(b"\\\\")
            }
            Some(byte) => byte.is_ascii_whitespace() || b"\"'`<>|;)".contains(byte),
        };
        let len = (0..=rest.len()).find(|offset| is_end(*offset)).filter(|len| *len > 0 && !self.is_list)?;
        let is_quote_next = rest.get(len).is_some_and(|byte| b"\"'".contains(byte));
        // `key="value"`, `-b"value"`
        let takes_glued_value = |word: &[u8]| word.ends_with(b"=") || word.len() == 2 && word.starts_with(b"-");
        let has_glued_value = rest.get(..len).is_some_and(takes_glued_value) && is_quote_next;
        let end = match has_glued_value.then(|| calls::read_string(self.line, start + len)).flatten() {
            Some((_, close)) => close + 1,
            None => start + len,
        };
        let ends_line = rest.get(len).is_some_and(|byte| b"\"'`\\<>)".contains(byte)) && !has_glued_value;
        self.at = if ends_line { self.line.len() } else { end };
        Some(start..end)
    }
}

/// End of the line: a line break, raw or escaped, that no backslash precedes, or `|` or `;`.
pub(super) fn line_end(rest: &[u8]) -> usize {
    let mut before = b' ';
    for (at, byte) in rest.iter().enumerate() {
        let is_escaped_break = *byte == b'\\' && rest.get(at + 1) == Some(&b'n') && before != b'\\';
        if (*byte == b'\n' && before != b'\\') || is_escaped_break || matches!(byte, b'|' | b';') {
            return at;
        }
        before = *byte;
    }
    rest.len()
}
