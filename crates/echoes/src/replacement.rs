//! Replaces the ranges of a text that repeat content with [`CONTENT_PLACEHOLDER`]. Names stay in place; the words
//! between them are replaced. Replacing is idempotent. `search` finds the ranges.

use std::ops::Range;

use super::json_strings;
use super::words::{
    CONTENT_PLACEHOLDER, LEAST_CHARACTERS, LEAST_TOKENS, LEAST_WORDS, are_separate_tokens, is_exception_type, is_name,
    is_unspaced, tokens, weighted_length, words,
};

/// The repeated range may extend at most so many bytes beyond the matched one.
const MARGIN: usize = 3;
/// Longest partial word next to a cut (`…`) that is removed with the quote, in bytes.
const CUT_WORD: usize = 32;
/// Most names looked for in one text.
const LABELS: usize = 256;

/// Returns the new text, if `covered` holds a range that must be removed.
pub(super) fn replace_quotes(text: &str, covered: &[Range<usize>], labels: &[&str]) -> Option<String> {
    if covered.is_empty() {
        return None;
    }
    let kept = PreservedRanges::collect(text, labels);
    let all: Vec<Range<usize>> = words(text).collect();
    let mut gone: Vec<Range<usize>> = Vec::new();
    for range in join_near_ranges(text, covered) {
        if kept.is_quote(text, &all, &range) {
            gone.extend(kept.removable_parts(&extend_to_cut_words(text, widen_to_words(text, &all, &range))));
        }
    }
    let strings = if gone.is_empty() { None } else { json_strings::string_values(text) };
    let gone = gone.iter().flat_map(|range| match &strings {
        Some(values) => json_strings::replaceable_parts(text, values, range),
        None => vec![range.clone()],
    });
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for range in gone {
        let range = if strings.is_some() { Some(range) } else { trim_to_words(&all, &range) };
        let Some(range) = range.filter(|range| range.start >= from) else { continue };
        out.push_str(text.get(from..range.start).unwrap_or_default());
        out.push_str(CONTENT_PLACEHOLDER);
        from = range.end;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    (from > 0).then_some(out)
}

/// Whether a label is distinctive: a tool's name that is one plain word also occurs in prose, and does not count.
fn is_label(label: &str) -> bool {
    label.len() > 2 && (!label.chars().all(char::is_alphabetic) || words(label).nth(LEAST_WORDS - 1).is_some())
}

/// Matches a value that describes an error, with its key: `Error code: 400`, `'type': 'invalid_request_error'`.
/// `before`: the two tokens before the value.
fn match_error_detail(text: &str, before: &[Range<usize>; 2], token: &Range<usize>) -> Option<Range<usize>> {
    const FAR: usize = 16;
    let [first, key] = before;
    let word = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
    let (is_code, value) = (word(key).eq_ignore_ascii_case("code"), word(token));
    text.get(key.end..token.start).filter(|gap| gap.len() <= FAR && gap.contains([':', '=']))?;
    if !(is_code || word(key) == "type") {
        return None;
    }
    let number = is_code && value.len() <= 5 && value.bytes().all(|byte| byte.is_ascii_digit());
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let name = value.contains('_') && value.len() <= 64 && value.bytes().all(plain);
    let cued = is_code && ["error", "status"].iter().any(|cue| word(first).eq_ignore_ascii_case(cue));
    let start = if cued && text.get(first.end..key.start) == Some(" ") { first.start } else { key.start };
    (!value.is_empty() && (number || name)).then_some(start..token.end)
}

/// Whether a name is not part of a longer word.
fn is_whole_word(text: &str, place: &Range<usize>) -> bool {
    let before = text.get(..place.start).and_then(|text| text.chars().next_back());
    let after = text.get(place.end..).and_then(|text| text.chars().next());
    ![before, after].into_iter().flatten().any(|char| (char.is_alphanumeric() && !is_unspaced(char)) || char == '_')
}

/// Joins ranges with only punctuation or space between them: `\n` in one text may be a blank in the other.
fn join_near_ranges(text: &str, covered: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    for range in covered {
        let near = out.last().is_some_and(|last| {
            let gap = text.get(last.end..range.start).unwrap_or("?word?");
            gap.len() <= 2 * MARGIN && words(gap).next().is_none()
        });
        match out.last_mut() {
            Some(last) if near => last.end = range.end,
            _ => out.push(range.clone()),
        }
    }
    out
}

/// The ranges that stay, in order, not overlapping.
struct PreservedRanges(Vec<Range<usize>>);

impl PreservedRanges {
    fn collect(text: &str, labels: &[&str]) -> Self {
        let mut found: Vec<Range<usize>> = Vec::new();
        // How far the text was read, and whether its current line was blank so far
        let (mut seen, mut begins) = (0, true);
        let mut before = [0..0, 0..0];
        for token in tokens(text) {
            let inner = text.get(token.clone()).unwrap_or_default();
            for char in text.get(seen..token.start).unwrap_or_default().chars() {
                begins = char == '\n' || (begins && char.is_whitespace());
            }
            seen = token.start.max(seen);
            let bare = inner.trim_end_matches(':');
            if is_name(inner)
                || (begins && is_exception_type(bare, text.get(token.start + bare.len()..).unwrap_or_default()))
            {
                found.push(token.clone());
            }
            found.extend(match_error_detail(text, &before, &token));
            if !inner.is_empty() {
                let [_, last] = before;
                before = [last, token];
            }
        }
        for label in labels.iter().take(LABELS).copied().chain([CONTENT_PLACEHOLDER]).filter(|label| is_label(label)) {
            let places = memchr::memmem::find_iter(text.as_bytes(), label.as_bytes()).map(|at| at..at + label.len());
            found.extend(places.filter(|place| is_whole_word(text, place)));
        }
        found.sort_unstable_by_key(|range| (range.start, range.end));
        let mut kept: Vec<Range<usize>> = Vec::with_capacity(found.len());
        for range in found {
            match kept.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => kept.push(range),
            }
        }
        Self(kept)
    }

    fn overlaps(&self, word: &Range<usize>) -> bool {
        let at = self.0.partition_point(|range| range.end <= word.start);
        self.0.get(at).is_some_and(|range| range.start < word.end)
    }

    /// Whether a matched range may belong to a quote long enough to be removed.
    fn is_quote(&self, text: &str, all: &[Range<usize>], range: &Range<usize>) -> bool {
        let (start, end) = (range.start.saturating_sub(MARGIN), (range.end + MARGIN).min(text.len()));
        let whole = |word: &&Range<usize>| (start <= word.start && word.end <= end) || is_mostly_covered(word, range);
        let inside = words_overlapping(all, &(start..end)).iter().filter(whole);
        let prose: Vec<&Range<usize>> = inside.filter(|word| !self.overlaps(word)).collect();
        let gaps = prose.windows(2).filter(|two| match two {
            [one, next] => are_separate_tokens(text, one.end..next.start),
            _ => false,
        });
        let whole = text.get(text.ceil_char_boundary(start)..text.floor_char_boundary(end)).unwrap_or_default();
        prose.len() >= LEAST_WORDS && gaps.count() + 1 >= LEAST_TOKENS && weighted_length(whole) >= LEAST_CHARACTERS
    }

    /// The parts of a range that are removed.
    fn removable_parts(&self, range: &Range<usize>) -> Vec<Range<usize>> {
        let (mut out, mut from) = (Vec::new(), range.start);
        let first = self.0.partition_point(|kept| kept.end <= range.start);
        for kept in self.0.iter().skip(first).take_while(|kept| kept.start < range.end) {
            out.push(from..kept.start.max(from));
            from = kept.end.max(from);
        }
        out.push(from..range.end.max(from));
        out
    }
}

/// Returns the words that share a byte with a range.
fn words_overlapping<'w>(all: &'w [Range<usize>], range: &Range<usize>) -> &'w [Range<usize>] {
    let first = all.partition_point(|word| word.end <= range.start);
    let last = all.partition_point(|word| word.start < range.end);
    all.get(first..last).unwrap_or_default()
}

/// Whether at least half of a word lies in `range`, or all of it except the margin.
fn is_mostly_covered(word: &Range<usize>, range: &Range<usize>) -> bool {
    let found = word.end.min(range.end).saturating_sub(word.start.max(range.start));
    found > 0 && (found * 2 >= word.len() || word.len() - found <= MARGIN)
}

/// Returns the range from its first to its last whole word. It includes words mostly matched, and short words next to
/// them, which fingerprints may miss.
fn widen_to_words(text: &str, all: &[Range<usize>], range: &Range<usize>) -> Range<usize> {
    let near = range.start.saturating_sub(MARGIN)..range.end + MARGIN;
    let beside = |word: &Range<usize>| {
        let gap = if word.end <= range.start { word.end..range.start } else { range.end..word.start };
        let blank = text.get(gap).is_some_and(|gap| gap.chars().all(char::is_whitespace));
        let code = text.get(word.clone()).is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
        near.start <= word.start && word.end <= near.end && blank && !code
    };
    let goes = |word: &&Range<usize>| is_mostly_covered(word, range) || beside(word);
    let inside = words_overlapping(all, &near);
    let first = inside.iter().find(goes).map_or(range.end, |word| word.start);
    let last = inside.iter().rev().find(goes).map_or(first, |word| word.end);
    first..last.max(first)
}

const ELLIPSES: [&str; 2] = ["…", "..."];

/// Extends a range by the partial word that a cut (`…`) left at either end, if that is short enough.
fn extend_to_cut_words(text: &str, range: Range<usize>) -> Range<usize> {
    const FAR: usize = CUT_WORD + MARGIN;
    let (mut start, mut end) = (range.start, range.end);
    let reach = text.floor_char_boundary(end.saturating_add(FAR + 4));
    let after = text.get(end..reach).unwrap_or_default();
    if let Some(at) = ELLIPSES.iter().filter_map(|dots| after.find(dots)).min().filter(|at| *at <= FAR)
        && after.get(..at).is_some_and(|cut| words(cut).count() <= 1)
    {
        end += at;
    }
    let reach = text.ceil_char_boundary(start.saturating_sub(FAR + 4));
    let before = text.get(reach..start).unwrap_or_default();
    let cut = ELLIPSES.iter().filter_map(|dots| before.rfind(dots).map(|at| at + dots.len())).max();
    if let Some(at) = cut.filter(|at| before.len() - at <= FAR)
        && before.get(at..).is_some_and(|cut| words(cut).count() <= 1)
    {
        start = reach + at;
    }
    start..end
}

/// Trims a range to its words; `None` if it has none.
fn trim_to_words(all: &[Range<usize>], range: &Range<usize>) -> Option<Range<usize>> {
    let inside = words_overlapping(all, range);
    let start = inside.first()?.start.max(range.start);
    let end = inside.last()?.end.min(range.end);
    (start < end).then_some(start..end)
}
