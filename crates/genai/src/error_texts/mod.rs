//! Takes quotations of more than three words out of error texts, so that the failure stays readable without the text
//! that caused it. Type, code, message and stack frames stay (`docs/decisions/0001-agent-items-and-content.md`).
//!
//! A text is read in blocks of lines: messages, stack frames, and the lines of code that Python shows below a frame. A
//! quotation does not pass the end of its block; one that does not end passes its line's end. `nested_content` searches
//! each message for structure and announced content first. Linear in the text, and a second pass changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use kernel::{CONTENT, stack_frames};

use super::announcements::{add_piece, take_out};
use super::key_shapes::is_path;
use super::words::{MAX_NAME_WORDS, MAX_UNSPACED, is_unspaced};

#[cfg(test)]
mod tests;

/// Maximum number of quotations in code that are searched for in the messages.
const MAX_CODE_LOOKUPS: usize = 64;
/// Maximum number of searches for quotations. One that goes may show that the text around it is a quotation as well.
const MAX_ROUNDS: usize = 8;

/// An error text without its quotations.
pub(super) struct QuotedText {
    pub(super) rest: String,
    /// The removed quotations, one a line.
    pub(super) quoted: String,
}

/// Takes the quotations out of an error text. `search_message` returns the rest of a message without announced or
/// listed content, if it holds any. Returns `None` if all of the text stays.
pub(super) fn take_quotations(
    text: &str,
    mut search_message: impl FnMut(&str) -> Option<String>,
) -> Option<QuotedText> {
    let (mut rest, mut quoted) = (String::new(), String::new());
    let (mut pieces, mut messages) = (Vec::new(), String::new());
    // Announced content without an end also includes the text after a stack's frames.
    let mut runs_on = false;
    for ((kind, _), range) in split_blocks(text) {
        let block = text.get(range).unwrap_or_default();
        let (body, space) = block.split_at(block.trim_end().len());
        runs_on &= !begins_error(block);
        let piece = match kind {
            BlockKind::Message | BlockKind::Code if runs_on && !matches!(body.trim(), "" | CONTENT) => {
                add_piece(body, &mut quoted);
                CONTENT.to_owned()
            }
            BlockKind::Message if !runs_on => {
                let searched = search_message(body);
                runs_on = searched.as_ref().is_some_and(|rest| rest.ends_with(CONTENT));
                let lines = searched.as_deref().unwrap_or(body).split_inclusive('\n');
                let lines = lines.map(|line| take_row(line, &mut quoted).unwrap_or_else(|| line.to_owned()));
                let without_rows = lines.collect();
                take_long_quotations(without_rows, &mut quoted, |_| false)
            }
            _ => body.to_owned(),
        };
        if kind == BlockKind::Message {
            messages.push_str(&piece);
            messages.push('\n');
        }
        pieces.push((kind, piece, space));
    }
    let mut lookups = MAX_CODE_LOOKUPS;
    // A text in code that is a message itself is no quotation.
    let mut is_message = |literal: &str| {
        let may_search = lookups > 0;
        lookups = lookups.saturating_sub(1);
        may_search && messages.contains(literal)
    };
    for (kind, mut piece, space) in pieces {
        if kind == BlockKind::Code {
            piece = take_long_quotations(piece, &mut quoted, &mut is_message);
        }
        rest.push_str(&piece);
        rest.push_str(space);
    }
    (rest != text).then_some(QuotedText { rest, quoted })
}

fn take_long_quotations(mut text: String, quoted: &mut String, mut is_kept: impl FnMut(&str) -> bool) -> String {
    for _ in 0..MAX_ROUNDS {
        let mut ranges = long_quotations(&text);
        ranges.retain(|range| text.get(range.clone()).is_some_and(|quotation| !is_kept(quotation)));
        if ranges.is_empty() {
            break;
        }
        let Some(rest) = take_out(&text, ranges, quoted) else { break };
        text = rest;
    }
    text
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

/// The ranges of successive lines of one kind, with the number of the error.
fn split_blocks(text: &str) -> Vec<((BlockKind, usize), Range<usize>)> {
    let (mut shows_code, mut errors) = (false, 0);
    stack_frames::group_lines(text, |line, is_frame| {
        errors += usize::from(begins_error(line));
        shows_code = match is_frame {
            true => line.trim_start().starts_with("File \""),
            false => shows_code && line.starts_with("    "),
        };
        let kind = match (is_frame, shows_code) {
            (true, _) => BlockKind::Frames,
            (false, true) => BlockKind::Code,
            (false, false) => BlockKind::Message,
        };
        (kind, errors)
    })
}

/// Returns true if a text begins with a line that Python and Java print between an error and its cause.
fn begins_error(text: &str) -> bool {
    let line = text.trim_start();
    let cause = line.strip_prefix("Caused by: ").or_else(|| line.strip_prefix("Suppressed: "));
    line.starts_with("During handling of the above exception, ")
        || line.starts_with("The above exception was the direct cause ")
        || cause.is_some_and(|cause| cause.split([' ', ':', '\n']).next().is_some_and(|name| name.contains('.')))
}

/// Words before the bracket in which a database prints the values of a row.
const ROW_HEADS: [&str; 3] = [")=(", "row contains (", "key value is ("];

/// A line without the values of a row. `None` if it has none of many words. They end at the line's last bracket.
fn take_row(line: &str, quoted: &mut String) -> Option<String> {
    let start = ROW_HEADS.iter().filter_map(|head| Some(line.find(head)? + head.len())).min()?;
    let end = line.rfind(')').filter(|end| *end >= start).unwrap_or(line.trim_end().len());
    let has_long_values = line.get(start..end).is_some_and(is_long);
    if has_long_values { take_out(line, std::iter::once(start..end), quoted) } else { None }
}

/// The pairs of marks that quote, and the mark that ends a quotation instead, as in `foo', if the proper one does not
/// follow.
static QUOTES: [(char, char, char); 12] = [
    ('"', '"', '"'),
    ('\'', '\'', '\''),
    ('`', '`', '\''),
    ('“', '”', '”'),
    ('„', '“', '”'),
    ('«', '»', '»'),
    ('»', '«', '«'),
    ('‚', '‘', '’'),
    ('‹', '›', '›'),
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
}

/// Maximum number of backslashes counted before a mark.
const MAX_ESCAPES: usize = 7;

/// The marks and line breaks of a text.
fn find_marks(text: &str) -> Vec<Mark> {
    let is_mark = |c: char| match c {
        '\n' | '"' | '\'' | '`' => true,
        _ => !c.is_ascii() && QUOTES.iter().any(|(open, close, other)| [*open, *close, *other].contains(&c)),
    };
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

/// The next mark that closes, by its character and the number of backslashes before the mark that it closes.
type NextClosing = BTreeMap<(char, usize), Option<usize>>;

/// The index of the mark that ends the quotation that the mark at `index` begins, if one does. `known` keeps what the
/// search found, because many marks may have the same end.
fn find_closing_mark(marks: &[Mark], index: usize, known: &mut NextClosing) -> Option<usize> {
    let mark = marks.get(index)?;
    let (_, close, other) = QUOTES.iter().find(|(open, ..)| *open == mark.mark)?;
    let may_close =
        |escapes: usize| if mark.escapes == 0 { escapes.is_multiple_of(2) } else { escapes <= mark.escapes };
    let ends = |later: &Mark, wanted: char| later.closes && later.mark == wanted && may_close(later.escapes);
    let mut after = marks.iter().enumerate().skip(index + 1);
    let next = known.entry((*close, mark.escapes)).or_insert(Some(0));
    if next.is_some_and(|at| at <= index) {
        *next = after.clone().find(|(_, later)| ends(later, *close)).map(|(at, _)| at);
    }
    // The other mark counts up to the next quotation.
    let mut other_end =
        || after.find(|(_, later)| later.opens || ends(later, *other)).filter(|(_, later)| !later.opens);
    next.or_else(|| Some(other_end()?.0))
}

/// The quotations of more than three words.
fn long_quotations(text: &str) -> Vec<Range<usize>> {
    let marks = find_marks(text);
    let mut known = NextClosing::new();
    let is_api_error = marks.windows(2).any(|key| key_in_quotes(text, key).is_some_and(|key| CODE_KEYS.contains(&key)));
    // Marks that end the message of an API's error.
    let mut passed = BTreeSet::new();
    let mut found: Vec<Range<usize>> = Vec::new();
    let (mut next, mut line_end) = (0, 0);
    while let Some(mark) = marks.get(next) {
        let index = next;
        next += 1;
        if !mark.opens || passed.contains(&index) {
            continue;
        }
        let end = match find_closing_mark(&marks, index, &mut known) {
            Some(close) if is_api_error && is_message_entry(text, &marks, index) => {
                passed.insert(close);
                continue;
            }
            Some(close) => {
                // The last mark of the line that can end the quotation, before another begins: `the users' data'`.
                let kind = marks.get(close).map(|close| close.mark);
                let after = marks.iter().enumerate().skip(close + 1);
                let after = after.take_while(|(_, mark)| !mark.opens && mark.mark != '\n');
                let last = after.filter(|(_, mark)| mark.closes && Some(mark.mark) == kind).last();
                let close = last.map_or(close, |(at, _)| at);
                next = close + 1;
                marks.get(close).map_or(text.len(), |close| close.at - close.escapes)
            }
            // If the rest of the line goes or is short, so does each part of it.
            None if mark.end() <= line_end => continue,
            None => {
                let line = text.get(mark.end()..).and_then(|rest| rest.split('\n').next());
                line_end = mark.end() + line.unwrap_or_default().len();
                line_end
            }
        };
        if text.get(mark.end()..end).is_some_and(is_long) {
            match found.last_mut() {
                Some(last) if mark.end() <= last.end => last.end = last.end.max(end),
                _ => found.push(mark.end()..end),
            }
        }
    }
    found
}

/// Returns true if a quotation has more than three words.
fn is_long(quoted: &str) -> bool {
    let is_joint = |c: char| {
        c.is_whitespace() || matches!(c, '"' | '+' | '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
    };
    let words = quoted.split(is_joint).filter(|word| word.contains(char::is_alphabetic));
    // `%20` and `\n` are blanks of text in another notation.
    let words = words.flat_map(|word| word.split("%20").flat_map(|word| word.split("\\n")));
    let has_many_words = words.filter(|word| !word.is_empty()).nth(MAX_NAME_WORDS).is_some()
        || (!quoted.is_ascii() && quoted.chars().filter(|c| is_unspaced(*c)).nth(MAX_UNSPACED).is_some());
    has_many_words && !(quoted.starts_with(['/', '\\']) && is_path(quoted))
}

/// Keys that show that structure is an API's error, and keys of its message.
const CODE_KEYS: [&str; 4] = ["code", "error", "status", "loc"];
const MESSAGE_KEYS: [&str; 8] =
    ["message", "Message", "msg", "error", "error_description", "errorMessage", "detail", "reason"];

/// The text between two marks, if it is the key of an entry: `"code": …`.
fn key_in_quotes<'t>(text: &'t str, marks: &[Mark]) -> Option<&'t str> {
    let [open, close] = marks else { return None };
    let key = text.get(open.end()..close.at - close.escapes)?;
    text.get(close.end()..)?.starts_with(':').then_some(key)
}

/// Returns true if the mark at `index` begins the message in an API's error: `"message": "…"`.
fn is_message_entry(text: &str, marks: &[Mark], index: usize) -> bool {
    let (Some(mark), Some(key)) = (marks.get(index), marks.get(index.saturating_sub(2)..index)) else { return false };
    let colon = key.last().and_then(|close| text.get(close.end()..mark.at - mark.escapes));
    colon.is_some_and(|colon| colon.trim_end_matches(' ') == ":")
        && key_in_quotes(text, key).is_some_and(|key| MESSAGE_KEYS.contains(&key))
}
