//! **What**: looks for content in texts: where its fingerprints stand in them. **Invariants**: linear in both; what is found
//! is sure but for a chance of 2^-64 a pair of places; content is walked once for all texts. **Not here**: what is
//! taken out (`mend`).

use std::ops::Range;

use super::forms::{Form, forms};
use super::frames;
use super::prints::{Key, RUN, SPAN, STEP};

/// A form of a stretch of a text between two frames of a stack trace.
struct Stretch {
    /// Index of the text.
    text: usize,
    /// Where the stretch begins in it.
    at: usize,
    form: Form,
    prints: Vec<u16>,
}

impl Stretch {
    /// Fingerprints that content would have if it stood at `at`, as one number.
    fn run(&self, at: usize) -> Option<u64> {
        let mut run = 0;
        for step in 0..RUN {
            run |= u64::from(*self.prints.get(at + step * STEP)?) << (16 * step);
        }
        Some(run)
    }

    fn runs(&self) -> impl Iterator<Item = (usize, u64)> {
        (0..self.prints.len()).map_while(|at| Some((at, self.run(at)?)))
    }
}

/// Runs gathered at least before they are sorted.
const FOUND: usize = 1 << 12;

/// A search in some texts.
pub(super) struct Search {
    texts: usize,
    stretches: Vec<Stretch>,
    /// A bit for each fingerprint of the texts.
    singles: Vec<u64>,
    /// A bit for each hash of two neighbouring ones.
    pairs: Vec<u64>,
    pair_shift: u32,
    /// Runs of content that may stand in a text.
    found: Vec<u64>,
    /// So many of them are gathered before they are sorted.
    room: usize,
}

impl Search {
    /// Prepares `texts`.
    pub(super) fn new(key: &Key, texts: &[&str]) -> Self {
        let mut stretches = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            for range in frames::between(text) {
                let Some(part) = text.get(range.clone()).filter(|part| part.len() >= SPAN) else { continue };
                stretches.extend(forms(part).into_iter().filter(|form| form.bytes.len() >= SPAN).map(|form| Stretch {
                    text: index,
                    at: range.start,
                    prints: key.text(&form.bytes),
                    form,
                }));
            }
        }
        let all: usize = stretches.iter().map(|stretch| stretch.prints.len()).sum();
        let pair_bits = (all * 8).next_power_of_two().clamp(1 << 12, 1 << 22);
        let mut search = Self {
            texts: texts.len(),
            stretches,
            singles: vec![0; (1 << 16) / 64],
            pairs: vec![0; pair_bits / 64],
            pair_shift: 32 - pair_bits.trailing_zeros(),
            found: Vec::new(),
            room: FOUND,
        };
        search.fill();
        search
    }

    fn fill(&mut self) {
        for (_, run) in self.stretches.iter().flat_map(Stretch::runs) {
            for step in 0..RUN {
                set(&mut self.singles, (run >> (16 * step)) as u16 as usize);
            }
            set(&mut self.pairs, pair(run as u32, self.pair_shift));
            set(&mut self.pairs, pair((run >> 32) as u32, self.pair_shift));
        }
    }

    /// Looks for one text of content.
    pub(super) fn scan(&mut self, content: &[u16]) {
        if self.stretches.is_empty() {
            return;
        }
        let (mut run, mut length) = (0_u64, 0);
        for print in content {
            run = (run >> 16) | (u64::from(*print) << 48);
            length = if get(&self.singles, usize::from(*print)) { length + 1 } else { 0 };
            if length >= RUN
                && get(&self.pairs, pair(run as u32, self.pair_shift))
                && get(&self.pairs, pair((run >> 32) as u32, self.pair_shift))
            {
                self.found.push(run);
                self.settle();
            }
        }
    }

    /// Content that repeats itself is found again and again: what is found stays small.
    fn settle(&mut self) {
        if self.found.len() >= self.room {
            self.found.sort_unstable();
            self.found.dedup();
            self.room = self.found.len() * 2 + FOUND;
        }
    }

    /// For each text the stretches that stand in content, in order, without overlap.
    pub(super) fn covered(&mut self) -> Vec<Vec<Range<usize>>> {
        let mut out = vec![Vec::new(); self.texts];
        self.found.sort_unstable();
        self.found.dedup();
        if self.found.is_empty() {
            return out;
        }
        for stretch in &self.stretches {
            let hits = stretch.runs().filter(|(_, run)| self.found.binary_search(run).is_ok());
            let ranges = hits.map(|(at, _)| {
                let range = stretch.form.origin(at, at + SPAN);
                range.start + stretch.at..range.end + stretch.at
            });
            if let Some(covered) = out.get_mut(stretch.text) {
                covered.extend(ranges);
            }
        }
        out.iter_mut().for_each(merge);
        out
    }
}

fn pair(two: u32, shift: u32) -> usize {
    (two.wrapping_mul(0x9e37_79b1) >> shift) as usize
}

fn set(bits: &mut [u64], at: usize) {
    if let Some(word) = bits.get_mut(at / 64) {
        *word |= 1 << (at % 64);
    }
}

fn get(bits: &[u64], at: usize) -> bool {
    bits.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
}

/// Sorts ranges and joins those that overlap or touch.
fn merge(ranges: &mut Vec<Range<usize>>) {
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
