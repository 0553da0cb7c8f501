//! [`AnnouncementFinder`] finds words of a user or a model in plain text, by the label in front of them (`Prompt: …`,
//! `llm_output="…"`, `Could not parse LLM output: …`) or as a dialogue (`Human: …` above `AI: …`). Services without
//! instrumentation log such text.
//!
//! One linear search per text. A plain label or number after the words is not content. `structured_text` handles
//! structure in text; the announcing words are listed in `config/dialects.yaml`.

use std::ops::Range;

use aho_corasick::{AhoCorasick, BuildError, MatchKind};

use super::label_shape;
use kernel::CONTENT;

#[cfg(test)]
mod tests;

/// Finds announced content in plain text.
pub(super) struct AnnouncementFinder {
    search: AhoCorasick,
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
    /// `words` announce the text after them; `people` and `machines` are speaker names at the start of a dialogue's
    /// lines.
    ///
    /// # Errors
    /// There are too many patterns.
    pub(super) fn new(words: &[String], people: &[String], machines: &[String]) -> Result<Self, BuildError> {
        let search = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::LeftmostLongest)
            .build(words.iter().chain(people).chain(machines))?;
        Ok(Self { search, words_end: words.len(), people_end: words.len() + people.len() })
    }

    /// Splits `text`. `None` if nothing is announced in it.
    pub(super) fn split(&self, text: &str) -> Option<AnnouncementSplit> {
        let mut announcements: Vec<Announcement> = Vec::new();
        // The first speaker: whether it is a machine, and its position.
        let mut speaker: Option<(bool, Range<usize>)> = None;
        let mut from = 0;
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
            if let Some(content) = announced_value(text, found.end()) {
                from = content.end;
                announcements.push(Announcement { words: found.range(), content });
            }
        }
        remove_announced(text, &announcements)
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

/// The range of the value after announcing words that end at `from`: a quoted value up to its closing quote, a value
/// after `=` up to the next `word=`, `&` or `;`, any other value to the end of the text. `None` if the value is empty,
/// a label or a number.
fn announced_value(text: &str, from: usize) -> Option<Range<usize>> {
    let after = text.get(from..)?;
    // `"prompt": …` in structure that could not be parsed.
    let after = after.strip_prefix(['"', '\'']).unwrap_or(after).trim_start_matches([' ', '\t']);
    let assigned = after.starts_with('=');
    let separated = after.strip_prefix([':', '=']);
    if separated.is_none() && !after.starts_with(['`', '"', '\'', '{', '[']) {
        return None;
    }
    let value = separated.unwrap_or(after).trim_start();
    let start = text.len() - value.len();
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\'' | '`'));
    let inside = match quote {
        Some(quote) => start + 1..start + 1 + closing_quote(value.get(1..)?, quote),
        None if assigned => start..start + assignment_end(value),
        None => start..text.len(),
    };
    let words = text.get(inside.clone())?.trim();
    // A measurement such as `200 OK` or `95% of 200 files`.
    let is_measurement = words.starts_with(|c: char| c.is_ascii_digit())
        && words.len() <= label_shape::LABEL_BYTES
        && words.split_whitespace().nth(MAX_MEASUREMENT_WORDS).is_none();
    (!words.is_empty() && !is_measurement && words != CONTENT && !label_shape::is_label(words)).then_some(inside)
}

/// Maximum number of words in a measurement.
const MAX_MEASUREMENT_WORDS: usize = 4;

/// The end of an unquoted value: at `&`, `;` or the end of the line, or before the next ` word=`.
fn assignment_end(text: &str) -> usize {
    let (mut from, mut blank) = (0, None);
    for (at, byte) in text.bytes().enumerate() {
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

/// The position of the closing quote, or the end of the text. A doubled or escaped quote does not close.
fn closing_quote(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c if c == quote && chars.peek().is_some_and(|(_, next)| *next == quote) => drop(chars.next()),
            c if c == quote => return at,
            _ => {}
        }
    }
    text.len()
}

fn remove_announced(text: &str, announcements: &[Announcement]) -> Option<AnnouncementSplit> {
    let Announcement { words, .. } = announcements.first()?;
    let mut split = AnnouncementSplit {
        rest: String::new(),
        announced_by: text.get(words.clone())?.to_ascii_lowercase(),
        removed: String::new(),
    };
    let mut from = 0;
    for Announcement { content, .. } in announcements {
        split.rest.push_str(text.get(from..content.start)?);
        split.rest.push_str(CONTENT);
        if !split.removed.is_empty() {
            split.removed.push('\n');
        }
        split.removed.push_str(text.get(content.clone())?);
        from = content.end;
    }
    split.rest.push_str(text.get(from..)?);
    Some(split)
}
