//! [`AnnouncementFinder`] finds words of a user or a model in plain text, by the label in front of them (`Prompt: …`,
//! `llm_output="…"`, `Could not parse LLM output: …`) or as a dialogue (`Human: …` above `AI: …`). Services without
//! instrumentation log such text.
//!
//! One linear search per text. A plain label or number after the words is not content. `structured_text` handles
//! structure in text; the announcing words are listed in `config/dialects.yaml`.

use std::collections::BTreeSet;
use std::ops::Range;

use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use memchr::memmem;

use super::label_shape;
use super::opaque::is_opaque;
use super::words::fits_words;
use kernel::CONTENT;
use kernel::notation::{Notation, Token, Tokens, string_end};

#[cfg(test)]
mod tests;

/// Finds announced content in plain text.
pub(super) struct AnnouncementFinder {
    search: AhoCorasick,
    /// The words that end the content of each announcing pattern, empty if none do.
    ends: Vec<Box<str>>,
    /// Indexes of patterns below this are announcing words.
    words_end: usize,
    /// Indexes of patterns from `words_end` up to this are human speakers, all higher ones machine speakers.
    people_end: usize,
}

/// The positions of announcing words (or of a dialogue's first speaker) and of the content that they announce.
struct Announcement {
    words: Range<usize>,
    content: Range<usize>,
}

/// A text split into the announced content and the rest.
pub(super) struct AnnouncementSplit {
    pub(super) rest: String,
    /// The words that announced the first piece of content, in lower case.
    pub(super) announced_by: String,
    /// All announced content, one piece a line.
    pub(super) removed: String,
}

impl AnnouncementFinder {
    /// `words` announce the text after them, up to the words behind their `…` if they have one; `people` and `machines`
    /// are speaker names at the start of a dialogue's lines.
    ///
    /// # Errors
    /// There are too many patterns.
    pub(super) fn new(words: &[String], people: &[String], machines: &[String]) -> Result<Self, BuildError> {
        let split = words.iter().map(|words| words.split_once('…').unwrap_or((words.as_str(), "")));
        let (starts, ends): (Vec<&str>, Vec<Box<str>>) = split.map(|(start, end)| (start, Box::from(end))).unzip();
        let speakers = people.iter().chain(machines).map(String::as_str);
        let search = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::LeftmostLongest)
            .build(starts.into_iter().chain(speakers))?;
        Ok(Self { search, ends, words_end: words.len(), people_end: words.len() + people.len() })
    }

    /// The position of the words that end the content of a pattern. `missing`: patterns whose words do not follow.
    fn find_end(&self, pattern: usize, text: &str, from: usize, missing: &mut BTreeSet<usize>) -> Option<usize> {
        let end = self.ends.get(pattern).filter(|end| !end.is_empty() && !missing.contains(&pattern))?;
        let found = memmem::find(text.as_bytes().get(from..)?, end.as_bytes());
        if found.is_none() {
            missing.insert(pattern);
        }
        found.map(|at| from + at)
    }

    /// Splits `text`. `None` if nothing is announced in it.
    pub(super) fn split(&self, text: &str) -> Option<AnnouncementSplit> {
        let mut announcements: Vec<Announcement> = Vec::new();
        // The first speaker: whether it is a machine, and its position.
        let mut speaker: Option<(bool, Range<usize>)> = None;
        let (mut from, mut missing) = (0, BTreeSet::new());
        for found in self.search.find_iter(text).filter(|found| !is_word_end(text, found.start())) {
            if found.start() < from {
                continue;
            }
            let pattern = found.pattern().as_usize();
            if pattern >= self.words_end {
                let after = text.get(found.end()..).unwrap_or_default();
                if !after.trim_start_matches('*').starts_with(':') {
                    continue;
                }
                let is_machine = pattern >= self.people_end;
                // A logger's prefix may precede the first speaker; every other speaker must begin a line.
                match speaker.take() {
                    Some((first_is_machine, first))
                        if first_is_machine != is_machine && is_line_start(text, found.start()) =>
                    {
                        announcements.retain(|announcement| announcement.content.end <= first.start);
                        let content = first.start..text.len();
                        announcements.push(Announcement { words: first, content });
                        break;
                    }
                    first => speaker = first.or(Some((is_machine, found.range()))),
                }
                continue;
            }
            let end = self.find_end(pattern, text, found.end(), &mut missing);
            if let Some(content) = announced_value(text, found.end(), end) {
                from = content.end;
                announcements.push(Announcement { words: found.range(), content });
            }
        }
        let announced_by = text.get(announcements.first()?.words.clone())?.trim().to_ascii_lowercase();
        let mut removed = String::new();
        let rest = take_out(text, announcements.into_iter().map(|announcement| announcement.content), &mut removed)?;
        Some(AnnouncementSplit { rest, announced_by, removed })
    }
}

/// Returns true if the word at `at` is the end of a longer word.
fn is_word_end(text: &str, at: usize) -> bool {
    let before = text.get(..at).and_then(|before| before.chars().next_back());
    before.is_some_and(|c| c.is_alphanumeric() || c == '_')
}

fn is_line_start(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default().trim_end_matches([' ', '\t', '>', '*', '#']);
    before.is_empty() || before.ends_with('\n') || before.ends_with("\\n")
}

/// The range of the value after announcing words that end at `from`: up to `end`, if the words have an end; a quoted
/// value up to its closing quote; a value after `=` up to the next `word=`, `&` or `;`; any other value to the end of
/// the text. `None` if the value is empty, a label or a number.
fn announced_value(text: &str, from: usize, end: Option<usize>) -> Option<Range<usize>> {
    let limit = end.unwrap_or(text.len());
    let after = text.get(from..limit)?;
    // `"prompt": …` in structure that could not be parsed.
    let after = after.strip_prefix(['"', '\'']).unwrap_or(after).trim_start_matches([' ', '\t']);
    let assigned = after.starts_with('=');
    let separated = after.strip_prefix([':', '=']);
    if separated.is_none() && end.is_none() && !after.starts_with(['`', '"', '\'', '{', '[']) {
        return None;
    }
    let value = separated.unwrap_or(after).trim_start();
    let start = limit - value.len();
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\'' | '`'));
    let quoted = value.get(1..).unwrap_or_default();
    let inside = match quote {
        Some(quote) if end.is_some() => {
            let quoted = quoted.trim_end();
            start + 1..start + 1 + quoted.strip_suffix(quote).unwrap_or(quoted).len()
        }
        // Markdown inside has such quotes too.
        Some('`') => start + 1..start + 1 + quoted.rfind('`').unwrap_or(quoted.len()),
        Some(quote) => start + 1..start + 1 + closing_quote(quoted, quote as u8),
        None if end.is_some() => start..start + value.trim_end().len(),
        None if assigned => start..start + assignment_end(value),
        None => start..text.len(),
    };
    let words = text.get(inside.clone())?.trim();
    // `[CONTENT]', …`: the value was removed before.
    let is_removed = words
        .strip_prefix(CONTENT)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['"', '\'', '`', '\\', '}', ']', ')']));
    // A measurement such as `200 OK` or `95% of 200 files`.
    let is_measurement = words.starts_with(|c: char| c.is_ascii_digit())
        && words.len() <= label_shape::LABEL_BYTES
        && words.split_whitespace().nth(MAX_MEASUREMENT_WORDS).is_none();
    (!words.is_empty() && !is_measurement && !is_removed && !is_plain_word(words)).then_some(inside)
}

/// Returns true for an opaque value, or one or two words without a blank.
fn is_plain_word(text: &str) -> bool {
    is_opaque(text) || (!text.contains(char::is_whitespace) && fits_words(text, 2, label_shape::LABEL_BYTES))
}

/// Maximum number of words in a measurement.
const MAX_MEASUREMENT_WORDS: usize = 4;

/// The end of an unquoted value: at `&`, `;` or the end of the line, or before the next ` word=`; behind its brackets.
fn assignment_end(text: &str) -> usize {
    let brackets = bracket_end(text);
    let (mut from, mut blank) = (brackets, None);
    for (at, byte) in text.bytes().enumerate().skip(brackets) {
        match byte {
            b'&' | b';' | b'\n' => return at,
            b' ' | b'\t' => blank = Some(at),
            b'=' => match blank.filter(|blank| *blank >= from) {
                Some(blank) => return blank,
                None => from = at,
            },
            _ => {}
        }
    }
    text.len()
}

/// The end of the brackets that a text begins with: 0 if it begins with none, the text's end if they stay open.
fn bracket_end(text: &str) -> usize {
    let (mut tokens, mut open) = (Tokens::new(text, Notation::Python), 0_usize);
    while let Some(token) = tokens.next() {
        match token {
            Token::Open(_) => open += 1,
            Token::Close(_) if open == 1 => return tokens.at,
            Token::Close(_) => open = open.saturating_sub(1),
            _ => {}
        }
        if open == 0 {
            return 0;
        }
    }
    text.len()
}

/// The position of the closing quote, or the end of the text. A doubled or escaped quote does not close.
fn closing_quote(text: &str, quote: u8) -> usize {
    let mut from = 0;
    loop {
        let (end, is_closed) = string_end(text.as_bytes(), from, quote);
        if !is_closed || text.as_bytes().get(end + 1) != Some(&quote) {
            return end;
        }
        from = end + 2;
    }
}

/// Replaces the ranges, which must ascend, by [`CONTENT`]. Their texts are added to `removed`, one a line.
pub(super) fn take_out(
    text: &str,
    ranges: impl IntoIterator<Item = Range<usize>>,
    removed: &mut String,
) -> Option<String> {
    let (mut rest, mut from) = (String::new(), 0);
    for range in ranges {
        rest.push_str(text.get(from..range.start)?);
        rest.push_str(CONTENT);
        add_piece(text.get(range.clone())?, removed);
        from = range.end;
    }
    rest.push_str(text.get(from..)?);
    Some(rest)
}

/// Adds a piece to `pieces`, one a line.
pub(super) fn add_piece(piece: &str, pieces: &mut String) {
    if !pieces.is_empty() {
        pieces.push('\n');
    }
    pieces.push_str(piece);
}
