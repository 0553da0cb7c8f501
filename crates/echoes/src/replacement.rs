//! Replaces the echoes of a text with [`CONTENT_PLACEHOLDER`]. `search` finds the ranges that repeat content; this
//! module decides which are long enough to be echoes. Names in them stay, and the words between the names are replaced.
//! Replacing is idempotent.

use std::ops::Range;

use super::json_strings;
use super::search::merge_ranges;
use super::words::{
    CONTENT_PLACEHOLDER, LEAST_CHARACTERS, LEAST_TOKENS, LEAST_WORDS, are_separate_tokens, is_exception_type, is_name,
    is_unspaced, tokens, weighted_length, words,
};

/// The content may be repeated for so many bytes before and after the matched range, fewer than a fingerprint covers.
const MARGIN: usize = 3;
/// Longest partial word next to an ellipsis (`…`) that is removed with the echo, in bytes.
const MAX_CUT_WORD_BYTES: usize = 32;
/// Labels after so many are not looked for.
const MAX_LABELS: usize = 256;

/// Returns the new text, if one of the `repeated` ranges is an echo.
pub(super) fn replace_echoes(text: &str, repeated: &[Range<usize>], labels: &[&str]) -> Option<String> {
    if repeated.is_empty() {
        return None;
    }
    let preserved = PreservedRanges::collect(text, labels);
    let all_words: Vec<Range<usize>> = words(text).collect();
    let mut removed: Vec<Range<usize>> = Vec::new();
    for range in join_near_ranges(text, repeated) {
        if preserved.is_echo(text, &all_words, &range) {
            let range = extend_to_cut_words(text, widen_to_words(text, &all_words, &range));
            removed.extend(preserved.removable_parts(&range));
        }
    }
    let json_values = if removed.is_empty() { None } else { json_strings::string_values(text) };
    let removed = removed.iter().flat_map(|range| match &json_values {
        Some(values) => json_strings::replaceable_parts(text, values, range),
        None => vec![range.clone()],
    });
    let mut out = String::with_capacity(text.len());
    let mut copied_to = 0;
    for range in removed {
        let range = if json_values.is_some() { Some(range) } else { trim_to_words(&all_words, &range) };
        let Some(range) = range.filter(|range| range.start >= copied_to) else { continue };
        out.push_str(text.get(copied_to..range.start).unwrap_or_default());
        out.push_str(CONTENT_PLACEHOLDER);
        copied_to = range.end;
    }
    out.push_str(text.get(copied_to..).unwrap_or_default());
    (copied_to > 0).then_some(out)
}

/// Whether a label can be distinguished from prose: a tool's name that is one plain word occurs in prose too.
fn is_distinctive(label: &str) -> bool {
    label.len() > 2 && (!label.chars().all(char::is_alphabetic) || words(label).nth(LEAST_WORDS - 1).is_some())
}

/// Matches a value that describes an error, with its key: `Error code: 400`, `'type': 'invalid_request_error'`.
/// `before`: the two tokens before the value.
fn match_error_detail(text: &str, before: &[Range<usize>; 2], value: &Range<usize>) -> Option<Range<usize>> {
    const MAX_GAP_BYTES: usize = 16;
    let [before_key, key] = before;
    let word = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
    let is_code = word(key).eq_ignore_ascii_case("code");
    text.get(key.end..value.start).filter(|gap| gap.len() <= MAX_GAP_BYTES && gap.contains([':', '=']))?;
    if !(is_code || word(key) == "type") {
        return None;
    }
    let detail = word(value);
    let is_number = is_code && detail.len() <= 5 && detail.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let is_error_name = detail.contains('_') && detail.len() <= 64 && detail.bytes().all(is_plain);
    let has_prefix = is_code && ["error", "status"].iter().any(|prefix| word(before_key).eq_ignore_ascii_case(prefix));
    let start =
        if has_prefix && text.get(before_key.end..key.start) == Some(" ") { before_key.start } else { key.start };
    (!detail.is_empty() && (is_number || is_error_name)).then_some(start..value.end)
}

/// Whether the name at `range` is not part of a longer word.
fn is_whole_word(text: &str, range: &Range<usize>) -> bool {
    let before = text.get(..range.start).and_then(|text| text.chars().next_back());
    let after = text.get(range.end..).and_then(|text| text.chars().next());
    ![before, after].into_iter().flatten().any(|char| (char.is_alphanumeric() && !is_unspaced(char)) || char == '_')
}

/// Joins ranges with only punctuation or space between them: `\n` in one text may be a blank in the other.
fn join_near_ranges(text: &str, ranges: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        let is_near = out.last().is_some_and(|last| {
            let gap = text.get(last.end..range.start).unwrap_or("?word?");
            gap.len() <= 2 * MARGIN && words(gap).next().is_none()
        });
        match out.last_mut() {
            Some(last) if is_near => last.end = range.end,
            _ => out.push(range.clone()),
        }
    }
    out
}

/// The ranges of names, which stay; in order, not overlapping.
struct PreservedRanges(Vec<Range<usize>>);

impl PreservedRanges {
    fn collect(text: &str, labels: &[&str]) -> Self {
        let mut names: Vec<Range<usize>> = Vec::new();
        let (mut read_to, mut at_line_start) = (0, true);
        let mut before = [0..0, 0..0];
        for token in tokens(text) {
            let token_text = text.get(token.clone()).unwrap_or_default();
            for char in text.get(read_to..token.start).unwrap_or_default().chars() {
                at_line_start = char == '\n' || (at_line_start && char.is_whitespace());
            }
            read_to = token.start.max(read_to);
            let type_name = token_text.trim_end_matches(':');
            let after_name = text.get(token.start + type_name.len()..).unwrap_or_default();
            if is_name(token_text) || (at_line_start && is_exception_type(type_name, after_name)) {
                names.push(token.clone());
            }
            names.extend(match_error_detail(text, &before, &token));
            if !token_text.is_empty() {
                let [_, previous] = before;
                before = [previous, token];
            }
        }
        let labels = labels.iter().take(MAX_LABELS).copied().chain([CONTENT_PLACEHOLDER]);
        for label in labels.filter(|label| is_distinctive(label)) {
            let matches = memchr::memmem::find_iter(text.as_bytes(), label.as_bytes()).map(|at| at..at + label.len());
            names.extend(matches.filter(|range| is_whole_word(text, range)));
        }
        merge_ranges(&mut names);
        Self(names)
    }

    fn overlaps(&self, word: &Range<usize>) -> bool {
        let at = self.0.partition_point(|range| range.end <= word.start);
        self.0.get(at).is_some_and(|range| range.start < word.end)
    }

    /// Whether a matched range, with its margins, is long enough to be an echo.
    fn is_echo(&self, text: &str, all_words: &[Range<usize>], range: &Range<usize>) -> bool {
        let (start, end) = (range.start.saturating_sub(MARGIN), (range.end + MARGIN).min(text.len()));
        let is_inside = |word: &&Range<usize>| (start <= word.start && word.end <= end) || is_mostly_in(word, range);
        let inside = words_overlapping(all_words, &(start..end)).iter().filter(is_inside);
        let prose: Vec<&Range<usize>> = inside.filter(|word| !self.overlaps(word)).collect();
        let token_gaps = prose.windows(2).filter(|pair| match pair {
            [word, next] => are_separate_tokens(text, word.end..next.start),
            _ => false,
        });
        let longest = text.get(text.ceil_char_boundary(start)..text.floor_char_boundary(end)).unwrap_or_default();
        prose.len() >= LEAST_WORDS
            && token_gaps.count() + 1 >= LEAST_TOKENS
            && weighted_length(longest) >= LEAST_CHARACTERS
    }

    fn removable_parts(&self, range: &Range<usize>) -> Vec<Range<usize>> {
        let (mut parts, mut from) = (Vec::new(), range.start);
        let first = self.0.partition_point(|preserved| preserved.end <= range.start);
        for preserved in self.0.iter().skip(first).take_while(|preserved| preserved.start < range.end) {
            parts.push(from..preserved.start.max(from));
            from = preserved.end.max(from);
        }
        parts.push(from..range.end.max(from));
        parts
    }
}

/// Returns the words that share a byte with a range.
fn words_overlapping<'w>(all_words: &'w [Range<usize>], range: &Range<usize>) -> &'w [Range<usize>] {
    let first = all_words.partition_point(|word| word.end <= range.start);
    let end = all_words.partition_point(|word| word.start < range.end);
    all_words.get(first..end).unwrap_or_default()
}

/// Whether at least half of a word lies in `range`, or all of it except the margin.
fn is_mostly_in(word: &Range<usize>, range: &Range<usize>) -> bool {
    let covered = word.end.min(range.end).saturating_sub(word.start.max(range.start));
    covered > 0 && (covered * 2 >= word.len() || word.len() - covered <= MARGIN)
}

/// Widens or narrows a range to whole words: those that lie mostly in the range, and short words next to the range,
/// which fingerprints may miss.
fn widen_to_words(text: &str, all_words: &[Range<usize>], range: &Range<usize>) -> Range<usize> {
    let widest = range.start.saturating_sub(MARGIN)..range.end + MARGIN;
    let is_beside = |word: &Range<usize>| {
        let gap = if word.end <= range.start { word.end..range.start } else { range.end..word.start };
        let is_blank = text.get(gap).is_some_and(|gap| gap.chars().all(char::is_whitespace));
        let is_number = text.get(word.clone()).is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
        widest.start <= word.start && word.end <= widest.end && is_blank && !is_number
    };
    let is_included = |word: &&Range<usize>| is_mostly_in(word, range) || is_beside(word);
    let near = words_overlapping(all_words, &widest);
    let start = near.iter().find(is_included).map_or(range.end, |word| word.start);
    let end = near.iter().rev().find(is_included).map_or(start, |word| word.end);
    start..end.max(start)
}

const ELLIPSES: [&str; 2] = ["…", "..."];

/// Extends a range at either end by the partial word between it and an ellipsis, if that is short enough.
fn extend_to_cut_words(text: &str, range: Range<usize>) -> Range<usize> {
    const MAX_DISTANCE: usize = MAX_CUT_WORD_BYTES + MARGIN;
    let (mut start, mut end) = (range.start, range.end);
    let after_end = text.floor_char_boundary(end.saturating_add(MAX_DISTANCE + 4));
    let after = text.get(end..after_end).unwrap_or_default();
    if let Some(at) = ELLIPSES.iter().filter_map(|dots| after.find(dots)).min().filter(|at| *at <= MAX_DISTANCE)
        && after.get(..at).is_some_and(|partial_word| words(partial_word).count() <= 1)
    {
        end += at;
    }
    let before_start = text.ceil_char_boundary(start.saturating_sub(MAX_DISTANCE + 4));
    let before = text.get(before_start..start).unwrap_or_default();
    let after_dots = ELLIPSES.iter().filter_map(|dots| before.rfind(dots).map(|at| at + dots.len())).max();
    if let Some(at) = after_dots.filter(|at| before.len() - at <= MAX_DISTANCE)
        && before.get(at..).is_some_and(|partial_word| words(partial_word).count() <= 1)
    {
        start = before_start + at;
    }
    start..end
}

/// Trims a range to its words; `None` if it has none.
fn trim_to_words(all_words: &[Range<usize>], range: &Range<usize>) -> Option<Range<usize>> {
    let inside = words_overlapping(all_words, range);
    let start = inside.first()?.start.max(range.start);
    let end = inside.last()?.end.min(range.end);
    (start < end).then_some(start..end)
}
