//! Finds further occurrences of a found value in the same text. Values that were found by a word or key are searched as
//! they are: a log line says `password=…` once and repeats the bare value in the next command. All values are searched
//! in base64, hex and percent-encoded form, because short blobs are not decoded otherwise. Values have at least eight
//! bytes, and those searched as they are must not be plain words. Their number is bounded, the search is linear, and
//! texts without findings cost nothing. Names are in `names/name_carry`, longer blobs in `views`.

use std::cell::OnceCell;
use std::ops::Range;

use super::detector::{CompiledRule, Detector};
use super::resolve::RedactionHit;
use super::rule::{RuleClass, RuleFamily};
use super::secrets::word_score::is_words;
use super::sets::ByteSet;
use super::validate::phones::is_one_digit;
use super::views::blobs::{decode_base64, decode_base64_head, decode_hex, hex_bytes};
use super::views::percent::encoded_byte_at as percent_byte;

/// Length of values that are searched, in bytes.
const LENGTHS: Range<usize> = 8..257;
/// Most values searched in plain form.
const MAX_PLAIN: usize = 64;
/// Most values searched in encoded forms.
const MAX_ENCODED: usize = 512;
/// Length of the shortest blob: eight bytes in base64.
const MIN_BLOB: usize = 11;
/// Most bytes on each side of an escape that are decoded with it.
const REACH: usize = 512;

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
        let found_value =
            |hit: &RedactionHit| FoundValue { value: text.get(hit.range.clone()).unwrap_or_default(), rule: hit.rule };
        let is_plain_searched =
            |found: &FoundValue<'_>| self.compiled_rule(found.rule).is_some_and(|rule| is_carried(rule, found.value));
        let mut plain: Vec<FoundValue<'_>> =
            hits.iter().map(found_value).filter(is_plain_searched).take(MAX_PLAIN).collect();
        plain.sort_unstable_by_key(|found| (found.value, found.rule));
        plain.dedup_by_key(|found| found.value);
        let has_searched_length = |found: &FoundValue<'_>| LENGTHS.contains(&found.value.len());
        let mut repeated =
            self.find_values(text, placeholders, &plain, hits.iter().map(found_value).filter(has_searched_length));
        // Most values are found only at their known position, which adds nothing
        let (mut next, mut last_start) = (0, 0);
        repeated.retain(|again| {
            // Each form of the values is in order
            next = if again.range.start < last_start { 0 } else { next };
            last_start = again.range.start;
            while hits.get(next).is_some_and(|hit| hit.range.start < last_start) {
                next += 1;
            }
            hits.get(next).is_none_or(|hit| hit.range != again.range || hit.rule != again.rule)
        });
        repeated
    }

    /// Finds `plain` values (distinct, sorted) as they are, and `encoded` ones in base64, hex or percent-encoded form.
    pub(super) fn find_values<'t>(
        &self,
        text: &str,
        placeholders: &[Range<usize>],
        plain: &[FoundValue<'t>],
        encoded: impl Iterator<Item = FoundValue<'t>> + Clone,
    ) -> Vec<RedactionHit> {
        let mut repeated = Vec::new();
        if !plain.is_empty() {
            find_plain(text, plain, &mut repeated);
        }
        if encoded.clone().next().is_some() {
            let needles = EncodedNeedles::new(encoded.take(MAX_ENCODED));
            find_in_blobs(text, &needles, &mut repeated);
            find_in_percent_encoding(text, &needles, &mut repeated);
        }
        let first_ending_after =
            |at: usize| placeholders.get(placeholders.partition_point(|placeholder| placeholder.end <= at));
        repeated.retain(|hit| {
            first_ending_after(hit.range.start).is_none_or(|placeholder| placeholder.start >= hit.range.end)
        });
        repeated
    }
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
    is_number || (digits > 0 && !is_words(value.as_bytes())) || (digits > 0 && value.len() > 10 && value.contains(' '))
}

fn find_plain(text: &str, found_values: &[FoundValue<'_>], hits: &mut Vec<RedactionHit>) {
    let index = ValueIndex::new(found_values);
    let bytes = text.as_bytes();
    // Only every fifth position is read: the first eight bytes of a value contain a whole stretch at one of them
    let mut next_at = 0;
    while let Some(stretch) = bytes.get(next_at..).and_then(first_stretch) {
        let at = next_at;
        next_at += STEP;
        if !index.stretches.may_contain(stretch) {
            continue;
        }
        for start in at.saturating_sub(STEP - 1)..=at {
            let rest = bytes.get(start..).unwrap_or_default();
            let matches_here = |found: &&FoundValue<'_>| {
                rest.starts_with(found.value.as_bytes()) && is_delimited(text, &(start..start + found.value.len()))
            };
            // The longest match comes first
            if let Some(found) = index.candidates(found_values, rest).find(matches_here) {
                hits.push(RedactionHit {
                    range: start..start + found.value.len(),
                    rule: found.rule,
                    added_quotes: None,
                });
            }
        }
    }
}

/// Length of a stretch (bytes by which a value is found), and the distance of the positions read. A value's first eight
/// bytes contain a stretch at each of [`STEP`] offsets.
const STRETCH: usize = 4;
const STEP: usize = 5;

/// The first eight bytes as a number; numbers sort like texts.
fn first_eight_bytes(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|head| u64::from_be_bytes(*head))
}

/// A one-hash Bloom filter of numbers.
struct HashFilter<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> HashFilter<WORDS> {
    fn from_numbers(numbers: impl Iterator<Item = u64>) -> Self {
        let mut bits = [0; WORDS];
        for (word, bit) in numbers.map(Self::bit_position) {
            bits.get_mut(word).into_iter().for_each(|word| *word |= 1 << bit);
        }
        Self(bits)
    }

    /// The word and bit of a number, from the top bits of its hash.
    fn bit_position(number: u64) -> (usize, u64) {
        let hash = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((hash >> 48) as usize % WORDS, hash >> 42 & 63)
    }

    fn may_contain(&self, number: u64) -> bool {
        let (word, bit) = Self::bit_position(number);
        self.0.get(word).is_some_and(|word| word >> bit & 1 == 1)
    }
}

/// Index of sorted values by their first bytes.
struct ValueIndex {
    /// The stretches in the first eight bytes of the values.
    stretches: HashFilter<256>,
    /// The first eight bytes of the values.
    head_filter: HashFilter<64>,
    heads: Vec<u64>,
    /// For each value, the longest other one that it starts with.
    shorter: Vec<Option<usize>>,
}

impl ValueIndex {
    fn new(found_values: &[FoundValue<'_>]) -> Self {
        let values = || found_values.iter().map(|found| found.value.as_bytes());
        let heads: Vec<u64> = values().map(|value| first_eight_bytes(value).unwrap_or_default()).collect();
        let stretches = HashFilter::from_numbers(
            values().flat_map(|value| value.windows(STRETCH).take(STEP)).filter_map(first_stretch),
        );
        let mut shorter: Vec<Option<usize>> = Vec::with_capacity(found_values.len());
        for (index, found) in found_values.iter().enumerate() {
            let mut earlier = std::iter::successors(index.checked_sub(1), |last| shorter.get(*last).copied().flatten());
            let is_prefix = |earlier: &usize| {
                found_values.get(*earlier).is_some_and(|earlier| found.value.starts_with(earlier.value))
            };
            let prefix = earlier.find(is_prefix);
            shorter.push(prefix);
        }
        Self { stretches, head_filter: HashFilter::from_numbers(heads.iter().copied()), heads, shorter }
    }

    /// Returns the values that `rest` may start with, longest first: among those with the same first eight bytes the
    /// last one not sorted after `rest`, then its prefixes.
    fn candidates<'s, 't>(
        &'s self,
        found_values: &'s [FoundValue<'t>],
        rest: &[u8],
    ) -> impl Iterator<Item = &'s FoundValue<'t>> {
        let last = first_eight_bytes(rest)
            .filter(|head| self.head_filter.may_contain(*head))
            .and_then(|head| self.last_candidate(found_values, head, rest));
        let indices = std::iter::successors(last, |last| self.shorter.get(*last).copied().flatten());
        indices.filter_map(|index| found_values.get(index))
    }

    fn last_candidate(&self, found_values: &[FoundValue<'_>], head: u64, rest: &[u8]) -> Option<usize> {
        let first = self.heads.partition_point(|known| *known < head);
        let alike_count = self.heads.iter().skip(first).take_while(|known| **known == head).count();
        let alike = found_values.get(first..first + alike_count)?;
        let candidate_count = match alike {
            // The caller compares the whole value anyway
            [_] => 1,
            _ => alike.partition_point(|found| found.value.as_bytes() <= rest),
        };
        candidate_count.checked_sub(1).map(|last| first + last)
    }
}

/// The first [`STRETCH`] bytes as a number.
fn first_stretch(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk::<STRETCH>().map(|stretch| u64::from(u32::from_le_bytes(*stretch)))
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

/// Values searched in decoded blobs and escapes.
struct EncodedNeedles<'t, I> {
    values: I,
    /// First eight bytes of the values; most texts contain none.
    head_filter: HashFilter<64>,
    /// Sorted values, none of which starts with another. So at most one matches at a position, and a binary search
    /// finds it even among very similar values.
    sorted: OnceCell<Vec<(u64, FoundValue<'t>)>>,
}

impl<'t, I: Iterator<Item = FoundValue<'t>> + Clone> EncodedNeedles<'t, I> {
    fn new(values: I) -> Self {
        let head_filter =
            HashFilter::from_numbers(values.clone().filter_map(|found| first_eight_bytes(found.value.as_bytes())));
        Self { values, head_filter, sorted: OnceCell::new() }
    }

    fn sorted(&self) -> &[(u64, FoundValue<'t>)] {
        self.sorted.get_or_init(|| {
            let with_head = |found: FoundValue<'t>| Some((first_eight_bytes(found.value.as_bytes())?, found));
            let mut list: Vec<_> = self.values.clone().filter_map(with_head).collect();
            list.sort_unstable_by_key(|(head, found)| (*head, found.value, found.rule));
            // A value that starts with another is found through that
            list.dedup_by(|(_, later), (_, kept)| later.value.starts_with(kept.value));
            list
        })
    }

    /// Returns the first occurrence of any value in `bytes`.
    fn find(&self, bytes: &[u8]) -> Option<(Range<usize>, u16)> {
        bytes.windows(8).enumerate().find_map(|(at, window)| {
            let window = first_eight_bytes(window).filter(|window| self.head_filter.may_contain(*window))?;
            let list = self.sorted();
            let first = list.partition_point(|(head, _)| *head < window);
            list.get(first).filter(|(head, _)| *head == window)?;
            // No other value can sort between a value and a text that starts with it
            let rest = bytes.get(at..)?;
            let next = list.partition_point(|(_, found)| found.value.as_bytes() <= rest);
            let (_, found) = list.get(next.checked_sub(1)?)?;
            rest.starts_with(found.value.as_bytes()).then(|| (at..at + found.value.len(), found.rule))
        })
    }
}

/// The base64 alphabets.
static IN_BLOB: ByteSet = ByteSet::new(b"+/-_").and_alnum();

/// Finds blobs of base64 and hex that contain a value; the whole blob is a hit.
fn find_in_blobs<'t>(
    text: &str,
    needles: &EncodedNeedles<'t, impl Iterator<Item = FoundValue<'t>> + Clone>,
    hits: &mut Vec<RedactionHit>,
) {
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
        let blob = bytes.get(start..end).unwrap_or_default();
        if blob.len() < MIN_BLOB {
            (at, previous_end) = (end + MIN_BLOB, end);
            continue;
        }
        // A whole blob has to follow each joint
        let after_joint = |(at, byte): (usize, &u8)| matches!(byte, b'/' | b'-' | b'_').then_some(at + 1);
        let mut joints = blob.iter().take(24.min(blob.len() - MIN_BLOB)).enumerate().filter_map(after_joint);
        let blob_from = |from: usize| Some((from, rule_of_value_in_blob(blob.get(from..)?, needles)?));
        if let Some((from, rule)) = blob_from(0).or_else(|| joints.find_map(blob_from)) {
            let padding = bytes.get(end..).unwrap_or_default().iter().take(2).take_while(|byte| **byte == b'=').count();
            hits.push(RedactionHit { range: start + from..end + padding, rule, added_quotes: None });
        }
        (at, previous_end) = (end + MIN_BLOB, end);
    }
}

/// Returns the rule of the value that a blob contains, if any.
fn rule_of_value_in_blob<'t>(
    blob: &[u8],
    needles: &EncodedNeedles<'t, impl Iterator<Item = FoundValue<'t>> + Clone>,
) -> Option<u16> {
    let find = |bytes: Vec<u8>| needles.find(&bytes).map(|(_, rule)| rule);
    let head = blob.first_chunk::<8>()?;
    if blob.len() >= 16
        && blob.len().is_multiple_of(2)
        && blob.iter().all(u8::is_ascii_hexdigit)
        && hex_bytes(head).all(|byte| !byte.is_ascii_control())
    {
        return find(decode_hex(blob));
    }
    // Rejects nearly all words, because they do not decode to text: at most one of the six bytes may be odd
    let first_six = decode_base64_head(*head);
    let is_odd = |byte: &&u8| !byte.is_ascii_graphic() && **byte != b' ';
    let may_be_text = (first_six & 0x8080_8080_8080).count_ones() < 2
        && first_six.to_be_bytes().get(2..).unwrap_or_default().iter().filter(is_odd).count() < 2;
    (blob.len() >= MIN_BLOB && may_be_text).then(|| find(decode_base64(blob)))?
}

/// Finds percent-encoded parts that contain a value; only the value is a hit.
fn find_in_percent_encoding<'t>(
    text: &str,
    needles: &EncodedNeedles<'t, impl Iterator<Item = FoundValue<'t>> + Clone>,
    hits: &mut Vec<RedactionHit>,
) {
    let bytes = text.as_bytes();
    let mut previous_end = 0;
    for escape in memchr::memchr_iter(b'%', bytes) {
        if escape < previous_end || percent_byte(bytes, escape).is_none() {
            continue;
        }
        let is_part = |byte: &&u8| byte.is_ascii_graphic() && !b"\"'<>&`".contains(byte);
        let before = bytes.get(previous_end.max(escape.saturating_sub(REACH))..escape).unwrap_or_default();
        let mut at = escape - before.iter().rev().take_while(is_part).count();
        let end = escape + bytes.get(escape..).unwrap_or_default().iter().take(REACH).take_while(is_part).count();
        let (mut decoded_bytes, mut positions) = (Vec::new(), Vec::new());
        while let Some(byte) = bytes.get(at).filter(|_| at < end) {
            let decoded = percent_byte(bytes, at);
            decoded_bytes.push(decoded.unwrap_or(*byte));
            positions.push(at);
            at += if decoded.is_some() { 3 } else { 1 };
        }
        positions.push(at);
        let mut from = 0;
        while let Some((range, rule)) = decoded_bytes.get(from..).and_then(|rest| needles.find(rest)) {
            let position = |index: usize| positions.get(from + index).copied().unwrap_or(at);
            hits.push(RedactionHit { range: position(range.start)..position(range.end), rule, added_quotes: None });
            from += range.end;
        }
        previous_end = end;
    }
}
