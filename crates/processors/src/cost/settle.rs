//! Handles calls without a model or provider of their own: a call whose ancestor has not arrived is deferred, and
//! priced when a batch brings the ancestor.
//!
//! A price is given only once, whichever pipeline sees the ancestor, and nothing changes before the commit. Waiting
//! calls are in `late`, totals in `ledger`.

use genai::{Billing, Cost as CostFact, Facts, ItemFacts, LatePrice};
use otlp::Signal;
use pipeline::{Claim, ClaimKey};
use rates::{Table, Unpriced};

use super::late::{self, Above, Family, Late, Place, place, span_of};
use super::ledger::WAIT;
use super::price::{self, Call};
use super::{Cost, Flags, Pass, fact};

impl Cost {
    /// Defers a call that has no price because its model or provider is on an ancestor that has not arrived. If the
    /// ancestor arrived earlier, its values are used instead.
    pub(super) fn defer(
        &self,
        pass: &mut Pass<'_>,
        table: &Table,
        at: usize,
        item: &mut ItemFacts,
        count: bool,
    ) -> Option<CostFact> {
        let until = pass.now.0.saturating_add(WAIT);
        let waiting = late::late(pass.payload, item, until)?;
        let unpriced = price::price(table, &Call::kept(&waiting.basis), self.fees).err()?;
        if !is_want(unpriced.reason, &waiting) {
            return None;
        }
        let (trace, span) = self.family(pass).missing(at)?;
        let place = place(&pass.account, &trace, &span);
        let known = self.ledger.late().above(&place).cloned();
        if let Some(Above { model, provider, .. }) = known {
            let told = item.request_model.is_some() || item.response_model.is_some();
            item.request_model = item.request_model.take().or(model.filter(|_| !told));
            item.provider = item.provider.take().or(provider);
            return None;
        }
        if count && self.ledger.late().is_full(pass.changes.waiting()) {
            pass.changes.full();
            return None;
        }
        pass.mark(item.node, Billing::Deferred, Flags::default());
        if count {
            pass.changes.waits(place, waiting);
        }
        Some(fact(Billing::Deferred, table.stamp(), unpriced.buckets))
    }

    fn family<'p>(&self, pass: &'p mut Pass<'_>) -> &'p Family {
        let payload = &*pass.payload;
        pass.family.get_or_insert_with(|| Family::of(payload))
    }

    /// Prices the calls that waited for spans of this batch, and remembers the models of its spans for later batches.
    pub(super) fn settle(&self, pass: &mut Pass<'_>, facts: &Facts) -> Vec<LatePrice> {
        if pass.payload.signal() != Signal::Traces || pass.repeat {
            return Vec::new();
        }
        self.tell(pass, facts);
        let mut found: Vec<(Place, usize, Late)> = Vec::new();
        {
            let waiting = self.ledger.late();
            if waiting.is_empty() {
                return Vec::new();
            }
            for (at, item) in facts.items.iter().enumerate() {
                let Some((trace, span)) = span_of(pass.payload, item.node) else { continue };
                let place = place(&pass.account, &trace, &span);
                found.extend(waiting.at(&place).map(|late| (place, at, late.clone())));
            }
        }
        found.into_iter().filter_map(|(place, at, late)| self.settle_one(pass, facts, place, at, late)).collect()
    }

    /// Remembers spans that are not calls but have a model: spans in later batches may inherit it.
    fn tell(&self, pass: &mut Pass<'_>, facts: &Facts) {
        let until = pass.now.0.saturating_add(WAIT);
        for item in facts.items.iter().filter(|item| item.inherits && !item.billable && item.request_model.is_some()) {
            let Some(id) = span_of(pass.payload, item.node) else { continue };
            let above = Above { model: item.request_model.clone(), provider: item.provider.clone(), until };
            pass.changes.above(place(&pass.account, &id.0, &id.1), above);
        }
    }

    fn settle_one(
        &self,
        pass: &mut Pass<'_>,
        facts: &Facts,
        place_: Place,
        at: usize,
        mut late: Late,
    ) -> Option<LatePrice> {
        let family = self.family(pass);
        let (told, missing) = (family.tells(facts, at), family.missing(at));
        late.basis.inherit(told.model.as_deref(), told.provider.as_deref());
        let table = std::sync::Arc::clone(pass.rates.table(late.tenant.as_deref()));
        let result = price::price(&table, &Call::kept(&late.basis), self.fees);
        if let (Err(unpriced), Some((trace, span))) = (&result, missing)
            && is_want(unpriced.reason, &late)
        {
            // An ancestor farther up may have the missing value.
            pass.changes.settled(place_, &late.call_key);
            pass.changes.waits(place(&pass.account, &trace, &span), late);
            return None;
        }
        let key = ClaimKey::of(&[b"late", pass.account.as_bytes(), late.call_key.as_bytes()]);
        if self.ledger.claims.claim(key, &pass.batch, pass.now) != Claim::First {
            return None;
        }
        pass.changes.claim(key);
        pass.changes.settled(place_, &late.call_key);
        let contract: Option<Box<str>> = pass.rates.contract(late.tenant.as_deref()).map(Into::into);
        let cost = match result {
            Ok(priced) => {
                pass.changes.status(Billing::Priced.as_str());
                pass.changes.priced(late.tenant.as_deref(), priced.model, priced.provider, priced.total);
                CostFact {
                    usd: Some(priced.total.to_string()),
                    atto_usd: Some(priced.total.0),
                    rate: Some(priced.rate),
                    ..fact(Billing::Priced, table.stamp(), priced.buckets)
                }
            }
            Err(unpriced) => {
                let reason = unpriced.reason.as_str();
                let (provider, model) = (late.basis.provider.as_deref(), late.basis.models.first().map(String::as_str));
                pass.changes.status(Billing::Unpriced.as_str());
                pass.changes.unpriced(provider, model, reason, super::tokens(&unpriced.buckets));
                CostFact { reason: Some(reason), ..fact(Billing::Unpriced, table.stamp(), unpriced.buckets) }
            }
        };
        let cost = CostFact { contract, ..cost };
        let Late { call_key, trace, span, parent, session, tenant, basis, .. } = late;
        Some(LatePrice { call_key, trace, span, parent, session, tenant, basis, cost })
    }
}

/// Returns true if the price is missing only because model or provider is missing.
fn is_want(reason: Unpriced, late: &Late) -> bool {
    match reason {
        Unpriced::NoModel => true,
        Unpriced::AmbiguousProvider => late.basis.provider.is_none(),
        _ => false,
    }
}
