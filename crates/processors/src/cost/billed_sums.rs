//! [`BilledSum`] holds the token counts billed below a span, or for an answer, in all requests so far. Two kinds of
//! records are recognised by them: a roll-up, which arrives after its calls because a span ends after the spans below
//! it, and a stream snapshot, which repeats an answer with more output.
//!
//! The sums of committed requests are in `ledger` and change only after a commit. `genai` recognises roll-ups within
//! one request; `layers` recognises the layers of one call.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use genai::{CallTokenCounts, Facts, ItemFacts};

use super::waiting_calls::{LedgerKey, own_span_id, span_key};
use super::{BatchPass, CostProcessor};

/// The calls billed below a span, without those below a nearer boundary (see `BatchPass::is_boundary`).
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct BilledSum {
    calls: u32,
    counts: CallTokenCounts,
}

impl BilledSum {
    pub(super) fn from_item(item: &ItemFacts) -> Self {
        Self { calls: 1, counts: CallTokenCounts::from_facts(item) }
    }

    /// If `item` repeats this answer with more output: the output billed before, and the counts added since.
    pub(super) fn growth_to(&self, item: &ItemFacts) -> Option<(u64, Self)> {
        let (billed_output, counts) = CallTokenCounts::from_facts(item).growth_since(&self.counts)?;
        Some((billed_output, Self { calls: 0, counts }))
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
        let key = span_key(&pass.account, &trace, &span);
        let (earlier, current) = (self.ledger.billed_sum(&key), pass.sums_below.get(&key));
        let (Some(mut sum), Some(current)) = (earlier, current) else { return earlier.or(current.copied()) };
        sum.add(current);
        Some(sum)
    }

    /// The counts of this request's calls, by the boundary above them.
    pub(super) fn request_sums(&self, pass: &mut BatchPass<'_>, facts: &Facts) -> HashMap<LedgerKey, BilledSum> {
        let mut sums: HashMap<LedgerKey, BilledSum> = HashMap::new();
        for (index, item) in facts.items.iter().enumerate().filter(|(_, item)| item.billable) {
            if let Some((trace, span)) = self.ancestors_to_boundary(pass, index).last() {
                sums.entry(span_key(&pass.account, trace, span)).or_default().add(&BilledSum::from_item(item));
            }
        }
        sums
    }
}
