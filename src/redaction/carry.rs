//! **What**: a value that was found goes wherever else it stands in the same text: as it is, where a word or key told what
//! it is; in base64, hex and percent form, whatever told it. **Why**: a log line says `password=…` once and repeats the
//! bare value in the next command; a short blob is not read for its own sake. **Invariants**: only values of eight bytes
//! and more that no word is; bounded in number; linear; a text without a finding costs nothing.
//! **Not here**: names (`names/carry`), longer blobs and what they say (`views`).

use std::cell::LazyCell;
use std::ops::{Deref, Range};

use aho_corasick::packed::{Config, MatchKind};

use super::compile::{Detector, Rule};
use super::resolve::Hit;
use super::rule::{Class, Family};
use super::secrets::wordy;
use super::sets::Bytes;
use super::views::{base64_bytes, from_base64, from_hex, hex_bytes, percent_byte};

/// Shortest and longest value that is looked for.
const LENGTH: Range<usize> = 8..257;
/// Most values that are looked for as they are.
const MOST: usize = 64;
/// Most values that are looked for in other forms.
const MOST_CODED: usize = 512;
/// Texts in which few values are looked for one by one, bytes.
const SHORT: usize = 4 << 10;
/// Shortest blob: eight bytes in base64.
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
    /// What of `text` repeats its `hits`.
    pub(super) fn carried(&self, text: &str, reserved: &[Range<usize>], hits: &[Hit]) -> Vec<Hit> {
        let found = |hit: &Hit| Seed { value: text.get(hit.range.clone()).unwrap_or_default(), rule: hit.rule };
        let told = |seed: &Seed<'_>| self.rules.get(seed.rule).is_some_and(|rule| is_seed(rule, seed.value));
        let mut plain: Vec<Seed<'_>> = hits.iter().map(found).filter(told).take(MOST).collect();
        plain.sort_by(|a, b| b.value.len().cmp(&a.value.len()).then(a.value.cmp(b.value)).then(a.rule.cmp(&b.rule)));
        plain.dedup_by(|a, b| a.value == b.value);
        let usable = |seed: &Seed<'_>| LENGTH.contains(&seed.value.len());
        self.repeated(text, reserved, &plain, hits.iter().map(found).filter(usable))
    }

    /// Where `text` has values as they are, or `coded` ones in base64, hex or percent form.
    pub(super) fn repeated<'t>(
        &self,
        text: &str,
        reserved: &[Range<usize>],
        plain: &[Seed<'t>],
        coded: impl Iterator<Item = Seed<'t>> + Clone,
    ) -> Vec<Hit> {
        let mut out = Vec::new();
        as_they_are(text, plain, &mut out);
        if coded.clone().next().is_some() {
            // most texts hold neither
            let needles = LazyCell::new(|| Needles::of(coded.take(MOST_CODED)));
            in_blobs(text, &needles, &mut out);
            in_percents(text, &needles, &mut out);
        }
        let first_behind = |at: usize| reserved.get(reserved.partition_point(|held| held.end <= at));
        out.retain(|hit| first_behind(hit.range.start).is_none_or(|held| held.start >= hit.range.end));
        out
    }
}

/// Whether a value that a rule found is looked for elsewhere as it is.
pub(super) fn is_seed(rule: &Rule, value: &str) -> bool {
    LENGTH.contains(&value.len()) && is_told(rule) && is_distinct(value)
}

/// Whether a rule finds values by what stands around them: elsewhere nothing would tell.
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
        )
    );
    secret || matches!(rule.class, Class::Key | Class::Cued)
}

/// Whether a value could hardly stand for anything else: it has digits, and is no word, short number or version.
fn is_distinct(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let number =
        digits >= LENGTH.start && value.bytes().all(|byte| byte.is_ascii_digit() || b" -./()+".contains(&byte));
    number || (digits > 0 && !wordy(value.as_bytes())) || (digits > 0 && value.len() > 10 && value.contains(' '))
}

fn as_they_are(text: &str, seeds: &[Seed<'_>], out: &mut Vec<Hit>) {
    let mut put = |range: Range<usize>, rule: usize| {
        if is_apart(text, &range) {
            out.push(Hit { range, rule, bare: None });
        }
    };
    let values = seeds.iter().map(|seed| seed.value);
    let searcher = match seeds.len() {
        0 => return,
        // making a searcher would cost more
        1..=4 if text.len() < SHORT => None,
        _ => Config::new().match_kind(MatchKind::LeftmostFirst).builder().extend(values).build(),
    };
    match searcher {
        Some(searcher) => searcher.find_iter(text).for_each(|found| {
            let seed = seeds.get(found.pattern().as_usize());
            seed.into_iter().for_each(|seed| put(found.start()..found.end(), seed.rule));
        }),
        // or where no vector search can be had
        None => seeds.iter().for_each(|seed| {
            let places = memchr::memmem::find_iter(text.as_bytes(), seed.value);
            places.for_each(|at| put(at..at + seed.value.len(), seed.rule));
        }),
    }
}

/// Whether no word goes on beside a range.
fn is_apart(text: &str, range: &Range<usize>) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (before, rest) = text.split_at_checked(range.start).unwrap_or_default();
    let (found, behind) = rest.split_at_checked(range.len()).unwrap_or_default();
    let escaped =
        before.ends_with(['n', 't', 'r']) && before.get(..before.len() - 1).is_some_and(|b| b.ends_with('\\'));
    (escaped || !part(before.chars().next_back()) || !part(found.chars().next()))
        && (!part(behind.chars().next()) || !part(found.chars().next_back()))
}

/// Values in order, none of which begins with another: at most one stands at a place, and a search by halves finds it,
/// however alike they are.
struct Needles<'t>(Vec<(u64, Seed<'t>)>);

impl<'t> Needles<'t> {
    fn of(seeds: impl Iterator<Item = Seed<'t>>) -> Self {
        let head = |seed: Seed<'t>| Some((u64::from_be_bytes(*seed.value.as_bytes().first_chunk()?), seed));
        let mut list: Vec<_> = seeds.filter_map(head).collect();
        list.sort_by(|(a, one), (b, other)| a.cmp(b).then(one.value.cmp(other.value)).then(one.rule.cmp(&other.rule)));
        // what begins with another is found by that
        list.dedup_by(|(_, later), (_, kept)| later.value.starts_with(kept.value));
        Self(list)
    }

    /// The first place of any value in `bytes`.
    fn find(&self, bytes: &[u8]) -> Option<(Range<usize>, usize)> {
        bytes.windows(8).enumerate().find_map(|(at, window)| {
            let window = u64::from_be_bytes(*window.first_chunk()?);
            let first = self.0.partition_point(|(head, _)| *head < window);
            self.0.get(first).filter(|(head, _)| *head == window)?;
            // between a value and a text that begins with it only others that begin with it could stand
            let rest = bytes.get(at..)?;
            let behind = self.0.partition_point(|(_, seed)| seed.value.as_bytes() <= rest);
            let (_, seed) = self.0.get(behind.checked_sub(1)?)?;
            rest.starts_with(seed.value.as_bytes()).then(|| (at..at + seed.value.len(), seed.rule))
        })
    }
}

/// The alphabets of base64.
static IN_BLOB: Bytes = Bytes::of(b"+/-_").and_alnum();

/// Blobs of base64 and hex that say a value go whole.
fn in_blobs<'t>(text: &str, needles: &impl Deref<Target = Needles<'t>>, out: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    let (mut at, mut floor) = (BLOB - 1, 0);
    // nothing shorter than a blob is looked at: every eleventh byte tells
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
        let joints = blob.iter().take(24).enumerate().filter(|(_, byte)| b"/-_".contains(byte)).map(|(at, _)| at + 1);
        if let Some((from, rule)) =
            std::iter::once(0).chain(joints).find_map(|from| Some((from, said(blob.get(from..)?, needles)?)))
        {
            let padding = bytes.get(end..).unwrap_or_default().iter().take(2).take_while(|byte| **byte == b'=').count();
            out.push(Hit { range: start + from..end + padding, rule, bare: None });
        }
        (at, floor) = (end + BLOB, end);
    }
}

/// The rule of the value that a blob says, if any.
fn said<'t>(blob: &[u8], needles: &impl Deref<Target = Needles<'t>>) -> Option<usize> {
    let find = |bytes: Vec<u8>| needles.find(&bytes).map(|(_, rule)| rule);
    let head = blob.get(..8)?;
    if blob.len() >= 16
        && blob.len().is_multiple_of(2)
        && blob.iter().all(u8::is_ascii_hexdigit)
        && hex_bytes(head).all(|byte| !byte.is_ascii_control())
    {
        return find(from_hex(blob));
    }
    // of words in base64 nearly none says text: of six bytes one may be none
    let odd = |byte: &u8| !byte.is_ascii_graphic() && *byte != b' ';
    (blob.len() >= BLOB && base64_bytes(head).filter(odd).nth(1).is_none()).then(|| find(from_base64(blob)))?
}

/// Stretches with percent-encoding that say a value: as much of them as says it.
fn in_percents<'t>(text: &str, needles: &impl Deref<Target = Needles<'t>>, out: &mut Vec<Hit>) {
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
