//! [`StepSequence`]: patterns that are a sequence of byte sets with counts, such as `ghp_[A-Za-z0-9]{36}`. Near-matches
//! are frequent, and reading a sequence takes a few instructions per byte where an automaton with a group takes
//! seventy. The result equals the automaton's: a pattern qualifies only if each set of variable count is disjoint from
//! everything that may follow it. `patterns` runs all other patterns.

use std::ops::Range;

use regex_syntax::hir::{Class, Hir, HirKind};

use super::sets::ByteBitSet;

/// A set of bytes with the least and greatest count.
struct PatternStep {
    bytes: ByteBitSet,
    least: usize,
    most: usize,
}

/// A sequence of steps.
pub(super) struct StepSequence {
    steps: Vec<PatternStep>,
    /// The steps of the group, if the pattern has one.
    group: Option<Range<usize>>,
}

impl StepSequence {
    /// Converts a pattern, if it qualifies.
    pub(super) fn from_hir(hir: &Hir) -> Option<Self> {
        let mut made = Self { steps: Vec::new(), group: None };
        made.push(hir)?;
        made.is_deterministic().then_some(made)
    }

    fn push(&mut self, hir: &Hir) -> Option<()> {
        match hir.kind() {
            HirKind::Literal(literal) => {
                let one =
                    |byte: &u8| PatternStep { bytes: ByteBitSet::from_ranges([(*byte, *byte)]), least: 1, most: 1 };
                self.steps.extend(literal.0.iter().map(one));
            }
            HirKind::Class(_) => self.steps.push(PatternStep { bytes: byte_set_of(hir)?, least: 1, most: 1 }),
            HirKind::Repetition(times) if times.greedy => {
                let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
                let most = times.max.map_or(usize::MAX, count);
                self.steps.push(PatternStep { bytes: byte_set_of(&times.sub)?, least: count(times.min), most });
            }
            HirKind::Concat(parts) => parts.iter().try_for_each(|part| self.push(part))?,
            HirKind::Capture(capture) if self.group.is_none() => {
                let start = self.steps.len();
                self.push(&capture.sub)?;
                self.group = Some(start..self.steps.len());
            }
            _ => return None,
        }
        Some(())
    }

    /// Whether there is only one way to match each text.
    fn is_deterministic(&self) -> bool {
        self.steps.iter().enumerate().filter(|(_, step)| step.least < step.most).all(|(at, step)| {
            let behind = self.steps.get(at + 1..).unwrap_or_default();
            let must = behind.iter().position(|next| next.least > 0).map_or(behind.len(), |must| must + 1);
            !behind.iter().take(must).any(|next| next.bytes.intersects(&step.bytes))
        })
    }

    /// Length of the match at the start of `rest`, and the range of its group in it; the whole match if there is no
    /// group.
    pub(super) fn find(&self, rest: &[u8]) -> Option<(usize, Range<usize>)> {
        let (mut at, mut group) = (0_usize, 0..0);
        let (first, end) = self.group.as_ref().map_or((0, self.steps.len()), |group| (group.start, group.end));
        for (index, step) in self.steps.iter().enumerate() {
            if index == first {
                group.start = at;
            }
            let run = rest.get(at..rest.len().min(at.saturating_add(step.most)))?;
            let read = run.iter().position(|byte| !step.bytes.contains(*byte)).unwrap_or(run.len());
            if read < step.least {
                return None;
            }
            at += read;
            if index + 1 == end {
                group.end = at;
            }
        }
        Some((at, group))
    }
}

/// The bytes of a class or of a one-byte literal.
fn byte_set_of(hir: &Hir) -> Option<ByteBitSet> {
    match hir.kind() {
        HirKind::Literal(literal) => match *literal.0 {
            [byte] => Some(ByteBitSet::from_ranges([(byte, byte)])),
            _ => None,
        },
        HirKind::Class(Class::Bytes(class)) => {
            Some(ByteBitSet::from_ranges(class.iter().map(|range| (range.start(), range.end()))))
        }
        _ => None,
    }
}
