//! Finds further occurrences of a found value in the same text. Values that were found by a word or key are searched as
//! they are: a log line says `password=…` once and repeats the bare value in the next command. All values are searched
//! in base64, hex and percent-encoded form, because short blobs are not decoded otherwise. Values have at least eight
//! bytes, and those searched as they are must not be plain words. Their number is bounded, the search is linear, and
//! texts without findings cost nothing. Names are in `names/name_carry`, longer blobs in `views`.

use std::ops::Range;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::detector::{CompiledRule, Detector};
use super::resolve::RedactionHit;
use super::rule::{RuleClass, RuleFamily};
use super::secrets::value_checks::is_wordlike;
use super::sets::ByteSet;
use super::validate::phones::is_one_digit;

/// Length of values that are searched, in bytes.
const LENGTHS: Range<usize> = 8..257;
/// Most values that are searched.
const MAX_VALUES: usize = 64;
/// Up to so many bytes of a text, times forms of values, are searched form by form: building a searcher would cost more.
const MAX_SEPARATE: usize = 256 << 10;
/// The base64 alphabets.
static IN_BLOB: ByteSet = ByteSet::new(b"+/-_").and_alnum();

/// A value that was found, and the rule that found it.
#[derive(Clone, Copy)]
pub(super) struct FoundValue<'t> {
    pub(super) value: &'t str,
    pub(super) rule: u16,
}

/// A form in which a value is searched.
struct SearchedForm {
    bytes: Vec<u8>,
    kind: FormKind,
    rule: u16,
}

/// How a form is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FormKind {
    /// As it is; no word may continue on either side.
    Plain,
    /// With percent escapes.
    Percent,
    /// In base64 or hex: the whole blob that contains it is a hit.
    Blob,
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
            if values.len() < MAX_VALUES && !values.iter().any(|known| known.value == found.value) {
                values.push(found);
            }
        }
        let is_plain =
            |found: &FoundValue<'_>| self.compiled_rule(found.rule).is_some_and(|rule| is_carried(rule, found.value));
        let forms: Vec<SearchedForm> = values.iter().flat_map(|found| forms_of(found, is_plain(found))).collect();
        let mut hits = Vec::new();
        let mut add = |form: &SearchedForm, start: usize| {
            let range = start..start + form.bytes.len();
            let range = if form.kind == FormKind::Blob { blob_around(text.as_bytes(), range) } else { range };
            let next = placeholders.get(placeholders.partition_point(|placeholder| placeholder.end <= range.start));
            if (form.kind != FormKind::Plain || is_delimited(text, &range))
                && next.is_none_or(|placeholder| placeholder.start >= range.end)
            {
                hits.push(RedactionHit { range, rule: form.rule, added_quotes: None });
            }
        };
        let searcher = if forms.len() * text.len() > MAX_SEPARATE { searcher_of(&forms) } else { None };
        match searcher {
            Some(searcher) => searcher.find_overlapping_iter(text).for_each(|found| {
                forms.get(found.pattern().as_usize()).into_iter().for_each(|form| add(form, found.start()));
            }),
            None => forms.iter().for_each(|form| {
                memchr::memmem::find_iter(text.as_bytes(), &form.bytes).for_each(|start| add(form, start));
            }),
        }
        hits
    }
}

fn searcher_of(forms: &[SearchedForm]) -> Option<AhoCorasick> {
    AhoCorasick::new(forms.iter().map(|form| &form.bytes)).ok()
}

/// The forms in which a value is searched; `is_plain`: also as it is.
fn forms_of(found: &FoundValue<'_>, is_plain: bool) -> impl Iterator<Item = SearchedForm> {
    let (value, rule) = (found.value.as_bytes(), found.rule);
    let hex = |digits: &[u8; 16]| -> Vec<u8> {
        let digit = |value: u8| digits.get(usize::from(value)).copied().unwrap_or_default();
        value.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    };
    let upper = hex(b"0123456789ABCDEF");
    // With escapes for all bytes, or only for those that need them
    let percent = |is_kept: fn(u8) -> bool| -> Vec<u8> {
        let mut out = Vec::with_capacity(3 * value.len());
        for (byte, [first, second]) in value.iter().zip(upper.as_chunks::<2>().0) {
            if is_kept(*byte) { out.push(*byte) } else { out.extend([b'%', *first, *second]) }
        }
        out
    };
    let percents = [percent(|_| false), percent(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))];
    let mut forms = vec![(FormKind::Blob, hex(b"0123456789abcdef")), (FormKind::Blob, upper.clone())];
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        // The value may begin at each of three offsets in a group; letters that its neighbours change do not count
        for offset in 0..3 {
            let blob = engine.encode([&[0; 3][..offset], value].concat()).into_bytes();
            let changed = if offset == 0 { 0 } else { offset + 1 };
            let form = blob.get(changed..(offset + value.len()) * 8 / 6).unwrap_or_default().to_vec();
            if !forms.iter().any(|(_, known)| *known == form) {
                forms.push((FormKind::Blob, form));
            }
        }
    }
    forms.extend(percents.into_iter().filter(|form| form != value).map(|form| (FormKind::Percent, form)));
    if is_plain {
        forms.push((FormKind::Plain, value.to_vec()));
    }
    forms.into_iter().map(move |(kind, bytes)| SearchedForm { bytes, kind, rule })
}

/// The whole blob around a part of it, with its padding.
fn blob_around(text: &[u8], part: Range<usize>) -> Range<usize> {
    let (before, rest) = text.split_at_checked(part.start).unwrap_or_default();
    let (blob, padding) = rest.split_at(IN_BLOB.count_leading(rest));
    let padding = padding.iter().take(2).take_while(|byte| **byte == b'=').count();
    part.start - IN_BLOB.count_trailing(before)..part.start + blob.len() + padding
}

/// Whether a value found by `rule` is searched elsewhere in plain form.
pub(super) fn is_carried(rule: &CompiledRule, value: &str) -> bool {
    LENGTHS.contains(&value.len()) && is_found_by_context(rule) && is_distinct(value)
}

/// Whether a rule finds values by their surroundings, which a further occurrence does not have.
fn is_found_by_context(rule: &CompiledRule) -> bool {
    let is_secret = matches!(
        rule.family,
        Some(
            RuleFamily::Password
                | RuleFamily::SecretValue
                | RuleFamily::HeaderCredentials
                | RuleFamily::BasicCredentials
                | RuleFamily::AwsSecret
                | RuleFamily::AzureKey
                | RuleFamily::ProviderValue
                | RuleFamily::KeyBlock
        )
    );
    is_secret || matches!(rule.class, RuleClass::Key | RuleClass::Cued)
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
    is_number
        || (digits > 0 && !is_wordlike(value.as_bytes()))
        || (digits > 0 && value.len() > 10 && value.contains(' '))
}

/// Whether no word continues on either side of a range.
fn is_delimited(text: &str, range: &Range<usize>) -> bool {
    let continues_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (before, rest) = text.split_at_checked(range.start).unwrap_or_default();
    let (found, after) = rest.split_at_checked(range.len()).unwrap_or_default();
    let is_after_escape =
        before.ends_with(['n', 't', 'r']) && before.get(..before.len() - 1).is_some_and(|b| b.ends_with('\\'));
    (is_after_escape || !continues_word(before.chars().next_back()) || !continues_word(found.chars().next()))
        && (!continues_word(after.chars().next()) || !continues_word(found.chars().next_back()))
}
