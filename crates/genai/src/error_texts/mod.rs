//! Takes quotations of more than three words out of error texts, so that the failure stays readable without the text
//! that caused it. Type, code, message and stack frames stay (`docs/decisions/0001-agent-items-and-content.md`).
//!
//! A text is read in blocks of lines: messages, stack frames, and the lines of code that Python shows below a frame. A
//! quotation does not pass the end of its block; one that does not end passes its line's end. `nested_content` searches
//! each message for structure and announced content first. Linear in the text, and a second pass changes nothing.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use kernel::{CONTENT, stack_frames};
use memchr::{memchr, memchr3_iter, memmem};

use super::announcements::take_out;
use super::words::is_unspaced;

#[cfg(test)]
mod tests;

/// A quotation of more words goes.
const MAX_QUOTED_WORDS: usize = 3;
/// A quotation of more letters goes, in scripts without blanks between words.
const MAX_UNSPACED_LETTERS: usize = 6;
/// Maximum number of quotations in code that are searched for in the messages.
const MAX_CODE_LOOKUPS: usize = 64;
/// Maximum number of searches for quotations. One that goes may show that the text around it is a quotation as well.
const MAX_ROUNDS: usize = 8;

/// An error text without its quotations.
#[derive(Default)]
pub(super) struct QuotedText {
    pub(super) rest: String,
    /// What was quoted, one piece a line.
    pub(super) quoted: String,
}

/// Takes the quotations out of an error text. `search_message` returns the rest of a message without announced or
/// listed content, if it holds any. Returns `None` if all of the text stays.
pub(super) fn take_quotations(
    text: &str,
    mut search_message: impl FnMut(&str) -> Option<String>,
) -> Option<QuotedText> {
    let mut out = QuotedText::default();
    let (mut pieces, mut messages) = (Vec::new(), String::new());
    // Announced content that does not end goes on behind stack frames.
    let (mut runs_on, mut is_changed) = (false, false);
    for Block { kind, range, begins_error } in split_blocks(text) {
        let block = text.get(range).unwrap_or_default();
        let (body, space) = block.split_at(block.trim_end().len());
        runs_on &= !begins_error;
        let rest = match kind {
            BlockKind::Message | BlockKind::Code if runs_on => take_whole(body, &mut out.quoted),
            BlockKind::Message => {
                let searched = search_message(body);
                runs_on = searched.as_ref().is_some_and(|rest| rest.ends_with(CONTENT));
                let rest = take_from_message(searched.as_deref().unwrap_or(body), &mut out.quoted);
                rest.or(searched)
            }
            BlockKind::Frames | BlockKind::Code => None,
        };
        is_changed |= rest.is_some();
        let is_code = kind == BlockKind::Code && rest.is_none();
        let rest = rest.map_or(Cow::Borrowed(body), Cow::Owned);
        if kind == BlockKind::Message {
            messages.push_str(&rest);
            messages.push('\n');
        }
        pieces.push((is_code, rest, space));
    }
    let mut lookups = MAX_CODE_LOOKUPS;
    for (is_code, piece, space) in pieces {
        let code = if is_code { take_from_code(&piece, &messages, &mut lookups, &mut out.quoted) } else { None };
        is_changed |= code.is_some();
        out.rest.push_str(code.as_deref().unwrap_or(&piece));
        out.rest.push_str(space);
    }
    is_changed.then_some(out)
}

fn take_whole(body: &str, quoted: &mut String) -> Option<String> {
    let is_content = !matches!(body.trim(), "" | CONTENT);
    if is_content { take_out(body, std::iter::once(0..body.len()), quoted) } else { None }
}

fn take_from_message(text: &str, quoted: &mut String) -> Option<String> {
    let rows = take_ranges(text, row_values(text), quoted);
    take_long_quotations(rows.as_deref().unwrap_or(text), quoted, |_| false).or(rows)
}

/// A text in code that is a message itself is no quotation.
fn take_from_code(code: &str, messages: &str, lookups: &mut usize, quoted: &mut String) -> Option<String> {
    take_long_quotations(code, quoted, |literal| {
        let may_search = *lookups > 0;
        *lookups = lookups.saturating_sub(1);
        may_search && memmem::find(messages.as_bytes(), literal.as_bytes()).is_some()
    })
}

fn take_long_quotations(text: &str, quoted: &mut String, mut is_kept: impl FnMut(&str) -> bool) -> Option<String> {
    let mut rest: Option<String> = None;
    for _ in 0..MAX_ROUNDS {
        let text = rest.as_deref().unwrap_or(text);
        let mut ranges = long_quotations(text);
        ranges.retain(|range| text.get(range.clone()).is_some_and(|quotation| !is_kept(quotation)));
        let Some(shorter) = take_ranges(text, ranges, quoted) else { break };
        rest = Some(shorter);
    }
    rest
}

fn take_ranges(text: &str, ranges: Vec<Range<usize>>, quoted: &mut String) -> Option<String> {
    if ranges.is_empty() { None } else { take_out(text, ranges, quoted) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BlockKind {
    /// Words of an error: its type and message.
    Message,
    /// Stack frames and headings.
    Frames,
    /// Lines of code below a frame.
    Code,
}

/// Successive lines of one kind.
struct Block {
    kind: BlockKind,
    range: Range<usize>,
    /// The block begins another error of the same text.
    begins_error: bool,
}

fn split_blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut shows_code = false;
    for (range, is_frame) in stack_frames::classify_lines(text) {
        let line = text.get(range.clone()).unwrap_or_default();
        shows_code = match is_frame {
            true => line.trim_start().starts_with("File \""),
            false => shows_code && line.starts_with("    "),
        };
        let kind = match (is_frame, shows_code) {
            (true, _) => BlockKind::Frames,
            (false, true) => BlockKind::Code,
            (false, false) => BlockKind::Message,
        };
        let begins_error = begins_error(line.trim());
        match blocks.last_mut() {
            Some(last) if last.kind == kind && !begins_error => last.range.end = range.end,
            _ => blocks.push(Block { kind, range, begins_error }),
        }
    }
    blocks
}

/// Returns true for lines that Python and Java print between an error and its cause.
fn begins_error(line: &str) -> bool {
    let cause = line.strip_prefix("Caused by: ").or_else(|| line.strip_prefix("Suppressed: "));
    line.starts_with("During handling of the above exception, ")
        || line.starts_with("The above exception was the direct cause ")
        || cause.is_some_and(|cause| cause.split([' ', ':']).next().is_some_and(|name| name.contains('.')))
}

/// Words before the bracket in which a database prints the values of a row.
const ROW_HEADS: [&str; 3] = [")=(", "row contains (", "key value is ("];

/// The values of rows that have many words. They end at the last bracket of their line.
fn row_values(text: &str) -> Vec<Range<usize>> {
    let mut line_start = 0;
    let lines = text.split_inclusive('\n').filter_map(|line| {
        let offset = line_start;
        line_start += line.len();
        let starts =
            ROW_HEADS.iter().filter_map(|head| Some(memmem::find(line.as_bytes(), head.as_bytes())? + head.len()));
        let start = starts.min()?;
        let end = line.rfind(')').filter(|end| *end >= start).unwrap_or(line.trim_end().len());
        line.get(start..end).filter(|values| is_long(values)).map(|_| offset + start..offset + end)
    });
    lines.collect()
}

/// The pairs of marks that quote, and the mark that ends a quotation instead, as in `foo', if the proper one does not
/// follow.
static QUOTES: [(char, char, char); 9] = [
    ('"', '"', '"'),
    ('\'', '\'', '\''),
    ('`', '`', '\''),
    ('“', '”', '”'),
    ('„', '“', '”'),
    ('«', '»', '»'),
    ('‘', '’', '’'),
    ('「', '」', '」'),
    ('『', '』', '』'),
];

/// A mark that may begin or end a quotation.
struct Mark {
    mark: char,
    at: usize,
    /// Number of backslashes before the mark.
    escapes: usize,
    opens: bool,
    closes: bool,
}

impl Mark {
    fn end(&self) -> usize {
        self.at + self.mark.len_utf8()
    }

    /// Returns true if this mark can end a quotation that began with `escapes` backslashes before its mark.
    fn ends_quotation(&self, mark: char, escapes: usize) -> bool {
        let is_bare = if escapes == 0 { self.escapes % 2 == 0 } else { self.escapes <= escapes };
        self.mark == mark && self.closes && is_bare
    }
}

/// Maximum number of backslashes counted before a mark.
const MAX_ESCAPES: usize = 7;

fn find_marks(text: &str) -> Vec<Mark> {
    if text.is_ascii() {
        let found = memchr3_iter(b'"', b'\'', b'`', text.as_bytes());
        return found.filter_map(|at| Some(read_mark(text, at, text.get(at..)?.chars().next()?))).collect();
    }
    let is_mark = |c: char| QUOTES.iter().any(|(open, close, other)| [*open, *close, *other].contains(&c));
    text.char_indices().filter(|(_, c)| is_mark(*c)).map(|(at, c)| read_mark(text, at, c)).collect()
}

/// Decides by the characters around a mark whether it can begin or end a quotation. The apostrophe of a word (`don't`,
/// `users'`) begins none.
fn read_mark(text: &str, at: usize, mark: char) -> Mark {
    let before = text.get(..at).unwrap_or_default();
    let escapes = before.bytes().rev().take(MAX_ESCAPES).take_while(|byte| *byte == b'\\').count();
    let before = before.get(..at - escapes).unwrap_or_default();
    let previous = before.chars().next_back();
    let next = text.get(at + mark.len_utf8()..).and_then(|after| after.chars().next());
    let (opens, closes) = match mark {
        '"' | '\'' | '`' => {
            let is_ending = |c: char| c.is_alphanumeric() || ".!?)]}%…\"'`’”»".contains(c);
            let after_opening = previous.is_none_or(|c| !is_ending(c));
            let begins_value = next.is_some_and(|c| c.is_alphanumeric() || "{[(<".contains(c));
            let opens = match previous {
                Some(c) if c.is_alphanumeric() => {
                    (mark != '`' && is_string_prefix(before)) || (mark != '\'' && begins_value)
                }
                _ if after_opening => next.is_some(),
                // `"""`
                previous => begins_value || (previous == Some(mark) && next.is_some_and(char::is_whitespace)),
            };
            let is_apostrophe = mark == '\'' && next.is_some_and(char::is_alphanumeric);
            let closes = previous.is_some() && !(begins_value && (after_opening || is_apostrophe));
            (opens, closes)
        }
        '’' => (false, !next.is_some_and(char::is_alphanumeric)),
        _ => (
            QUOTES.iter().any(|(open, ..)| *open == mark),
            QUOTES.iter().any(|(_, close, other)| *close == mark || *other == mark),
        ),
    };
    Mark { mark, at, escapes, opens, closes }
}

/// Returns true if a text ends with the prefix of a string literal, as in `b'…'` and `rb'…'`.
fn is_string_prefix(before: &str) -> bool {
    let rest = before.trim_end_matches(['b', 'B', 'r', 'R', 'f', 'F', 'u', 'U']);
    before.len() - rest.len() <= 2 && !rest.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// The marks of a text, with the next mark that ends a quotation, by its mark and escapes. Each is searched for from
/// where the search before ended.
struct ClosingMarks<'m> {
    marks: &'m [Mark],
    known: BTreeMap<(char, usize), usize>,
}

impl ClosingMarks<'_> {
    /// The index of the mark that ends the quotation that the mark at `index` begins.
    fn find(&mut self, index: usize) -> Option<usize> {
        let opening = self.marks.get(index)?;
        let (_, close, other) = QUOTES.iter().find(|(open, ..)| *open == opening.mark)?;
        let after = self.marks.iter().enumerate().skip(index + 1);
        let known = self.known.entry((*close, opening.escapes)).or_insert(0);
        if *known <= index {
            let end = after.clone().find(|(_, mark)| mark.ends_quotation(*close, opening.escapes));
            *known = end.map_or(self.marks.len(), |(at, _)| at);
        }
        if *known < self.marks.len() {
            return Some(*known);
        }
        let mut before_opening = after.take_while(|(_, mark)| !mark.opens);
        before_opening.find(|(_, mark)| mark.ends_quotation(*other, opening.escapes)).map(|(at, _)| at)
    }
}

/// The quotations of more than three words.
fn long_quotations(text: &str) -> Vec<Range<usize>> {
    let marks = find_marks(text);
    let mut closing_marks = ClosingMarks { marks: &marks, known: BTreeMap::new() };
    let is_api_error = names_code(text);
    // Marks that end the message of an API's error.
    let mut passed = BTreeSet::new();
    let mut found: Vec<Range<usize>> = Vec::new();
    let (mut next, mut line_end, mut is_line_done) = (0, 0, false);
    while let Some(mark) = marks.get(next) {
        let index = next;
        next += 1;
        if !mark.opens || passed.contains(&index) {
            continue;
        }
        if let Some(close) = closing_marks.find(index) {
            if is_api_error && is_message_entry(text, mark) {
                passed.insert(close);
                continue;
            }
            let close = extend_in_line(text, &marks, close);
            next = close + 1;
            let inside = mark.end()..marks.get(close).map_or(text.len(), |close| close.at - close.escapes);
            found.extend(Some(inside).filter(|inside| text.get(inside.clone()).is_some_and(is_long)));
            continue;
        }
        if line_end < mark.end() {
            let rest = text.as_bytes().get(mark.end()..).unwrap_or_default();
            line_end = memchr(b'\n', rest).map_or(text.len(), |at| mark.end() + at);
            is_line_done = false;
        }
        // If the rest of the line goes or is short, so does each part of it.
        if !is_line_done && text.get(mark.end()..line_end).is_some_and(is_long) {
            found.push(mark.end()..line_end);
        }
        is_line_done = true;
    }
    merge_ranges(found)
}

/// Unites overlapping ranges, which are in the order of their starts.
fn merge_ranges(ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// The last of the marks of a line that can end the quotation that ends at `close`, before another begins: `the users'
/// data'`.
fn extend_in_line(text: &str, marks: &[Mark], close: usize) -> usize {
    let Some(first) = marks.get(close) else { return close };
    let (mut last, mut from) = (close, first.at);
    for (index, mark) in marks.iter().enumerate().skip(close + 1).take_while(|(_, mark)| !mark.opens) {
        if text.get(from..mark.at).is_none_or(|between| between.contains('\n')) {
            break;
        }
        from = mark.at;
        if mark.mark == first.mark && mark.closes {
            last = index;
        }
    }
    last
}

/// Returns true if a quotation has more than three words.
fn is_long(quoted: &str) -> bool {
    let is_joint = |c: char| {
        c.is_whitespace() || matches!(c, '"' | '+' | '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
    };
    let words = quoted.split(is_joint).filter(|word| word.contains(char::is_alphabetic));
    // `%20` and `\n` are blanks of text in another notation.
    let words = words.flat_map(|word| word.split("%20").flat_map(|word| word.split("\\n")));
    words.filter(|word| !word.is_empty()).nth(MAX_QUOTED_WORDS).is_some()
        || (!quoted.is_ascii() && quoted.chars().filter(|c| is_unspaced(*c)).nth(MAX_UNSPACED_LETTERS).is_some())
}

/// Keys that show that structure is an API's error, and keys of its message.
const CODE_KEYS: [&str; 4] = ["code", "error", "status", "loc"];
const MESSAGE_KEYS: [&str; 8] =
    ["message", "Message", "msg", "error", "error_description", "errorMessage", "detail", "reason"];

/// Returns true if a text holds structure with a key of [`CODE_KEYS`].
fn names_code(text: &str) -> bool {
    CODE_KEYS.iter().any(|key| {
        memmem::find_iter(text.as_bytes(), key.as_bytes()).any(|at| {
            let after = text.get(at + key.len()..).unwrap_or_default().trim_start_matches('\\');
            let before = text.get(..at).unwrap_or_default();
            before.ends_with(['"', '\'']) && (after.starts_with("\":") || after.starts_with("':"))
        })
    })
}

/// Returns true if a mark begins the message in an API's error: `"message": "…"`.
fn is_message_entry(text: &str, mark: &Mark) -> bool {
    let before = text.get(..mark.at - mark.escapes).unwrap_or_default().trim_end_matches(' ');
    let Some(key) = before.strip_suffix(':').and_then(|key| key.strip_suffix(['"', '\''])) else { return false };
    let key = key.trim_end_matches('\\');
    MESSAGE_KEYS.iter().any(|name| key.strip_suffix(name).is_some_and(|before| before.ends_with(['"', '\''])))
}
