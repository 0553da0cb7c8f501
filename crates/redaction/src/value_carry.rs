//! Finds further occurrences of a found value in the same text. Values that were found by a word or key are searched as
//! they are: a log line says `password=…` once and repeats the bare value in the next command. All values are searched
//! in base64, hex and percent-encoded form, because short blobs are not decoded otherwise. Values have at least eight
//! bytes, and those searched as they are must not be plain words. Their number is bounded, the search is linear, and
//! texts without findings cost nothing. Names are in `names/carry`, longer blobs in `views`.

use std::cell::OnceCell;
use std::ops::Range;

use super::detector::{CompiledRule, Detector};
use super::resolve::RedactionHit;
use super::rule::{RuleClass, RuleFamily};
use super::secrets::value_checks::is_wordlike;
use super::sets::ByteSet;
use super::validate::phones::is_one_digit;
use super::views::blobs::{decode_base64, decode_base64_head, decode_hex, hex_bytes};
use super::views::percent::encoded_byte_at as percent_byte;

/// Length of values that are searched, in bytes.
const LENGTH: Range<usize> = 8..257;
/// Most values searched in plain form.
const MOST: usize = 64;
/// Most values searched in encoded forms.
const MOST_CODED: usize = 512;
/// Shortest blob: eight bytes of base64.
const BLOB: usize = 11;
/// Most bytes around an escape that are decoded with it.
const AROUND: usize = 512;

/// A value that was found, and the rule that found it.
#[derive(Clone, Copy)]
pub(super) struct FoundValue<'t> {
    pub(super) value: &'t str,
    pub(super) rule: usize,
}

impl Detector {
    /// Returns further occurrences of the `hits` of `text`, which are in order and do not overlap.
    pub(super) fn find_repeated_values(
        &self,
        text: &str,
        reserved: &[Range<usize>],
        hits: &[RedactionHit],
    ) -> Vec<RedactionHit> {
        let found =
            |hit: &RedactionHit| FoundValue { value: text.get(hit.range.clone()).unwrap_or_default(), rule: hit.rule };
        let told = |seed: &FoundValue<'_>| self.rules.get(seed.rule).is_some_and(|rule| is_carried(rule, seed.value));
        let mut plain: Vec<FoundValue<'_>> = hits.iter().map(found).filter(told).take(MOST).collect();
        plain.sort_unstable_by_key(|seed| (seed.value, seed.rule));
        plain.dedup_by_key(|seed| seed.value);
        let usable = |seed: &FoundValue<'_>| LENGTH.contains(&seed.value.len());
        let mut out = self.find_values(text, reserved, &plain, hits.iter().map(found).filter(usable));
        // Most values are found only at their known position, which adds nothing
        let (mut next, mut last) = (0, 0);
        out.retain(|again| {
            // Each form of the values is in order
            next = if again.range.start < last { 0 } else { next };
            last = again.range.start;
            while hits.get(next).is_some_and(|hit| hit.range.start < last) {
                next += 1;
            }
            hits.get(next).is_none_or(|hit| hit.range != again.range || hit.rule != again.rule)
        });
        out
    }

    /// Finds `plain` values (distinct) as they are, and `coded` values in base64, hex or percent-encoded form.
    pub(super) fn find_values<'t>(
        &self,
        text: &str,
        reserved: &[Range<usize>],
        plain: &[FoundValue<'t>],
        coded: impl Iterator<Item = FoundValue<'t>> + Clone,
    ) -> Vec<RedactionHit> {
        let mut out = Vec::new();
        if !plain.is_empty() {
            find_plain(text, plain, &mut out);
        }
        if coded.clone().next().is_some() {
            let needles = EncodedNeedles::new(coded.take(MOST_CODED));
            find_in_blobs(text, &needles, &mut out);
            find_in_percent_encoding(text, &needles, &mut out);
        }
        let first_behind = |at: usize| reserved.get(reserved.partition_point(|held| held.end <= at));
        out.retain(|hit| first_behind(hit.range.start).is_none_or(|held| held.start >= hit.range.end));
        out
    }
}

/// Whether a value found by `rule` is searched elsewhere in plain form.
pub(super) fn is_carried(rule: &CompiledRule, value: &str) -> bool {
    LENGTH.contains(&value.len()) && is_found_by_context(rule) && is_distinct(value)
}

/// Whether a rule finds values by their surroundings, which a further occurrence does not have.
fn is_found_by_context(rule: &CompiledRule) -> bool {
    let secret = matches!(
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
    secret || matches!(rule.class, RuleClass::Key | RuleClass::Cued)
}

/// Whether a value could hardly mean anything else: it has digits and is not a word, a short number or a version.
fn is_distinct(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let number =
        digits >= LENGTH.start && value.bytes().all(|byte| byte.is_ascii_digit() || b" -./()+".contains(&byte));
    // Tables and dumps are full of zeros and the like
    if number && is_one_digit(value) {
        return false;
    }
    number || (digits > 0 && !is_wordlike(value.as_bytes())) || (digits > 0 && value.len() > 10 && value.contains(' '))
}

fn find_plain(text: &str, seeds: &[FoundValue<'_>], out: &mut Vec<RedactionHit>) {
    let places = ValueIndex::new(seeds);
    let bytes = text.as_bytes();
    // Only every fifth position is read: a value of eight bytes or more has a whole stretch at one of them
    let mut next = 0;
    while let Some(here) = bytes.get(next..).and_then(first_stretch) {
        let at = next;
        next += STEP;
        if !places.stretches.may_contain(here) {
            continue;
        }
        for start in at.saturating_sub(STEP - 1)..=at {
            let rest = bytes.get(start..).unwrap_or_default();
            let fits = |seed: &&FoundValue<'_>| {
                rest.starts_with(seed.value.as_bytes()) && is_delimited(text, &(start..start + seed.value.len()))
            };
            // The longest match comes first
            if let Some(seed) = places.candidates(seeds, rest).find(fits) {
                out.push(RedactionHit { range: start..start + seed.value.len(), rule: seed.rule, added_quotes: None });
            }
        }
    }
}

/// Length of the stretches by which a value is found, and the distance of the positions read. A value's first eight
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
    /// The stretches in the first eight bytes of the values, and their first eight bytes.
    stretches: HashFilter<256>,
    head_filter: HashFilter<64>,
    heads: Vec<u64>,
    /// For each value, the longest other one that it starts with.
    shorter: Vec<Option<usize>>,
}

impl ValueIndex {
    fn new(seeds: &[FoundValue<'_>]) -> Self {
        let values = || seeds.iter().map(|seed| seed.value.as_bytes());
        let heads: Vec<u64> = values().map(|value| first_eight_bytes(value).unwrap_or_default()).collect();
        let stretches = HashFilter::from_numbers(
            values().flat_map(|value| value.windows(STRETCH).take(STEP)).filter_map(first_stretch),
        );
        let mut shorter: Vec<Option<usize>> = Vec::with_capacity(seeds.len());
        for (index, seed) in seeds.iter().enumerate() {
            let above = std::iter::successors(index.checked_sub(1), |above| shorter.get(*above).copied().flatten());
            let begins = |above: &usize| seeds.get(*above).is_some_and(|above| seed.value.starts_with(above.value));
            let found = { above }.find(begins);
            shorter.push(found);
        }
        Self { stretches, head_filter: HashFilter::from_numbers(heads.iter().copied()), heads, shorter }
    }

    /// Returns the values that `rest` may start with, longest first: among those with the same first eight bytes the
    /// last one not sorted after `rest`, then its prefixes.
    fn candidates<'s, 't>(
        &'s self,
        seeds: &'s [FoundValue<'t>],
        rest: &[u8],
    ) -> impl Iterator<Item = &'s FoundValue<'t>> {
        let last = first_eight_bytes(rest)
            .filter(|head| self.head_filter.may_contain(*head))
            .and_then(|head| self.last_candidate(seeds, head, rest));
        let all = std::iter::successors(last, |last| self.shorter.get(*last).copied().flatten());
        all.filter_map(|index| seeds.get(index))
    }

    fn last_candidate(&self, seeds: &[FoundValue<'_>], head: u64, rest: &[u8]) -> Option<usize> {
        let first = self.heads.partition_point(|known| *known < head);
        let alike = self.heads.iter().skip(first).take_while(|known| **known == head).count();
        let alike = seeds.get(first..first + alike)?;
        let upto = match alike {
            // The caller compares the whole value anyway
            [_] => 1,
            _ => alike.partition_point(|seed| seed.value.as_bytes() <= rest),
        };
        upto.checked_sub(1).map(|last| first + last)
    }
}

/// The first [`STRETCH`] bytes as a number.
fn first_stretch(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk::<STRETCH>().map(|stretch| u64::from(u32::from_le_bytes(*stretch)))
}

/// Whether no word continues on either side of a range.
fn is_delimited(text: &str, range: &Range<usize>) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (before, rest) = text.split_at_checked(range.start).unwrap_or_default();
    let (found, behind) = rest.split_at_checked(range.len()).unwrap_or_default();
    let escaped =
        before.ends_with(['n', 't', 'r']) && before.get(..before.len() - 1).is_some_and(|b| b.ends_with('\\'));
    (escaped || !part(before.chars().next_back()) || !part(found.chars().next()))
        && (!part(behind.chars().next()) || !part(found.chars().next_back()))
}

/// Values searched in decoded blobs and escapes.
struct EncodedNeedles<'t, I> {
    seeds: I,
    /// First eight bytes of the values; most texts contain none.
    head_filter: HashFilter<64>,
    /// Sorted values, none of which starts with another. So at most one matches at a position, and a binary search
    /// finds it even among very similar values.
    sorted: OnceCell<Vec<(u64, FoundValue<'t>)>>,
}

impl<'t, I: Iterator<Item = FoundValue<'t>> + Clone> EncodedNeedles<'t, I> {
    fn new(seeds: I) -> Self {
        let begins =
            HashFilter::from_numbers(seeds.clone().filter_map(|seed| first_eight_bytes(seed.value.as_bytes())));
        Self { seeds, head_filter: begins, sorted: OnceCell::new() }
    }

    fn sorted(&self) -> &[(u64, FoundValue<'t>)] {
        self.sorted.get_or_init(|| {
            let begins = |seed: FoundValue<'t>| Some((first_eight_bytes(seed.value.as_bytes())?, seed));
            let mut list: Vec<_> = self.seeds.clone().filter_map(begins).collect();
            list.sort_unstable_by_key(|(head, seed)| (*head, seed.value, seed.rule));
            // A value that starts with another is found through that
            list.dedup_by(|(_, later), (_, kept)| later.value.starts_with(kept.value));
            list
        })
    }

    /// Returns the first occurrence of any value in `bytes`.
    fn find(&self, bytes: &[u8]) -> Option<(Range<usize>, usize)> {
        bytes.windows(8).enumerate().find_map(|(at, window)| {
            let window = first_eight_bytes(window).filter(|window| self.head_filter.may_contain(*window))?;
            let list = self.sorted();
            let first = list.partition_point(|(head, _)| *head < window);
            list.get(first).filter(|(head, _)| *head == window)?;
            // No other value can sort between a value and a text that starts with it
            let rest = bytes.get(at..)?;
            let behind = list.partition_point(|(_, seed)| seed.value.as_bytes() <= rest);
            let (_, seed) = list.get(behind.checked_sub(1)?)?;
            rest.starts_with(seed.value.as_bytes()).then(|| (at..at + seed.value.len(), seed.rule))
        })
    }
}

/// The base64 alphabets.
static IN_BLOB: ByteSet = ByteSet::new(b"+/-_").and_alnum();

/// Finds blobs of base64 and hex that contain a value; the whole blob is a hit.
fn find_in_blobs<'t>(
    text: &str,
    needles: &EncodedNeedles<'t, impl Iterator<Item = FoundValue<'t>> + Clone>,
    out: &mut Vec<RedactionHit>,
) {
    let bytes = text.as_bytes();
    let (mut at, mut floor) = (BLOB - 1, 0);
    // Reading every eleventh byte finds every blob that is long enough
    while let Some(byte) = bytes.get(at) {
        if !IN_BLOB.contains(*byte) {
            at += BLOB;
            continue;
        }
        let start = at - IN_BLOB.count_trailing(bytes.get(floor..at).unwrap_or_default());
        let end = at + IN_BLOB.count_leading(bytes.get(at..).unwrap_or_default());
        let blob = bytes.get(start..end).unwrap_or_default();
        if blob.len() < BLOB {
            (at, floor) = (end + BLOB, end);
            continue;
        }
        // A whole blob has to be left behind each joint
        let joint = |(at, byte): (usize, &u8)| matches!(byte, b'/' | b'-' | b'_').then_some(at + 1);
        let mut joints = blob.iter().take(24.min(blob.len() - BLOB)).enumerate().filter_map(joint);
        let behind = |from: usize| Some((from, rule_of_value_in_blob(blob.get(from..)?, needles)?));
        if let Some((from, rule)) = behind(0).or_else(|| joints.find_map(behind)) {
            let padding = bytes.get(end..).unwrap_or_default().iter().take(2).take_while(|byte| **byte == b'=').count();
            out.push(RedactionHit { range: start + from..end + padding, rule, added_quotes: None });
        }
        (at, floor) = (end + BLOB, end);
    }
}

/// Returns the rule of the value that a blob contains, if any.
fn rule_of_value_in_blob<'t>(
    blob: &[u8],
    needles: &EncodedNeedles<'t, impl Iterator<Item = FoundValue<'t>> + Clone>,
) -> Option<usize> {
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
    let six = decode_base64_head(*head);
    let odd = |byte: &&u8| !byte.is_ascii_graphic() && **byte != b' ';
    let says_text = (six & 0x8080_8080_8080).count_ones() < 2
        && six.to_be_bytes().get(2..).unwrap_or_default().iter().filter(odd).count() < 2;
    (blob.len() >= BLOB && says_text).then(|| find(decode_base64(blob)))?
}

/// Finds percent-encoded parts that contain a value; only that much of them is a hit.
fn find_in_percent_encoding<'t>(
    text: &str,
    needles: &EncodedNeedles<'t, impl Iterator<Item = FoundValue<'t>> + Clone>,
    out: &mut Vec<RedactionHit>,
) {
    let bytes = text.as_bytes();
    let mut floor = 0;
    for escape in memchr::memchr_iter(b'%', bytes) {
        if escape < floor || percent_byte(bytes, escape).is_none() {
            continue;
        }
        let inner = |byte: &&u8| byte.is_ascii_graphic() && !b"\"'<>&`".contains(byte);
        let before = bytes.get(floor.max(escape.saturating_sub(AROUND))..escape).unwrap_or_default();
        let mut at = escape - before.iter().rev().take_while(inner).count();
        let end = escape + bytes.get(escape..).unwrap_or_default().iter().take(AROUND).take_while(inner).count();
        let (mut said, mut places) = (Vec::new(), Vec::new());
        while let Some(byte) = bytes.get(at).filter(|_| at < end) {
            let decoded = percent_byte(bytes, at);
            said.push(decoded.unwrap_or(*byte));
            places.push(at);
            at += if decoded.is_some() { 3 } else { 1 };
        }
        places.push(at);
        let mut from = 0;
        while let Some((found, rule)) = said.get(from..).and_then(|rest| needles.find(rest)) {
            let place = |index: usize| places.get(from + index).copied().unwrap_or(at);
            let range = place(found.start)..place(found.end);
            from += found.end;
            out.push(RedactionHit { range, rule, added_quotes: None });
        }
        floor = end;
    }
}
