//! Searches texts for runs of content fingerprints. Time is linear in texts and content, and content is read once for
//! all texts: a Bloom filter rejects most positions of the content, and a hash map of the texts' runs decides about the
//! others. Two positions with different texts match by mistake with a probability of about 2^-80. `replacement` decides
//! what is removed.

use std::ops::Range;

use foldhash::{HashMap, HashMapExt as _};
use kernel::stack_frames;

use super::fingerprints::{FINGERPRINT_BYTES, FingerprintKey, RUN_BYTES, RUN_LENGTH};
use super::folded_forms::{FoldedForm, folded_forms};

/// Four consecutive fingerprints of content. The filter is asked at every second position of the content, and each run
/// of five fingerprints contains such a quad.
type FingerprintQuad = u64;

#[inline(always)]
fn pack_quad(fingerprints: [u16; 4]) -> FingerprintQuad {
    u64::from_le_bytes(pulp::cast(fingerprints.map(u16::to_le)))
}

/// A run: a quad and the fingerprint after it.
type FingerprintRun = (FingerprintQuad, u16);

/// One folded form of a part of a text without stack frames.
struct SearchablePart {
    text_index: usize,
    offset: usize,
    form: FoldedForm,
    fingerprints: Vec<u16>,
}

impl SearchablePart {
    /// For each position, the quad that content would have if it began there, and the fingerprint after that quad.
    fn quads(&self) -> impl Iterator<Item = ([u16; 4], Option<u16>)> {
        const QUAD_WINDOW: usize = 3 * FINGERPRINT_BYTES + 1;
        let fifths = self.fingerprints.iter().skip(4 * FINGERPRINT_BYTES).copied().map(Some);
        let windows = self.fingerprints.array_windows::<QUAD_WINDOW>();
        let quads = windows.map(|[a, _, _, _, b, _, _, _, c, _, _, _, d]| [*a, *b, *c, *d]);
        quads.zip(fifths.chain(std::iter::repeat(None)))
    }
}

const FILTER_BITS_PER_QUAD: usize = 64;

/// A search for content in a set of texts.
pub(super) struct ContentSearch {
    text_count: usize,
    parts: Vec<SearchablePart>,
    filter: BloomFilter,
    /// The runs of the texts, each with whether it occurs in content.
    runs: HashMap<FingerprintRun, bool>,
    any_repeated: bool,
    /// Positions in the current content where the filter matches. Kept to reuse the allocation.
    candidates: Vec<usize>,
}

impl ContentSearch {
    pub(super) fn new(key: &FingerprintKey, texts: &[&str]) -> Self {
        let mut parts = Vec::new();
        for (text_index, text) in texts.iter().enumerate() {
            for (is_frame, range) in stack_frames::group_lines(text, |_, is_frame| is_frame) {
                let is_searched = |part: &&str| !is_frame && part.len() >= RUN_BYTES;
                let Some(part) = text.get(range.clone()).filter(is_searched) else { continue };
                let forms = folded_forms(part).into_iter().filter(|form| form.bytes.len() >= RUN_BYTES);
                parts.extend(forms.map(|form| SearchablePart {
                    text_index,
                    offset: range.start,
                    fingerprints: key.text_fingerprints(&form.bytes),
                    form,
                }));
            }
        }
        let positions: usize = parts.iter().map(|part| part.fingerprints.len()).sum();
        let filter_bits = (positions * FILTER_BITS_PER_QUAD).next_power_of_two().clamp(1 << 12, 1 << 24);
        let mut search = Self {
            text_count: texts.len(),
            parts,
            filter: BloomFilter { bits: vec![0; filter_bits / 64], shift: 64 - filter_bits.trailing_zeros() },
            runs: HashMap::with_capacity(positions),
            any_repeated: false,
            candidates: Vec::new(),
        };
        for (quad, fifth) in search.parts.iter().flat_map(SearchablePart::quads) {
            let quad = pack_quad(quad);
            search.filter.add(quad);
            if let Some(fifth) = fifth {
                search.runs.insert((quad, fifth), false);
            }
        }
        search
    }

    /// Searches for one text of content, given its fingerprints.
    pub(super) fn scan(&mut self, content: &[u16]) {
        if self.parts.is_empty() {
            return;
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        let filter = &self.filter;
        let (quads, end) = content.as_chunks::<4>();
        let mut previous = 0;
        for (index, quad) in quads.iter().enumerate() {
            let quad = pack_quad(*quad);
            // The quad between the two: the second half of the one, the first half of the other
            if filter.may_contain((previous >> 32) | (quad << 32)) && index > 0 {
                candidates.push(index * 4 - 2);
            }
            if filter.may_contain(quad) {
                candidates.push(index * 4);
            }
            previous = quad;
        }
        if let [a, b, ..] = end
            && filter.may_contain((previous >> 32) | (pack_quad([*a, *b, 0, 0]) << 32))
            && !quads.is_empty()
        {
            candidates.push(quads.len() * 4 - 2);
        }
        candidates.iter().for_each(|at| self.mark_runs_at(content, *at));
        self.candidates = candidates;
    }

    /// Marks the runs that contain the quad of content at `at`.
    fn mark_runs_at(&mut self, content: &[u16], at: usize) {
        let starts = [at.checked_sub(1), Some(at)].into_iter().flatten();
        for run in starts.filter_map(|start| content.get(start..start + RUN_LENGTH)?.first_chunk::<RUN_LENGTH>()) {
            let [a, b, c, d, e] = *run;
            if let Some(is_repeated) = self.runs.get_mut(&(pack_quad([a, b, c, d]), e)) {
                (*is_repeated, self.any_repeated) = (true, true);
            }
        }
    }

    /// Returns for each text the ranges that repeat content, in order, not overlapping.
    pub(super) fn repeated_ranges(&self) -> Vec<Vec<Range<usize>>> {
        let mut ranges_by_text = vec![Vec::new(); self.text_count];
        if !self.any_repeated {
            return ranges_by_text;
        }
        for part in &self.parts {
            let runs = part.quads().map_while(|(quad, fifth)| Some((pack_quad(quad), fifth?))).enumerate();
            let repeated = runs.filter(|(_, run)| self.runs.get(run) == Some(&true)).map(|(at, _)| {
                let range = part.form.source_range(at, at + RUN_BYTES);
                range.start + part.offset..range.end + part.offset
            });
            if let Some(ranges) = ranges_by_text.get_mut(part.text_index) {
                ranges.extend(repeated);
            }
        }
        ranges_by_text.iter_mut().for_each(merge_ranges);
        ranges_by_text
    }
}

/// A Bloom filter of the quads of the texts, with two bits for each.
struct BloomFilter {
    bits: Vec<u64>,
    shift: u32,
}

impl BloomFilter {
    #[inline(always)]
    fn bit_positions(&self, quad: FingerprintQuad) -> (usize, usize) {
        let first = quad.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift;
        let second = quad.rotate_left(23).wrapping_mul(0xc2b2_ae3d_27d4_eb4f) >> self.shift;
        (first as usize, second as usize)
    }

    fn add(&mut self, quad: FingerprintQuad) {
        let (first, second) = self.bit_positions(quad);
        set_bit(&mut self.bits, first);
        set_bit(&mut self.bits, second);
    }

    #[inline(always)]
    fn may_contain(&self, quad: FingerprintQuad) -> bool {
        let (first, second) = self.bit_positions(quad);
        get_bit(&self.bits, first) && get_bit(&self.bits, second)
    }
}

fn set_bit(bits: &mut [u64], at: usize) {
    if let Some(word) = bits.get_mut(at / 64) {
        *word |= 1 << (at % 64);
    }
}

#[inline]
fn get_bit(bits: &[u64], at: usize) -> bool {
    bits.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
}

/// Sorts ranges and joins those that overlap or touch.
pub(super) fn merge_ranges(ranges: &mut Vec<Range<usize>>) {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len().min(16));
    for range in ranges.drain(..) {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    *ranges = merged;
}
