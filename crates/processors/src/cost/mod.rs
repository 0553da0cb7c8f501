//! The `cost` processor: prices model calls exactly from a versioned rate table. A call without a price is marked and
//! counted as unpriced, never as 0.
//!
//! Pure apart from claims. Each call is priced once, across signals, repeats, layers and pipeline branches, at the
//! rates valid at the time of the call. Roll-ups and failures without tokens get no stamp. `genai` decides which items
//! are calls, `rates` holds the prices, the crate `tracker` sums up runs.

mod billed_sums;
mod bounded_map;
pub mod config;
mod deferred_calls;
mod layers;
mod ledger;
mod price;
mod response_ids;
mod stamp;
mod tables;
mod two_signals;
mod waiting_calls;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use genai::usage::{PricingFlags, TokenSplit, split_tokens};
use genai::{self, BillingStatus, CallCost as CostFact, CallTokenBuckets, Facts, ItemFacts, Vocabulary, cached_facts};
use kernel::clock::UnixNanos;
use kernel::hex;
use kernel::pseudonym::IdPolicy;
use otlp::{NodeId, Payload, Signal};
use pipeline::{Batch, ClaimKey, ClaimResult, Effect, Processor, Reason, Trust};
use rates::{ActiveRates, RateTable, RateTables, RatesError, Usd};
use telemetry::{Gauge, Meter, names};

pub use config::{
    BillingSignal, CostConfig, CostSettings, DetailsEventPolicy, PriceAlias, RatesSource, RefreshSettings,
    RefreshSource,
};
pub use price::{CallPriceInput, PriceParts, PricedCall, UnpricedCall, price_call, price_difference};

use billed_sums::BilledSum;
use layers::{AncestorClaims, LayerClaims};
use ledger::{CostLedger, LedgerChanges, NameDisplay};
use waiting_calls::{BatchSpans, TraceSpanId, UnitKey};

/// The `cost` processor.
pub struct CostProcessor {
    id: Arc<str>,
    vocabulary: Arc<Vocabulary>,
    shelf: Arc<ActiveRates>,
    age_gauge: Gauge,
    meter: Meter,
    ledger: CostLedger,
    billed_signal: Signal,
    billing_signal: BillingSignal,
    usage_attributes: bool,
    aliases: Vec<PriceAlias>,
    fees: bool,
    tolerance: i128,
    reprice: bool,
    details_event: DetailsEventPolicy,
}

impl CostProcessor {
    /// Loads the rate tables and creates the processor.
    ///
    /// # Errors
    /// A table cannot be read or is invalid.
    pub fn new(
        id: Arc<str>,
        settings: &CostSettings,
        vocabulary: Arc<Vocabulary>,
        meter: &Meter,
    ) -> Result<Self, RatesError> {
        let rates = RateTables::build(&settings.load_base()?, &settings.load_overlays()?)?;
        tables::set_table_gauges(meter, &rates, 1.0);
        let shelf = Arc::new(ActiveRates::new(rates));
        Ok(Self {
            id,
            vocabulary,
            ledger: CostLedger::new(meter, Arc::clone(&shelf)),
            shelf,
            age_gauge: meter.gauge(&names::RATES_AGE, &[]),
            meter: meter.clone(),
            billed_signal: settings.billed_signal(),
            billing_signal: settings.claude_code,
            usage_attributes: settings.usage_attributes,
            aliases: settings.aliases.clone(),
            fees: settings.fees,
            tolerance: settings.tolerance.0,
            reprice: settings.reprice,
            details_event: settings.details_event,
        })
    }

    /// Passes names of tenants, models and providers through `ids` before they appear in metrics and logs. Without this
    /// they appear unchanged, which is meant for tools that do not publish them.
    #[must_use]
    pub fn with_ids(mut self, ids: Arc<dyn IdPolicy>) -> Self {
        self.ledger.display.ids = Some(ids);
        self
    }

    /// The shelf that holds the tables in use. It follows later replacements.
    pub fn shelf(&self) -> Arc<ActiveRates> {
        Arc::clone(&self.shelf)
    }

    /// The current common table, for tenants without a table of their own.
    pub fn table(&self) -> Arc<RateTable> {
        Arc::clone(self.shelf.rates().common())
    }

    /// Warnings about the overlays in use, one line each, with file, line and column.
    pub fn warnings(&self) -> Vec<String> {
        self.shelf.rates().warnings().to_vec()
    }

    /// Replaces the tables, which are the latest as of `now`. Batches already being processed keep the old ones.
    pub fn replace_tables(&self, rates: RateTables, now: UnixNanos) {
        tables::set_table_gauges(&self.meter, &rates, 1.0);
        let before = self.shelf.swap(rates);
        let after = self.shelf.rates();
        if before.common().digest() != after.common().digest() {
            tables::set_table_gauges(&self.meter, &before, 0.0);
        }
        self.confirm_tables(now);
    }

    /// Time since the tables in use were last confirmed to be the latest.
    pub fn table_age(&self, now: UnixNanos) -> std::time::Duration {
        now.since(UnixNanos(self.shelf.confirmed(now.0)))
    }

    /// Records that the tables in use are the latest as of `now`.
    pub fn confirm_tables(&self, now: UnixNanos) {
        self.shelf.confirm(now.0);
    }

    /// Stamps a billable item and returns the resulting cost.
    fn bill_item(&self, pass: &mut BatchPass<'_>, at: usize, item: &mut ItemFacts, winner: bool) -> CostFact {
        let table = Arc::clone(pass.rates.table(item.tenant.as_deref()));
        let rates = table.stamp();
        let (node, account) = (item.node, pass.account.clone());
        let contract: Option<Box<str>> = pass.rates.contract_digest(item.tenant.as_deref()).map(Into::into);
        let bare = |status| unpriced_fact(status, rates, CallTokenBuckets::default());
        if let Some(kept) = self.upstream_cost(pass, node) {
            return kept;
        }
        stamp::move_reported_cost(pass.payload, node, item.reported_cost.as_deref());
        self.record_log_session(pass, item);
        let other_signal = self.is_other_signal(pass.payload, item);
        let lone = if other_signal { self.decide_lone_span(pass, &table, item) } else { None };
        if other_signal && lone.is_none() {
            if let (Some(key), Some(dialect)) = (two_signal_claim(&account, item), item.dialect) {
                pass.changes.add_deferred(dialect, key);
            }
            pass.mark_status(node, BillingStatus::Deferred, PricingFlags::default());
            return bare(BillingStatus::Deferred);
        }
        // Held until the span's tokens are stored: a log record that finds the call claimed must also find the tokens
        // its span was billed for.
        let judging = item.on_two_signals.then(|| self.ledger.lock_two_signal_decisions());
        let counted = self.claim_call(pass, at, item, winner);
        if let (Some(lone), CountDecision::Price { count: true, .. }) = (lone, &counted) {
            self.remember_billed_span(pass, item, lone);
        }
        drop(judging);
        match counted {
            CountDecision::Copy(flags) => {
                pass.mark_status(node, BillingStatus::NotCounted, flags);
                bare(BillingStatus::NotCounted)
            }
            CountDecision::PriceDifference { count, before, flag } => {
                CostFact { contract, ..self.price_difference(pass, &table, item, (count, before, flag)) }
            }
            CountDecision::AfterUnpriced { count } => {
                CostFact { contract, ..self.price_after_unpriced(pass, &table, item, count) }
            }
            CountDecision::Price { count, flags } => {
                // A span billed without its log must not wait for an ancestor as well: the log could arrive first and
                // be billed in full.
                let deferred = if lone.is_none() { self.defer_call(pass, &table, at, item, count) } else { None };
                let fact = deferred.unwrap_or_else(|| self.price_item(pass, &table, item, count, flags));
                CostFact { contract, ..fact }
            }
        }
    }

    /// Marks an item that repeats a call of the same request.
    fn mark_copy(&self, pass: &mut BatchPass<'_>, item: &ItemFacts) -> CostFact {
        if let Some(kept) = self.upstream_cost(pass, item.node) {
            return kept;
        }
        stamp::move_reported_cost(pass.payload, item.node, item.reported_cost.as_deref());
        pass.mark_status(item.node, BillingStatus::NotCounted, PricingFlags::LATE_COPY);
        unpriced_fact(
            BillingStatus::NotCounted,
            pass.rates.table(item.tenant.as_deref()).stamp(),
            CallTokenBuckets::default(),
        )
    }

    /// Handles a call without tokens: it has no price and is counted as unpriced once.
    fn mark_without_usage(&self, pass: &mut BatchPass<'_>, item: &ItemFacts) -> CostFact {
        if let Some(kept) = self.upstream_cost(pass, item.node) {
            return kept;
        }
        let rates = Arc::clone(pass.rates.table(item.tenant.as_deref()).stamp());
        let (payload, claims) = (&*pass.payload, &self.ledger.claims);
        let place = [payload.trace_id(item.node), payload.span_id(item.node)].concat();
        // This uses a separate claim key, so that a later record of the same call with tokens is still billed.
        let key = item.call_key.as_deref().map_or(&*place, str::as_bytes);
        let key = ClaimKey::from_parts(&[b"no usage", pass.account.as_bytes(), key]);
        let unpriced = UnpricedCall { reason: rates::UnpricedReason::NoUsage, buckets: CallTokenBuckets::default() };
        stamp::write_unpriced(pass.payload, item.node, &unpriced, &rates, PricingFlags::default());
        let reason = unpriced.reason.as_str();
        if !pass.is_repeat && claims.claim(key, &pass.batch, pass.now) == ClaimResult::First {
            pass.changes.add_claim(key);
            let model = item.response_model.as_deref().or(item.request_model.as_deref());
            pass.changes.count_status(BillingStatus::Unpriced.as_str());
            pass.changes.add_unpriced(item.provider.as_deref(), model, reason, 0);
        }
        CostFact { reason: Some(reason), ..unpriced_fact(BillingStatus::Unpriced, &rates, CallTokenBuckets::default()) }
    }

    /// Returns the cost that a trusted upstream tollgate stamped, which is kept.
    fn upstream_cost(&self, pass: &BatchPass<'_>, node: NodeId) -> Option<CostFact> {
        let status = pass.payload.get_str(node, stamp::STATUS).filter(|_| pass.is_trusted && !self.reprice)?;
        let rates = pass.payload.get_str(node, stamp::RATES).unwrap_or("");
        let usd = pass.payload.get_str(node, "tollgate.cost.usd").map(str::to_owned);
        Some(CostFact {
            status: BillingStatus::ALL.into_iter().find(|known| known.as_str() == status)?,
            atto_usd: usd.as_deref().and_then(rates::Usd::parse).map(|usd| usd.0),
            billed_before: None,
            billed_before_atto_usd: 0,
            usd,
            rate_table: rates.into(),
            rate_row: pass.payload.get_str(node, "tollgate.cost.rate").map(str::to_owned),
            contract: None,
            reason: None,
            buckets: CallTokenBuckets::default(),
        })
    }

    /// Decides whether this record is the one that counts for its call.
    fn claim_call(&self, pass: &mut BatchPass<'_>, at: usize, item: &mut ItemFacts, winner: bool) -> CountDecision {
        if pass.is_repeat {
            return CountDecision::Copy(PricingFlags::default());
        }
        if !winner {
            return CountDecision::Copy(PricingFlags::LATE_COPY);
        }
        if let Some(rest) = self.find_billed_span(pass, item) {
            return rest;
        }
        let claims = &self.ledger.claims;
        let mut flags = if pass.reused_ids.contains(&at) { PricingFlags::ID_REUSED } else { PricingFlags::default() };
        let identity = response_ids::compare_id_uses(claims, &pass.batch, pass.payload, &pass.account, item);
        if let Some(apart) = identity.as_ref().and_then(|identity| identity.separate_key.clone()) {
            item.call_key = Some(apart);
            flags.add(PricingFlags::ID_REUSED);
        }
        let call = call_claim(&pass.account, item);
        // Another pipeline branch already processed this batch: stamp the item alike, but count it only there.
        let branch = |key: ClaimKey| claims.holder(key) == Some(pass.batch);
        if call.is_some_and(branch) {
            return CountDecision::Price { count: false, flags };
        }
        let guessed = item.guessed || item.dialect.is_some_and(|dialect| self.vocabulary.is_generic_dialect(dialect));
        let above = self.ancestors_to_tokens(pass, at);
        let below = self.sum_below(pass, item);
        let guessed = guessed && !(item.guessed && below.is_some_and(|below| below.is_dwarfed_by(item)));
        let layers = LayerClaims::from_span(pass.payload, &pass.account, item, guessed, &above);
        let known = identity.as_ref().is_some_and(|identity| identity.seen_before);
        let span = self.span_claim(pass, item).filter(|span| Some(*span) != call);
        let known = known || span.is_some_and(|span| claims.holder(span).is_some());
        let rolled_up = || below.is_some_and(|below| below.equals_item(item));
        let answer = response_ids::answer_key(&pass.account, pass.payload, item);
        if identity.as_ref().is_some_and(|identity| identity.seen_before)
            && let Some(more) = answer.and_then(|answer| self.bill_growth(pass, answer, item))
        {
            return more;
        }
        if known || layers.as_ref().is_some_and(|layers| layers.is_other_layer_billed(claims)) || rolled_up() {
            return CountDecision::Copy(PricingFlags::LATE_COPY);
        }
        let Some(key) = call else { return CountDecision::Price { count: true, flags } };
        match claims.claim(key, &pass.batch, pass.now) {
            ClaimResult::First => {}
            ClaimResult::ClaimedBy(holder) if holder == pass.batch => {
                return CountDecision::Price { count: false, flags };
            }
            ClaimResult::ClaimedBy(_) => return CountDecision::Copy(PricingFlags::LATE_COPY),
        }
        pass.changes.add_claim(key);
        let below = above.last().map(|(trace, span)| waiting_calls::span_key(&pass.account, trace, span));
        for place in below.into_iter().chain(answer) {
            pass.changes.add_sum(place, BilledSum::from_item(item));
        }
        let pair =
            item.on_two_signals.then(|| two_signal_claim(&pass.account, item)).flatten().filter(|pair| *pair != key);
        let marks = identity.iter().flat_map(|identity| identity.marks.recorded_claims());
        for key in
            layers.iter().flat_map(|layers| layers.when_billed.iter().copied()).chain(marks).chain(pair).chain(span)
        {
            if claims.claim(key, &pass.batch, pass.now) == ClaimResult::First {
                pass.changes.add_claim(key);
            }
        }
        CountDecision::Price { count: true, flags }
    }

    /// Handles an answer that was already billed and is reported again with more output, as stream snapshots are. Each
    /// size counts once.
    fn bill_growth(&self, pass: &mut BatchPass<'_>, answer: UnitKey, item: &ItemFacts) -> Option<CountDecision> {
        let (output, more) = self.ledger.billed_below(&answer)?.growth_since(item)?;
        let size = item.usage.output.unwrap_or(0).to_le_bytes();
        let key = ClaimKey::from_parts(&[b"grown", &answer, &size]);
        let count = match self.ledger.claims.claim(key, &pass.batch, pass.now) {
            ClaimResult::First => {
                pass.changes.add_claim(key);
                pass.changes.add_sum(answer, more);
                true
            }
            ClaimResult::ClaimedBy(holder) if holder == pass.batch => false,
            ClaimResult::ClaimedBy(_) => return None,
        };
        let usage = genai::TokenUsage { output: Some(output), ..item.usage };
        let before = split_tokens(&ItemFacts { usage, ..item.clone() }).ok()?;
        Some(CountDecision::PriceDifference { count, before, flag: PricingFlags::GROWN })
    }

    /// Bills the difference between the call's current price and the price of `before`. If the difference is not
    /// positive, nothing is billed, because totals never decrease.
    fn price_difference(
        &self,
        pass: &mut BatchPass<'_>,
        table: &RateTable,
        item: &ItemFacts,
        (count, before, flag): (bool, TokenSplit, PricingFlags),
    ) -> CostFact {
        let (rates, time) = (table.stamp(), pass.payload.time(item.node));
        let mut rest = || {
            let call = CallPriceInput::from_item(item, time).ok()?;
            let (mut priced, was) = price::price_difference(table, &call, &before, self.fees).ok()?;
            if priced.total <= Usd::ZERO || priced.parts.has_negative() {
                return None;
            }
            priced.flags.add(flag);
            stamp::write_price(pass.payload, item.node, &priced, rates);
            stamp::write_aliases(pass.payload, item.node, &priced, &self.aliases);
            if count {
                pass.changes.add_priced(item.tenant.as_deref(), priced.model, priced.provider, priced.total);
            }
            let (before, before_atto_usd) = (Some(Box::new(before)), was.0);
            Some(CostFact {
                billed_before: before,
                billed_before_atto_usd: before_atto_usd,
                ..priced_fact(priced, rates)
            })
        };
        rest().unwrap_or_else(|| Self::mark_late_copy(pass, item, rates))
    }

    /// Handles a log whose span was counted as unpriced: priced in full if possible, otherwise a copy, so that the call
    /// is not counted as unpriced twice.
    fn price_after_unpriced(
        &self,
        pass: &mut BatchPass<'_>,
        table: &RateTable,
        item: &ItemFacts,
        count: bool,
    ) -> CostFact {
        let call = CallPriceInput::from_item(item, pass.payload.time(item.node));
        let priced = call.is_ok_and(|call| price::price_call(table, &call, self.fees).is_ok());
        if priced {
            return self.price_item(pass, table, item, count, PricingFlags::AFTER_SPAN);
        }
        Self::mark_late_copy(pass, item, table.stamp())
    }

    fn mark_late_copy(pass: &mut BatchPass<'_>, item: &ItemFacts, rates: &Arc<str>) -> CostFact {
        pass.mark_status(item.node, BillingStatus::NotCounted, PricingFlags::LATE_COPY);
        unpriced_fact(BillingStatus::NotCounted, rates, CallTokenBuckets::default())
    }

    /// The claim shared by a span and the log event that repeats it, if either of them may be billed.
    fn span_claim(&self, pass: &BatchPass<'_>, item: &ItemFacts) -> Option<ClaimKey> {
        let payload = &*pass.payload;
        let (trace, span) = (payload.trace_id(item.node), payload.span_id(item.node));
        let either = self.details_event == DetailsEventPolicy::IfNoSpan && !trace.is_empty() && !span.is_empty();
        let told = either && (item.counts_if_no_span || payload.signal() == Signal::Traces);
        let key = || format!("s/{}/{}", hex::encode(trace), hex::encode(span));
        told.then(|| ClaimKey::from_parts(&[b"call", pass.account.as_bytes(), key().as_bytes()]))
    }

    /// The spans above an item, nearest first, up to and including the first that has tokens or is not in the request.
    fn ancestors_to_tokens(&self, pass: &mut BatchPass<'_>, at: usize) -> Vec<TraceSpanId> {
        if pass.payload.signal() != Signal::Traces {
            return Vec::new();
        }
        pass.spans
            .get_or_insert_with(|| BatchSpans::from_payload(pass.payload))
            .ancestors_to_tokens(at, &pass.has_tokens)
    }

    /// Turns events that repeat a call into calls of their own, for calls whose span never arrives.
    fn promote_details_events(&self, facts: &mut Facts) {
        if self.details_event == DetailsEventPolicy::Never {
            return;
        }
        for item in facts.items.iter_mut().filter(|item| item.counts_if_no_span) {
            (item.call, item.billable, item.copy) = (genai::ItemRole::Model, true, false);
        }
    }

    /// Extends claims to the ancestors of billed spans.
    fn claim_ancestors(&self, pass: &mut BatchPass<'_>) {
        if pass.payload.signal() != Signal::Traces || pass.is_repeat {
            return;
        }
        let (claims, changes) = (&self.ledger.claims, &mut pass.changes);
        let mut claim = |key| {
            let claim = claims.claim(key, &pass.batch, pass.now);
            if claim == ClaimResult::First {
                changes.add_claim(key);
            }
            claim
        };
        AncestorClaims::from_payload(claims, pass.payload, &pass.account, &pass.is_tool_or_agent).claim_ancestors(
            claims,
            pass.payload,
            &pass.account,
            &mut claim,
        );
    }

    fn price_item(
        &self,
        pass: &mut BatchPass<'_>,
        table: &RateTable,
        item: &ItemFacts,
        count: bool,
        flags: PricingFlags,
    ) -> CostFact {
        let (node, rates) = (item.node, table.stamp());
        let time = pass.payload.time(node);
        let priced = CallPriceInput::from_item(item, time).and_then(|call| price::price_call(table, &call, self.fees));
        let out = match priced {
            Ok(mut priced) => {
                priced.flags.add(flags);
                stamp::write_price(pass.payload, node, &priced, rates);
                stamp::write_aliases(pass.payload, node, &priced, &self.aliases);
                if count {
                    pass.changes.count_status(BillingStatus::Priced.as_str());
                    pass.changes.add_priced(item.tenant.as_deref(), priced.model, priced.provider, priced.total);
                    if item
                        .reported_cost
                        .as_deref()
                        .is_some_and(|own| price::exceeds_tolerance(own, priced.total, self.tolerance))
                    {
                        pass.changes.count_mismatch();
                    }
                }
                priced_fact(priced, rates)
            }
            Err(unpriced) => {
                stamp::write_unpriced(pass.payload, node, &unpriced, rates, flags);
                let reason = unpriced.reason.as_str();
                if count {
                    let model = item.response_model.as_deref().or(item.request_model.as_deref());
                    pass.changes.count_status(BillingStatus::Unpriced.as_str());
                    pass.changes.add_unpriced(item.provider.as_deref(), model, reason, total_tokens(&unpriced.buckets));
                }
                CostFact { reason: Some(reason), ..unpriced_fact(BillingStatus::Unpriced, rates, unpriced.buckets) }
            }
        };
        if self.usage_attributes {
            stamp::write_buckets(pass.payload, node, &out.buckets);
        }
        out
    }
}

/// How a record of a call is counted.
enum CountDecision {
    /// The record is priced. With `count` it also enters the totals.
    Price { count: bool, flags: PricingFlags },
    /// Part of the record was already billed: the rest is priced.
    PriceDifference { count: bool, before: TokenSplit, flag: PricingFlags },
    /// The call's span was counted as unpriced: the record is priced in full.
    AfterUnpriced { count: bool },
    /// Another record of the call is the one that counts.
    Copy(PricingFlags),
}

/// The state of processing one batch.
struct BatchPass<'b> {
    payload: &'b mut Payload,
    /// The tables used to price the whole batch.
    rates: Arc<RateTables>,
    changes: LedgerChanges,
    account: Arc<str>,
    batch: [u8; 16],
    now: UnixNanos,
    is_repeat: bool,
    is_trusted: bool,
    /// The batch's spans, built on first use.
    spans: Option<BatchSpans>,
    /// By item: whether it has tokens, or is a tool or an agent.
    has_tokens: Vec<bool>,
    /// By item: whether it is a tool or an agent. A call inside it is a separate call.
    is_tool_or_agent: Vec<bool>,
    /// Items whose response id also belongs to another call of the request.
    reused_ids: HashSet<usize>,
    /// Sums of the request's calls, by the span above them.
    sums_below: HashMap<UnitKey, BilledSum>,
    /// Log records of the request whose calls were priced by their spans.
    span_priced_logs: HashSet<ClaimKey>,
}

impl BatchPass<'_> {
    fn mark_status(&mut self, node: NodeId, status: BillingStatus, flags: PricingFlags) {
        stamp::write_status(self.payload, node, status, flags);
        self.changes.count_status(status.as_str());
    }
}

fn unpriced_fact(status: BillingStatus, rates: &Arc<str>, buckets: CallTokenBuckets) -> CostFact {
    CostFact {
        status,
        usd: None,
        atto_usd: None,
        billed_before: None,
        billed_before_atto_usd: 0,
        rate_table: rates.clone(),
        rate_row: None,
        contract: None,
        reason: None,
        buckets,
    }
}

fn priced_fact(priced: PricedCall<'_>, rates: &Arc<str>) -> CostFact {
    CostFact {
        usd: Some(priced.total.to_string()),
        atto_usd: Some(priced.total.0),
        rate_row: Some(priced.rate),
        ..unpriced_fact(BillingStatus::Priced, rates, priced.buckets)
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

/// The claim shared by both records of a call that arrives on two signals: the response id, else the token counts. It
/// only shows whether the billed record arrived, so two calls of the same size may share it.
fn two_signal_claim(account: &str, item: &ItemFacts) -> Option<ClaimKey> {
    if item.response_id.is_some() {
        return call_claim(account, item);
    }
    let (input, output) = (item.usage.input?.to_le_bytes(), item.usage.output?.to_le_bytes());
    Some(ClaimKey::from_parts(&[b"twin", account.as_bytes(), item.dialect?.as_bytes(), &input, &output]))
}

/// Chooses among records of one call in one batch: first the one that splits cache writes, then the largest output
/// (stream snapshots grow), then the last.
fn choose_billed_records(facts: &Facts) -> HashMap<&str, usize> {
    let mut best: HashMap<&str, usize> = HashMap::new();
    let rank = |at: usize| {
        let usage = facts.items.get(at).map(|item| item.usage);
        usage.map(|usage| (usage.cache_write_1h.is_some(), usage.output, at))
    };
    for (at, item) in facts.items.iter().enumerate().filter(|(_, item)| item.billable) {
        let Some(key) = item.call_key.as_deref() else { continue };
        let present = best.entry(key).or_insert(at);
        if rank(at) > rank(*present) {
            *present = at;
        }
    }
    best
}

impl Processor for CostProcessor {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        if batch.payload.signal() == Signal::Metrics {
            return Ok(());
        }
        let facts = cached_facts(&self.vocabulary, &batch.payload, &mut batch.facts);
        batch.facts = None;
        let mut facts = Arc::try_unwrap(facts).unwrap_or_else(|shared| (*shared).clone());
        self.promote_details_events(&mut facts);
        let origin = batch.origin.clone();
        let show = NameDisplay { ids: self.ledger.display.ids.clone(), account: origin.account.clone() };
        let mut pass = BatchPass {
            payload: &mut batch.payload,
            rates: self.shelf.rates(),
            changes: LedgerChanges::new(&origin.id, origin.received, show),
            account: origin.account.clone(),
            batch: origin.id,
            now: origin.received,
            is_repeat: origin.repeat,
            is_trusted: origin.trust == Trust::Internal,
            spans: None,
            has_tokens: facts.items.iter().map(|item| item.usage.is_reported() || is_tool_or_agent(item)).collect(),
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
            choose_billed_records(&facts).into_iter().map(|(key, at)| (key.to_owned(), at)).collect();
        // Spans of vendor SDKs carry more detail, so they are billed before the spans around them.
        let (inner, outer): (Vec<_>, Vec<_>) =
            facts.items.iter_mut().enumerate().partition(|(_, item)| item.from_vendor_sdk);
        for (at, item) in inner.into_iter().chain(outer) {
            if item.billable {
                let winner = item.call_key.as_deref().is_none_or(|key| winners.get(key) == Some(&at));
                item.cost = Some(Box::new(self.bill_item(&mut pass, at, item, winner)));
            } else if item.copy {
                item.cost = Some(Box::new(self.mark_copy(&mut pass, item)));
            } else if item.no_usage {
                item.cost = Some(Box::new(self.mark_without_usage(&mut pass, item)));
            } else if !pass.is_trusted && pass.payload.get(item.node, stamp::USAGE_COST).is_some() {
                stamp::move_reported_cost(pass.payload, item.node, None);
            }
            if let Some(dialect) = item.dialect.filter(|_| item.sold_by_other_unit && !pass.is_repeat) {
                pass.changes.count_unbilled(dialect);
            }
        }
        if !pass.changes.is_empty() {
            self.claim_ancestors(&mut pass);
        }
        let late = self.price_waiting_calls(&mut pass, &facts);
        facts.late_prices.extend(late);
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

    fn discard(&self, batch_id: &[u8; 16]) {
        self.ledger.claims.discard(batch_id);
    }

    fn tick(&self, now: UnixNanos) {
        self.ledger.tick(now);
        self.age_gauge.set(self.table_age(now).as_secs_f64());
    }

    fn checkpoint(&self) -> Option<Vec<u8>> {
        Some(self.ledger.save())
    }

    fn restore(&self, checkpoint: &[u8]) {
        self.ledger.restore(checkpoint);
    }
}
