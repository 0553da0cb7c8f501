//! The `cost` processor: prices model calls exactly from a versioned rate table. A call without a price is marked and
//! counted as unpriced, never as 0.
//!
//! Pure apart from claims. Each call is priced once, across signals, repeats, layers and pipeline branches, at the
//! rates valid at the time of the call. Roll-ups and failures without tokens get no stamp. `genai` decides which items
//! are calls, `rates` holds the prices, the crate `tracker` sums up runs.

pub mod config;
mod identity;
mod late;
mod layers;
mod ledger;
mod memory;
mod price;
mod settle;
mod stamp;
mod sums;
mod tables;
mod twins;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use genai::usage::{Flags, Split, split};
use genai::{self, Billing, Buckets, Cost as CostFact, Facts, ItemFacts, Vocabulary, facts_of};
use kernel::clock::UnixNanos;
use kernel::hex;
use kernel::pseudonym::IdPolicy;
use otlp::{Node, Payload, Signal};
use pipeline::{Batch, Claim, ClaimKey, Effect, Processor, Reason, Trust};
use rates::{Rates, RatesError, Shelf, Table, Usd};
use telemetry::{Gauge, Meter, names};

pub use config::{Alias, BillOn, Config, DetailsEvent, RatesFrom, RefreshFrom, RefreshSettings, Settings};
pub use price::{Call, NotPriced, Parts, Priced, price, price_rest};

use late::{Family, Place, SpanId};
use layers::{Layers, Rise};
use ledger::{Changes, Ledger, Show};
use sums::Sum;

/// The `cost` processor.
pub struct Cost {
    id: Arc<str>,
    vocabulary: Arc<Vocabulary>,
    shelf: Arc<Shelf>,
    age_gauge: Gauge,
    meter: Meter,
    ledger: Ledger,
    billed: Signal,
    bill: BillOn,
    usage_attributes: bool,
    aliases: Vec<Alias>,
    fees: bool,
    tolerance: i128,
    reprice: bool,
    details: DetailsEvent,
}

impl Cost {
    /// Loads the rate tables and creates the processor.
    ///
    /// # Errors
    /// A table cannot be read or is invalid.
    pub fn new(
        id: Arc<str>,
        settings: &Settings,
        vocabulary: Arc<Vocabulary>,
        meter: &Meter,
    ) -> Result<Self, RatesError> {
        let rates = Rates::build(&settings.base()?, &settings.overlays()?)?;
        tables::tell(meter, &rates, 1.0);
        let shelf = Arc::new(Shelf::new(rates));
        Ok(Self {
            id,
            vocabulary,
            ledger: Ledger::new(meter, Arc::clone(&shelf)),
            shelf,
            age_gauge: meter.gauge(&names::RATES_AGE, &[]),
            meter: meter.clone(),
            billed: settings.billed_signal(),
            bill: settings.claude_code,
            usage_attributes: settings.usage_attributes,
            aliases: settings.aliases.clone(),
            fees: settings.fees,
            tolerance: settings.tolerance.0,
            reprice: settings.reprice,
            details: settings.details_event,
        })
    }

    /// Passes names of tenants, models and providers through `ids` before they appear in metrics and logs. Without this
    /// they appear unchanged, which is meant for tools that do not publish them.
    #[must_use]
    pub fn with_ids(mut self, ids: Arc<dyn IdPolicy>) -> Self {
        self.ledger.show.ids = Some(ids);
        self
    }

    /// The shelf that holds the tables in use. It follows later replacements.
    pub fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf)
    }

    /// The current common table, for tenants without a table of their own.
    pub fn table(&self) -> Arc<Table> {
        Arc::clone(self.shelf.rates().common())
    }

    /// Warnings about the overlays in use, one line each, with file, line and column.
    pub fn warnings(&self) -> Vec<String> {
        self.shelf.rates().warnings().to_vec()
    }

    /// Replaces the tables, which are the latest as of `now`. Batches already being processed keep the old ones.
    pub fn adopt(&self, rates: Rates, now: UnixNanos) {
        tables::tell(&self.meter, &rates, 1.0);
        let before = self.shelf.swap(rates);
        let after = self.shelf.rates();
        if before.common().digest() != after.common().digest() {
            tables::tell(&self.meter, &before, 0.0);
        }
        self.confirm(now);
    }

    /// Time since the tables in use were last confirmed to be the latest.
    pub fn age(&self, now: UnixNanos) -> std::time::Duration {
        now.since(UnixNanos(self.shelf.confirmed(now.0)))
    }

    /// Records that the tables in use are the latest as of `now`.
    pub fn confirm(&self, now: UnixNanos) {
        self.shelf.confirm(now.0);
    }

    /// Stamps a billable item and returns the resulting cost.
    fn bill(&self, pass: &mut Pass<'_>, at: usize, item: &mut ItemFacts, winner: bool) -> CostFact {
        let table = Arc::clone(pass.rates.table(item.tenant.as_deref()));
        let rates = table.stamp();
        let (node, account) = (item.node, pass.account.clone());
        let contract: Option<Box<str>> = pass.rates.contract(item.tenant.as_deref()).map(Into::into);
        let bare = |status| fact(status, rates, Buckets::default());
        if let Some(kept) = self.kept(pass, node) {
            return kept;
        }
        stamp::reported(pass.payload, node, item.reported_cost.as_deref());
        self.hear(pass, item);
        let other_signal = self.is_other_signal(pass.payload, item);
        let lone = if other_signal { self.lone_span(pass, &table, item) } else { None };
        if other_signal && lone.is_none() {
            if let (Some(key), Some(dialect)) = (twin_claim(&account, item), item.dialect) {
                pass.changes.deferred(dialect, key);
            }
            pass.mark(node, Billing::Deferred, Flags::default());
            return bare(Billing::Deferred);
        }
        // Held until the span's tokens are stored: a log record that finds the call claimed must also find the tokens
        // its span was billed for.
        let judging = item.twin.then(|| self.ledger.judge_twin());
        let counted = self.claim(pass, at, item, winner);
        if let (Some(lone), Counted::Yes { count: true, .. }) = (lone, &counted) {
            self.keep_billed_span(pass, item, lone);
        }
        drop(judging);
        match counted {
            Counted::No(flags) => {
                pass.mark(node, Billing::NotCounted, flags);
                bare(Billing::NotCounted)
            }
            Counted::Rest { count, before, flag } => {
                CostFact { contract, ..self.price_rest(pass, &table, item, (count, before, flag)) }
            }
            Counted::AfterUnpriced { count } => {
                CostFact { contract, ..self.price_after_unpriced(pass, &table, item, count) }
            }
            Counted::Yes { count, flags } => {
                // A span billed without its log must not wait for an ancestor as well: the log could arrive first and
                // be billed in full.
                let deferred = if lone.is_none() { self.defer(pass, &table, at, item, count) } else { None };
                let fact = deferred.unwrap_or_else(|| self.price(pass, &table, item, count, flags));
                CostFact { contract, ..fact }
            }
        }
    }

    /// Marks an item that repeats a call of the same request.
    fn copy(&self, pass: &mut Pass<'_>, item: &ItemFacts) -> CostFact {
        if let Some(kept) = self.kept(pass, item.node) {
            return kept;
        }
        stamp::reported(pass.payload, item.node, item.reported_cost.as_deref());
        pass.mark(item.node, Billing::NotCounted, Flags::LATE_COPY);
        fact(Billing::NotCounted, pass.rates.table(item.tenant.as_deref()).stamp(), Buckets::default())
    }

    /// Handles a call without tokens: it has no price and is counted as unpriced once.
    fn without_usage(&self, pass: &mut Pass<'_>, item: &ItemFacts) -> CostFact {
        if let Some(kept) = self.kept(pass, item.node) {
            return kept;
        }
        let rates = Arc::clone(pass.rates.table(item.tenant.as_deref()).stamp());
        let (payload, claims) = (&*pass.payload, &self.ledger.claims);
        let place = [payload.trace_id(item.node), payload.span_id(item.node)].concat();
        // This uses a separate claim key, so that a later record of the same call with tokens is still billed.
        let key = item.call_key.as_deref().map_or(&*place, str::as_bytes);
        let key = ClaimKey::of(&[b"no usage", pass.account.as_bytes(), key]);
        let unpriced = NotPriced { reason: rates::Unpriced::NoUsage, buckets: Buckets::default() };
        stamp::unpriced(pass.payload, item.node, &unpriced, &rates, Flags::default());
        let reason = unpriced.reason.as_str();
        if !pass.repeat && claims.claim(key, &pass.batch, pass.now) == Claim::First {
            pass.changes.claim(key);
            let model = item.response_model.as_deref().or(item.request_model.as_deref());
            pass.changes.status(Billing::Unpriced.as_str());
            pass.changes.unpriced(item.provider.as_deref(), model, reason, 0);
        }
        CostFact { reason: Some(reason), ..fact(Billing::Unpriced, &rates, Buckets::default()) }
    }

    /// Returns the cost that a trusted upstream tollgate stamped, which is kept.
    fn kept(&self, pass: &Pass<'_>, node: Node) -> Option<CostFact> {
        let status = pass.payload.get_str(node, stamp::STATUS).filter(|_| pass.trusted && !self.reprice)?;
        let rates = pass.payload.get_str(node, stamp::RATES).unwrap_or("");
        let usd = pass.payload.get_str(node, "tollgate.cost.usd").map(str::to_owned);
        Some(CostFact {
            status: Billing::ALL.into_iter().find(|known| known.as_str() == status)?,
            atto_usd: usd.as_deref().and_then(rates::Usd::parse).map(|usd| usd.0),
            before: None,
            before_atto_usd: 0,
            usd,
            rates: rates.into(),
            rate: pass.payload.get_str(node, "tollgate.cost.rate").map(str::to_owned),
            contract: None,
            reason: None,
            buckets: Buckets::default(),
        })
    }

    /// Decides whether this record is the one that counts for its call.
    fn claim(&self, pass: &mut Pass<'_>, at: usize, item: &mut ItemFacts, winner: bool) -> Counted {
        if pass.repeat {
            return Counted::No(Flags::default());
        }
        if !winner {
            return Counted::No(Flags::LATE_COPY);
        }
        if let Some(rest) = self.billed_span(pass, item) {
            return rest;
        }
        let claims = &self.ledger.claims;
        let mut flags = if pass.reused.contains(&at) { Flags::ID_REUSED } else { Flags::default() };
        let identity = identity::compare(claims, &pass.batch, pass.payload, &pass.account, item);
        if let Some(apart) = identity.as_ref().and_then(|identity| identity.apart.clone()) {
            item.call_key = Some(apart);
            flags.add(Flags::ID_REUSED);
        }
        let call = call_claim(&pass.account, item);
        // Another pipeline branch already processed this batch: stamp the item alike, but count it only there.
        let branch = |key: ClaimKey| claims.holder(key) == Some(pass.batch);
        if call.is_some_and(branch) {
            return Counted::Yes { count: false, flags };
        }
        let guessed = item.guessed || item.dialect.is_some_and(|dialect| self.vocabulary.guesses(dialect));
        let above = self.above(pass, at);
        let below = self.below(pass, item);
        let guessed = guessed && !(item.guessed && below.is_some_and(|below| below.is_dwarfed_by(item)));
        let layers = Layers::of(pass.payload, &pass.account, item, guessed, &above);
        let known = identity.as_ref().is_some_and(|identity| identity.known);
        let span = self.span_claim(pass, item).filter(|span| Some(*span) != call);
        let known = known || span.is_some_and(|span| claims.holder(span).is_some());
        let rolled_up = || below.is_some_and(|below| below.is(item));
        let answer = identity::answer(&pass.account, pass.payload, item);
        if identity.as_ref().is_some_and(|identity| identity.known)
            && let Some(more) = answer.and_then(|answer| self.grown(pass, answer, item))
        {
            return more;
        }
        if known || layers.as_ref().is_some_and(|layers| layers.seen(claims)) || rolled_up() {
            return Counted::No(Flags::LATE_COPY);
        }
        let Some(key) = call else { return Counted::Yes { count: true, flags } };
        match claims.claim(key, &pass.batch, pass.now) {
            Claim::First => {}
            Claim::Held(holder) if holder == pass.batch => return Counted::Yes { count: false, flags },
            Claim::Held(_) => return Counted::No(Flags::LATE_COPY),
        }
        pass.changes.claim(key);
        let below = above.last().map(|(trace, span)| late::place(&pass.account, trace, span));
        for place in below.into_iter().chain(answer) {
            pass.changes.sum(place, Sum::of(item));
        }
        let twin = item.twin.then(|| twin_claim(&pass.account, item)).flatten().filter(|twin| *twin != key);
        let marks = identity.iter().flat_map(|identity| identity.marks.own());
        for key in layers.iter().flat_map(|layers| layers.own.iter().copied()).chain(marks).chain(twin).chain(span) {
            if claims.claim(key, &pass.batch, pass.now) == Claim::First {
                pass.changes.claim(key);
            }
        }
        Counted::Yes { count: true, flags }
    }

    /// Handles an answer that was already billed and is reported again with more output, as stream snapshots are. Each
    /// size counts once.
    fn grown(&self, pass: &mut Pass<'_>, answer: Place, item: &ItemFacts) -> Option<Counted> {
        let (output, more) = self.ledger.sum(&answer)?.grew(item)?;
        let size = item.usage.output.unwrap_or(0).to_le_bytes();
        let key = ClaimKey::of(&[b"grown", &answer, &size]);
        let count = match self.ledger.claims.claim(key, &pass.batch, pass.now) {
            Claim::First => {
                pass.changes.claim(key);
                pass.changes.sum(answer, more);
                true
            }
            Claim::Held(holder) if holder == pass.batch => false,
            Claim::Held(_) => return None,
        };
        let usage = genai::Usage { output: Some(output), ..item.usage };
        let before = split(&ItemFacts { usage, ..item.clone() }).ok()?;
        Some(Counted::Rest { count, before, flag: Flags::GROWN })
    }

    /// Bills the difference between the call's current price and the price of `before`. If the difference is not
    /// positive, nothing is billed, because totals never decrease.
    fn price_rest(
        &self,
        pass: &mut Pass<'_>,
        table: &Table,
        item: &ItemFacts,
        (count, before, flag): (bool, Split, Flags),
    ) -> CostFact {
        let (rates, time) = (table.stamp(), pass.payload.time(item.node));
        let mut rest = || {
            let call = Call::of(item, time).ok()?;
            let (mut priced, was) = price::price_rest(table, &call, &before, self.fees).ok()?;
            if priced.total <= Usd::ZERO || priced.parts.any_below_zero() {
                return None;
            }
            priced.flags.add(flag);
            stamp::priced(pass.payload, item.node, &priced, rates);
            stamp::aliases(pass.payload, item.node, &priced, &self.aliases);
            if count {
                pass.changes.priced(item.tenant.as_deref(), priced.model, priced.provider, priced.total);
            }
            let (before, before_atto_usd) = (Some(Box::new(before)), was.0);
            Some(CostFact { before, before_atto_usd, ..priced_fact(priced, rates) })
        };
        rest().unwrap_or_else(|| Self::late_copy(pass, item, rates))
    }

    /// Handles a log whose span was counted as unpriced: priced in full if possible, otherwise a copy, so that the call
    /// is not counted as unpriced twice.
    fn price_after_unpriced(&self, pass: &mut Pass<'_>, table: &Table, item: &ItemFacts, count: bool) -> CostFact {
        let call = Call::of(item, pass.payload.time(item.node));
        let priced = call.is_ok_and(|call| price::price(table, &call, self.fees).is_ok());
        if priced {
            return self.price(pass, table, item, count, Flags::AFTER_SPAN);
        }
        Self::late_copy(pass, item, table.stamp())
    }

    fn late_copy(pass: &mut Pass<'_>, item: &ItemFacts, rates: &Arc<str>) -> CostFact {
        pass.mark(item.node, Billing::NotCounted, Flags::LATE_COPY);
        fact(Billing::NotCounted, rates, Buckets::default())
    }

    /// The claim shared by a span and the log event that repeats it, if either of them may be billed.
    fn span_claim(&self, pass: &Pass<'_>, item: &ItemFacts) -> Option<ClaimKey> {
        let payload = &*pass.payload;
        let (trace, span) = (payload.trace_id(item.node), payload.span_id(item.node));
        let either = self.details == DetailsEvent::IfNoSpan && !trace.is_empty() && !span.is_empty();
        let told = either && (item.if_no_span || payload.signal() == Signal::Traces);
        let key = || format!("s/{}/{}", hex::encode(trace), hex::encode(span));
        told.then(|| ClaimKey::of(&[b"call", pass.account.as_bytes(), key().as_bytes()]))
    }

    /// The spans above an item, nearest first, up to and including the first that has tokens or is not in the request.
    fn above(&self, pass: &mut Pass<'_>, at: usize) -> Vec<SpanId> {
        if pass.payload.signal() != Signal::Traces {
            return Vec::new();
        }
        pass.family.get_or_insert_with(|| Family::of(pass.payload)).above(at, &pass.told)
    }

    /// Turns events that repeat a call into calls of their own, for calls whose span never arrives.
    fn adopt_details(&self, facts: &mut Facts) {
        if self.details == DetailsEvent::Never {
            return;
        }
        for item in facts.items.iter_mut().filter(|item| item.if_no_span) {
            (item.call, item.billable, item.copy) = (genai::Call::Model, true, false);
        }
    }

    /// Extends claims to the ancestors of billed spans.
    fn rise(&self, pass: &mut Pass<'_>) {
        if pass.payload.signal() != Signal::Traces || pass.repeat {
            return;
        }
        let (claims, changes) = (&self.ledger.claims, &mut pass.changes);
        let mut claim = |key| {
            let claim = claims.claim(key, &pass.batch, pass.now);
            if claim == Claim::First {
                changes.claim(key);
            }
            claim
        };
        Rise::of(claims, pass.payload, &pass.account, &pass.apart).run(claims, pass.payload, &pass.account, &mut claim);
    }

    fn price(&self, pass: &mut Pass<'_>, table: &Table, item: &ItemFacts, count: bool, flags: Flags) -> CostFact {
        let (node, rates) = (item.node, table.stamp());
        let time = pass.payload.time(node);
        let priced = Call::of(item, time).and_then(|call| price::price(table, &call, self.fees));
        let out = match priced {
            Ok(mut priced) => {
                priced.flags.add(flags);
                stamp::priced(pass.payload, node, &priced, rates);
                stamp::aliases(pass.payload, node, &priced, &self.aliases);
                if count {
                    pass.changes.status(Billing::Priced.as_str());
                    pass.changes.priced(item.tenant.as_deref(), priced.model, priced.provider, priced.total);
                    if item
                        .reported_cost
                        .as_deref()
                        .is_some_and(|own| price::differs(own, priced.total, self.tolerance))
                    {
                        pass.changes.mismatch();
                    }
                }
                priced_fact(priced, rates)
            }
            Err(unpriced) => {
                stamp::unpriced(pass.payload, node, &unpriced, rates, flags);
                let reason = unpriced.reason.as_str();
                if count {
                    let model = item.response_model.as_deref().or(item.request_model.as_deref());
                    pass.changes.status(Billing::Unpriced.as_str());
                    pass.changes.unpriced(item.provider.as_deref(), model, reason, tokens(&unpriced.buckets));
                }
                CostFact { reason: Some(reason), ..fact(Billing::Unpriced, rates, unpriced.buckets) }
            }
        };
        if self.usage_attributes {
            stamp::buckets(pass.payload, node, &out.buckets);
        }
        out
    }
}

/// How a record of a call is counted.
enum Counted {
    /// The record is priced. With `count` it also enters the totals.
    Yes { count: bool, flags: Flags },
    /// Part of the record was already billed: the rest is priced.
    Rest { count: bool, before: Split, flag: Flags },
    /// The call's span was counted as unpriced: the record is priced in full.
    AfterUnpriced { count: bool },
    /// Another record of the call is the one that counts.
    No(Flags),
}

/// The state of processing one batch.
struct Pass<'b> {
    payload: &'b mut Payload,
    /// The tables used to price the whole batch.
    rates: Arc<Rates>,
    changes: Changes,
    account: Arc<str>,
    batch: [u8; 16],
    now: UnixNanos,
    repeat: bool,
    trusted: bool,
    /// The batch's spans, built on first use.
    family: Option<Family>,
    /// By item: whether it has tokens, or is a tool or an agent.
    told: Vec<bool>,
    /// By item: whether it is a tool or an agent. A call inside it is a separate call.
    apart: Vec<bool>,
    /// Items whose response id also belongs to another call of the request.
    reused: HashSet<usize>,
    /// Sums of the request's calls, by the span above them.
    below: HashMap<Place, Sum>,
    /// Log records of the request whose calls were priced by their spans.
    taken: HashSet<ClaimKey>,
}

impl Pass<'_> {
    fn mark(&mut self, node: Node, status: Billing, flags: Flags) {
        stamp::status(self.payload, node, status, flags);
        self.changes.status(status.as_str());
    }
}

fn fact(status: Billing, rates: &Arc<str>, buckets: Buckets) -> CostFact {
    CostFact {
        status,
        usd: None,
        atto_usd: None,
        before: None,
        before_atto_usd: 0,
        rates: rates.clone(),
        rate: None,
        contract: None,
        reason: None,
        buckets,
    }
}

fn priced_fact(priced: Priced<'_>, rates: &Arc<str>) -> CostFact {
    CostFact {
        usd: Some(priced.total.to_string()),
        atto_usd: Some(priced.total.0),
        rate: Some(priced.rate),
        ..fact(Billing::Priced, rates, priced.buckets)
    }
}

fn is_apart(item: &ItemFacts) -> bool {
    matches!(item.call, genai::Call::Tool | genai::Call::Agent)
}

fn tokens(buckets: &Buckets) -> u64 {
    let Buckets { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning: _ } = *buckets;
    [cache_read, cache_write_5m, cache_write_1h, output].into_iter().fold(input, u64::saturating_add)
}

fn call_claim(account: &str, item: &ItemFacts) -> Option<ClaimKey> {
    Some(ClaimKey::of(&[b"call", account.as_bytes(), item.call_key.as_deref()?.as_bytes()]))
}

/// The claim shared by both records of a call that arrives on two signals: the response id, else the token counts. It
/// only shows whether the billed record arrived, so two calls of the same size may share it.
fn twin_claim(account: &str, item: &ItemFacts) -> Option<ClaimKey> {
    if item.response_id.is_some() {
        return call_claim(account, item);
    }
    let (input, output) = (item.usage.input?.to_le_bytes(), item.usage.output?.to_le_bytes());
    Some(ClaimKey::of(&[b"twin", account.as_bytes(), item.dialect?.as_bytes(), &input, &output]))
}

/// Chooses among records of one call in one batch: first the one that splits cache writes, then the largest output
/// (stream snapshots grow), then the last.
fn winners(facts: &Facts) -> HashMap<&str, usize> {
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

impl Processor for Cost {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        if batch.payload.signal() == Signal::Metrics {
            return Ok(());
        }
        let facts = facts_of(&self.vocabulary, &batch.payload, &mut batch.facts);
        batch.facts = None;
        let mut facts = Arc::try_unwrap(facts).unwrap_or_else(|shared| (*shared).clone());
        self.adopt_details(&mut facts);
        let origin = batch.origin.clone();
        let show = Show { ids: self.ledger.show.ids.clone(), account: origin.account.clone() };
        let mut pass = Pass {
            payload: &mut batch.payload,
            rates: self.shelf.rates(),
            changes: Changes::new(&origin.id, origin.received, show),
            account: origin.account.clone(),
            batch: origin.id,
            now: origin.received,
            repeat: origin.repeat,
            trusted: origin.trust == Trust::Internal,
            family: None,
            told: facts.items.iter().map(|item| item.usage.reported() || is_apart(item)).collect(),
            apart: facts.items.iter().map(is_apart).collect(),
            reused: HashSet::new(),
            below: HashMap::new(),
            taken: HashSet::new(),
        };
        pass.reused = identity::tell_apart(pass.payload, &mut facts);
        // Roll-ups must see what earlier requests billed below them, and later requests must see what this one billed.
        self.rise(&mut pass);
        pass.below = self.sums(&mut pass, &facts);
        let winners: HashMap<String, usize> =
            winners(&facts).into_iter().map(|(key, at)| (key.to_owned(), at)).collect();
        // Spans of vendor SDKs carry more detail, so they are billed before the spans around them.
        let (inner, outer): (Vec<_>, Vec<_>) = facts.items.iter_mut().enumerate().partition(|(_, item)| item.inner);
        for (at, item) in inner.into_iter().chain(outer) {
            if item.billable {
                let winner = item.call_key.as_deref().is_none_or(|key| winners.get(key) == Some(&at));
                item.cost = Some(Box::new(self.bill(&mut pass, at, item, winner)));
            } else if item.copy {
                item.cost = Some(Box::new(self.copy(&mut pass, item)));
            } else if item.no_usage {
                item.cost = Some(Box::new(self.without_usage(&mut pass, item)));
            } else if !pass.trusted && pass.payload.get(item.node, stamp::USAGE_COST).is_some() {
                stamp::reported(pass.payload, item.node, None);
            }
            if let Some(dialect) = item.dialect.filter(|_| item.unbilled && !pass.repeat) {
                pass.changes.unbilled(dialect);
            }
        }
        if !pass.changes.is_empty() {
            self.rise(&mut pass);
        }
        let late = self.settle(&mut pass, &facts);
        facts.late.extend(late);
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
        self.age_gauge.set(self.age(now).as_secs_f64());
    }

    fn checkpoint(&self) -> Option<Vec<u8>> {
        Some(self.ledger.save())
    }

    fn restore(&self, checkpoint: &[u8]) {
        self.ledger.restore(checkpoint);
    }
}
