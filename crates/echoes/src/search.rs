//! Searches texts for the fingerprints of content. Time is linear in both, and content is read once for all texts. A
//! match is wrong with a probability of 2^-64 for each pair of positions. `replacement` decides what is removed.

use std::ops::Range;

use super::fingerprints::{FingerprintKey, RUN, SPAN, WIDTH};
use super::folded_forms::{FoldedForm, folded_forms};
use super::stack_frames;

/// Four consecutive fingerprints of content. Every second position is looked up; each run of five contains one.
type FingerprintQuad = u64;

#[inline(always)]
fn pack_quad(prints: [u16; 4]) -> FingerprintQuad {
    u64::from_le_bytes(pulp::cast(prints.map(u16::to_le)))
}

/// Combines five fingerprints into one number.
fn hash_run(prints: [u16; 4], last: u16) -> u64 {
    (pack_quad(prints) ^ u64::from(last).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd6e8_feb8_6659_fd93) | 1
}

/// One form of the part of a text between two stack frames.
struct SearchablePart {
    /// Index of the text.
    text: usize,
    /// Offset of the part in the text.
    offset: usize,
    form: FoldedForm,
    prints: Vec<u16>,
}

impl SearchablePart {
    /// For each position, the core that content would have if it began there, and the fingerprint after it.
    fn quads(&self) -> impl Iterator<Item = ([u16; 4], Option<u16>)> {
        const BYTES: usize = 3 * WIDTH + 1;
        let next = self.prints.iter().skip(4 * WIDTH).copied().map(Some).chain(std::iter::repeat(None));
        let cores =
            self.prints.array_windows::<BYTES>().map(|[a, _, _, _, b, _, _, _, c, _, _, _, d]| [*a, *b, *c, *d]);
        cores.zip(next)
    }
}

/// Filter bits for each core of the texts.
const BITS: usize = 64;

/// A search for content in a set of texts.
pub(super) struct ContentSearch {
    texts: usize,
    parts: Vec<SearchablePart>,
    filter: BloomFilter,
    runs: RunSet,
    /// Positions in the current content where the filter matches.
    hits: Vec<usize>,
}

impl ContentSearch {
    /// Prepares a search in `texts`.
    pub(super) fn new(key: &FingerprintKey, texts: &[&str]) -> Self {
        let mut stretches = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            for range in stack_frames::ranges_between_frames(text) {
                let Some(part) = text.get(range.clone()).filter(|part| part.len() >= SPAN) else { continue };
                stretches.extend(folded_forms(part).into_iter().filter(|form| form.bytes.len() >= SPAN).map(|form| {
                    SearchablePart {
                        text: index,
                        offset: range.start,
                        prints: key.text_fingerprints(&form.bytes),
                        form,
                    }
                }));
            }
        }
        let all: usize = stretches.iter().map(|stretch| stretch.prints.len()).sum();
        let bits = (all * BITS).next_power_of_two().clamp(1 << 12, 1 << 24);
        let mut search = Self {
            texts: texts.len(),
            parts: stretches,
            filter: BloomFilter { bits: vec![0; bits / 64], shift: 64 - bits.trailing_zeros() },
            runs: RunSet::with_room(all),
            hits: Vec::new(),
        };
        for (prints, next) in search.parts.iter().flat_map(SearchablePart::quads) {
            search.filter.add(pack_quad(prints));
            if let Some(next) = next {
                search.runs.add(hash_run(prints, next));
            }
        }
        search
    }

    /// Matches one text of content.
    pub(super) fn scan(&mut self, content: &[u16]) {
        if self.parts.is_empty() {
            return;
        }
        let mut hits = std::mem::take(&mut self.hits);
        hits.clear();
        let filter = &self.filter;
        let (fours, end) = content.as_chunks::<4>();
        let mut last = 0;
        for (at, four) in fours.iter().enumerate() {
            let here = pack_quad(*four);
            if filter.may_contain((last >> 32) | (here << 32)) && at > 0 {
                hits.push(at * 4 - 2);
            }
            if filter.may_contain(here) {
                hits.push(at * 4);
            }
            last = here;
        }
        if let [a, b, ..] = end
            && filter.may_contain((last >> 32) | (pack_quad([*a, *b, 0, 0]) << 32))
            && !fours.is_empty()
        {
            hits.push(fours.len() * 4 - 2);
        }
        hits.iter().for_each(|at| self.mark_runs_at(content, *at));
        self.hits = hits;
    }

    /// Marks the runs around a core of content at `at`.
    fn mark_runs_at(&mut self, content: &[u16], at: usize) {
        let begins = [at.checked_sub(1), Some(at)].into_iter().flatten();
        for five in begins.filter_map(|at| content.get(at..at + RUN)?.first_chunk::<RUN>()) {
            let [a, b, c, d, e] = *five;
            self.runs.mark(hash_run([a, b, c, d], e));
        }
    }

    /// Returns for each text the ranges that occur in content, in order, not overlapping.
    pub(super) fn covered_ranges(&self) -> Vec<Vec<Range<usize>>> {
        let mut out = vec![Vec::new(); self.texts];
        if !self.runs.any_marked {
            return out;
        }
        for stretch in &self.parts {
            let runs = stretch.quads().map_while(|(core, next)| Some(hash_run(core, next?))).enumerate();
            let hits = runs.filter(|(_, run)| self.runs.is_marked(*run));
            let ranges = hits.map(|(at, _)| {
                let range = stretch.form.source_range(at, at + SPAN);
                range.start + stretch.offset..range.end + stretch.offset
            });
            if let Some(covered) = out.get_mut(stretch.text) {
                covered.extend(ranges);
            }
        }
        out.iter_mut().for_each(merge_ranges);
        out
    }
}

/// Hash set of the runs of the texts, each with a mark if it occurs in content.
struct RunSet {
    /// Open addressing: a run's slot is given by its upper bits; on a collision, the next free slot is used.
    slots: Vec<u64>,
    marked: Vec<u64>,
    shift: u32,
    any_marked: bool,
}

impl RunSet {
    fn with_room(runs: usize) -> Self {
        // At least a fifth stays free
        let slots = (runs + runs / 4 + 1).next_power_of_two().max(64);
        Self {
            slots: vec![0; slots],
            marked: vec![0; slots / 64],
            shift: 64 - slots.trailing_zeros(),
            any_marked: false,
        }
    }

    /// Returns the slot of a run, or the free one it would get, and whether it is present.
    fn slot(&self, run: u64) -> (usize, bool) {
        let mut at = (run >> self.shift) as usize;
        loop {
            match self.slots.get(at) {
                Some(0) => return (at, false),
                Some(known) if *known == run => return (at, true),
                Some(_) => at += 1,
                None => at = 0,
            }
        }
    }

    fn add(&mut self, run: u64) {
        let (at, _) = self.slot(run);
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = run;
        }
    }

    fn mark(&mut self, run: u64) {
        let (at, known) = self.slot(run);
        if known {
            set_bit(&mut self.marked, at);
            self.any_marked = true;
        }
    }

    fn is_marked(&self, run: u64) -> bool {
        get_bit(&self.marked, self.slot(run).0)
    }
}

/// A Bloom filter of the cores of the texts, with two bits for each.
struct BloomFilter {
    bits: Vec<u64>,
    shift: u32,
}

impl BloomFilter {
    #[inline(always)]
    fn bit_positions(&self, core: FingerprintQuad) -> (usize, usize) {
        let one = core.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift;
        let two = core.rotate_left(23).wrapping_mul(0xc2b2_ae3d_27d4_eb4f) >> self.shift;
        (one as usize, two as usize)
    }

    fn add(&mut self, core: FingerprintQuad) {
        let (one, two) = self.bit_positions(core);
        set_bit(&mut self.bits, one);
        set_bit(&mut self.bits, two);
    }

    #[inline(always)]
    fn may_contain(&self, core: FingerprintQuad) -> bool {
        let (one, two) = self.bit_positions(core);
        get_bit(&self.bits, one) && get_bit(&self.bits, two)
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
fn merge_ranges(ranges: &mut Vec<Range<usize>>) {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut kept: Vec<Range<usize>> = Vec::with_capacity(ranges.len().min(16));
    for range in ranges.drain(..) {
        match kept.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => kept.push(range),
        }
    }
    *ranges = kept;
}
