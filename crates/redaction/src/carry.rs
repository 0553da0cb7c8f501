//! Finds further occurrences of a found value in the same text. Values that were found by a word or key are searched as
//! they are: a log line says `password=…` once and repeats the bare value in the next command. All values are searched
//! in base64, hex and percent-encoded form, because short blobs are not decoded otherwise. Values have at least eight
//! bytes, and those searched as they are must not be plain words. Their number is bounded, the search is linear, and
//! texts without findings cost nothing. Names are in `names/carry`, longer blobs in `views`.

use std::cell::OnceCell;
use std::ops::Range;

use super::detector::{Detector, Rule};
use super::resolve::Hit;
use super::rule::{Class, Family};
use super::secrets::values::wordy;
use super::sets::Bytes;
use super::validate::phones::is_one_digit;
use super::views::blobs::{base64_head, from_base64, from_hex, hex_bytes};
use super::views::percent::byte_at as percent_byte;

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
pub(super) struct Seed<'t> {
    pub(super) value: &'t str,
    pub(super) rule: usize,
}

impl Detector {
    /// Returns further occurrences of the `hits` of `text`, which are in order and do not overlap.
    pub(super) fn carried(&self, text: &str, reserved: &[Range<usize>], hits: &[Hit]) -> Vec<Hit> {
        let found = |hit: &Hit| Seed { value: text.get(hit.range.clone()).unwrap_or_default(), rule: hit.rule };
        let told = |seed: &Seed<'_>| self.rules.get(seed.rule).is_some_and(|rule| is_seed(rule, seed.value));
        let mut plain: Vec<Seed<'_>> = hits.iter().map(found).filter(told).take(MOST).collect();
        plain.sort_unstable_by_key(|seed| (seed.value, seed.rule));
        plain.dedup_by_key(|seed| seed.value);
        let usable = |seed: &Seed<'_>| LENGTH.contains(&seed.value.len());
        let mut out = self.repeated(text, reserved, &plain, hits.iter().map(found).filter(usable));
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
    pub(super) fn repeated<'t>(
        &self,
        text: &str,
        reserved: &[Range<usize>],
        plain: &[Seed<'t>],
        coded: impl Iterator<Item = Seed<'t>> + Clone,
    ) -> Vec<Hit> {
        let mut out = Vec::new();
        if !plain.is_empty() {
            as_they_are(text, plain, &mut out);
        }
        if coded.clone().next().is_some() {
            let needles = Needles::of(coded.take(MOST_CODED));
            in_blobs(text, &needles, &mut out);
            in_percents(text, &needles, &mut out);
        }
        let first_behind = |at: usize| reserved.get(reserved.partition_point(|held| held.end <= at));
        out.retain(|hit| first_behind(hit.range.start).is_none_or(|held| held.start >= hit.range.end));
        out
    }
}

/// Whether a value found by `rule` is searched elsewhere in plain form.
pub(super) fn is_seed(rule: &Rule, value: &str) -> bool {
    LENGTH.contains(&value.len()) && is_told(rule) && is_distinct(value)
}

/// Whether a rule finds values by their surroundings, which a further occurrence does not have.
fn is_told(rule: &Rule) -> bool {
    let secret = matches!(
        rule.family,
        Some(
            Family::Password
                | Family::SecretValue
                | Family::HeaderCredentials
                | Family::BasicCredentials
                | Family::AwsSecret
                | Family::AzureKey
                | Family::ProviderValue
                | Family::KeyBlock
        )
    );
    secret || matches!(rule.class, Class::Key | Class::Cued)
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
    number || (digits > 0 && !wordy(value.as_bytes())) || (digits > 0 && value.len() > 10 && value.contains(' '))
}

fn as_they_are(text: &str, seeds: &[Seed<'_>], out: &mut Vec<Hit>) {
    let places = Places::of(seeds);
    let bytes = text.as_bytes();
    // Only every fifth position is read: a value of eight bytes or more has a whole stretch at one of them
    let mut next = 0;
    while let Some(here) = bytes.get(next..).and_then(stretch) {
        let at = next;
        next += STEP;
        if !places.stretches.may_have(here) {
            continue;
        }
        for start in at.saturating_sub(STEP - 1)..=at {
            let rest = bytes.get(start..).unwrap_or_default();
            let fits = |seed: &&Seed<'_>| {
                rest.starts_with(seed.value.as_bytes()) && is_apart(text, &(start..start + seed.value.len()))
            };
            // The longest match comes first
            if let Some(seed) = places.candidates(seeds, rest).find(fits) {
                out.push(Hit { range: start..start + seed.value.len(), rule: seed.rule, bare: None });
            }
        }
    }
}

/// Length of the stretches by which a value is found, and the distance of the positions read. A value's first eight
/// bytes contain a stretch at each of [`STEP`] offsets.
const STRETCH: usize = 4;
const STEP: usize = 5;

/// The first eight bytes as a number; numbers sort like texts.
fn head(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|head| u64::from_be_bytes(*head))
}

/// A one-hash Bloom filter of numbers.
struct Bits<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Bits<WORDS> {
    fn of(numbers: impl Iterator<Item = u64>) -> Self {
        let mut bits = [0; WORDS];
        for (word, bit) in numbers.map(Self::place) {
            bits.get_mut(word).into_iter().for_each(|word| *word |= 1 << bit);
        }
        Self(bits)
    }

    /// The word and bit of a number, from the top bits of its hash.
    fn place(number: u64) -> (usize, u64) {
        let hash = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((hash >> 48) as usize % WORDS, hash >> 42 & 63)
    }

    fn may_have(&self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        self.0.get(word).is_some_and(|word| word >> bit & 1 == 1)
    }
}

/// Index of sorted values by their first bytes.
struct Places {
    /// The stretches in the first eight bytes of the values, and their first eight bytes.
    stretches: Bits<256>,
    begins: Bits<64>,
    heads: Vec<u64>,
    /// For each value, the longest other one that it starts with.
    shorter: Vec<Option<usize>>,
}

impl Places {
    fn of(seeds: &[Seed<'_>]) -> Self {
        let values = || seeds.iter().map(|seed| seed.value.as_bytes());
        let heads: Vec<u64> = values().map(|value| head(value).unwrap_or_default()).collect();
        let stretches = Bits::of(values().flat_map(|value| value.windows(STRETCH).take(STEP)).filter_map(stretch));
        let mut shorter: Vec<Option<usize>> = Vec::with_capacity(seeds.len());
        for (index, seed) in seeds.iter().enumerate() {
            let above = std::iter::successors(index.checked_sub(1), |above| shorter.get(*above).copied().flatten());
            let begins = |above: &usize| seeds.get(*above).is_some_and(|above| seed.value.starts_with(above.value));
            let found = { above }.find(begins);
            shorter.push(found);
        }
        Self { stretches, begins: Bits::of(heads.iter().copied()), heads, shorter }
    }

    /// Returns the values that `rest` may start with, longest first: among those with the same first eight bytes the
    /// last one not sorted after `rest`, then its prefixes.
    fn candidates<'s, 't>(&'s self, seeds: &'s [Seed<'t>], rest: &[u8]) -> impl Iterator<Item = &'s Seed<'t>> {
        let last = head(rest).filter(|head| self.begins.may_have(*head)).and_then(|head| self.last(seeds, head, rest));
        let all = std::iter::successors(last, |last| self.shorter.get(*last).copied().flatten());
        all.filter_map(|index| seeds.get(index))
    }

    fn last(&self, seeds: &[Seed<'_>], head: u64, rest: &[u8]) -> Option<usize> {
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
fn stretch(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk::<STRETCH>().map(|stretch| u64::from(u32::from_le_bytes(*stretch)))
}

/// Whether no word continues on either side of a range.
fn is_apart(text: &str, range: &Range<usize>) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (before, rest) = text.split_at_checked(range.start).unwrap_or_default();
    let (found, behind) = rest.split_at_checked(range.len()).unwrap_or_default();
    let escaped =
        before.ends_with(['n', 't', 'r']) && before.get(..before.len() - 1).is_some_and(|b| b.ends_with('\\'));
    (escaped || !part(before.chars().next_back()) || !part(found.chars().next()))
        && (!part(behind.chars().next()) || !part(found.chars().next_back()))
}

/// Values searched in decoded blobs and escapes.
struct Needles<'t, I> {
    seeds: I,
    /// First eight bytes of the values; most texts contain none.
    begins: Bits<64>,
    /// Sorted values, none of which starts with another. So at most one matches at a position, and a binary search
    /// finds it even among very similar values.
    list: OnceCell<Vec<(u64, Seed<'t>)>>,
}

impl<'t, I: Iterator<Item = Seed<'t>> + Clone> Needles<'t, I> {
    fn of(seeds: I) -> Self {
        let begins = Bits::of(seeds.clone().filter_map(|seed| head(seed.value.as_bytes())));
        Self { seeds, begins, list: OnceCell::new() }
    }

    fn list(&self) -> &[(u64, Seed<'t>)] {
        self.list.get_or_init(|| {
            let begins = |seed: Seed<'t>| Some((head(seed.value.as_bytes())?, seed));
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
            let window = head(window).filter(|window| self.begins.may_have(*window))?;
            let list = self.list();
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
static IN_BLOB: Bytes = Bytes::of(b"+/-_").and_alnum();

/// Finds blobs of base64 and hex that contain a value; the whole blob is a hit.
fn in_blobs<'t>(text: &str, needles: &Needles<'t, impl Iterator<Item = Seed<'t>> + Clone>, out: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    let (mut at, mut floor) = (BLOB - 1, 0);
    // Reading every eleventh byte finds every blob that is long enough
    while let Some(byte) = bytes.get(at) {
        if !IN_BLOB.has(*byte) {
            at += BLOB;
            continue;
        }
        let start = at - IN_BLOB.trailing(bytes.get(floor..at).unwrap_or_default());
        let end = at + IN_BLOB.leading(bytes.get(at..).unwrap_or_default());
        let blob = bytes.get(start..end).unwrap_or_default();
        if blob.len() < BLOB {
            (at, floor) = (end + BLOB, end);
            continue;
        }
        // A whole blob has to be left behind each joint
        let joint = |(at, byte): (usize, &u8)| matches!(byte, b'/' | b'-' | b'_').then_some(at + 1);
        let mut joints = blob.iter().take(24.min(blob.len() - BLOB)).enumerate().filter_map(joint);
        let behind = |from: usize| Some((from, said(blob.get(from..)?, needles)?));
        if let Some((from, rule)) = behind(0).or_else(|| joints.find_map(behind)) {
            let padding = bytes.get(end..).unwrap_or_default().iter().take(2).take_while(|byte| **byte == b'=').count();
            out.push(Hit { range: start + from..end + padding, rule, bare: None });
        }
        (at, floor) = (end + BLOB, end);
    }
}

/// Returns the rule of the value that a blob contains, if any.
fn said<'t>(blob: &[u8], needles: &Needles<'t, impl Iterator<Item = Seed<'t>> + Clone>) -> Option<usize> {
    let find = |bytes: Vec<u8>| needles.find(&bytes).map(|(_, rule)| rule);
    let head = blob.first_chunk::<8>()?;
    if blob.len() >= 16
        && blob.len().is_multiple_of(2)
        && blob.iter().all(u8::is_ascii_hexdigit)
        && hex_bytes(head).all(|byte| !byte.is_ascii_control())
    {
        return find(from_hex(blob));
    }
    // Rejects nearly all words, because they do not decode to text: at most one of the six bytes may be odd
    let six = base64_head(*head);
    let odd = |byte: &&u8| !byte.is_ascii_graphic() && **byte != b' ';
    let says_text = (six & 0x8080_8080_8080).count_ones() < 2
        && six.to_be_bytes().get(2..).unwrap_or_default().iter().filter(odd).count() < 2;
    (blob.len() >= BLOB && says_text).then(|| find(from_base64(blob)))?
}

/// Finds percent-encoded parts that contain a value; only that much of them is a hit.
fn in_percents<'t>(text: &str, needles: &Needles<'t, impl Iterator<Item = Seed<'t>> + Clone>, out: &mut Vec<Hit>) {
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
            out.push(Hit { range, rule, bare: None });
        }
        floor = end;
    }
}
