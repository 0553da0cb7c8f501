//! [`StepSequence`]: patterns that are a sequence of byte sets with counts, such as `ghp_[A-Za-z0-9]{36}`. Near-matches
//! are frequent, and reading a sequence takes a few instructions per byte where an automaton with a group takes
//! seventy. The result equals the automaton's: a pattern qualifies only if each set of variable count is disjoint from
//! everything that may follow it. `patterns` runs all other patterns.

use std::ops::Range;

use regex_syntax::hir::{Class, Hir, HirKind};

use super::sets::ByteBitSet;

/// A set of bytes, and how many of them must and may follow each other.
struct PatternStep {
    bytes: ByteBitSet,
    min: usize,
    max: usize,
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
        let mut sequence = Self { steps: Vec::new(), group: None };
        sequence.push(hir)?;
        sequence.is_deterministic().then_some(sequence)
    }

    fn push(&mut self, hir: &Hir) -> Option<()> {
        match hir.kind() {
            HirKind::Literal(literal) => {
                let single =
                    |byte: &u8| PatternStep { bytes: ByteBitSet::from_ranges([(*byte, *byte)]), min: 1, max: 1 };
                self.steps.extend(literal.0.iter().map(single));
            }
            HirKind::Class(_) => self.steps.push(PatternStep { bytes: byte_set_of(hir)?, min: 1, max: 1 }),
            HirKind::Repetition(times) if times.greedy => {
                let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
                let max = times.max.map_or(usize::MAX, count);
                self.steps.push(PatternStep { bytes: byte_set_of(&times.sub)?, min: count(times.min), max });
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
        self.steps.iter().enumerate().filter(|(_, step)| step.min < step.max).all(|(at, step)| {
            let following = self.steps.get(at + 1..).unwrap_or_default();
            let reachable =
                following.iter().position(|next| next.min > 0).map_or(following.len(), |required| required + 1);
            !following.iter().take(reachable).any(|next| next.bytes.intersects(&step.bytes))
        })
    }

    /// Length of the match at the start of `rest`, and the range of its group in `rest` (of the whole match if there is
    /// no group).
    pub(super) fn find(&self, rest: &[u8]) -> Option<(usize, Range<usize>)> {
        let (mut at, mut group) = (0_usize, 0..0);
        let (group_start, group_end) =
            self.group.as_ref().map_or((0, self.steps.len()), |group| (group.start, group.end));
        for (index, step) in self.steps.iter().enumerate() {
            if index == group_start {
                group.start = at;
            }
            let run = rest.get(at..rest.len().min(at.saturating_add(step.max)))?;
            let len = run.iter().position(|byte| !step.bytes.contains(*byte)).unwrap_or(run.len());
            if len < step.min {
                return None;
            }
            at += len;
            if index + 1 == group_end {
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
