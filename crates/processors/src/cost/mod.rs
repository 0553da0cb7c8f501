//! The `cost` processor: prices model calls exactly from a versioned rate table. A call without a price is marked and
//! counted as unpriced, never as 0.
//!
//! State changes only after a commit, except for claims and the tokens of spans billed without their log. Each call is
//! priced once, across signals, repeats, layers and pipeline branches, at the rates valid at the time of the call.
//! Roll-ups within a request and failures without tokens get no stamp. `genai` decides which items are calls, `rates`
//! holds the prices, the crate `tracker` sums up runs.

mod billed_sums;
pub mod config;
mod deferred_calls;
mod layers;
mod ledger;
mod price;
mod refresh;
mod response_ids;
mod spec;
mod stamp;
mod tables;
mod two_signals;
mod waiting_calls;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use genai::usage::{PricingFlags, TokenSplit, split_tokens};
use genai::{
    self, BillingStatus, CallCost as CostFact, CallTokenBuckets, Facts, ItemFacts, Vocabulary, adopt_owners,
    cached_facts,
};
use kernel::clock::UnixNanos;
use kernel::hex;
use kernel::pseudonym::IdPolicy;
use otlp::{NodeId, Payload, Signal};
use pipeline::{Batch, ClaimKey, ClaimResult, Effect, Processor, Reason, Trust};
use rates::{ActiveRates, RateTable, RateTables, RatesError, UnpricedReason, Usd};
use telemetry::{Gauge, Meter, names};
use tracker::RunTracker;

pub use config::{
    BillingSignal, CostConfig, CostSettings, DetailsEventPolicy, PriceAlias, RatesSource, RefreshSettings,
    RefreshSource,
};
pub use price::{CallPriceInput, PriceParts, PricedCall, UnpricedCall, price_call, price_difference};

use billed_sums::BilledSum;
use layers::{AncestorClaims, LayerClaims};
use ledger::{CostLedger, LedgerChanges, NameDisplay};
use waiting_calls::{BatchSpans, LedgerKey, TraceSpanId};

pub struct CostProcessor {
    id: Arc<str>,
    vocabulary: Arc<Vocabulary>,
    active_rates: Arc<ActiveRates>,
    table_age_gauge: Gauge,
    meter: Meter,
    ledger: CostLedger,
    /// The tracker of the pipeline's `runs` step; empty without such a step.
    tracker: Arc<OnceLock<Arc<RunTracker>>>,
    /// The signal that bills calls arriving on two signals.
    billed_signal: Signal,
    config: CostConfig,
    /// The configured providers: the current form of the name sent, and of its target.
    providers: BTreeMap<String, String>,
    /// 1e-18 USD.
    tolerance: i128,
}

impl CostProcessor {
    /// Loads the rate tables and creates the processor.
    ///
    /// # Errors
    /// A table cannot be read or is invalid, or lacks a configured provider.
    pub fn new(
        id: Arc<str>,
        settings: &CostSettings,
        vocabulary: Arc<Vocabulary>,
        meter: &Meter,
    ) -> Result<Self, RatesError> {
        let rates = RateTables::build(&settings.load_base()?, &settings.load_overlays()?)?;
        let providers = resolve_providers(&settings.config.providers, &vocabulary, &rates)?;
        tables::set_table_gauges(meter, &rates, 1.0);
        let active_rates = Arc::new(ActiveRates::new(rates));
        Ok(Self {
            id,
            vocabulary,
            ledger: CostLedger::new(meter, Arc::clone(&active_rates)),
            active_rates,
            tracker: Arc::default(),
            table_age_gauge: meter.gauge(&names::RATES_AGE, &[]),
            meter: meter.clone(),
            billed_signal: settings.billed_signal(),
            config: settings.config.clone(),
            providers,
            tolerance: settings.tolerance.0,
        })
    }

    /// Passes names of tenants, models and providers through `ids` before they appear in metrics and logs. Without this
    /// they appear unchanged, which is meant for tools that do not publish them.
    #[must_use]
    pub fn with_ids(mut self, ids: Arc<dyn IdPolicy>) -> Self {
        self.ledger.display.ids = Some(ids);
        self
    }

    /// Slot for the tracker of the `runs` step after this one.
    pub fn tracker_slot(&self) -> Arc<OnceLock<Arc<RunTracker>>> {
        Arc::clone(&self.tracker)
    }

    /// The tables in use; later replacements are visible through it.
    pub fn shelf(&self) -> Arc<ActiveRates> {
        Arc::clone(&self.active_rates)
    }

    /// The current common table, for tenants without a table of their own.
    pub fn table(&self) -> Arc<RateTable> {
        Arc::clone(self.active_rates.rates().common())
    }

    /// Warnings about the overlays in use, one line each, with file, line and column.
    pub fn warnings(&self) -> Vec<String> {
        self.active_rates.rates().warnings().to_vec()
    }

    /// Replaces the tables, which are the latest as of `now`. Batches already being processed keep the old ones.
    pub fn replace_tables(&self, rates: RateTables, now: UnixNanos) {
        tables::set_table_gauges(&self.meter, &rates, 1.0);
        let replaced = self.active_rates.swap(rates);
        if replaced.common().digest() != self.active_rates.rates().common().digest() {
            tables::set_table_gauges(&self.meter, &replaced, 0.0);
        }
        self.confirm_tables(now);
    }

    /// Time since the tables in use were last confirmed to be the latest.
    pub fn table_age(&self, now: UnixNanos) -> std::time::Duration {
        now.since(UnixNanos(self.active_rates.confirmed(now.0)))
    }

    /// Records that the tables in use are the latest as of `now`.
    pub fn confirm_tables(&self, now: UnixNanos) {
        self.active_rates.confirm(now.0);
    }

    /// Stamps a billable item and returns the resulting cost.
    fn bill_item(&self, pass: &mut BatchPass<'_>, index: usize, item: &mut ItemFacts, is_winner: bool) -> CostFact {
        let table = Arc::clone(pass.rates.table(item.tenant.as_deref()));
        let (node, account) = (item.node, pass.account.clone());
        let contract: Option<Box<str>> = pass.rates.contract_digest(item.tenant.as_deref()).map(Into::into);
        let status_only = |status| unpriced_fact(status, table.stamp(), CallTokenBuckets::default());
        stamp::move_reported_cost(pass.payload, node, item.reported_cost.as_deref());
        self.record_log_session(pass, item);
        let other_signal = self.is_other_signal(pass.payload, item);
        let lone_span = if other_signal { self.decide_lone_span(pass, &table, item) } else { None };
        if other_signal && lone_span.is_none() {
            if let (Some(key), Some(dialect)) = (two_signal_claim(&account, item), item.dialect) {
                pass.changes.await_record(dialect, key);
            }
            pass.mark_status(node, BillingStatus::Deferred, PricingFlags::default());
            return status_only(BillingStatus::Deferred);
        }
        // Held until the span's tokens are stored, because a log record that finds the call claimed must also find the
        // tokens that its span was billed for.
        let decision_guard = item.on_two_signals.then(|| self.ledger.two_signal_lock.lock());
        let decision = self.claim_call(pass, index, item, is_winner);
        if let (Some(lone_span), CountDecision::Price { by: CountedBy::ThisRecord, .. }) = (lone_span, &decision) {
            self.remember_billed_span(pass, item, lone_span);
        }
        drop(decision_guard);
        match decision {
            CountDecision::Copy(flags) => {
                pass.mark_status(node, BillingStatus::NotCounted, flags);
                status_only(BillingStatus::NotCounted)
            }
            CountDecision::PriceDifference { by, billed, flag } => {
                CostFact { contract, ..self.price_difference(pass, &table, item, (by, billed, flag)) }
            }
            CountDecision::AfterUnpriced { by } => {
                CostFact { contract, ..self.price_after_unpriced(pass, &table, item, by) }
            }
            CountDecision::Price { by, flags } => {
                // A span billed without its log must not wait for an ancestor as well: the log could arrive first and
                // be billed in full.
                let deferred = if lone_span.is_none() { self.defer_call(pass, &table, index, item, by) } else { None };
                let fact = deferred.unwrap_or_else(|| self.price_item(pass, &table, item, by, flags));
                CostFact { contract, ..fact }
            }
        }
    }

    /// Marks an item that repeats a call of the same request.
    fn mark_copy(pass: &mut BatchPass<'_>, item: &ItemFacts) -> CostFact {
        stamp::move_reported_cost(pass.payload, item.node, item.reported_cost.as_deref());
        let table = Arc::clone(pass.rates.table(item.tenant.as_deref()));
        Self::mark_late_copy(pass, item, table.stamp())
    }

    /// Handles a call without tokens, and tokens on an item that its dialect does not know: it has no price and is
    /// counted as unpriced once.
    fn mark_without_usage(&self, pass: &mut BatchPass<'_>, item: &ItemFacts) -> CostFact {
        let table_stamp = Arc::clone(pass.rates.table(item.tenant.as_deref()).stamp());
        let (payload, claims) = (&*pass.payload, &self.ledger.claims);
        let span_id = [payload.trace_id(item.node), payload.span_id(item.node)].concat();
        let call_key = item.call_key.as_deref().map_or(&*span_id, str::as_bytes);
        // A claim of its own, so that a later record of the same call with tokens is still billed.
        let key = ClaimKey::from_parts(&[b"no usage", pass.account.as_bytes(), call_key]);
        let buckets = split_tokens(item).map_or_else(|_| CallTokenBuckets::default(), |split| split.buckets());
        let is_unknown = item.usage.is_reported();
        let reason = if is_unknown { UnpricedReason::UnknownOperation } else { UnpricedReason::NoUsage };
        let unpriced = UnpricedCall { reason, buckets };
        stamp::write_unpriced(pass.payload, item.node, &unpriced, &table_stamp, PricingFlags::default());
        let reason = unpriced.reason.as_str();
        if !pass.is_repeat && claims.claim(key, &pass.batch, pass.now) == ClaimResult::First {
            pass.changes.add_claim(key);
            let model = item.response_model.as_deref().or(item.request_model.as_deref());
            pass.changes.count_status(BillingStatus::Unpriced);
            pass.changes.add_unpriced(item.provider.as_deref(), model, reason, total_tokens(&buckets));
        }
        CostFact { reason: Some(reason), ..unpriced_fact(BillingStatus::Unpriced, &table_stamp, buckets) }
    }

    /// Returns the cost that a trusted upstream tollgate stamped, which is kept.
    fn upstream_cost(&self, pass: &BatchPass<'_>, item: &ItemFacts) -> Option<CostFact> {
        if !pass.is_trusted || self.config.reprice {
            return None;
        }
        let stamped = |key| pass.payload.get_str(item.node, key);
        let status = BillingStatus::parse(stamped(stamp::STATUS)?)?;
        let reason = || stamped(stamp::REASON).and_then(UnpricedReason::parse).unwrap_or(UnpricedReason::UnknownModel);
        let usd = stamped(stamp::USD).map(str::to_owned);
        Some(CostFact {
            status,
            atto_usd: usd.as_deref().and_then(Usd::parse).map(|usd| usd.0),
            usd,
            rate_table: stamped(stamp::RATES).unwrap_or("").into(),
            rate_row: stamped(stamp::RATE).map(str::to_owned),
            reason: (status == BillingStatus::Unpriced).then(|| reason().as_str()),
            buckets: split_tokens(item).map(|split| split.buckets()).unwrap_or_default(),
            ..CostFact::default()
        })
    }

    /// Counts once what a trusted upstream tollgate stamped: a call's price, or a difference that it charged later.
    fn count_upstream(&self, pass: &mut BatchPass<'_>, item: &mut ItemFacts, cost: CostFact) -> CostFact {
        let is_counted = matches!(cost.status, BillingStatus::Priced | BillingStatus::Unpriced);
        let flags = stamp::read_flags(pass.payload, item.node);
        if flags.contains(PricingFlags::ID_REUSED) {
            item.call_key = response_ids::span_key(pass.payload, item).or(item.call_key.take());
        }
        let is_difference = flags.contains(PricingFlags::GROWN) || flags.contains(PricingFlags::AFTER_SPAN);
        let mut key = call_claim(&pass.account, item).filter(|_| is_counted);
        // The call itself counts beside these.
        let of_no_call = [UnpricedReason::NoUsage, UnpricedReason::UnknownOperation].map(UnpricedReason::as_str);
        if is_difference || cost.reason.is_some_and(|reason| of_no_call.contains(&reason)) {
            let (usd, output) = (cost.usd.as_deref().unwrap_or(""), item.usage.output.unwrap_or(0).to_le_bytes());
            key = key.map(|key| ClaimKey::from_parts(&[b"part", &key.to_bytes(), usd.as_bytes(), &output]));
        }
        let claims = &self.ledger.claims;
        if key.is_some_and(|key| claims.holder(key) == Some(pass.batch)) {
            return cost;
        }
        let is_first = |key| claims.claim(key, &pass.batch, pass.now) == ClaimResult::First;
        if pass.is_repeat || !key.is_none_or(is_first) {
            return CostFact { status: BillingStatus::NotCounted, usd: None, atto_usd: None, reason: None, ..cost };
        }
        key.into_iter().for_each(|key| pass.changes.add_claim(key));
        pass.changes.count_status(cost.status);
        let (provider, model) = match cost.rate_row.as_deref().and_then(|row| row.split_once('/')) {
            Some((provider, row)) => (Some(provider), row.split(['@', ';']).next()),
            None => (item.provider.as_deref(), item.response_model.as_deref().or(item.request_model.as_deref())),
        };
        match (cost.status, cost.atto_usd) {
            (BillingStatus::Priced, Some(atto)) => {
                let (model, provider) = (model.unwrap_or("unknown"), provider.unwrap_or("unknown"));
                pass.changes.add_priced(item.tenant.as_deref(), model, provider, Usd(atto));
            }
            (BillingStatus::Unpriced, _) => {
                let reason = cost.reason.unwrap_or_default();
                pass.changes.add_unpriced(provider, model, reason, total_tokens(&cost.buckets));
            }
            _ => {}
        }
        cost
    }

    /// Decides whether this record is the one that counts for its call.
    fn claim_call(
        &self,
        pass: &mut BatchPass<'_>,
        index: usize,
        item: &mut ItemFacts,
        is_winner: bool,
    ) -> CountDecision {
        if pass.is_repeat {
            return CountDecision::Copy(PricingFlags::default());
        }
        if !is_winner {
            return CountDecision::Copy(PricingFlags::LATE_COPY);
        }
        if let Some(decision) = self.decide_log_after_span(pass, item) {
            return decision;
        }
        let claims = &self.ledger.claims;
        let mut flags =
            if pass.reused_ids.contains(&index) { PricingFlags::ID_REUSED } else { PricingFlags::default() };
        let evidence = response_ids::compare_id_uses(claims, &pass.batch, pass.payload, &pass.account, item);
        if let Some(separate_key) = evidence.as_ref().and_then(|evidence| evidence.separate_key.clone()) {
            item.call_key = Some(separate_key);
            flags.add(PricingFlags::ID_REUSED);
        }
        let call = call_claim(&pass.account, item);
        // Another pipeline branch, or another worker of the fleet, already processed this batch: count it only there.
        if let Some(key) = call.filter(|key| claims.holder(*key) == Some(pass.batch)) {
            return CountDecision::Price { by: self.own_counting(pass, key), flags };
        }
        let ancestors = self.ancestors_to_boundary(pass, index);
        let sum_below = self.sum_below(pass, item);
        let is_generic = item.dialect.is_some_and(|dialect| self.vocabulary.is_generic_dialect(dialect));
        let is_guessed = if item.guessed { !sum_below.is_some_and(|sum| sum.is_dwarfed_by(item)) } else { is_generic };
        let layers = LayerClaims::from_span(pass.payload, &pass.account, item, is_guessed, &ancestors);
        let answer_key = response_ids::answer_key(&pass.account, pass.payload, item);
        let was_seen = evidence.as_ref().is_some_and(|evidence| evidence.seen_before);
        if was_seen && let Some(growth) = answer_key.and_then(|key| self.bill_growth(pass, key, item)) {
            return growth;
        }
        let span = self.span_claim(pass, item).filter(|span| Some(*span) != call);
        if was_seen
            || span.is_some_and(|span| claims.holder(span).is_some())
            || layers.as_ref().is_some_and(|layers| layers.is_other_layer_billed(claims))
            || sum_below.is_some_and(|sum| sum.equals_item(item))
        {
            return CountDecision::Copy(PricingFlags::LATE_COPY);
        }
        let Some(key) = call else { return CountDecision::Price { by: CountedBy::ThisRecord, flags } };
        match claims.claim(key, &pass.batch, pass.now) {
            ClaimResult::First => {}
            ClaimResult::ClaimedBy(holder) if holder == pass.batch => {
                return CountDecision::Price { by: self.own_counting(pass, key), flags };
            }
            ClaimResult::ClaimedBy(_) => return CountDecision::Copy(PricingFlags::LATE_COPY),
        }
        pass.changes.add_claim(key);
        let boundary = ancestors.last().map(|(trace, span)| waiting_calls::span_key(&pass.account, trace, span));
        for sum_key in boundary.into_iter().chain(answer_key) {
            pass.changes.sums.push((sum_key, BilledSum::from_item(item)));
        }
        let pair =
            item.on_two_signals.then(|| two_signal_claim(&pass.account, item)).flatten().filter(|pair| *pair != key);
        let id_use = evidence.iter().flat_map(|evidence| evidence.recorded.iter().copied());
        let layer_claims = layers.iter().flat_map(|layers| layers.when_billed.iter().copied());
        for key in layer_claims.chain(id_use).chain(pair).chain(span) {
            if claims.claim(key, &pass.batch, pass.now) == ClaimResult::First {
                pass.changes.add_claim(key);
            }
        }
        CountDecision::Price { by: CountedBy::ThisRecord, flags }
    }

    /// Who counts a call whose claim `key` is already held under this batch's id. Branches and workers that process the
    /// same record share that id. A branch settles no claim before the commit, so a settled one is another worker's.
    fn own_counting(&self, pass: &BatchPass<'_>, key: ClaimKey) -> CountedBy {
        let is_other_worker = pass.has_source_record && self.ledger.claims.is_settled(key);
        if is_other_worker { CountedBy::OtherWorker } else { CountedBy::OtherBranch }
    }

    /// Handles an answer that was already billed and is reported again with more output, as stream snapshots are. Each
    /// size of the output counts once. `None`: this is not such an answer.
    fn bill_growth(&self, pass: &mut BatchPass<'_>, answer_key: LedgerKey, item: &ItemFacts) -> Option<CountDecision> {
        let (billed_output, growth) = self.ledger.billed_sum(&answer_key)?.growth_to(item)?;
        let output = item.usage.output.unwrap_or(0).to_le_bytes();
        let key = ClaimKey::from_parts(&[b"grown", &answer_key, &output]);
        let by = match self.ledger.claims.claim(key, &pass.batch, pass.now) {
            ClaimResult::First => {
                pass.changes.add_claim(key);
                pass.changes.sums.push((answer_key, growth));
                CountedBy::ThisRecord
            }
            ClaimResult::ClaimedBy(holder) if holder == pass.batch => self.own_counting(pass, key),
            ClaimResult::ClaimedBy(_) => return None,
        };
        let usage = genai::TokenUsage { output: Some(billed_output), ..item.usage };
        let billed = split_tokens(&ItemFacts { usage, ..item.clone() }).ok()?;
        Some(CountDecision::PriceDifference { by, billed, flag: PricingFlags::GROWN })
    }

    /// Bills the difference between the call's price and the price of `billed`. If the difference is not positive, or a
    /// part of it is negative, nothing is billed, because totals never decrease.
    fn price_difference(
        &self,
        pass: &mut BatchPass<'_>,
        table: &RateTable,
        item: &ItemFacts,
        (by, billed, flag): (CountedBy, TokenSplit, PricingFlags),
    ) -> CostFact {
        let (table_stamp, time) = (table.stamp(), pass.payload.time(item.node));
        let mut bill_difference = || {
            let call = CallPriceInput::from_item(item, time).ok()?;
            let (mut priced, billed_usd) = price::price_difference(table, &call, &billed, self.config.fees).ok()?;
            if priced.total <= Usd::ZERO || priced.parts.has_negative() {
                return None;
            }
            priced.flags.add(flag);
            if by == CountedBy::OtherWorker {
                return Some(pass.mark_counted_elsewhere(item.node, &priced, table_stamp));
            }
            stamp::write_price(pass.payload, item.node, &priced, table_stamp);
            stamp::write_aliases(pass.payload, item.node, &priced, &self.config.aliases);
            if by == CountedBy::ThisRecord {
                pass.changes.add_priced(item.tenant.as_deref(), priced.model, priced.provider, priced.total);
            }
            Some(CostFact {
                billed_before: Some(Box::new(billed)),
                billed_before_atto_usd: billed_usd.0,
                ..priced_fact(priced, table_stamp)
            })
        };
        bill_difference().unwrap_or_else(|| Self::mark_late_copy(pass, item, table_stamp))
    }

    /// Handles a log whose span was counted as unpriced: priced in full if possible, otherwise a copy, so that the call
    /// is not counted as unpriced twice.
    fn price_after_unpriced(
        &self,
        pass: &mut BatchPass<'_>,
        table: &RateTable,
        item: &ItemFacts,
        by: CountedBy,
    ) -> CostFact {
        let call = CallPriceInput::from_item(item, pass.payload.time(item.node));
        if call.is_ok_and(|call| price::price_call(table, &call, self.config.fees).is_ok()) {
            return self.price_item(pass, table, item, by, PricingFlags::AFTER_SPAN);
        }
        Self::mark_late_copy(pass, item, table.stamp())
    }

    fn mark_late_copy(pass: &mut BatchPass<'_>, item: &ItemFacts, table_stamp: &Arc<str>) -> CostFact {
        pass.mark_status(item.node, BillingStatus::NotCounted, PricingFlags::LATE_COPY);
        unpriced_fact(BillingStatus::NotCounted, table_stamp, CallTokenBuckets::default())
    }

    /// The claim shared by a span and the log event that repeats it. `None` if such events are never billed.
    fn span_claim(&self, pass: &BatchPass<'_>, item: &ItemFacts) -> Option<ClaimKey> {
        let payload = &*pass.payload;
        let (trace, span) = (payload.trace_id(item.node), payload.span_id(item.node));
        let may_bill_event = self.config.details_event == DetailsEventPolicy::IfNoSpan;
        let has_ids = !trace.is_empty() && !span.is_empty();
        let is_event_or_span = item.counts_if_no_span || payload.signal() == Signal::Traces;
        let key = || format!("s/{}/{}", hex::encode(trace), hex::encode(span));
        (may_bill_event && has_ids && is_event_or_span)
            .then(|| ClaimKey::from_parts(&[b"call", pass.account.as_bytes(), key().as_bytes()]))
    }

    /// See [`BatchSpans::ancestors_to_boundary`].
    fn ancestors_to_boundary(&self, pass: &mut BatchPass<'_>, index: usize) -> Vec<TraceSpanId> {
        if pass.payload.signal() != Signal::Traces {
            return Vec::new();
        }
        pass.spans
            .get_or_insert_with(|| BatchSpans::from_payload(pass.payload))
            .ancestors_to_boundary(index, &pass.is_boundary)
    }

    /// Turns events that repeat a call into calls of their own, for calls whose span never arrives.
    fn promote_details_events(&self, facts: &mut Facts) {
        if self.config.details_event == DetailsEventPolicy::Never {
            return;
        }
        for item in facts.items.iter_mut().filter(|item| item.counts_if_no_span) {
            (item.call, item.billable, item.copy) = (genai::ItemRole::Model, true, false);
        }
    }

    /// Replaces configured provider names by their targets. The index records the target, so `rates reprice` needs no
    /// setting.
    fn replace_providers(&self, facts: &mut Facts) {
        if self.providers.is_empty() {
            return;
        }
        for item in &mut facts.items {
            let replaced = item.provider.as_ref().and_then(|provider| self.providers.get(provider));
            item.provider = replaced.cloned().or(item.provider.take());
        }
    }

    /// See [`AncestorClaims::claim_ancestors`].
    fn claim_ancestors(&self, pass: &mut BatchPass<'_>) {
        if pass.payload.signal() != Signal::Traces || pass.is_repeat {
            return;
        }
        let (claims, changes) = (&self.ledger.claims, &mut pass.changes);
        let mut claim = |key| {
            let result = claims.claim(key, &pass.batch, pass.now);
            if result == ClaimResult::First {
                changes.add_claim(key);
            }
            result
        };
        AncestorClaims::from_payload(claims, pass.payload, &pass.account, &pass.is_tool_or_agent).claim_ancestors(
            claims,
            pass.payload,
            &pass.account,
            &mut claim,
        );
    }

    /// Prices and stamps an item. If this record counts, the result also enters the totals.
    fn price_item(
        &self,
        pass: &mut BatchPass<'_>,
        table: &RateTable,
        item: &ItemFacts,
        by: CountedBy,
        flags: PricingFlags,
    ) -> CostFact {
        let (node, table_stamp) = (item.node, table.stamp());
        let result = CallPriceInput::from_item(item, pass.payload.time(node))
            .and_then(|call| price::price_call(table, &call, self.config.fees));
        let count = by == CountedBy::ThisRecord;
        let fact = match result {
            Ok(priced) if by == CountedBy::OtherWorker => pass.mark_counted_elsewhere(node, &priced, table_stamp),
            Err(_) if by == CountedBy::OtherWorker => Self::mark_late_copy(pass, item, table_stamp),
            Ok(mut priced) => {
                priced.flags.add(flags);
                stamp::write_price(pass.payload, node, &priced, table_stamp);
                stamp::write_aliases(pass.payload, node, &priced, &self.config.aliases);
                if count {
                    pass.changes.count_status(BillingStatus::Priced);
                    pass.changes.add_priced(item.tenant.as_deref(), priced.model, priced.provider, priced.total);
                    if item
                        .reported_cost
                        .as_deref()
                        .is_some_and(|own| price::exceeds_tolerance(own, priced.total, self.tolerance))
                    {
                        pass.changes.mismatches += 1;
                    }
                }
                priced_fact(priced, table_stamp)
            }
            Err(unpriced) => {
                stamp::write_unpriced(pass.payload, node, &unpriced, table_stamp, flags);
                let reason = unpriced.reason.as_str();
                if count {
                    let model = item.response_model.as_deref().or(item.request_model.as_deref());
                    pass.changes.count_status(BillingStatus::Unpriced);
                    pass.changes.add_unpriced(item.provider.as_deref(), model, reason, total_tokens(&unpriced.buckets));
                }
                CostFact {
                    reason: Some(reason),
                    ..unpriced_fact(BillingStatus::Unpriced, table_stamp, unpriced.buckets)
                }
            }
        };
        if self.config.usage_attributes {
            stamp::write_buckets(pass.payload, node, &fact.buckets);
        }
        fact
    }
}

/// The current names of the configured providers: of the name sent, and of its target.
///
/// # Errors
/// No table has the provider, or the name sent names none. The text begins with the name sent.
fn resolve_providers(
    configured: &BTreeMap<String, String>,
    vocabulary: &Vocabulary,
    rates: &RateTables,
) -> Result<BTreeMap<String, String>, RatesError> {
    let is_listed = |name: &str| {
        let tenants = rates.tenants().map(|tenant| rates.table(Some(tenant)));
        std::iter::once(rates.common()).chain(tenants).any(|table| table.has_provider(name))
    };
    let resolve = |(sent, provider): (&String, &String)| {
        if !is_listed(provider) {
            let nearest = rates.common().nearest_provider(provider);
            let hint = nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
            return Err(RatesError(format!("{sent}: `cost.providers` must name a provider of the rate table{hint}")));
        }
        let current = vocabulary.current_provider_name(sent).ok_or_else(|| {
            RatesError(format!(
                "{sent}: names a framework, not a provider; set an `alias` for its models in an overlay"
            ))
        })?;
        let target = vocabulary.current_provider_name(provider).filter(|name| is_listed(name));
        Ok((current, target.unwrap_or_else(|| provider.clone())))
    };
    configured.iter().map(resolve).collect()
}

/// How a record of a call is counted.
enum CountDecision {
    Price {
        by: CountedBy,
        flags: PricingFlags,
    },
    /// The tokens `billed` were billed on an earlier record: the rest is priced.
    PriceDifference {
        by: CountedBy,
        billed: TokenSplit,
        flag: PricingFlags,
    },
    /// The call's span was counted as unpriced: the record is priced in full.
    AfterUnpriced {
        by: CountedBy,
    },
    /// Another record of the call is the one that counts.
    Copy(PricingFlags),
}

/// Where the price of a record enters the totals.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CountedBy {
    ThisRecord,
    /// Another pipeline branch of this gateway has counted the same record. It is stamped alike.
    OtherBranch,
    /// Another worker of the fleet has counted the same record. It is a copy, but its index line names the price: the
    /// other worker may have lost its own line with its volume.
    OtherWorker,
}

/// The state of processing one batch.
struct BatchPass<'b> {
    payload: &'b mut Payload,
    /// The tables used to price the whole batch.
    rates: Arc<RateTables>,
    changes: LedgerChanges,
    account: Arc<str>,
    batch: [u8; 16],
    /// When the batch arrived.
    now: UnixNanos,
    is_repeat: bool,
    /// Whether other workers may have processed the batch's record.
    has_source_record: bool,
    is_trusted: bool,
    /// The batch's spans, built on first use.
    spans: Option<BatchSpans>,
    /// By item: whether it has tokens, or is a tool or an agent. Spans above it belong to no layer of a call below it.
    is_boundary: Vec<bool>,
    /// By item: whether it is a tool or an agent. A call inside it is a separate call.
    is_tool_or_agent: Vec<bool>,
    /// Items whose response id also belongs to another call of the request.
    reused_ids: HashSet<usize>,
    /// Sums of the request's calls, by the boundary above them.
    sums_below: HashMap<LedgerKey, BilledSum>,
    /// Log records of the request whose calls were priced by their spans.
    span_priced_logs: HashSet<ClaimKey>,
}

impl BatchPass<'_> {
    fn mark_status(&mut self, node: NodeId, status: BillingStatus, flags: PricingFlags) {
        stamp::write_status(self.payload, node, status, flags);
        self.changes.count_status(status);
    }

    /// Marks a call that another worker counts for the same record.
    fn mark_counted_elsewhere(&mut self, node: NodeId, priced: &PricedCall<'_>, table_stamp: &Arc<str>) -> CostFact {
        self.mark_status(node, BillingStatus::NotCounted, PricingFlags::LATE_COPY);
        CostFact {
            uncounted_usd: Some(priced.total.to_string().into()),
            rate_row: Some(priced.rate.clone()),
            ..unpriced_fact(BillingStatus::NotCounted, table_stamp, CallTokenBuckets::default())
        }
    }
}

fn unpriced_fact(status: BillingStatus, table_stamp: &Arc<str>, buckets: CallTokenBuckets) -> CostFact {
    CostFact { status, rate_table: table_stamp.clone(), buckets, ..CostFact::default() }
}

fn priced_fact(priced: PricedCall<'_>, table_stamp: &Arc<str>) -> CostFact {
    CostFact {
        usd: Some(priced.total.to_string()),
        atto_usd: Some(priced.total.0),
        rate_row: Some(priced.rate),
        ..unpriced_fact(BillingStatus::Priced, table_stamp, priced.buckets)
    }
}

fn is_tool_or_agent(item: &ItemFacts) -> bool {
    matches!(item.call, genai::ItemRole::Tool | genai::ItemRole::Agent)
}

fn total_tokens(buckets: &CallTokenBuckets) -> u64 {
    let CallTokenBuckets { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning: _ } = *buckets;
    [cache_read, cache_write_5m, cache_write_1h, output].into_iter().fold(input, u64::saturating_add)
}

fn call_claim(account: &str, item: &ItemFacts) -> Option<ClaimKey> {
    Some(ClaimKey::from_parts(&[b"call", account.as_bytes(), item.call_key.as_deref()?.as_bytes()]))
}

/// The claim shared by both records of a call that arrives on two signals: from the response id, else from the token
/// counts. It only shows whether the billing record arrived, so two calls of the same size may share it.
fn two_signal_claim(account: &str, item: &ItemFacts) -> Option<ClaimKey> {
    if item.response_id.is_some() {
        return call_claim(account, item);
    }
    let (input, output) = (item.usage.input?.to_le_bytes(), item.usage.output?.to_le_bytes());
    Some(ClaimKey::from_parts(&[b"twin", account.as_bytes(), item.dialect?.as_bytes(), &input, &output]))
}

/// Chooses the record of each call that is billed, by call key. A record that splits cache writes takes precedence,
/// then the one with the largest output (stream snapshots grow), then the last.
fn choose_billed_records(facts: &Facts) -> HashMap<&str, usize> {
    let mut chosen: HashMap<&str, usize> = HashMap::new();
    let rank = |index: usize| {
        let usage = facts.items.get(index).map(|item| item.usage);
        usage.map(|usage| (usage.cache_write_1h.is_some(), usage.output, index))
    };
    for (index, item) in facts.items.iter().enumerate().filter(|(_, item)| item.billable) {
        let Some(key) = item.call_key.as_deref() else { continue };
        let current = chosen.entry(key).or_insert(index);
        if rank(index) > rank(*current) {
            *current = index;
        }
    }
    chosen
}

impl Processor for CostProcessor {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        if batch.payload.signal() == Signal::Metrics {
            return Ok(());
        }
        let facts = cached_facts(&self.vocabulary, &batch.origin.account, &batch.payload, &mut batch.facts);
        batch.facts = None;
        let mut facts = Arc::try_unwrap(facts).unwrap_or_else(|shared| (*shared).clone());
        self.promote_details_events(&mut facts);
        self.replace_providers(&mut facts);
        let origin = batch.origin.clone();
        match self.tracker.get() {
            Some(tracker) => tracker.complete_owners(&origin, &batch.payload, &mut facts),
            None => adopt_owners(&batch.payload, &mut facts, |_| Vec::new()),
        }
        let display = NameDisplay { ids: self.ledger.display.ids.clone(), account: origin.account.clone() };
        let mut pass = BatchPass {
            payload: &mut batch.payload,
            rates: self.active_rates.rates(),
            changes: LedgerChanges::new(&origin.id, origin.received, display),
            account: origin.account.clone(),
            batch: origin.id,
            now: origin.received,
            is_repeat: origin.repeat,
            has_source_record: origin.source_record.is_some(),
            is_trusted: origin.trust == Trust::Internal,
            spans: None,
            is_boundary: facts.items.iter().map(|item| item.usage.is_reported() || is_tool_or_agent(item)).collect(),
            is_tool_or_agent: facts.items.iter().map(is_tool_or_agent).collect(),
            reused_ids: HashSet::new(),
            sums_below: HashMap::new(),
            span_priced_logs: HashSet::new(),
        };
        pass.reused_ids = response_ids::separate_reused_ids(pass.payload, &mut facts);
        // Roll-ups must see what earlier requests billed below them, and later requests must see what this one billed.
        self.claim_ancestors(&mut pass);
        pass.sums_below = self.request_sums(&mut pass, &facts);
        let winners: HashMap<String, usize> =
            choose_billed_records(&facts).into_iter().map(|(key, index)| (key.to_owned(), index)).collect();
        // Spans of vendor SDKs carry more detail, so they are billed before the spans around them.
        let (inner, outer): (Vec<_>, Vec<_>) =
            facts.items.iter_mut().enumerate().partition(|(_, item)| item.from_vendor_sdk);
        for (index, item) in inner.into_iter().chain(outer) {
            let is_call = item.billable || item.copy || item.no_usage;
            let upstream = if is_call { self.upstream_cost(&pass, item) } else { None };
            let cost = if let Some(upstream) = upstream {
                Some(self.count_upstream(&mut pass, item, upstream))
            } else if item.billable {
                let is_winner = item.call_key.as_deref().is_none_or(|key| winners.get(key) == Some(&index));
                Some(self.bill_item(&mut pass, index, item, is_winner))
            } else if item.copy {
                Some(Self::mark_copy(&mut pass, item))
            } else if item.no_usage {
                Some(self.mark_without_usage(&mut pass, item))
            } else {
                if !pass.is_trusted && pass.payload.get(item.node, stamp::USAGE_COST).is_some() {
                    stamp::move_reported_cost(pass.payload, item.node, None);
                }
                None
            };
            let counts = |cost: &CostFact| matches!(cost.status, BillingStatus::Priced | BillingStatus::Unpriced);
            if cost.as_ref().is_some_and(counts) {
                pass.changes.add_unrecognized_usage(&item.unrecognized_usage);
            }
            item.cost = cost.map(Box::new);
            if let Some(dialect) = item.dialect.filter(|_| item.sold_by_other_unit && !pass.is_repeat) {
                pass.changes.count_unbilled(dialect);
            }
        }
        if !pass.changes.is_empty() {
            self.claim_ancestors(&mut pass);
        }
        let late_prices = self.price_waiting_calls(&mut pass, &facts);
        facts.late_prices.extend(late_prices);
        let changes = pass.changes;
        if !changes.is_empty() {
            batch.effects.push(Effect::new(self.id.clone(), changes.encode()));
        }
        batch.facts = Some(Arc::new(facts));
        Ok(())
    }

    fn apply(&self, effect: &Effect) {
        self.ledger.apply(&effect.body);
    }

    fn shares_effects(&self) -> bool {
        true
    }

    fn apply_shared(&self, effect: &Effect, _: &Arc<str>) {
        self.ledger.apply_shared(&effect.body);
    }

    fn discard(&self, batch_id: &[u8; 16]) {
        self.ledger.claims.discard(batch_id);
    }

    fn tick(&self, now: UnixNanos) {
        self.ledger.tick(now);
        self.table_age_gauge.set(self.table_age(now).as_secs_f64());
    }

    fn checkpoint(&self) -> Option<Vec<u8>> {
        Some(self.ledger.save())
    }

    fn restore(&self, checkpoint: &[u8]) -> bool {
        self.ledger.restore(checkpoint)
    }
}
