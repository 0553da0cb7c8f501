//! Measures rules on labelled texts: recall, leak, precision, F2 and clean, by type, by group and in total. Users can
//! measure their own data with the definitions that the documentation's figures use. Pure counting; no text is stored.
//! `cli/redact` reads the files.
//!
//! *Recall*: share of labelled values of which no letter or digit survives in place. *Leak*: share of which at least
//! four consecutive characters survive (the whole value, if it is shorter). *Precision*: share of placeholders that
//! touch a labelled value. *F2*: 5PR / (4P + R). *Clean*: share of near-miss texts without a placeholder. A placeholder
//! of another type counts as found; confused types are counted separately.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A range in a text with a type: a label, or a placeholder that a rule set.
#[derive(Clone, PartialEq, Eq)]
pub struct TypedRange {
    /// Byte range, on character boundaries.
    pub range: Range<usize>,
    /// The type, such as `EMAIL`.
    pub kind: String,
}

/// A labelled text with the result of the rules.
pub struct LabelledText<'c> {
    /// The text.
    pub text: &'c str,
    /// Values that must be replaced.
    pub labels: &'c [TypedRange],
    /// Ranges that were replaced, in order, without overlap.
    pub placed: &'c [TypedRange],
    /// The group of the text.
    pub group: &'c str,
    /// Whether nothing may be replaced.
    pub near_miss: bool,
}

/// Counts of one type, of one group, or of all texts.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ScoreCounts {
    /// Labelled values.
    pub labels: u64,
    /// Labelled values of which nothing survives.
    pub found: u64,
    /// Labelled values that leak.
    pub leaked: u64,
    /// Placeholders that are judged.
    pub placed: u64,
    /// Placeholders that touch a labelled value.
    pub correct: u64,
    /// Near-miss texts.
    pub near_misses: u64,
    /// Near-miss texts in which nothing was replaced.
    pub clean: u64,
}

impl ScoreCounts {
    /// `found / labels`.
    pub fn recall(&self) -> Option<f64> {
        share(self.found, self.labels)
    }

    /// `leaked / labels`.
    pub fn leak(&self) -> Option<f64> {
        share(self.leaked, self.labels)
    }

    /// `correct / placed`.
    pub fn precision(&self) -> Option<f64> {
        share(self.correct, self.placed)
    }

    /// F2 score, in which recall weighs more than precision.
    pub fn f2(&self) -> Option<f64> {
        let (precision, recall) = (self.precision()?, self.recall()?);
        let denominator = 4.0 * precision + recall;
        (denominator > 0.0).then(|| 5.0 * precision * recall / denominator)
    }

    /// `clean / near_misses`.
    pub fn clean(&self) -> Option<f64> {
        share(self.clean, self.near_misses)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of lines")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Counts over many texts.
#[derive(Default)]
pub struct RedactionScore {
    /// All texts together.
    pub all: ScoreCounts,
    /// By type: labels under the label's type, placeholders under the placeholder's.
    pub types: BTreeMap<String, ScoreCounts>,
    /// By group of texts.
    pub groups: BTreeMap<String, ScoreCounts>,
    /// How often a labelled type was found as another type.
    pub confused: BTreeMap<(String, String), u64>,
    /// Placeholders of types for which the texts are not completely labelled.
    pub unjudged: u64,
    judged: Option<BTreeSet<String>>,
}

impl RedactionScore {
    /// Creates an empty score. `judged`: the types for which the texts are completely labelled; `None` for all.
    pub fn new(judged: Option<BTreeSet<String>>) -> Self {
        Self { judged, ..Self::default() }
    }

    /// Counts one text.
    pub fn add(&mut self, case: &LabelledText<'_>) {
        for label in case.labels {
            let (is_gone, is_leaked) = measure_survival(case.text, &label.range, case.placed);
            self.count_in(&label.kind, case.group, |tally| {
                tally.labels += 1;
                tally.found += u64::from(is_gone);
                tally.leaked += u64::from(is_leaked);
            });
            if let Some(found_type) =
                placeholder_type(&label.range, case.placed).filter(|found_type| **found_type != label.kind)
            {
                *self.confused.entry((label.kind.clone(), found_type.clone())).or_default() += 1;
            }
        }
        let mut is_clean = true;
        for placed in case.placed {
            if self.judged.as_ref().is_some_and(|judged| !judged.contains(&placed.kind)) {
                self.unjudged += 1;
                continue;
            }
            is_clean = false;
            let is_correct = case.labels.iter().any(|label| overlap(&label.range, &placed.range) > 0);
            self.count_in(&placed.kind, case.group, |tally| {
                tally.placed += 1;
                tally.correct += u64::from(is_correct);
            });
        }
        if case.near_miss {
            let count_text = |tally: &mut ScoreCounts| {
                tally.near_misses += 1;
                tally.clean += u64::from(is_clean);
            };
            count_text(&mut self.all);
            count_text(self.groups.entry(case.group.to_owned()).or_default());
        }
    }

    fn count_in(&mut self, kind: &str, group: &str, count: impl Fn(&mut ScoreCounts)) {
        count(&mut self.all);
        count(self.types.entry(kind.to_owned()).or_default());
        count(self.groups.entry(group.to_owned()).or_default());
    }
}

/// Number of consecutive characters that count as a leak.
const LEAK_LEN: usize = 4;

/// Whether no letter or digit of a value survives, and whether [`LEAK_LEN`] consecutive characters (the whole value, if
/// it is shorter) do.
fn measure_survival(text: &str, label: &Range<usize>, placed: &[TypedRange]) -> (bool, bool) {
    let value = text.get(label.clone()).unwrap_or_default();
    let leak_len = value.chars().count().min(LEAK_LEN);
    let (mut is_gone, mut surviving, mut longest) = (true, 0, 0);
    let mut remaining = placed.iter().skip_while(|placed| placed.range.end <= label.start).peekable();
    for (at, char) in value.char_indices() {
        let at = label.start + at;
        while remaining.peek().is_some_and(|placed| placed.range.end <= at) {
            remaining.next();
        }
        if remaining.peek().is_some_and(|placed| placed.range.start <= at) {
            surviving = 0;
            continue;
        }
        surviving += 1;
        longest = longest.max(surviving);
        is_gone &= !char.is_alphanumeric();
    }
    (is_gone, leak_len > 0 && longest >= leak_len)
}

/// The type of the placeholder that covers most of a value.
fn placeholder_type<'p>(label: &Range<usize>, placed: &'p [TypedRange]) -> Option<&'p String> {
    let covers = placed.iter().map(|placed| (overlap(label, &placed.range), placed));
    covers.filter(|(bytes, _)| *bytes > 0).max_by_key(|(bytes, _)| *bytes).map(|(_, placed)| &placed.kind)
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> usize {
    a.end.min(b.end).saturating_sub(a.start.max(b.start))
}
