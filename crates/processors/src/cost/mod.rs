//! The `cost` processor: prices model calls exactly from a versioned rate table. A call without a price is marked and
//! counted as unpriced, never as 0.
//!
//! The ledger of the crate `calls` decides what each record is and what is still owed for its call, at the rates valid
//! at the time of the call; what later evidence changes is stamped as a correction. Its state counts at once and
//! becomes permanent with the commit; all else changes only then. Failures without tokens get no stamp. `genai` decides
//! which items report calls, `rates` holds the prices, the crate `tracker` sums up runs.

pub mod config;
mod deferred_calls;
mod ledger;
mod plans;
mod price;
mod records;
mod refresh;
mod spec;
mod stamp;
mod tables;
mod waiting_calls;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use calls::{
    BatchKey, CallRecord, ChargeKind, Correction, CorrectionCarrier, CountedBy, Money, UnchargedReason, Verdict,
    tenant_number,
};
use genai::usage::{PricingFlags, split_tokens};
use genai::{
    self, BillingBasis, BillingStatus, CallCost as CostFact, CallTokenBuckets, CostCorrection, Facts, ItemFacts,
    ItemRole, Vocabulary, adopt_owners, cached_facts,
};
use kernel::clock::UnixNanos;
use kernel::hex;
use kernel::pseudonym::IdPolicy;
use kernel::sha256::Sha256;
use otlp::{NodeId, Payload, Signal, Value};
use pipeline::{Batch, Effect, Processor, Reason, Trust};
use rates::{ActiveRates, Exchange, RateTable, RateTables, RatesError, SeatSums, UnpricedReason, Usd};
use telemetry::{Gauge, Meter, names};
use tracker::RunTracker;

pub use config::{
    BillingSignal, CostConfig, CostSettings, DetailsEventPolicy, ExchangeConfig, ExchangeSource, PriceAlias,
    RatesSource, RefreshSettings, RefreshSource,
};
pub use plans::{PlanConfig, PlanMatch};
pub use price::{
    CallPriceInput, PriceParts, PricedCall, UnitPrice, UnpricedCall, list_unit_prices, price_basis, price_call,
};

use deferred_calls::SettledWait;
use ledger::{CostLedger, LedgerChanges, NameDisplay};
use plans::{BasisAmounts, Plans, basis_of};
use stamp::Converted;
use waiting_calls::{BatchSpans, LedgerKey, WaitingCall};

/// Seconds until a streamed answer began, as `normalize` writes it.
const FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
/// The verdict about what was decided before.
const REPEAT: Verdict = Verdict::NotCharged { reason: UnchargedReason::Repeat, call: None };
/// A session is considered to send logs if one arrived within this time, ns.
const RECENT_LOG_WINDOW: u64 = 600_000_000_000;

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
    plans: Plans,
    /// What a USD costs in another currency, in which amounts are stamped too.
    exchange: Option<Exchange>,
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
        let plans = Plans::new(&settings.config.plans, &vocabulary);
        let seats = Arc::new(SeatSums::new(plans.seat_prices()));
        Ok(Self {
            id,
            vocabulary,
            ledger: CostLedger::new(meter, Arc::clone(&active_rates), seats),
            active_rates,
            tracker: Arc::default(),
            table_age_gauge: meter.gauge(&names::RATES_AGE, &[]),
            meter: meter.clone(),
            billed_signal: settings.billed_signal(),
            config: settings.config.clone(),
            providers,
            plans,
            exchange: settings.load_exchange()?,
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

    /// Returns the cost that a trusted upstream tollgate stamped, which is kept.
    fn upstream_cost(&self, pass: &BatchPass<'_>, item: &ItemFacts) -> Option<CostFact> {
        if !pass.is_trusted || self.config.reprice {
            return None;
        }
        let stamped = |key| pass.payload.get_str(item.node, key);
        let status = BillingStatus::parse(stamped(stamp::STATUS)?)?;
        let reason = || stamped(stamp::REASON).and_then(UnpricedReason::parse).unwrap_or(UnpricedReason::UnknownModel);
        let usd = stamped(stamp::USD).map(str::to_owned);
        let atto_usd = usd.as_deref().and_then(Usd::parse).map(|usd| usd.0);
        let saved_atto_usd = stamped(stamp::CACHE_SAVINGS).and_then(Usd::parse).unwrap_or_default().0;
        let (mut call, mut corrected) = ((atto_usd, saved_atto_usd), Vec::new());
        let billing = stamped(stamp::BILLING).and_then(BillingBasis::parse).unwrap_or_default();
        let payable = stamped(stamp::PAYABLE).and_then(Usd::parse).map(|usd| usd.0).or(atto_usd);
        if let Some(atto_usd) = atto_usd.filter(|_| stamp::is_change(pass.payload, item.node)) {
            let payable = payable.unwrap_or(0);
            let part = |is_covered, atto_usd| CostCorrection {
                trace: [0; 16],
                span: [0; 8],
                is_span: false,
                atto_usd,
                saved_atto_usd: if is_covered == (billing != BillingBasis::Api) { saved_atto_usd } else { 0 },
                is_covered,
            };
            let parts = [part(false, payable), part(true, atto_usd.saturating_sub(payable))];
            let is_any = |part: &CostCorrection| part.atto_usd != 0 || part.saved_atto_usd != 0;
            (call, corrected) = ((Some(0), 0), parts.into_iter().filter(is_any).collect());
        }
        Some(CostFact {
            status,
            billing,
            covered_atto_usd: atto_usd.unwrap_or(0).saturating_sub(payable.unwrap_or(0)),
            atto_usd,
            call_atto_usd: call.0,
            saved_atto_usd,
            call_saved_atto_usd: call.1,
            corrected,
            usd,
            rate_table: stamped(stamp::RATES).unwrap_or("").into(),
            rate_row: stamped(stamp::RATE).map(str::to_owned),
            reason: (status == BillingStatus::Unpriced).then(|| reason().as_str()),
            buckets: split_tokens(item).map(|split| split.buckets()).unwrap_or_default(),
            ..CostFact::default()
        })
    }

    /// The record of what a trusted upstream tollgate stamped, which stands: the stamp of each item counts once,
    /// whatever else reports the call.
    fn upstream_record(&self, pass: &BatchPass<'_>, index: usize, item: &ItemFacts, cost: &CostFact) -> CallRecord {
        let usd = cost.usd.as_deref().unwrap_or("").as_bytes();
        let record = self.call_record(pass, index, item);
        let id = Sha256::short_list(&[b"upstream", &record.id, &record.answer, usd]);
        let price = Some(plans::whole(cost.atto_usd.unwrap_or(0), cost.saved_atto_usd));
        let traits = record.traits & (calls::traits::SPAN | calls::traits::BOUNDARY) | calls::traits::STAMPED;
        let traits = traits | plans::basis_traits(cost.billing);
        if cost.status == BillingStatus::Correction {
            // no call of the item that carries it
            return CallRecord { id, price, tenant: record.tenant, ..CallRecord::default() };
        }
        CallRecord { id, price, traits, answer: [0; 16], answer_kind: 0, twin: [0; 16], ..record }
    }

    /// Converts an amount at the rate of exchange of a time (Unix ns). `None`: there is no other currency, or no rate,
    /// which is counted.
    fn convert(&self, pass: &mut BatchPass<'_>, usd: Usd, at: u64) -> Option<Converted> {
        let exchange = self.exchange.as_ref()?;
        let found = exchange.rate_at(at).and_then(|rate| Some((rate.convert(usd)?, rate.to_string())));
        pass.changes.unconverted += u64::from(found.is_none());
        found.map(|(amount, rate)| Converted { currency: exchange.currency().clone(), amount, rate })
    }

    /// Stamps an amount in the other currency too, at the rate of the item's own time.
    fn stamp_amount(&self, pass: &mut BatchPass<'_>, node: NodeId, usd: Usd) -> Option<Converted> {
        let converted = self.convert(pass, usd, pass.payload.time(node));
        converted.iter().for_each(|converted| stamp::write_amount(pass.payload, node, converted));
        converted
    }

    /// Counts once what a trusted upstream tollgate stamped: a call's price, or a change of it. An amount in another
    /// currency that it stamped stands.
    fn count_upstream(&self, pass: &mut BatchPass<'_>, item: &mut ItemFacts, verdict: Verdict) {
        use BillingStatus::{Correction, NotCounted, Priced, Unpriced};
        let Some(cost) = item.cost.as_deref_mut() else { return };
        match verdict {
            Verdict::Charged { counted_by: None, .. } => {}
            Verdict::Charged { .. } => return,
            Verdict::NotCharged { .. } => {
                *cost = unpriced_fact(NotCounted, &cost.rate_table, cost.buckets);
                return;
            }
        }
        pass.changes.count_status(cost.status);
        let (provider, model) = match cost.rate_row.as_deref().and_then(|row| row.split_once('/')) {
            Some((provider, row)) => (Some(provider), row.split(['@', ';']).next()),
            None => (item.provider.as_deref(), item.response_model.as_deref().or(item.request_model.as_deref())),
        };
        match (cost.status, cost.atto_usd) {
            (Priced | Correction, Some(atto)) => {
                let (model, provider) = (model.unwrap_or("unknown"), provider.unwrap_or("unknown"));
                let amounts = BasisAmounts::stamped(atto, cost.covered_atto_usd, cost.saved_atto_usd, cost.billing);
                let upstream = stamp::read_amount(pass.payload, item.node);
                let converted = upstream.or_else(|| self.stamp_amount(pass, item.node, Usd(atto)));
                pass.changes.add_priced(item.tenant.as_deref(), [model, provider], amounts, converted);
            }
            (Unpriced, _) => {
                let reason = cost.reason.unwrap_or_default();
                pass.changes.add_unpriced(provider, model, reason, total_tokens(&cost.buckets));
            }
            _ => {}
        }
    }

    fn call_record(&self, pass: &BatchPass<'_>, index: usize, item: &ItemFacts) -> CallRecord {
        records::call_record(&self.vocabulary, pass.payload, (&pass.account, &pass.batch), index, item)
    }

    /// Returns true if the call is billed by its record on the other signal, a log record: it has more details (the
    /// lifetime of cache writes). A span waits for it if its session has recently sent such logs, or if the
    /// configuration names the signal that bills; some clients send spans only.
    fn waits_for_other_signal(&self, pass: &BatchPass<'_>, item: &ItemFacts) -> bool {
        if !item.on_two_signals || pass.payload.signal() == self.billed_signal {
            return false;
        }
        if !item.may_lack_other_signal || self.config.bill.claude_code != BillingSignal::Auto {
            return true;
        }
        let last_log = self.ledger.last_log_time(&records::session_key(&pass.account, item));
        last_log.is_some_and(|time| pass.now.0.saturating_sub(time) <= RECENT_LOG_WINDOW)
    }

    /// Records that a session's client sends the billing record.
    fn record_log_session(&self, pass: &mut BatchPass<'_>, item: &ItemFacts) {
        if item.on_two_signals && !pass.is_repeat && pass.payload.signal() == self.billed_signal {
            pass.changes.log_sessions.insert(records::session_key(&pass.account, item));
        }
    }

    /// Prices an item for the ledger.
    fn prepare<'t>(
        &'t self,
        pass: &mut BatchPass<'_>,
        rates: &'t RateTables,
        index: usize,
        facts: &mut Facts,
    ) -> Option<Candidate<'t>> {
        let item = facts.items.get_mut(index)?;
        let table = rates.table(item.tenant.as_deref());
        let is_total = records::is_total(item);
        if is_total {
            // less is billed if the cached tokens are part of the input
            item.input_includes_cached.get_or_insert(true);
        }
        self.record_log_session(pass, item);
        let mut record = self.call_record(pass, index, item);
        let mut wait = None;
        if self.waits_for_other_signal(pass, item) {
            wait = Some(Wait::ForRecord);
        } else if !is_total && (!item.on_two_signals || pass.payload.signal() == self.billed_signal) {
            wait = self
                .wait_for_ancestor(pass, table, index, item, &record)
                .map(|(ancestor, waiting)| Wait::ForAncestor(ancestor, Box::new(waiting)));
        }
        let plan = self.plans.find(pass.payload, &pass.account, item);
        let client = || item.context.as_ref().and_then(|context| context.billing);
        record.traits |= plans::basis_traits(plan.map(|plan| plan.billing).or_else(client).unwrap_or_default());
        let seat = plan.filter(|plan| plan.seat_usd.is_some()).map(|plan| plan.name.as_str());
        let pricing = self.price(pass, table, item);
        if is_total && matches!(&pricing, Err(unpriced) if unpriced.reason == UnpricedReason::NoModel) {
            if !pass.is_trusted && pass.payload.get(item.node, stamp::USAGE_COST).is_some() {
                stamp::move_reported_cost(pass.payload, item.node, None);
            }
            pass.unnamed_totals.push(item.node);
            return None;
        }
        let is_relayed = pass.is_trusted && !self.config.reprice;
        for (bit, is_set) in [(calls::traits::WAITS, wait.is_some()), (calls::traits::RELAYED, is_relayed)] {
            record.traits |= if is_set { bit } else { 0 };
        }
        record.price = pricing.as_ref().ok().map(|priced| priced.parts.into());
        let contract = rates.contract_digest(item.tenant.as_deref());
        Some(Candidate { index, table, contract, pricing, record, wait, seat })
    }

    fn price<'t>(
        &self,
        pass: &BatchPass<'_>,
        table: &'t RateTable,
        item: &ItemFacts,
    ) -> Result<PricedCall<'t>, UnpricedCall> {
        if item.no_usage {
            let reason =
                if item.usage.is_reported() { UnpricedReason::UnknownOperation } else { UnpricedReason::NoUsage };
            let buckets = split_tokens(item).map_or_else(|_| CallTokenBuckets::default(), |split| split.buckets());
            return Err(UnpricedCall { reason, buckets });
        }
        let mut call = CallPriceInput::from_item(item, pass.payload.time(item.node))?;
        call.is_total = records::is_total(item);
        price::price_call(table, &call, self.config.fees)
    }

    /// Stamps what the ledger decided about an item.
    fn stamp_verdict(
        &self,
        pass: &mut BatchPass<'_>,
        candidate: Candidate<'_>,
        (verdict, corrected): (Verdict, &[Correction]),
        item: &mut ItemFacts,
    ) {
        let Candidate { table, contract, pricing, record, wait, seat, .. } = candidate;
        let billing = basis_of(&record);
        let verdict = charge_moved_amounts(verdict, billing, corrected);
        let (node, table_stamp, is_total) = (item.node, table.stamp(), records::is_total(item));
        let is_sum = matches!(verdict, Verdict::NotCharged { reason, .. } if reason == UnchargedReason::Sum || is_total)
            && wait.is_none();
        if !is_sum || (!pass.is_trusted && pass.payload.get(node, stamp::USAGE_COST).is_some()) {
            stamp::move_reported_cost(pass.payload, node, item.reported_cost.as_deref().filter(|_| !is_sum));
        }
        let contract: Option<Box<str>> = contract.map(Into::into);
        let cost = match (verdict, wait) {
            (Verdict::NotCharged { reason, .. }, Some(Wait::ForRecord))
                if reason != UnchargedReason::FirstSpan && pass.payload.signal() == Signal::Traces =>
            {
                Self::mark_late_copy(pass, item, table_stamp)
            }
            (Verdict::NotCharged { .. }, Some(wait)) => {
                pass.mark_status(node, BillingStatus::Deferred, PricingFlags::default());
                let buckets = pricing.err().map(|unpriced| unpriced.buckets).unwrap_or_default();
                match (wait, item.dialect) {
                    (Wait::ForAncestor(ancestor, waiting), _) => {
                        pass.changes.started_waits.push((ancestor, WaitingCall { record, ..*waiting }));
                    }
                    (Wait::ForRecord, Some(dialect)) => pass.changes.await_record(dialect, record.id),
                    (Wait::ForRecord, None) => {}
                }
                unpriced_fact(BillingStatus::Deferred, table_stamp, buckets)
            }
            // the calls below it are charged
            (Verdict::NotCharged { .. }, None) if is_sum => {
                stamp::write_included(pass.payload, node);
                if is_total {
                    item.billable = false;
                } else {
                    item.call = ItemRole::ModelCopy;
                }
                return;
            }
            (Verdict::NotCharged { reason, call }, None) => {
                if reason == UnchargedReason::Layer {
                    item.call = ItemRole::ModelCopy;
                }
                let flag =
                    if reason == UnchargedReason::FirstSpan { PricingFlags::ON_LOG } else { PricingFlags::LATE_COPY };
                let billing = call.map_or_else(BillingBasis::default, |_| billing);
                let (call_atto_usd, call_saved_atto_usd) = (call.map(Money::total), call.map_or(0, Money::saved));
                let copy = Self::mark_copy(pass, item, flag, table_stamp);
                CostFact { billing, call_atto_usd, call_saved_atto_usd, ..copy }
            }
            (Verdict::Charged { kind, money, is_netted, is_after_sum, before, call, counted_by, is_id_reused }, _) => {
                let mut flags = PricingFlags::default();
                if is_id_reused {
                    flags.add(PricingFlags::ID_REUSED);
                    item.call_key = separate_call_key(pass.payload, item).or(item.call_key.take());
                }
                let is_whole = pricing.as_ref().is_ok_and(|priced| Money::from(priced.parts) == money);
                if kind != ChargeKind::Whole && kind != ChargeKind::Unpriced {
                    let is_log = pass.payload.signal() == Signal::Logs;
                    flags.add(match is_whole || (is_log && item.on_two_signals) {
                        true => PricingFlags::AFTER_SPAN,
                        false if is_netted => PricingFlags::NET,
                        false => PricingFlags::GROWN,
                    });
                }
                let before = before.filter(|_| !is_whole);
                if is_after_sum {
                    flags.add(PricingFlags::AFTER_SUM);
                }
                if is_total && before.is_some() {
                    flags.add(PricingFlags::REMAINDER);
                }
                let mut amounts = BasisAmounts::of_charge(money, billing, corrected);
                // a call is billed as its first record was, whatever later ones say
                if let Some(first) = corrected.first().filter(|_| !is_netted && kind != ChargeKind::Whole) {
                    amounts.own = basis_of(&first.record);
                }
                let billed = (counted_by, before, amounts, seat);
                let charge = self.stamp_charge(pass, (table, pricing), (kind, money, flags), billed, item);
                let is_own = kind != ChargeKind::Unpriced && counted_by != Some(CountedBy::Worker);
                let call_saved_atto_usd = if is_own { call.saved() } else { 0 };
                CostFact { call_atto_usd: is_own.then_some(call.total()), call_saved_atto_usd, ..charge }
            }
        };
        if cost.status == BillingStatus::Correction {
            stamp::write_corrected(pass.payload, node, corrected.iter().map(|correction| &correction.record));
        }
        let corrected = corrected.iter().filter_map(for_runs).collect();
        item.cost = Some(Box::new(CostFact { contract, corrected, ..cost }));
    }

    /// Writes a charge. If this record counts, it also enters the totals.
    fn stamp_charge(
        &self,
        pass: &mut BatchPass<'_>,
        (table, pricing): (&RateTable, Result<PricedCall<'_>, UnpricedCall>),
        (kind, money, flags): (ChargeKind, Money, PricingFlags),
        (counted_by, before, amounts, seat): (Option<CountedBy>, Option<[u64; 4]>, BasisAmounts, Option<&str>),
        item: &ItemFacts,
    ) -> CostFact {
        let (node, table_stamp) = (item.node, table.stamp());
        let is_by_other_worker = counted_by == Some(CountedBy::Worker);
        let fact = match (kind, pricing) {
            (ChargeKind::Unpriced, _) | (_, Err(_)) if is_by_other_worker => {
                Self::mark_late_copy(pass, item, table_stamp)
            }
            (ChargeKind::Unpriced, Err(mut unpriced)) => {
                if records::is_total(item)
                    && let Some(before) = before
                {
                    records::subtract(&mut unpriced.buckets, before);
                }
                stamp::write_unpriced(pass.payload, node, &unpriced, table_stamp, flags);
                stamp::write_billing(pass.payload, node, amounts.own, None);
                let reason = unpriced.reason.as_str();
                if counted_by.is_none() {
                    let model = item.response_model.as_deref().or(item.request_model.as_deref());
                    pass.changes.count_status(BillingStatus::Unpriced);
                    pass.changes.add_unpriced(item.provider.as_deref(), model, reason, total_tokens(&unpriced.buckets));
                }
                CostFact {
                    reason: Some(reason),
                    billing: amounts.own,
                    ..unpriced_fact(BillingStatus::Unpriced, table_stamp, unpriced.buckets)
                }
            }
            (_, pricing) => {
                let mut priced = pricing.unwrap_or_else(|UnpricedCall { buckets, .. }| {
                    let model = item.response_model.as_deref().or(item.request_model.as_deref());
                    PricedCall { buckets, ..amount_without_row(Money::ZERO, item.provider.as_deref(), model) }
                });
                let whole = priced.total;
                (priced.total, priced.parts) = (Usd(money.total()), money.into());
                priced.flags.add(flags);
                if is_by_other_worker {
                    return pass.mark_counted_elsewhere(node, &priced, table_stamp);
                }
                let is_price = kind == ChargeKind::Whole || whole == priced.total;
                let status = if is_price { BillingStatus::Priced } else { BillingStatus::Correction };
                stamp::write_price(pass.payload, node, &priced, table_stamp, status);
                stamp::write_billing(pass.payload, node, amounts.own, Some(amounts.payable()));
                stamp::write_aliases(pass.payload, node, &priced, &self.config.aliases);
                let converted = self.stamp_amount(pass, node, priced.total);
                if counted_by.is_none() {
                    pass.changes.count_status(status);
                    let names = [priced.model, priced.provider];
                    pass.changes.add_priced(item.tenant.as_deref(), names, amounts, converted);
                    let is_seat = status == BillingStatus::Priced && amounts.own == BillingBasis::Subscription;
                    if let (true, Some(plan), Some(user)) = (is_seat, seat, item.stated_user()) {
                        pass.changes.add_seat(plan, user, priced.total.0);
                    }
                    if let Some(Value::Double(seconds)) = pass.payload.get(node, FIRST_CHUNK)
                        && status == BillingStatus::Priced
                    {
                        pass.changes.add_first_chunk(priced.model, priced.provider, seconds);
                    }
                    let is_other = |own: &str| price::exceeds_tolerance(own, whole, self.tolerance);
                    pass.changes.mismatches += u64::from(item.reported_cost.as_deref().is_some_and(is_other));
                }
                if records::is_total(item)
                    && let Some(before) = before
                {
                    records::subtract(&mut priced.buckets, before);
                }
                CostFact {
                    status,
                    billing: amounts.own,
                    covered_atto_usd: amounts.covered(),
                    billed_before: before.map(|units| Box::new(records::split_of_units(units))),
                    ..priced_fact(priced, table_stamp)
                }
            }
        };
        let before = before.filter(|_| pass.payload.signal() == Signal::Traces);
        let is_whole = matches!(fact.status, BillingStatus::Priced | BillingStatus::Unpriced);
        if (self.config.usage_attributes && is_whole) || before.is_some() {
            let mut buckets = fact.buckets;
            if let Some(before) = before.filter(|_| !records::is_total(item)) {
                records::subtract(&mut buckets, before);
            }
            stamp::write_buckets(pass.payload, node, &buckets);
        }
        fact
    }

    fn mark_late_copy(pass: &mut BatchPass<'_>, item: &ItemFacts, table_stamp: &Arc<str>) -> CostFact {
        Self::mark_copy(pass, item, PricingFlags::LATE_COPY, table_stamp)
    }

    fn mark_copy(pass: &mut BatchPass<'_>, item: &ItemFacts, flag: PricingFlags, table_stamp: &Arc<str>) -> CostFact {
        pass.mark_status(item.node, BillingStatus::NotCounted, flag);
        unpriced_fact(BillingStatus::NotCounted, table_stamp, CallTokenBuckets::default())
    }

    /// Lets the ledger decide about the batch's records, and stamps what it says. A correction rides on an item of its
    /// tenant that is no record itself.
    fn bill(
        &self,
        pass: &mut BatchPass<'_>,
        (candidates, settled, upstream): (Vec<Candidate<'_>>, Vec<SettledWait<'_>>, Vec<(usize, CallRecord)>),
        facts: &mut Facts,
    ) {
        let mut records: Vec<CallRecord> = candidates.iter().map(|candidate| candidate.record.clone()).collect();
        records.extend(settled.iter().map(|settled| settled.call.record.clone()));
        records.extend(upstream.iter().map(|(_, record)| record.clone()));
        let mut is_record = vec![false; facts.items.len()];
        for index in candidates.iter().map(|one| &one.index).chain(upstream.iter().map(|(index, _)| index)) {
            is_record.get_mut(*index).into_iter().for_each(|known| *known = true);
        }
        let payload = &*pass.payload;
        let is_traces = payload.signal() == Signal::Traces;
        let others = || facts.items.iter().zip(&is_record).enumerate().filter(|(_, (_, is_record))| !**is_record);
        let spans = others()
            .filter(|_| is_traces)
            .filter_map(|(_, (item, _))| records::span_link(payload, item.node, records::is_tool_or_agent(item)));
        let mut corrections: BTreeMap<usize, Vec<Correction>> = BTreeMap::new();
        // by record: the corrections that its amount contains
        let mut netted: HashMap<usize, Vec<Correction>> = HashMap::new();
        // By tenant, made when it is first needed.
        let mut carriers: Option<HashMap<u64, usize>> = None;
        let mut carry = |correction: &Correction, carrier: CorrectionCarrier| {
            if let CorrectionCarrier::Record(record) = carrier {
                netted.entry(record).or_default().push(correction.clone());
                return true;
            }
            let carriers = carriers.get_or_insert_with(|| {
                let free = others().filter(|(_, (item, _))| item.cost.is_none());
                let of_tenant = free.map(|(index, (item, _))| (item.tenant.as_deref().map_or(0, tenant_number), index));
                // the first item of each tenant
                of_tenant.collect::<Vec<_>>().into_iter().rev().collect()
            });
            let carrier = carriers.get(&correction.record.tenant).copied();
            carrier.into_iter().for_each(|index| corrections.entry(index).or_default().push(correction.clone()));
            carrier.is_some()
        };
        let key = pass.key();
        let verdicts = self.ledger.calls.lock().bill(&key, &records, spans, &mut carry, &mut pass.changes.calls);
        // spans between records are part of the run, which must see the same layers
        let links = pass.changes.calls.spans.iter();
        let links: HashSet<(&[u8], &[u8])> = links.map(|link| (&link.trace[..], &link.span[..])).collect();
        for item in facts.items.iter_mut().filter(|_| !links.is_empty()) {
            item.agent |= links.contains(&(payload.trace_id(item.node), payload.span_id(item.node)));
        }
        let mut verdicts = verdicts.into_iter();
        let mut netted = (0..).map(|record| netted.remove(&record).unwrap_or_default());
        for candidate in candidates {
            let corrected = netted.next().unwrap_or_default();
            let (Some(verdict), Some(item)) = (verdicts.next(), facts.items.get_mut(candidate.index)) else { continue };
            self.stamp_verdict(pass, candidate, (verdict, &corrected), item);
            let counts = |cost: &CostFact| matches!(cost.status, BillingStatus::Priced | BillingStatus::Unpriced);
            if item.cost.as_deref().is_some_and(counts) {
                pass.changes.add_unrecognized_usage(&item.unrecognized_usage);
            }
        }
        for (settled, verdict) in settled.into_iter().zip(verdicts.by_ref()) {
            let corrected = netted.next().unwrap_or_default();
            facts.late_prices.extend(self.late_price(pass, settled, verdict, &corrected));
        }
        for ((index, _), verdict) in upstream.into_iter().zip(verdicts) {
            let item = facts.items.get_mut(index);
            item.into_iter().for_each(|item| self.count_upstream(pass, item, verdict));
        }
        for (index, corrections) in corrections {
            if let Some(item) = facts.items.get_mut(index) {
                self.stamp_corrections(pass, item, &corrections);
            }
        }
    }

    /// Stamps corrections on an item that is no record of a call.
    fn stamp_corrections(&self, pass: &mut BatchPass<'_>, item: &mut ItemFacts, corrections: &[Correction]) {
        let money = corrections.iter().fold(Money::ZERO, |sum, correction| sum.plus(correction.money));
        let rates = self.active_rates.rates();
        let table_stamp = rates.table(item.tenant.as_deref()).stamp();
        let status = BillingStatus::Correction;
        let corrected = corrections.iter().filter_map(for_runs).collect();
        let priced = amount_without_row(money, None, None);
        stamp::move_reported_cost(pass.payload, item.node, None);
        stamp::write_price(pass.payload, item.node, &priced, table_stamp, status);
        let billing = corrections.first().map(|first| basis_of(&first.record)).unwrap_or_default();
        let amounts = BasisAmounts::of_charge(money, billing, corrections);
        stamp::write_billing(pass.payload, item.node, billing, Some(amounts.payable()));
        stamp::write_corrected(pass.payload, item.node, corrections.iter().map(|correction| &correction.record));
        pass.changes.count_status(status);
        let converted = self.stamp_amount(pass, item.node, priced.total);
        pass.changes.add_priced(item.tenant.as_deref(), [priced.model, priced.provider], amounts, converted);
        let fact = CostFact { status, corrected, ..priced_fact(priced, table_stamp) };
        item.cost = Some(Box::new(CostFact { rate_row: None, billing, covered_atto_usd: amounts.covered(), ..fact }));
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
        std::iter::once(rates.common()).chain(tenants).any(|table| table.provider_key(name).is_some())
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

/// An item about which the ledger decides, with its price.
struct Candidate<'t> {
    index: usize,
    table: &'t Arc<RateTable>,
    contract: Option<&'t str>,
    pricing: Result<PricedCall<'t>, UnpricedCall>,
    record: CallRecord,
    wait: Option<Wait>,
    /// The plan of the user's seat, if seats have a price.
    seat: Option<&'t str>,
}

/// What a call without a price waits for.
enum Wait {
    /// Its record on the signal that bills.
    ForRecord,
    /// The span that names its model or provider.
    ForAncestor(LedgerKey, Box<WaitingCall>),
}

/// The state of processing one batch.
struct BatchPass<'b> {
    payload: &'b mut Payload,
    changes: LedgerChanges,
    account: Arc<str>,
    batch: [u8; 16],
    /// When the batch arrived.
    now: UnixNanos,
    is_repeat: bool,
    is_trusted: bool,
    /// The batch's spans, built on first use.
    spans: Option<BatchSpans>,
    /// Number of its calls that wait for an ancestor.
    pending_waits: usize,
    /// Totals of agents without a model.
    unnamed_totals: Vec<NodeId>,
}

impl BatchPass<'_> {
    fn key(&self) -> BatchKey {
        BatchKey { id: self.batch, account: (&*self.account).into(), arrived: self.now.0 }
    }

    fn mark_status(&mut self, node: NodeId, status: BillingStatus, flags: PricingFlags) {
        stamp::write_status(self.payload, node, status, flags);
        self.changes.count_status(status);
    }

    fn is_included_upstream(&self, node: NodeId) -> bool {
        self.is_trusted && self.payload.get_str(node, stamp::STATUS) == Some(stamp::INCLUDED)
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

/// A charge and corrections of other calls that add up to nothing are a charge after all if a plan covers only some of
/// these calls: then the amount to pay changes.
fn charge_moved_amounts(verdict: Verdict, own: BillingBasis, corrected: &[Correction]) -> Verdict {
    let (kind, money, counted_by, before) = (ChargeKind::Difference, Money::ZERO, None, None);
    let (is_netted, is_after_sum, is_id_reused) = (true, false, false);
    match verdict {
        Verdict::NotCharged { call: Some(call), .. }
            if BasisAmounts::of_charge(money, own, corrected).iter().any(|(_, part)| part.total() != 0) =>
        {
            Verdict::Charged { kind, money, is_netted, is_after_sum, before, call, counted_by, is_id_reused }
        }
        verdict => verdict,
    }
}

/// What runs need to know of a correction.
fn for_runs(correction: &Correction) -> Option<CostCorrection> {
    let Correction { record, money, is_known_to_runs } = correction;
    let is_span = record.traits & calls::traits::SPAN != 0;
    let is_covered = basis_of(record) != BillingBasis::Api;
    let (trace, span) = (record.trace, record.span);
    let (atto_usd, saved_atto_usd) = (money.total(), money.saved());
    let corrected = CostCorrection { trace, span, is_span, atto_usd, saved_atto_usd, is_covered };
    (!is_known_to_runs).then_some(corrected)
}

/// An amount that no row of the rate table gave.
fn amount_without_row<'t>(money: Money, provider: Option<&'t str>, model: Option<&'t str>) -> PricedCall<'t> {
    PricedCall {
        total: Usd(money.total()),
        parts: money.into(),
        rate: String::new(),
        provider: provider.unwrap_or("unknown"),
        model: model.unwrap_or("unknown"),
        flags: PricingFlags::default(),
        buckets: CallTokenBuckets::default(),
    }
}

fn unpriced_fact(status: BillingStatus, table_stamp: &Arc<str>, buckets: CallTokenBuckets) -> CostFact {
    CostFact { status, rate_table: table_stamp.clone(), buckets, ..CostFact::default() }
}

fn priced_fact(priced: PricedCall<'_>, table_stamp: &Arc<str>) -> CostFact {
    CostFact {
        usd: Some(priced.total.to_string()),
        atto_usd: Some(priced.total.0),
        saved_atto_usd: Money::from(priced.parts).saved(),
        rate_row: Some(priced.rate),
        ..unpriced_fact(BillingStatus::Priced, table_stamp, priced.buckets)
    }
}

fn total_tokens(buckets: &CallTokenBuckets) -> u64 {
    let CallTokenBuckets { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning: _ } = *buckets;
    [cache_read, cache_write_5m, cache_write_1h, output].into_iter().fold(input, u64::saturating_add)
}

/// The key of a call whose response id another call has.
fn separate_call_key(payload: &Payload, item: &ItemFacts) -> Option<String> {
    let (trace, span) = (payload.trace_id(item.node), payload.span_id(item.node));
    Some(format!("r/{}@{}/{}", item.response_id.as_deref()?, hex::encode(trace), hex::encode(span)))
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
        let rates = self.active_rates.rates();
        let mut pass = BatchPass {
            payload: &mut batch.payload,
            changes: LedgerChanges::new(origin.received, display),
            account: origin.account.clone(),
            batch: origin.id,
            now: origin.received,
            is_repeat: origin.repeat,
            is_trusted: origin.trust == Trust::Internal,
            spans: None,
            pending_waits: 0,
            unnamed_totals: Vec::new(),
        };
        let (mut candidates, mut upstream): (Vec<Candidate<'_>>, Vec<(usize, CallRecord)>) = (Vec::new(), Vec::new());
        for index in 0..facts.items.len() {
            let Some(item) = facts.items.get_mut(index) else { continue };
            let is_record = records::is_record(item);
            if let Some(dialect) = item.dialect.filter(|_| item.sold_by_other_unit && !pass.is_repeat) {
                pass.changes.count_unbilled(dialect);
            }
            if let Some(cost) = self.upstream_cost(&pass, item) {
                if matches!(cost.status, BillingStatus::Priced | BillingStatus::Unpriced | BillingStatus::Correction) {
                    upstream.push((index, self.upstream_record(&pass, index, item, &cost)));
                }
                item.cost = Some(Box::new(cost));
            } else if pass.is_included_upstream(item.node) && !self.config.reprice {
                // the upstream tollgate counted its tokens elsewhere
            } else if is_record && !pass.is_repeat {
                candidates.extend(self.prepare(&mut pass, &rates, index, &mut facts));
            } else if is_record || item.copy {
                stamp::move_reported_cost(pass.payload, item.node, item.reported_cost.as_deref());
                let table_stamp = rates.table(item.tenant.as_deref()).stamp();
                item.cost = Some(Box::new(Self::mark_late_copy(&mut pass, item, table_stamp)));
            } else {
                if !pass.is_trusted && pass.payload.get(item.node, stamp::USAGE_COST).is_some() {
                    stamp::move_reported_cost(pass.payload, item.node, None);
                }
                if pass.payload.signal() == Signal::Traces && item.usage.has_billed_tokens() {
                    stamp::write_included(pass.payload, item.node);
                }
            }
        }
        let settled = self.settled_waits(&mut pass, &rates, &facts);
        if pass.is_repeat {
            for (index, _) in upstream {
                let item = facts.items.get_mut(index);
                item.into_iter().for_each(|item| self.count_upstream(&mut pass, item, REPEAT));
            }
        } else {
            self.bill(&mut pass, (candidates, settled, upstream), &mut facts);
        }
        for node in std::mem::take(&mut pass.unnamed_totals) {
            let trace = pass.payload.trace_id(node);
            if self.ledger.calls.lock().has_tokens_in(&pass.account, trace) {
                stamp::write_included(pass.payload, node);
            }
        }
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
        self.ledger.calls.lock().discard(batch_id);
    }

    fn tick(&self, now: UnixNanos) {
        self.ledger.tick(now);
        self.table_age_gauge.set(self.table_age(now).as_secs_f64());
    }

    fn save(&self, checkpoint: &mut Vec<u8>) {
        self.ledger.save(checkpoint);
    }

    fn restore(&self, checkpoint: &[u8]) -> bool {
        self.ledger.restore(checkpoint)
    }
}
