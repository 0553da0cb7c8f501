//! [`Sum`] holds the counts billed below a span, or for an answer, in all requests so far. A roll-up usually arrives in
//! a later request than its calls, because spans end before the spans around them; stream snapshots repeat an answer
//! with more output.
//!
//! Changed only after a commit. Sums within one request are handled in `genai`, layers of one call in `layers`; the
//! sums are stored in `memory`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use genai::{Counts, Facts, ItemFacts};

use super::late::{Place, place, span_of};
use super::{Cost, Pass};

/// Calls below a span, with no other span with tokens between them.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Sum {
    calls: u32,
    counts: Counts,
}

impl Sum {
    pub(super) fn of(item: &ItemFacts) -> Self {
        Self { calls: 1, counts: Counts::of(item) }
    }

    /// The output that the answer had before, and the counts added since.
    pub(super) fn grew(&self, item: &ItemFacts) -> Option<(u64, Self)> {
        let (before, counts) = Counts::of(item).grew(&self.counts)?;
        Some((before, Self { calls: 0, counts }))
    }

    pub(super) fn add(&mut self, more: &Self) {
        self.calls = self.calls.saturating_add(more.calls);
        self.counts = self.counts.and(&more.counts);
    }

    /// Returns true if `item` reports the same size as several calls below it together.
    pub(super) fn is(&self, item: &ItemFacts) -> bool {
        self.calls > 1 && Counts::of(item).says(&self.counts)
    }

    /// Returns true if `item` has more than twice the counts below it.
    pub(super) fn is_dwarfed_by(&self, item: &ItemFacts) -> bool {
        Counts::of(item).exceed(&self.counts)
    }
}

impl Cost {
    /// The counts below a span: billed in earlier requests, and to be billed in this one.
    pub(super) fn below(&self, pass: &Pass<'_>, item: &ItemFacts) -> Option<Sum> {
        let (trace, span) = span_of(pass.payload, item.node)?;
        let place = place(&pass.account, &trace, &span);
        let (earlier, now) = (self.ledger.sum(&place), pass.below.get(&place));
        let (Some(mut sum), Some(now)) = (earlier, now) else { return earlier.or(now.copied()) };
        sum.add(now);
        Some(sum)
    }

    /// The counts of this request's calls, by the span above.
    pub(super) fn sums(&self, pass: &mut Pass<'_>, facts: &Facts) -> HashMap<Place, Sum> {
        let mut sums: HashMap<Place, Sum> = HashMap::new();
        for (at, item) in facts.items.iter().enumerate().filter(|(_, item)| item.billable) {
            if let Some((trace, span)) = self.above(pass, at).last() {
                sums.entry(place(&pass.account, trace, span)).or_default().add(&Sum::of(item));
            }
        }
        sums
    }
}
