//! [`BilledSum`] holds the counts billed below a span, or for an answer, in all requests so far. A roll-up usually
//! arrives in a later request than its calls, because spans end before the spans around them; stream snapshots repeat
//! an answer with more output.
//!
//! Changed only after a commit. Sums within one request are handled in `genai`, layers of one call in `layers`; the
//! sums are stored in `bounded_map`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use genai::{CallTokenCounts, Facts, ItemFacts};

use super::waiting_calls::{UnitKey, own_span_id, span_key};
use super::{BatchPass, CostProcessor};

/// Calls below a span, with no other span with tokens between them.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct BilledSum {
    calls: u32,
    counts: CallTokenCounts,
}

impl BilledSum {
    pub(super) fn from_item(item: &ItemFacts) -> Self {
        Self { calls: 1, counts: CallTokenCounts::from_facts(item) }
    }

    /// The output that the answer had before, and the counts added since.
    pub(super) fn growth_since(&self, item: &ItemFacts) -> Option<(u64, Self)> {
        let (before, counts) = CallTokenCounts::from_facts(item).growth_since(&self.counts)?;
        Some((before, Self { calls: 0, counts }))
    }

    pub(super) fn add(&mut self, more: &Self) {
        self.calls = self.calls.saturating_add(more.calls);
        self.counts = self.counts.sum_with(&more.counts);
    }

    /// Returns true if `item` reports the same size as several calls below it together.
    pub(super) fn equals_item(&self, item: &ItemFacts) -> bool {
        self.calls > 1 && CallTokenCounts::from_facts(item).matches_inner(&self.counts)
    }

    /// Returns true if `item` has more than twice the counts below it.
    pub(super) fn is_dwarfed_by(&self, item: &ItemFacts) -> bool {
        CallTokenCounts::from_facts(item).is_more_than_double(&self.counts)
    }
}

impl CostProcessor {
    /// The counts below a span: billed in earlier requests, and to be billed in this one.
    pub(super) fn sum_below(&self, pass: &BatchPass<'_>, item: &ItemFacts) -> Option<BilledSum> {
        let (trace, span) = own_span_id(pass.payload, item.node)?;
        let place = span_key(&pass.account, &trace, &span);
        let (earlier, now) = (self.ledger.billed_below(&place), pass.sums_below.get(&place));
        let (Some(mut sum), Some(now)) = (earlier, now) else { return earlier.or(now.copied()) };
        sum.add(now);
        Some(sum)
    }

    /// The counts of this request's calls, by the span above.
    pub(super) fn request_sums(&self, pass: &mut BatchPass<'_>, facts: &Facts) -> HashMap<UnitKey, BilledSum> {
        let mut sums: HashMap<UnitKey, BilledSum> = HashMap::new();
        for (at, item) in facts.items.iter().enumerate().filter(|(_, item)| item.billable) {
            if let Some((trace, span)) = self.ancestors_to_tokens(pass, at).last() {
                sums.entry(span_key(&pass.account, trace, span)).or_default().add(&BilledSum::from_item(item));
            }
        }
        sums
    }
}
