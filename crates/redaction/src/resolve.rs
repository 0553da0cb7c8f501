//! Makes overlapping hits disjoint, replaces hits in a text, and finds placeholders that are already in it. The winner
//! of an overlap is decided by class (see [`super::RuleClass`]), then length, position and rule. A partial overlap is
//! merged under the winner, so that no tail leaks.

use std::ops::Range;

use super::rule::RuleClass;

/// A private range in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedactionHit {
    /// Byte range, on character boundaries.
    pub range: Range<usize>,
    /// Index of the rule in its detector.
    pub(super) rule: u16,
    /// For a bare JSON number: its replacement needs quotes, each preceded by this many backslashes.
    pub(super) added_quotes: Option<u8>,
}

impl RedactionHit {
    /// Index of the rule in its detector's [`super::Detector::rule_names`].
    pub fn rule(&self) -> usize {
        usize::from(self.rule)
    }
}

/// Merges overlapping hits of rules with these classes. The result is sorted and disjoint.
pub(super) fn resolve_overlaps(hits: &mut Vec<RedactionHit>, class_of: impl Fn(usize) -> Option<RuleClass>) {
    if hits.is_sorted_by(|a, b| a.range.end <= b.range.start) {
        return;
    }
    let sort_key = |hit: &RedactionHit| (hit.range.start, usize::MAX - hit.range.end, hit.rule);
    // The families' hits come in sorted runs, which the stable sort handles quickly
    hits.sort_by_key(sort_key);
    hits.dedup_by(|hit, merged| {
        let overlaps = hit.range.start < merged.range.end;
        if overlaps {
            let union = merged.range.start..merged.range.end.max(hit.range.end);
            let class = |hit: &RedactionHit| class_of(hit.rule());
            let rank = |hit: &RedactionHit| (class(hit), std::cmp::Reverse(hit.range.len()), hit.range.start, hit.rule);
            let winner = if rank(hit) < rank(merged) { hit.rule } else { merged.rule };
            // Quotes belong only around a whole bare value
            let kept_quotes = |hit: &RedactionHit| hit.added_quotes.filter(|_| hit.range == union);
            let added_quotes = kept_quotes(merged).or(kept_quotes(hit));
            *merged = RedactionHit { range: union, rule: winner, added_quotes };
        }
        overlaps
    });
}

/// Finds placeholders already in the text, `[TYPE]` or `[TYPE:h-…]`, in order, without overlap. A type with digits,
/// or one that is also a log level, must be in `known`, because keys may also consist of capitals and digits.
pub(super) fn find_placeholders(text: &str, known: &dyn Fn(&str) -> bool, out: &mut Vec<Range<usize>>) {
    find_placeholders_at(text, memchr::memchr_iter(b'[', text.as_bytes()), known, out);
}

/// Like [`find_placeholders`], with known positions of the brackets.
pub(super) fn find_placeholders_at(
    text: &str,
    brackets: impl Iterator<Item = usize>,
    known: &dyn Fn(&str) -> bool,
    out: &mut Vec<Range<usize>>,
) {
    out.clear();
    for start in brackets {
        if let Some(len) = text.get(start..).and_then(|rest| placeholder_len(rest, known)) {
            out.push(start..start + len);
        }
    }
}

/// Whether a whole text is one placeholder.
pub(super) fn is_placeholder(text: &str, known: &dyn Fn(&str) -> bool) -> bool {
    placeholder_len(text, known) == Some(text.len())
}

/// Length of the placeholder at the start of `text`: `\[[A-Z][A-Z0-9_]{1,40}(?::h-[0-9a-f]{16})?\]`.
fn placeholder_len(text: &str, known: &dyn Fn(&str) -> bool) -> Option<usize> {
    let body = text.strip_prefix('[')?;
    let name_len =
        body.bytes().take(42).take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_').count();
    if !(2..=41).contains(&name_len) || !body.starts_with(|c: char| c.is_ascii_uppercase()) {
        return None;
    }
    let (name, rest) = body.split_at_checked(name_len)?;
    let has_digit = || name.bytes().any(|byte| byte.is_ascii_digit());
    if (word_list!("notation.log_levels").contains(&name) || has_digit()) && !known(name) {
        return None;
    }
    if rest.starts_with(']') {
        return Some(name_len + 2);
    }
    let hex = rest.strip_prefix(":h-")?;
    let digits = hex.bytes().take_while(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b)).count();
    (digits == 16 && hex.get(16..)?.starts_with(']')).then_some(name_len + 2 + 3 + 16)
}

/// Returns `text` with every hit replaced by the text that `placeholder` writes.
pub fn replace_hits(
    text: &str,
    hits: &[RedactionHit],
    placeholder: &mut dyn FnMut(&RedactionHit, &str, &mut String),
) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for hit in hits {
        out.push_str(text.get(from..hit.range.start).unwrap_or(""));
        push_quote(hit, &mut out);
        placeholder(hit, text.get(hit.range.clone()).unwrap_or(""), &mut out);
        push_quote(hit, &mut out);
        from = hit.range.end;
    }
    out.push_str(text.get(from..).unwrap_or(""));
    out
}

fn push_quote(hit: &RedactionHit, out: &mut String) {
    if let Some(backslashes) = hit.added_quotes {
        out.extend(std::iter::repeat_n('\\', usize::from(backslashes)));
        out.push('"');
    }
}
