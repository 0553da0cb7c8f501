//! Splits a command line into words, quoted or not. The line may also be a list of strings (`"-p", "x"`), or part of a
//! string whose quotes are escaped. Linear; an unquoted word ends where the string around the command does.
//! `command_lines` interprets the words.

use std::ops::Range;

/// Iterator over the words of a line, without their quotes.
#[derive(Clone)]
pub(super) struct CommandWords<'a> {
    line: &'a [u8],
    at: usize,
    /// Whether the line is a list of strings.
    is_list: bool,
    /// Whether the string around the command has ended.
    is_over: bool,
}

impl<'a> CommandWords<'a> {
    /// The words of `line`, which begins right after a word.
    pub(super) fn new(line: &'a [u8]) -> Self {
        let escapes = count_backslashes(line);
        let is_quoted = line.get(escapes).is_some_and(|byte| b"\"'".contains(byte));
        let after_quote = line.get(escapes + 1..).unwrap_or_default().trim_ascii_start();
        let is_list = is_quoted && after_quote.first() == Some(&b',');
        Self { line, at: if is_list { escapes + 1 } else { 0 }, is_list, is_over: false }
    }

    /// Length of the line that was read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    /// Skips blanks, and line breaks after a backslash, raw or escaped.
    fn skip_blanks(&mut self) {
        let blanks: &[u8] = if self.is_list { b" \t\r\n,[" } else { b" \t" };
        loop {
            self.at += self.rest().iter().take_while(|byte| blanks.contains(byte)).count();
            let backslashes = count_backslashes(self.rest());
            let is_continued = match self.rest().get(backslashes) {
                Some(b'\n') => backslashes % 2 == 1,
                Some(b'n') => backslashes > 1 && backslashes % 2 == 1,
                _ => false,
            };
            if !is_continued {
                return;
            }
            self.at += backslashes + 1;
        }
    }

    /// Reads a quoted text; returns its content.
    fn read_quoted(&mut self) -> Option<Range<usize>> {
        let quote = self.at + count_backslashes(self.rest());
        self.line.get(quote).filter(|byte| b"\"'".contains(byte))?;
        let (content, close) = read_string(self.line, quote)?;
        self.at = close + 1;
        Some(content)
    }
}

impl Iterator for CommandWords<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        if self.is_over {
            return None;
        }
        self.skip_blanks();
        let first = self.read_quoted();
        // `"user":"x"`
        if first.is_some() && (self.is_list || !self.rest().starts_with(b":")) {
            return first;
        }
        let start = first.as_ref().map_or(self.at, |content| content.start);
        let rest = self.rest();
        let is_end = |(at, byte): (usize, &u8)| match byte {
            b'\\' => rest.get(at + 1).is_none_or(|next| b"nrt\"'\\\n".contains(next)) && !rest.starts_with(b"\\\\"),
            byte => byte.is_ascii_whitespace() || b"\"'`<>|;)".contains(byte),
        };
        let len = rest.iter().enumerate().position(|(at, byte)| is_end((at, byte))).unwrap_or(rest.len());
        if len == 0 || self.is_list {
            return None;
        }
        let part = rest.get(..len).unwrap_or_default();
        self.at += len;
        // `key="x"`, `user:'x'`, `-b"x"`
        if part.ends_with(b"=") || part.ends_with(b":") || part.len() == 2 && part.starts_with(b"-") {
            let quoted = self.read_quoted();
            if let Some(quoted) = quoted {
                return Some(start..if first.is_some() { quoted.end } else { self.at });
            }
        }
        let end = self.at;
        if self.rest().first().is_some_and(|byte| b"\"'`\\<>)".contains(byte)) {
            self.is_over = true;
        }
        Some(start..end)
    }
}

fn count_backslashes(text: &[u8]) -> usize {
    text.iter().take(8).take_while(|byte| **byte == b'\\').count()
}

/// The content of the string whose quote, perhaps escaped, is at `at`, and the position of its closing quote; quotes
/// with more backslashes are part of the string.
fn read_string(rest: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let count_backslashes_before =
        |at: usize| rest.get(..at).unwrap_or_default().iter().rev().take(16).take_while(|byte| **byte == b'\\').count();
    let quote = *rest.get(at)?;
    let (start, opening_backslashes) = (at + 1, count_backslashes_before(at));
    // In C#'s `@"C:\"`, a backslash is literal
    let is_verbatim = rest.get(..at - opening_backslashes)?.ends_with(b"@");
    let mut end = start;
    loop {
        end += rest.get(end..)?.iter().position(|byte| *byte == quote || *byte == b'\n')?;
        if rest.get(end) == Some(&b'\n') {
            return None;
        }
        let backslashes = count_backslashes_before(end).min(end - start);
        if is_verbatim
            || (backslashes.saturating_sub(opening_backslashes) / (opening_backslashes + 1)).is_multiple_of(2)
        {
            return Some((start..end - backslashes.min(opening_backslashes), end));
        }
        end += 1;
    }
}
