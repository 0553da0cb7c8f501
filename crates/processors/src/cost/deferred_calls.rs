//! Handles calls without a model or provider of their own: a call whose ancestor has not arrived is deferred, and
//! priced when a batch brings the ancestor.
//!
//! The ledger of calls ensures that each call is charged once, whichever pipelines see the ancestor. State changes only
//! after the commit. Waiting calls are in `waiting_calls`, totals in `ledger`.

use std::sync::Arc;

use calls::{ChargeKind, Correction, Verdict};
use genai::{BillingStatus, CallCost as CostFact, Facts, ItemFacts, LatePrice};
use otlp::Signal;
use rates::{RateTable, RateTables, UnpricedReason, Usd};

use super::ledger::MAX_WAIT;
use super::plans::{BasisAmounts, basis_of};
use super::price::{self, CallPriceInput, PricedCall, UnpricedCall};
use super::waiting_calls::{BatchSpans, InheritedModel, LedgerKey, WaitingCall, own_span_id, span_key};
use super::{BatchPass, CostProcessor, priced_fact, unpriced_fact};

/// A call that waited for a span of this batch, with its price.
pub(super) struct SettledWait<'t> {
    pub(super) call: WaitingCall,
    ancestor: LedgerKey,
    table: &'t Arc<RateTable>,
    contract: Option<&'t str>,
    pricing: Result<PricedCall<'t>, UnpricedCall>,
}

impl CostProcessor {
    /// What a call waits for that has no price because its model or provider is on an ancestor that has not arrived. If
    /// the ancestor arrived earlier, its values are written to `item` instead. `None`: the call is to be priced now.
    pub(super) fn wait_for_ancestor(
        &self,
        pass: &mut BatchPass<'_>,
        table: &RateTable,
        index: usize,
        item: &mut ItemFacts,
        record: &calls::CallRecord,
    ) -> Option<(LedgerKey, WaitingCall)> {
        let until = pass.now.0.saturating_add(MAX_WAIT);
        let waiting = WaitingCall::from_item(pass.payload, item, record, until)?;
        let unpriced = price::price_call(table, &CallPriceInput::from_basis(&waiting.basis), self.config.fees).err()?;
        if !is_only_model_missing(unpriced.reason, &waiting) {
            return None;
        }
        let (trace, span) = self.batch_spans(pass).missing_ancestor(index)?;
        let ancestor = span_key(&pass.account, &trace, &span);
        let inherited = self.ledger.waiting_calls.lock().inherited_from(&ancestor).cloned();
        if let Some(InheritedModel { model, provider, .. }) = inherited {
            let has_model = item.request_model.is_some() || item.response_model.is_some();
            item.request_model = item.request_model.take().or(model.filter(|_| !has_model));
            item.provider = item.provider.take().or(provider);
            return None;
        }
        pass.pending_waits += 1;
        if self.ledger.waiting_calls.lock().is_full(pass.pending_waits - 1) {
            pass.changes.rejected_waits += 1;
            return None;
        }
        Some((ancestor, waiting))
    }

    fn batch_spans<'p>(&self, pass: &'p mut BatchPass<'_>) -> &'p BatchSpans {
        let payload = &*pass.payload;
        pass.spans.get_or_insert_with(|| BatchSpans::from_payload(payload))
    }

    /// Prices the calls that waited for spans of this batch, and remembers the models of its spans for later batches.
    pub(super) fn settled_waits<'t>(
        &self,
        pass: &mut BatchPass<'_>,
        rates: &'t RateTables,
        facts: &Facts,
    ) -> Vec<SettledWait<'t>> {
        if pass.payload.signal() != Signal::Traces || pass.is_repeat {
            return Vec::new();
        }
        self.remember_models(pass, facts);
        let mut awaiting_batch: Vec<(LedgerKey, usize, WaitingCall)> = Vec::new();
        {
            let waiting = self.ledger.waiting_calls.lock();
            if waiting.is_empty() {
                return Vec::new();
            }
            for (index, item) in facts.items.iter().enumerate() {
                let Some((trace, span)) = own_span_id(pass.payload, item.node) else { continue };
                let ancestor = span_key(&pass.account, &trace, &span);
                awaiting_batch.extend(waiting.calls_for(&ancestor).map(|call| (ancestor, index, call.clone())));
            }
        }
        awaiting_batch
            .into_iter()
            .filter_map(|(ancestor, index, call)| self.settle_wait(pass, rates, facts, (ancestor, index, call)))
            .collect()
    }

    /// Remembers spans that are not calls but have a model: spans in later batches may inherit it.
    fn remember_models(&self, pass: &mut BatchPass<'_>, facts: &Facts) {
        let until = pass.now.0.saturating_add(MAX_WAIT);
        for item in
            facts.items.iter().filter(|item| item.inherits_model && !item.billable && item.request_model.is_some())
        {
            let Some((trace, span)) = own_span_id(pass.payload, item.node) else { continue };
            let inherited =
                InheritedModel { model: item.request_model.clone(), provider: item.provider.clone(), until };
            pass.changes.ancestors.push((span_key(&pass.account, &trace, &span), inherited));
        }
    }

    /// Prices a call that waited for the span `ancestor`, which is the item `index`. `None`: it waits for a farther
    /// one.
    fn settle_wait<'t>(
        &self,
        pass: &mut BatchPass<'_>,
        rates: &'t RateTables,
        facts: &Facts,
        (ancestor, index, mut call): (LedgerKey, usize, WaitingCall),
    ) -> Option<SettledWait<'t>> {
        let spans = self.batch_spans(pass);
        let (inherited, missing) = (spans.inherited_model(facts, index), spans.missing_ancestor(index));
        call.basis.inherit(inherited.model.as_deref(), inherited.provider.as_deref());
        let table = rates.table(call.tenant.as_deref());
        let pricing = price::price_call(table, &CallPriceInput::from_basis(&call.basis), self.config.fees);
        if let (Err(unpriced), Some((trace, span))) = (&pricing, missing)
            && is_only_model_missing(unpriced.reason, &call)
        {
            // An ancestor farther up may have the missing value.
            pass.changes.ended_waits.push((ancestor, call.call_key.clone()));
            pass.changes.started_waits.push((span_key(&pass.account, &trace, &span), call));
            return None;
        }
        call.record.traits = call.record.traits & !calls::traits::WAITS | calls::traits::GONE;
        call.record.price = pricing.as_ref().ok().map(|priced| priced.parts.into());
        call.record.units = super::records::units(&call.basis.units);
        let contract = rates.contract_digest(call.tenant.as_deref());
        Some(SettledWait { call, ancestor, table, contract, pricing })
    }

    /// The price of a call that waited. `None`: it was counted by another record or batch.
    pub(super) fn late_price(
        &self,
        pass: &mut BatchPass<'_>,
        settled: SettledWait<'_>,
        verdict: Verdict,
        corrected: &[Correction],
    ) -> Option<LatePrice> {
        let SettledWait { call, ancestor, table, contract, pricing } = settled;
        pass.changes.ended_waits.push((ancestor, call.call_key.clone()));
        let Verdict::Charged { kind, money, call: whole, counted_by: None, .. } = verdict else { return None };
        let contract: Option<Box<str>> = contract.map(Into::into);
        let cost = match pricing {
            Ok(mut priced) if kind != ChargeKind::Unpriced => {
                (priced.total, priced.parts) = (Usd(money.total()), money.into());
                pass.changes.count_status(BillingStatus::Priced);
                let billing = basis_of(&call.record);
                let amounts = BasisAmounts::of_charge(money, billing, corrected);
                let converted = self.convert(pass, priced.total, call.basis.time);
                pass.changes.add_priced(call.tenant.as_deref(), [priced.model, priced.provider], amounts, converted);
                let corrected = corrected.iter().filter_map(super::for_runs).collect();
                let covered_atto_usd = amounts.covered();
                let fact = priced_fact(priced, table.stamp());
                let fact = CostFact { billing, covered_atto_usd, corrected, ..fact };
                CostFact { call_atto_usd: Some(whole.total()), call_saved_atto_usd: whole.saved(), ..fact }
            }
            Ok(_) => return None,
            Err(unpriced) => {
                let reason = unpriced.reason.as_str();
                let (provider, model) = (call.basis.provider.as_deref(), call.basis.models.first().map(String::as_str));
                pass.changes.count_status(BillingStatus::Unpriced);
                pass.changes.add_unpriced(provider, model, reason, super::total_tokens(&unpriced.buckets));
                CostFact {
                    reason: Some(reason),
                    ..unpriced_fact(BillingStatus::Unpriced, table.stamp(), unpriced.buckets)
                }
            }
        };
        let cost = CostFact { contract, ..cost };
        let WaitingCall { call_key, trace, span, parent, session, tenant, basis, .. } = call;
        Some(LatePrice { call_key, trace, span, parent, session, tenant, basis, cost })
    }
}

/// Returns true if the price is missing only because model or provider is missing.
fn is_only_model_missing(reason: UnpricedReason, call: &WaitingCall) -> bool {
    match reason {
        UnpricedReason::NoModel => true,
        UnpricedReason::AmbiguousProvider => call.basis.provider.is_none(),
        _ => false,
    }
}
