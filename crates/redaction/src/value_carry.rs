//! Finds further occurrences of a found value in the same text. Values that were found by a word or key are searched as
//! they are: a log line says `password=…` once and repeats the bare value in the next command. All values are searched
//! in base64, hex and percent-encoded form, because short blobs are not decoded otherwise. Values have at least eight
//! bytes, and those searched as they are must not be plain words. Their number is bounded, the search is linear, and
//! texts without findings cost nothing. Names are in `names/name_carry`, longer blobs in `views`.

use std::ops::Range;

use aho_corasick::Span;
use aho_corasick::packed::{Config, MatchKind};

use super::detector::{CompiledRule, Detector};
use super::resolve::RedactionHit;
use super::rule::RuleClass;
use super::secrets::word_score::is_words;
use super::validate::phones::is_one_digit;
use super::views::base64::{IN_BLOB, base64_bytes, decode_base64};
use super::views::blobs::{decode_hex, hex_bytes};

/// Length of values that are searched, in bytes.
const LENGTHS: Range<usize> = 8..257;
/// Most values that are searched.
const MAX_VALUES: usize = 64;
/// Up to so many values are searched one by one: building a searcher would cost more.
const MAX_SEPARATE: usize = 3;
/// Length of the shortest blob: eight bytes in base64.
const MIN_BLOB: usize = 11;

/// A value that was found, and the rule that found it.
#[derive(Clone, Copy)]
pub(super) struct FoundValue<'t> {
    pub(super) value: &'t str,
    pub(super) rule: u16,
}

impl Detector {
    /// Returns further occurrences of the `hits` of `text`, which are in order and do not overlap.
    pub(super) fn find_repeated_values(
        &self,
        text: &str,
        placeholders: &[Range<usize>],
        hits: &[RedactionHit],
    ) -> Vec<RedactionHit> {
        let found_values = hits
            .iter()
            .map(|hit| FoundValue { value: text.get(hit.range.clone()).unwrap_or_default(), rule: hit.rule });
        let mut repeated = self.find_values(text, placeholders, found_values);
        // Most values are found only at their known position, which adds nothing
        repeated.retain(|again| {
            let known = hits.binary_search_by_key(&again.range.start, |hit| hit.range.start);
            let known = known.ok().and_then(|at| hits.get(at));
            known.is_none_or(|hit| hit.range != again.range || hit.rule != again.rule)
        });
        repeated
    }

    /// Finds values as they are, if they are carried, and in base64, hex or percent-encoded form.
    pub(super) fn find_values<'t>(
        &self,
        text: &str,
        placeholders: &[Range<usize>],
        found_values: impl Iterator<Item = FoundValue<'t>>,
    ) -> Vec<RedactionHit> {
        let mut values: Vec<FoundValue<'t>> = Vec::new();
        for found in found_values.filter(|found| LENGTHS.contains(&found.value.len())) {
            if values.len() == MAX_VALUES {
                break;
            }
            if !values.iter().any(|known| known.value == found.value) {
                values.push(found);
            }
        }
        let mut hits = Vec::new();
        if values.is_empty() {
            return hits;
        }
        find_in_blobs(text, &values, &mut hits);
        if memchr::memchr(b'%', text.as_bytes()).is_some() {
            let escaped = values.iter().flat_map(|found| percent_forms(found.value).map(|form| (form, found.rule)));
            find_forms(text, escaped.collect(), &mut hits, |_| true);
        }
        let is_plain =
            |found: &&FoundValue<'_>| self.compiled_rule(found.rule).is_some_and(|rule| is_carried(rule, found.value));
        let plain = values.iter().filter(is_plain).map(|found| (found.value.to_owned(), found.rule));
        find_forms(text, plain.collect(), &mut hits, |range| is_delimited(text, range));
        hits.retain(|hit| {
            let next = placeholders.partition_point(|placeholder| placeholder.end <= hit.range.start);
            placeholders.get(next).is_none_or(|placeholder| placeholder.start >= hit.range.end)
        });
        hits
    }
}

/// Finds the longest of `forms` at each position.
pub(super) fn find_forms(
    text: &str,
    mut forms: Vec<(String, u16)>,
    hits: &mut Vec<RedactionHit>,
    is_allowed: impl Fn(&Range<usize>) -> bool,
) {
    forms.sort_by_key(|(form, _)| std::cmp::Reverse(form.len()));
    // The longest form that is allowed, from the first on that may be here
    let mut add_at = |first: usize, start: usize| {
        let ranges = forms.iter().skip(first).map(|(form, rule)| (form, start..start + form.len(), *rule));
        let longest =
            ranges.into_iter().find(|(form, range, _)| text.get(range.clone()) == Some(form) && is_allowed(range));
        hits.extend(longest.map(|(_, range, rule)| RedactionHit { range, rule, added_quotes: None }));
    };
    let words = || forms.iter().map(|(form, _)| form);
    let build = || Config::new().match_kind(MatchKind::LeftmostFirst).builder().extend(words()).build();
    if let Some(searcher) = if forms.len() > MAX_SEPARATE { build() } else { None } {
        let mut from = 0;
        while let Some(found) = searcher.find_in(text, Span::from(from..text.len())) {
            add_at(found.pattern().as_usize(), found.start());
            from = found.start() + 1;
        }
        return;
    }
    for (index, form) in words().enumerate() {
        memchr::memmem::find_iter(text.as_bytes(), form).for_each(|start| add_at(index, start));
    }
}

/// A value with percent escapes for all bytes, and for those that need them, if any does.
fn percent_forms(value: &str) -> impl Iterator<Item = String> {
    let escape = |is_kept: fn(u8) -> bool| -> String {
        let one = |byte: u8| if is_kept(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        value.bytes().map(one).collect()
    };
    let forms = [escape(|_| false), escape(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))];
    forms.into_iter().filter(move |form| form != value)
}

/// Finds blobs of base64 and hex that contain a value; the whole blob is a hit.
fn find_in_blobs(text: &str, values: &[FoundValue<'_>], hits: &mut Vec<RedactionHit>) {
    let bytes = text.as_bytes();
    let (mut at, mut previous_end) = (MIN_BLOB - 1, 0);
    // Reading every eleventh byte finds every blob that is long enough
    while let Some(byte) = bytes.get(at) {
        if !IN_BLOB.contains(*byte) {
            at += MIN_BLOB;
            continue;
        }
        let start = at - IN_BLOB.count_trailing(bytes.get(previous_end..at).unwrap_or_default());
        let end = at + IN_BLOB.count_leading(bytes.get(at..).unwrap_or_default());
        (at, previous_end) = (end + MIN_BLOB, end);
        let blob = bytes.get(start..end).filter(|blob| blob.len() >= MIN_BLOB).unwrap_or_default();
        if let Some(rule) = rule_of_value_in_blob(blob, values) {
            let padding = bytes.get(end..).unwrap_or_default().iter().take(2).take_while(|byte| **byte == b'=').count();
            hits.push(RedactionHit { range: start..end + padding, rule, added_quotes: None });
        }
    }
}

/// Returns the rule of the value that a blob contains, if any; other text may be joined to its start.
fn rule_of_value_in_blob(blob: &[u8], values: &[FoundValue<'_>]) -> Option<u16> {
    let rule_in = |decoded: Vec<u8>| {
        let is_in = |found: &&FoundValue<'_>| memchr::memmem::find(&decoded, found.value.as_bytes()).is_some();
        values.iter().find(is_in).map(|found| found.rule)
    };
    let starts = std::iter::once(0)
        .chain(memchr::memchr3_iter(b'/', b'-', b'_', blob.get(..24).unwrap_or(blob)).map(|at| at + 1));
    let mut base64 = starts
        .filter_map(|from| blob.get(from..))
        .filter(|rest| rest.first_chunk().is_some_and(|head: &[u8; 8]| is_text(base64_bytes(head))));
    let is_hex = || blob.len().is_multiple_of(2) && blob.iter().all(u8::is_ascii_hexdigit);
    let is_hex_text = || blob.first_chunk().is_some_and(|head: &[u8; 12]| is_hex() && is_text(hex_bytes(head)));
    let in_hex = || if is_hex_text() { rule_in(decode_hex(blob)) } else { None };
    base64.find_map(|rest| rule_in(decode_base64(rest))).or_else(in_hex)
}

/// Whether decoded bytes are text but for one; words decode to others.
fn is_text(head: impl Iterator<Item = u8>) -> bool {
    head.filter(|byte| !matches!(byte, b' '..=b'~')).nth(1).is_none()
}

/// Whether a value found by `rule` is searched elsewhere in plain form: further occurrences do not have the key or word
/// by which it was found.
pub(super) fn is_carried(rule: &CompiledRule, value: &str) -> bool {
    let is_found_by_context = matches!(rule.class, RuleClass::Key | RuleClass::Cued)
        || rule.class == RuleClass::Secret && rule.family.is_some();
    LENGTHS.contains(&value.len()) && is_found_by_context && is_distinct(value)
}

/// Whether a value could hardly mean anything else: it has digits and is not a word, a short number or a version.
fn is_distinct(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let is_number =
        digits >= LENGTHS.start && value.bytes().all(|byte| byte.is_ascii_digit() || b" -./()+".contains(&byte));
    // Tables and dumps are full of zeros and the like
    if is_number && is_one_digit(value) {
        return false;
    }
    is_number || (digits > 0 && !is_words(value.as_bytes())) || (digits > 0 && value.len() > 10 && value.contains(' '))
}

/// Whether no word continues on either side of a range.
pub(super) fn is_delimited(text: &str, range: &Range<usize>) -> bool {
    let continues_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (before, rest) = text.split_at_checked(range.start).unwrap_or_default();
    let (found, after) = rest.split_at_checked(range.len()).unwrap_or_default();
    let is_after_escape =
        before.ends_with(['n', 't', 'r']) && before.get(..before.len() - 1).is_some_and(|b| b.ends_with('\\'));
    (is_after_escape || !continues_word(before.chars().next_back()) || !continues_word(found.chars().next()))
        && (!continues_word(after.chars().next()) || !continues_word(found.chars().next_back()))
}
