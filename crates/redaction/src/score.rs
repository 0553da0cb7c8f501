//! **What**: how well rules do on labelled texts: recall, leak, precision, F2, clean; by type, by group, pooled.
//! **Why**: users must be able to measure on their own data, by the definitions that the documentation's figures have.
//! **Invariants**: pure counting; holds no text. **Not here**: reading files (`cli/redact`).
//!
//! *Recall*: share of labelled values of which no letter or digit survives at its own place. *Leak*: share of which a
//! run of four characters or more survives (the whole value, if it is shorter). *Precision*: share of placeholders that
//! touch a labelled value. *F2*: 5PR / (4P + R). *Clean*: share of near-miss texts without a placeholder. A placeholder
//! of another type counts as found; which types were told for which is counted apart.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A stretch of a text with a type: what a label says, or what a rule put there.
#[derive(Clone, PartialEq, Eq)]
pub struct Marked {
    /// Byte range, on character boundaries.
    pub range: Range<usize>,
    /// `EMAIL`.
    pub kind: String,
}

/// One labelled text and what rules made of it.
pub struct Case<'c> {
    /// The text.
    pub text: &'c str,
    /// What must go.
    pub labels: &'c [Marked],
    /// What went, in order, without overlap.
    pub placed: &'c [Marked],
    /// Its group.
    pub group: &'c str,
    /// Whether nothing may go.
    pub near_miss: bool,
}

/// Counts.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Tally {
    /// Labelled values.
    pub labels: u64,
    /// Of which nothing survives.
    pub found: u64,
    /// Of which a run survives.
    pub leaked: u64,
    /// Placeholders that are judged.
    pub placed: u64,
    /// That touch a labelled value.
    pub right: u64,
    /// Near-miss texts.
    pub near_misses: u64,
    /// Of which nothing went.
    pub clean: u64,
}

impl Tally {
    /// `found / labels`.
    pub fn recall(&self) -> Option<f64> {
        share(self.found, self.labels)
    }

    /// `leaked / labels`.
    pub fn leak(&self) -> Option<f64> {
        share(self.leaked, self.labels)
    }

    /// `right / placed`.
    pub fn precision(&self) -> Option<f64> {
        share(self.right, self.placed)
    }

    /// Recall counts twice.
    pub fn f2(&self) -> Option<f64> {
        let (precision, recall) = (self.precision()?, self.recall()?);
        let below = 4.0 * precision + recall;
        (below > 0.0).then(|| 5.0 * precision * recall / below)
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
pub struct Score {
    /// Pooled.
    pub all: Tally,
    /// By type: labels by theirs, placeholders by theirs.
    pub types: BTreeMap<String, Tally>,
    /// By group of texts.
    pub groups: BTreeMap<String, Tally>,
    /// Labelled type and the other type that was told for it, with how often.
    pub confused: BTreeMap<(String, String), u64>,
    /// Placeholders of types that the labels do not claim to be complete for.
    pub unjudged: u64,
    judged: Option<BTreeSet<String>>,
}

impl Score {
    /// Nothing counted. `judged`: the types that the texts are labelled completely for; without it, all.
    pub fn new(judged: Option<BTreeSet<String>>) -> Self {
        Self { judged, ..Self::default() }
    }

    /// Counts one text.
    pub fn add(&mut self, case: &Case<'_>) {
        for label in case.labels {
            let (found, leaked) = survives(case.text, &label.range, case.placed);
            self.each(&label.kind, case.group, |tally| {
                tally.labels += 1;
                tally.found += u64::from(found);
                tally.leaked += u64::from(leaked);
            });
            if let Some(told) = told(&label.range, case.placed).filter(|told| **told != label.kind) {
                *self.confused.entry((label.kind.clone(), told.clone())).or_default() += 1;
            }
        }
        let mut clean = true;
        for placed in case.placed {
            if self.judged.as_ref().is_some_and(|judged| !judged.contains(&placed.kind)) {
                self.unjudged += 1;
                continue;
            }
            clean = false;
            let right = case.labels.iter().any(|label| overlap(&label.range, &placed.range) > 0);
            self.each(&placed.kind, case.group, |tally| {
                tally.placed += 1;
                tally.right += u64::from(right);
            });
        }
        if case.near_miss {
            let tally = |tally: &mut Tally| {
                tally.near_misses += 1;
                tally.clean += u64::from(clean);
            };
            tally(&mut self.all);
            tally(self.groups.entry(case.group.to_owned()).or_default());
        }
    }

    fn each(&mut self, kind: &str, group: &str, count: impl Fn(&mut Tally)) {
        count(&mut self.all);
        count(self.types.entry(kind.to_owned()).or_default());
        count(self.groups.entry(group.to_owned()).or_default());
    }
}

/// Shortest run of characters that is a leak.
const RUN: usize = 4;

/// Whether no letter or digit of a value survives; whether a run of it does.
fn survives(text: &str, label: &Range<usize>, placed: &[Marked]) -> (bool, bool) {
    let value = text.get(label.clone()).unwrap_or_default();
    let enough = value.chars().count().min(RUN);
    let (mut found, mut run, mut most) = (true, 0, 0);
    let mut near = placed.iter().skip_while(|placed| placed.range.end <= label.start).peekable();
    for (at, char) in value.char_indices() {
        let at = label.start + at;
        while near.peek().is_some_and(|placed| placed.range.end <= at) {
            near.next();
        }
        if near.peek().is_some_and(|placed| placed.range.start <= at) {
            run = 0;
            continue;
        }
        run += 1;
        most = most.max(run);
        found &= !char.is_alphanumeric();
    }
    (found, enough > 0 && most >= enough)
}

/// The type of the placeholder that covers most of a value.
fn told<'p>(label: &Range<usize>, placed: &'p [Marked]) -> Option<&'p String> {
    let covers = placed.iter().map(|placed| (overlap(label, &placed.range), placed));
    covers.filter(|(bytes, _)| *bytes > 0).max_by_key(|(bytes, _)| *bytes).map(|(_, placed)| &placed.kind)
}

fn overlap(one: &Range<usize>, other: &Range<usize>) -> usize {
    one.end.min(other.end).saturating_sub(one.start.max(other.start))
}
