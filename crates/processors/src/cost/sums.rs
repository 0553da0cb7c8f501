//! **What**: [`Sum`]: what was billed below a span, and for an answer, in all requests so far. **Why**: spans end
//! before those around them, so that a sum over calls mostly comes a request later than the calls; a stream's snapshots
//! repeat an answer with more output. **Invariants**: changed after commits only. **Not here**: sums within one request
//! (`genai`), layers of one call (`layers`), where they are kept (`memory`).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use genai::{Counts, Facts, ItemFacts};

use super::late::{Place, place, span_of};
use super::{Cost, Pass};

/// Calls below a span, with no span between that has tokens.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Sum {
    calls: u32,
    counts: Counts,
}

impl Sum {
    pub(super) fn of(item: &ItemFacts) -> Self {
        Self { calls: 1, counts: Counts::of(item) }
    }

    /// The output that an answer had before, and what came since.
    pub(super) fn grew(&self, item: &ItemFacts) -> Option<(u64, Self)> {
        let (before, counts) = Counts::of(item).grew(&self.counts)?;
        Some((before, Self { calls: 0, counts }))
    }

    pub(super) fn add(&mut self, more: &Self) {
        self.calls = self.calls.saturating_add(more.calls);
        self.counts = self.counts.and(&more.counts);
    }

    /// Whether `item` says of its size what several calls below say together.
    pub(super) fn is(&self, item: &ItemFacts) -> bool {
        self.calls > 1 && Counts::of(item).says(&self.counts)
    }

    /// Whether `item` has more than twice what is below it.
    pub(super) fn is_dwarfed_by(&self, item: &ItemFacts) -> bool {
        Counts::of(item).exceed(&self.counts)
    }
}

impl Cost {
    /// What was billed below a span in earlier requests, and what of this one is to be.
    pub(super) fn below(&self, pass: &Pass<'_>, item: &ItemFacts) -> Option<Sum> {
        let (trace, span) = span_of(pass.payload, item.node)?;
        let place = place(&pass.account, &trace, &span);
        let (earlier, now) = (self.ledger.sum(&place), pass.below.get(&place));
        let (Some(mut sum), Some(now)) = (earlier, now) else { return earlier.or(now.copied()) };
        sum.add(now);
        Some(sum)
    }

    /// What calls of this request have, by the span above.
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
