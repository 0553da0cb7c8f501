//! Splits a command line into words, quoted or not, or a list of strings that is one. Linear; an unquoted word ends
//! where the string around the command does. `shell` and `commands` interpret the words.

use std::ops::Range;

use super::calls;

/// Iterator over the words of a line, without their quotes.
#[derive(Clone)]
pub(super) struct CommandWords<'a> {
    line: &'a [u8],
    at: usize,
    /// Whether the line is a list of strings.
    list: bool,
}

impl<'a> CommandWords<'a> {
    /// The words of `line`, which begins behind a word.
    pub(super) fn new(line: &'a [u8]) -> Self {
        let escapes = line.iter().take(8).take_while(|byte| **byte == b'\\').count();
        let quote = line.get(escapes).is_some_and(|byte| b"\"'".contains(byte));
        let behind = line.get(escapes + 1..).unwrap_or_default().trim_ascii_start();
        let list = quote && behind.first() == Some(&b',');
        Self { line, at: if list { escapes + 1 } else { 0 }, list }
    }
}

impl Iterator for CommandWords<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let mut rest = self.line.get(self.at..)?;
        loop {
            let parts: &[u8] = if self.list { b" \t\n," } else { b" \t\n" };
            let blanks = rest.iter().take_while(|byte| parts.contains(byte)).count();
            rest = rest.get(blanks..)?;
            // A line continuation
            let slashes = rest.iter().take_while(|byte| **byte == b'\\').count();
            let goes_on = slashes % 2 == 1
                && (rest.get(slashes) == Some(&b'\n') || slashes > 1 && rest.get(slashes) == Some(&b'n'));
            rest = rest.get(if goes_on { slashes + 1 } else { 0 }..)?;
            if !goes_on {
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
        let ends = |on: usize| match rest.get(on) {
            None => true,
            Some(b'\\') => {
                rest.get(on + 1).is_some_and(|next| b"nrt\"'\\\n".contains(next)) && !rest.starts_with(b"\\\\")
            }
            Some(byte) => byte.is_ascii_whitespace() || b"\"'`<>|;)".contains(byte),
        };
        let len = (0..=rest.len()).find(|on| ends(*on)).filter(|len| *len > 0 && !self.list)?;
        let quoted = rest.get(len).is_some_and(|byte| b"\"'".contains(byte));
        // `key="value"`, `-b"value"`
        let glued = |word: &[u8]| word.ends_with(b"=") || word.len() == 2 && word.starts_with(b"-");
        let value = rest.get(..len).is_some_and(glued) && quoted;
        let end = match value.then(|| calls::read_string(self.line, start + len)).flatten() {
            Some((_, close)) => close + 1,
            None => start + len,
        };
        let stops = rest.get(len).is_some_and(|byte| b"\"'`\\<>)".contains(byte)) && !value;
        self.at = if stops { self.line.len() } else { end };
        Some(start..end)
    }
}

/// End of the line; a backslash at its end continues it.
pub(super) fn line_end(rest: &[u8]) -> usize {
    let mut before = b' ';
    for (on, byte) in rest.iter().enumerate() {
        let escaped = *byte == b'\\' && rest.get(on + 1) == Some(&b'n') && before != b'\\';
        if (*byte == b'\n' && before != b'\\') || escaped || matches!(byte, b'|' | b';') {
            return on;
        }
        before = *byte;
    }
    rest.len()
}
