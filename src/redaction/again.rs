//! **What**: looks again at a text with its placeholders in place. **Why**: what stands beside a value may hide behind
//! it: in `a@b.io0c@d.io` the second address begins within a word, in a table a comma within an address moves the
//! columns; what a second pass over the output would find must be found at once.
//! **Invariants**: after the last look nothing is found in what goes on, so that a second pass changes nothing; a text
//! that does not come to rest within [`ROUNDS`] becomes `[UNSCANNED]`; of long texts only what stands near a finding is
//! read again; texts without a finding cost nothing.

use std::ops::Range;

use super::compile::{Detector, UNSCANNED};
use super::find::Scratch;
use super::resolve::{Hit, replace, resolve};
use super::{json, keys};

/// Further passes.
const ROUNDS: usize = 6;
/// Texts that are read again as a whole, bytes.
const SMALL: usize = 2 << 10;
/// Bytes around a placeholder that are read again, and as many more where no line ends.
const NEAR: usize = 128;

impl Detector {
    /// Adds to the hits of `text` what is found once they are placeholders.
    pub(super) fn find_again(&self, key: &str, text: &str, scratch: &mut Scratch) {
        for _ in 0..ROUNDS {
            if scratch.hits.is_empty() {
                return;
            }
            let hits = std::mem::take(&mut scratch.hits);
            let replaced = replace(text, &hits, &mut |hit, _, out| out.push_str(self.placeholder(hit)));
            let places = self.places(&hits);
            match self.is_suspect(key, &replaced, &places, scratch) {
                true => self.find_once(key, &replaced, scratch),
                false => scratch.hits.clear(),
            }
            let more = std::mem::replace(&mut scratch.hits, hits);
            if more.is_empty() {
                return;
            }
            scratch.hits.extend(more.into_iter().map(|hit| Hit { range: back(&places, hit.range), ..hit }));
            resolve(&mut scratch.hits, &|hit| self.rules.get(hit.rule).map(|rule| rule.class));
            json::mend(text, &mut scratch.hits);
        }
        scratch.hits.clear();
        scratch.hits.push(Hit { range: 0..text.len(), rule: usize::from(UNSCANNED), bare: None });
    }

    /// Where each hit stood, and where its placeholder stands.
    fn places(&self, hits: &[Hit]) -> Vec<(Range<usize>, Range<usize>)> {
        let (mut from, mut at) = (0, 0);
        let place = |hit: &Hit| {
            let start = at + (hit.range.start - from);
            let quotes = hit.bare.map_or(0, |backslashes| 2 * (usize::from(backslashes) + 1));
            at = start + self.placeholder(hit).len() + quotes;
            from = hit.range.end;
            (hit.range.clone(), start..at)
        };
        hits.iter().map(place).collect()
    }

    /// Whether a look at what stands near the placeholders finds anything. Short texts, and those that are near
    /// placeholders for the most part, are read as a whole.
    fn is_suspect(
        &self,
        key: &str,
        text: &str,
        places: &[(Range<usize>, Range<usize>)],
        scratch: &mut Scratch,
    ) -> bool {
        let told = !key.is_empty() && keys::under(&self.keys, key, text).is_some();
        if told || text.len() <= SMALL || places.len() * NEAR > text.len() {
            return true;
        }
        let mut stretch = 0..0;
        for (_, placed) in places {
            let near = start_of(text, placed.start)..end_of(text, placed.end);
            if near.start > stretch.end {
                if self.holds(text.get(stretch).unwrap_or_default(), scratch) {
                    return true;
                }
                stretch = near;
            } else {
                stretch.end = stretch.end.max(near.end);
            }
        }
        self.holds(text.get(stretch).unwrap_or_default(), scratch)
    }

    fn holds(&self, text: &str, scratch: &mut Scratch) -> bool {
        self.find_once("", text, scratch);
        !scratch.hits.is_empty()
    }
}

/// Where reading begins for what ends at `at`: a line's start, if one is near.
fn start_of(text: &str, at: usize) -> usize {
    let (far, near) = (at.saturating_sub(2 * NEAR), at.saturating_sub(NEAR));
    let between = text.as_bytes().get(far..near).unwrap_or_default();
    let from = memchr::memrchr(b'\n', between).map_or(near, |line| far + line + 1);
    (0..=from).rev().find(|from| text.is_char_boundary(*from)).unwrap_or(0)
}

/// Where reading ends for what begins at `at`: a line's end, if one is near.
fn end_of(text: &str, at: usize) -> usize {
    let near = text.len().min(at + NEAR);
    let between = text.as_bytes().get(near..text.len().min(near + NEAR)).unwrap_or_default();
    let to = memchr::memchr(b'\n', between).map_or(near, |line| near + line);
    (to..text.len()).find(|to| text.is_char_boundary(*to)).unwrap_or(text.len())
}

/// A range of the replaced text as one of the text before; placeholders are within it whole or not at all.
fn back(places: &[(Range<usize>, Range<usize>)], range: Range<usize>) -> Range<usize> {
    let one = |at: usize, end: bool| {
        let index = places.partition_point(|(_, placed)| if end { placed.start < at } else { placed.start <= at });
        match index.checked_sub(1).and_then(|index| places.get(index)) {
            Some((held, placed)) if at < placed.end => {
                if end {
                    held.end
                } else {
                    held.start
                }
            }
            Some((held, placed)) => held.end + (at - placed.end),
            None => at,
        }
    };
    one(range.start, false)..one(range.end, true)
}
