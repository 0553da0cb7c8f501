//! [`AnnouncementFinder`] finds words of a user or a model in plain text, by the label in front of them (`Prompt: …`,
//! `llm_output="…"`, `Could not parse LLM output: …`), by the marks of a model's template (`<|im_start|>`), or as a
//! dialogue (`Human: …` above `AI: …`, `Thought: …` above `Action: …`). Services without instrumentation log such text.
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
    /// What each pattern of the search announces.
    kinds: Vec<PatternKind>,
}

/// What a pattern announces.
enum PatternKind {
    /// The text behind the words.
    Words {
        /// The words that end the content, empty if none do.
        end: Box<str>,
        /// The words are a mark: all text behind them is content, even one word.
        is_mark: bool,
    },
    /// A turn of this side of a dialogue: the index in [`AnnouncementFinder::new`]'s `speakers`.
    Speaker(usize),
}

/// The side of an agent's actions. Words that announce a tool's input or an answer act too.
const ACTING: usize = 3;

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
    /// `words` announce the text after them, up to the words behind their `…` if they have one. Words that end in `…`
    /// announce all text after them. `speakers` are the names at the start of a dialogue's lines: humans and the
    /// machines that answer them, thoughts of an agent and its actions.
    ///
    /// # Errors
    /// There are too many patterns.
    pub(super) fn new(words: &[String], speakers: [&[String]; 4]) -> Result<Self, BuildError> {
        let words = words.iter().map(|words| {
            let (start, end) = words.split_once('…').unwrap_or((words.as_str(), ""));
            (start, PatternKind::Words { end: end.into(), is_mark: words.ends_with('…') })
        });
        let speakers = speakers.into_iter().enumerate();
        let speakers = speakers
            .flat_map(|(side, names)| names.iter().map(move |name| (name.as_str(), PatternKind::Speaker(side))));
        let (patterns, kinds): (Vec<&str>, Vec<PatternKind>) = words.chain(speakers).unzip();
        let search = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::LeftmostLongest)
            .build(patterns)?;
        Ok(Self { search, kinds })
    }

    /// Splits `text`. `None` if nothing is announced in it.
    pub(super) fn split(&self, text: &str) -> Option<AnnouncementSplit> {
        let mut announcements: Vec<Announcement> = Vec::new();
        // The first speaker of each dialogue: the side, and the position.
        let mut speakers: Vec<(usize, Range<usize>)> = Vec::new();
        let (mut from, mut missing) = (0, BTreeSet::new());
        for found in self.search.find_iter(text).filter(|found| !is_word_end(text, found.start())) {
            let pattern = found.pattern().as_usize();
            let Some(kind) = self.kinds.get(pattern).filter(|_| found.start() >= from) else { continue };
            let side = if let PatternKind::Speaker(side) = kind { *side } else { ACTING };
            let after = text.get(found.end()..).unwrap_or_default();
            if after.trim_start_matches('*').starts_with(':') {
                let first = speakers.iter().find(|(first, _)| first / 2 == side / 2).cloned();
                match first {
                    // A logger's prefix may precede the first speaker; every other speaker must begin a line.
                    Some((first_side, first)) if first_side != side && is_line_start(text, found.start()) => {
                        announcements.retain(|announcement| announcement.content.end <= first.start);
                        let content = first.start..text.len();
                        announcements.push(Announcement { words: first, content });
                        break;
                    }
                    None if matches!(kind, PatternKind::Speaker(_)) => speakers.push((side, found.range())),
                    _ => {}
                }
            }
            let PatternKind::Words { end, is_mark } = kind else { continue };
            let end_at = find_end(end, pattern, text, found.end(), &mut missing);
            if let Some(content) = announced_value(text, found.end(), end_at, *is_mark) {
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

/// The position of the words that end the content of a pattern. `missing`: patterns whose words do not follow.
fn find_end(end: &str, pattern: usize, text: &str, from: usize, missing: &mut BTreeSet<usize>) -> Option<usize> {
    if end.is_empty() || missing.contains(&pattern) {
        return None;
    }
    let found = memmem::find(text.as_bytes().get(from..)?, end.as_bytes());
    if found.is_none() {
        missing.insert(pattern);
    }
    found.map(|at| from + at)
}

/// Returns true if the word at `at` is the end of a longer word. A mark such as `<|im_start|>` never is.
fn is_word_end(text: &str, at: usize) -> bool {
    let is_in_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.split_at_checked(at)
        .is_some_and(|(before, word)| is_in_word(before.chars().next_back()) && is_in_word(word.chars().next()))
}

fn is_line_start(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default().trim_end_matches([' ', '\t', '>', '*', '#']);
    before.is_empty() || before.ends_with('\n') || before.ends_with("\\n")
}

/// The range of the value after announcing words that end at `from`: up to `end`, if the words have an end; a quoted
/// value up to its closing quote; a value after `=` up to the next `word=`, `&` or `;`; any other value to the end of
/// the text. `None` if the value is empty, a label or a number. `is_mark`: any text up to the end is the value.
fn announced_value(text: &str, from: usize, end: Option<usize>, is_mark: bool) -> Option<Range<usize>> {
    let limit = end.unwrap_or(text.len());
    let after = text.get(from..limit)?;
    if is_mark {
        return (!matches!(after.trim(), "" | CONTENT)).then_some(limit - after.trim_start().len()..limit);
    }
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
pub(super) fn is_plain_word(text: &str) -> bool {
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
