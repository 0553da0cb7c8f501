//! The processor's state: the ledger of calls (crate `calls`), exact totals, and calls that wait: for their billing
//! record (a call reported on two signals), or for the model that an ancestor span names.
//!
//! Changed only by effects after a commit and by expiry. (The ledger of calls is changed earlier; it takes back what is
//! not committed.) Sums in USD survive a restart through checkpoint and effects; the counts start again. Label values
//! are capped.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use calls::{Ledger, LedgerBatch, listed_savings, set_savings};
use genai::{BillingBasis, BillingStatus};
use kernel::bounded_map::{AccountHash, BoundedMap};
use kernel::clock::UnixNanos;
use kernel::pseudonym::IdPolicy;
use rates::{ActiveRates, SeatKey, SeatSums, UnpricedReason, Usd, month_of};
use telemetry::names::{self, MetricDefinition};
use telemetry::{Counter, Gauge, Meter};

use super::plans::BasisAmounts;
use super::stamp::Converted;
use super::waiting_calls::{InheritedModel, LedgerKey, LedgerMap, SavedEntry, WaitingCall, WaitingCalls, entries};

/// Maximum number of values of one label; further values become [`OTHER_LABEL`].
const MAX_LABEL_VALUES: usize = 200;
const OTHER_LABEL: &str = "other";
const UNKNOWN_LABEL: &str = "unknown";
/// Maximum number of distinct warnings that are logged.
const MAX_LOGGED_WARNINGS: usize = 2_000;
/// The shortest time between two logs of the same warning: a day, ns.
const WARNING_INTERVAL: u64 = 86_400_000_000_000;
const MAX_LABEL_BYTES: usize = 64;
/// Reasons of an unbilled call, as metric labels: its record on the billed signal never arrived; it is sold by another
/// unit than tokens.
const BILLED_SIGNAL_MISSING: &str = "billed_signal_missing";
const NO_TOKENS: &str = "no_tokens";
/// How long a call waits for its billing record or for an ancestor, and how long an ancestor is remembered, ns.
pub(super) const MAX_WAIT: u64 = 600_000_000_000;
/// Maximum number of calls that wait for their billing record; further ones are not tracked.
const MAX_AWAITED_RECORDS: usize = 100_000;

/// Decides how the names of one account appear in metrics and logs. Without `ids` they appear unchanged.
#[derive(Clone, Default)]
pub(super) struct NameDisplay {
    pub(super) ids: Option<Arc<dyn IdPolicy>>,
    pub(super) account: Arc<str>,
}

impl NameDisplay {
    fn tenant_name<'a>(&self, tenant: &'a str) -> Cow<'a, str> {
        self.ids.as_ref().map_or(Cow::Borrowed(tenant), |ids| ids.shown_id(&self.account, tenant))
    }

    /// A provider or model as a metric label.
    fn label(&self, name: Option<&str>) -> String {
        name.map_or(UNKNOWN_LABEL.to_owned(), |name| to_label(&self.column_name(name)).to_owned())
    }

    fn column_name<'a>(&self, name: &'a str) -> Cow<'a, str> {
        self.ids.as_ref().map_or(Cow::Borrowed(name), |ids| ids.redact_column(&self.account, name))
    }
}

/// First byte of an effect's body and of a checkpoint. Those of 0.1 are JSON, after a length in a checkpoint.
const VERSION: u8 = 2;

/// The changes made by one batch, stored with its commit.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct LedgerChanges {
    /// Records of calls and what was charged for them.
    pub(super) calls: LedgerBatch,
    account: AccountHash,
    /// When the batch arrived, Unix ns.
    arrived: u64,
    /// Tenant, model, provider, 1e-18 USD. Negative: taken back.
    priced: Vec<(String, String, String, i128)>,
    /// Provider, model, reason, tokens.
    unpriced: Vec<(String, String, String, u64)>,
    /// Calls that wait for their billing record: dialect, id of the record.
    awaited_records: Vec<(String, [u8; 16])>,
    pub(super) started_waits: Vec<(LedgerKey, WaitingCall)>,
    /// Calls that stop waiting: the span they waited for, and their call key.
    pub(super) ended_waits: Vec<(LedgerKey, String)>,
    /// Spans that pass model and provider on to the spans below them.
    pub(super) ancestors: Vec<(LedgerKey, InheritedModel)>,
    /// Sessions whose clients sent the billing record of a call that arrives on two signals.
    pub(super) log_sessions: BTreeSet<LedgerKey>,
    statuses: BTreeMap<String, u64>,
    pub(super) mismatches: u64,
    /// Calls without tokens that are sold by another unit, by dialect.
    unbilled: BTreeMap<String, u64>,
    /// Calls with a number under an unrecognized usage key, by the key.
    unrecognized_usage: BTreeMap<String, u64>,
    /// Number of calls that found no room to wait.
    pub(super) rejected_waits: u64,
    /// Model, provider, and the seconds until the answer began.
    first_chunks: Vec<(String, String, f64)>,
    /// Of each entry of `priced`, how its calls are billed.
    bases: Vec<BillingBasis>,
    seats: Vec<(SeatKey, i128)>,
    /// Of each entry of `priced`, what caching saved.
    saved: Vec<i128>,
    /// The same of each amount in `calls`; see `calls::listed_savings`.
    savings: Vec<[i128; 2]>,
    /// Amounts in another currency than USD, and in 1e-18 of its unit.
    amounts: Vec<(PriceLabels, String, i128)>,
    /// Number of amounts without a rate of exchange.
    pub(super) unconverted: u64,
    #[serde(skip)]
    display: NameDisplay,
}

/// What is read of an effect of 0.1, so that its totals are not lost by an upgrade.
#[derive(Deserialize)]
struct EarlierChanges {
    #[serde(rename = "at")]
    arrived: u64,
    priced: Vec<(String, String, String, String)>,
    unpriced: Vec<(String, String, String, u64)>,
    statuses: BTreeMap<String, u64>,
}

impl LedgerChanges {
    pub(super) fn new(arrived: UnixNanos, display: NameDisplay) -> Self {
        Self { arrived: arrived.0, account: AccountHash::from(&*display.account), display, ..Self::default() }
    }

    /// Whether nothing changed. The fields that are not compared change only together with one of these.
    pub(super) fn is_empty(&self) -> bool {
        self.statuses.is_empty()
            && self.calls.entries.is_empty()
            && self.calls.spans.is_empty()
            && self.started_waits.is_empty()
            && self.ended_waits.is_empty()
            && self.ancestors.is_empty()
            && self.log_sessions.is_empty()
            && self.unbilled.is_empty()
    }

    pub(super) fn encode(mut self) -> Vec<u8> {
        self.savings = listed_savings(self.calls.amounts_mut());
        postcard::to_extend(&self, vec![VERSION]).unwrap_or_default()
    }

    fn decode(body: &[u8]) -> Option<Self> {
        match body.split_first()? {
            (&VERSION, changes) => {
                let mut changes: Self = decode_extended(changes, 7)?;
                set_savings(changes.calls.amounts_mut(), std::mem::take(&mut changes.savings));
                Some(changes)
            }
            _ => {
                let EarlierChanges { arrived, priced, unpriced, statuses } = serde_json::from_slice(body).ok()?;
                let exact = |(tenant, model, provider, atto): (_, _, _, String)| {
                    Some((tenant, model, provider, atto.parse().ok()?))
                };
                let priced = priced.into_iter().filter_map(exact).collect();
                Some(Self { arrived, priced, unpriced, statuses, ..Self::default() })
            }
        }
    }

    pub(super) fn count_status(&mut self, status: BillingStatus) {
        *self.statuses.entry(status.as_str().to_owned()).or_default() += 1;
    }

    /// `converted`: the amount in another currency.
    pub(super) fn add_priced(
        &mut self,
        tenant: Option<&str>,
        [model, provider]: [&str; 2],
        amounts: BasisAmounts,
        converted: Option<Converted>,
    ) {
        let tenant = tenant.map(|tenant| self.display.tenant_name(tenant));
        let tenant = tenant.as_deref().map_or("unattributed", to_label).to_owned();
        let (model, provider) = (self.display.label(Some(model)), self.display.label(Some(provider)));
        for (basis, money) in amounts.iter() {
            self.priced.push((tenant.clone(), model.clone(), provider.clone(), money.total()));
            self.bases.push(basis);
            self.saved.push(money.saved());
        }
        let labels = (tenant, model, provider);
        self.amounts.extend(converted.map(|one| (labels, one.currency.as_str().to_owned(), one.amount.0)));
    }

    /// Adds a charge to the seat of a user.
    pub(super) fn add_seat(&mut self, plan: &str, user: &str, atto: i128) {
        let user = self.display.ids.as_ref().map_or(user.to_owned(), |ids| ids.pseudonym(&self.display.account, user));
        self.seats.push((SeatKey { month: month_of(self.arrived), plan: plan.to_owned(), user }, atto));
    }

    /// `seconds`: as a client reports it.
    pub(super) fn add_first_chunk(&mut self, model: &str, provider: &str, seconds: f64) {
        let (model, provider) = (self.display.label(Some(model)), self.display.label(Some(provider)));
        self.first_chunks.push((model, provider, seconds));
    }

    pub(super) fn add_unpriced(&mut self, provider: Option<&str>, model: Option<&str>, reason: &str, tokens: u64) {
        let (provider, model) = (self.display.label(provider), self.display.label(model));
        self.unpriced.push((provider, model, reason.to_owned(), tokens));
    }

    /// Counts a call for each of its unrecognized usage keys.
    pub(super) fn add_unrecognized_usage(&mut self, keys: &[Box<str>]) {
        for key in keys {
            *self.unrecognized_usage.entry(self.display.label(Some(key))).or_default() += 1;
        }
    }

    pub(super) fn await_record(&mut self, dialect: &str, record: [u8; 16]) {
        self.awaited_records.push((dialect.to_owned(), record));
    }

    /// Counts a call without tokens that is sold by another unit.
    pub(super) fn count_unbilled(&mut self, dialect: &str) {
        *self.unbilled.entry(dialect.to_owned()).or_default() += 1;
    }
}

/// An amount as what was added and what was taken back.
fn by_sign(amount: i128) -> [i128; 2] {
    [amount.max(0), amount.min(0).saturating_neg()]
}

/// Decodes a stored form that may end before its last lists, which later versions added: zero is an empty list.
fn decode_extended<T: serde::de::DeserializeOwned>(bytes: &[u8], lists: usize) -> Option<T> {
    let extended = || (1..=lists).find_map(|missing| postcard::from_bytes(&[bytes, &vec![0; missing]].concat()).ok());
    postcard::from_bytes(bytes).ok().or_else(extended)
}

/// Telemetry text as a label. Text that does not look like a name becomes [`OTHER_LABEL`].
fn to_label(text: &str) -> &str {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte);
    if !text.is_empty() && text.len() <= MAX_LABEL_BYTES && text.bytes().all(plain) { text } else { OTHER_LABEL }
}

/// A set of at most [`MAX_LABEL_VALUES`] values.
#[derive(Default)]
struct CappedLabels(BTreeSet<String>);

impl CappedLabels {
    /// Returns the value, or [`OTHER_LABEL`] if it is new and the set is full.
    fn admit(&mut self, value: &str) -> String {
        if !self.0.contains(value) {
            if self.0.len() >= MAX_LABEL_VALUES {
                return OTHER_LABEL.to_owned();
            }
            self.0.insert(value.to_owned());
        }
        value.to_owned()
    }
}

/// Tenant, model, provider.
type PriceLabels = (String, String, String);

/// What sums are apart by: `billing`, in USD, or `currency`; and its value.
type SumLabel = (&'static str, String);

/// Sums in 1e-18, with the gauges that show them.
type ShownSums = [(i128, Option<Gauge>); 4];

/// Sums in USD: what was charged, what was taken back, what caching saved, and what it cost more.
const USD_SUMS: [&MetricDefinition; 4] =
    [&names::COST_USD, &names::COST_CORRECTED_USD, &names::COST_CACHE_SAVED_USD, &names::COST_CACHE_LOST_USD];
/// Sums in another currency: what was charged, and what was taken back.
const OTHER_SUMS: [&MetricDefinition; 2] = [&names::COST_AMOUNT, &names::COST_CORRECTED_AMOUNT];

fn billed(basis: BillingBasis) -> SumLabel {
    ("billing", basis.as_str().to_owned())
}

#[derive(Default)]
struct LedgerTotals {
    tenants: CappedLabels,
    models: CappedLabels,
    providers: CappedLabels,
    unpriced_models: CappedLabels,
    unrecognized_keys: CappedLabels,
    /// The sums of [`USD_SUMS`] and [`OTHER_SUMS`].
    money: BTreeMap<(PriceLabels, SumLabel), ShownSums>,
    /// Calls that wait for their billing record, by record: the dialect, and the end of the waiting time.
    awaited_records: HashMap<[u8; 16], (String, u64)>,
    /// When each warning was last logged, Unix ns.
    last_logged: HashMap<String, u64>,
    /// The closest listed model id for models without a price.
    nearest_models: BoundedMap<String, String, MAX_LOGGED_WARNINGS>,
}

/// The processor's state.
pub(super) struct CostLedger {
    pub(super) calls: Mutex<Ledger>,
    meter: Meter,
    totals: Mutex<LedgerTotals>,
    mismatches: Counter,
    forgotten_claims: Gauge,
    rejected_waits: Counter,
    evicted_ancestors: Counter,
    /// Calls that wait for a model or provider, and remembered ancestors. Changed only by effects.
    pub(super) waiting_calls: Mutex<WaitingCalls>,
    /// When a session's client last sent a billing record, Unix ns.
    log_sessions: Mutex<LedgerMap<u64>>,
    /// To look up the closest listed model id.
    active_rates: Arc<ActiveRates>,
    pub(super) seats: Arc<SeatSums>,
    /// For calls counted after their batch. They may belong to any account, so the account is empty.
    pub(super) display: NameDisplay,
}

/// The contents of a checkpoint other than the ledger of calls.
#[derive(Serialize, Deserialize)]
struct LedgerCheckpoint {
    /// 1e-18 USD that was charged, and that was taken back.
    usd: Vec<(PriceLabels, [i128; 2])>,
    /// Record, dialect, end of the waiting time.
    awaited_records: Vec<([u8; 16], String, u64)>,
    waiting_calls: Vec<(LedgerKey, WaitingCall)>,
    ancestors: Vec<SavedEntry<InheritedModel>>,
    log_sessions: Vec<SavedEntry<u64>>,
    bases: Vec<BillingBasis>,
    seats: Vec<(AccountHash, SeatKey, i128)>,
    /// Of each entry of `usd`, what caching saved, and what it cost more.
    saved: Vec<[i128; 2]>,
    /// The same as `usd` of other currencies.
    amounts: Vec<(PriceLabels, String, [i128; 2])>,
}

/// What is read of a checkpoint of 0.1.
#[derive(Deserialize)]
struct EarlierCheckpoint {
    usd: Vec<(PriceLabels, String)>,
}

impl CostLedger {
    pub(super) fn new(meter: &Meter, active_rates: Arc<ActiveRates>, seats: Arc<SeatSums>) -> Self {
        Self {
            calls: Mutex::default(),
            meter: meter.clone(),
            totals: Mutex::new(LedgerTotals::default()),
            mismatches: meter.counter(&names::COST_MISMATCH, &[]),
            forgotten_claims: meter.gauge(&names::COST_FORGOTTEN, &[]),
            rejected_waits: meter.counter(&names::COST_WAITING_FULL, &[]),
            evicted_ancestors: meter.counter(&names::COST_PARENTS_FORGOTTEN, &[]),
            waiting_calls: Mutex::default(),
            log_sessions: Mutex::default(),
            active_rates,
            seats,
            display: NameDisplay::default(),
        }
    }

    /// Applies the changes of a committed batch.
    pub(super) fn apply(&self, body: &[u8]) {
        let Some(changes) = LedgerChanges::decode(body) else { return };
        self.calls.lock().commit(&changes.calls, true);
        for (status, calls) in &changes.statuses {
            self.meter.counter(&names::COST_CALLS, &[("status", status)]).increment(*calls);
        }
        self.remember_log_sessions(&changes);
        self.mismatches.increment(changes.mismatches);
        self.rejected_waits.increment(changes.rejected_waits);
        for (dialect, calls) in &changes.unbilled {
            let labels = [("dialect", dialect.as_str()), ("reason", NO_TOKENS)];
            self.meter.counter(&names::COST_UNBILLED, &labels).increment(*calls);
        }
        let mut totals = self.totals.lock();
        for (key, calls) in &changes.unrecognized_usage {
            let key = totals.unrecognized_keys.admit(key);
            self.meter.counter(&names::COST_UNRECOGNIZED_USAGE, &[("key", &key)]).increment(*calls);
        }
        for (at, (tenant, model, provider, atto)) in changes.priced.iter().enumerate() {
            let saved = by_sign(changes.saved.get(at).copied().unwrap_or(0));
            let basis = changes.bases.get(at).copied().unwrap_or_default();
            self.add_price(&mut totals, [tenant, model, provider], (billed(basis), [by_sign(*atto), saved]));
        }
        for ((tenant, model, provider), currency, amount) in &changes.amounts {
            let label = ("currency", currency.clone());
            self.add_price(&mut totals, [tenant, model, provider], (label, [by_sign(*amount), [0; 2]]));
        }
        if changes.unconverted > 0 {
            self.meter.counter(&names::COST_UNCONVERTED, &[]).increment(changes.unconverted);
            if is_warning_due(&mut totals.last_logged, "exchange".to_owned(), changes.arrived) {
                tracing::warn!("`cost.exchange` has no rate for the time of some calls; logged once a day");
            }
        }
        self.seats.add(changes.account, changes.seats);
        let is_time = |(_, _, seconds): &&(String, String, f64)| seconds.is_finite() && *seconds > 0.0;
        for (model, provider, seconds) in changes.first_chunks.iter().filter(is_time) {
            let (model, provider) = (totals.models.admit(model), totals.providers.admit(provider));
            let labels = [("model", model.as_str()), ("provider", provider.as_str())];
            self.meter.histogram(&names::FIRST_CHUNK, &labels).record(*seconds);
        }
        for (provider, model, reason, tokens) in &changes.unpriced {
            self.count_unpriced(&mut totals, provider, model, reason, *tokens, changes.arrived);
        }
        let until = changes.arrived.saturating_add(MAX_WAIT);
        let ancestors = changes.ancestors.into_iter().map(|(key, model)| SavedEntry(key, model, changes.account));
        let rejected = self.apply_waits(changes.ended_waits, changes.started_waits, ancestors);
        self.rejected_waits.increment(u64::try_from(rejected.len()).unwrap_or(u64::MAX));
        self.count_waits_as_unpriced(&mut totals, rejected, changes.arrived);
        for (dialect, record) in changes.awaited_records {
            if totals.awaited_records.len() < MAX_AWAITED_RECORDS {
                totals.awaited_records.insert(record, (dialect, until));
            }
        }
    }

    /// Applies the changes of a batch that another replica committed: what it billed is not billed here. Its counts are
    /// that replica's, and so are the calls that wait for a price.
    pub(super) fn apply_shared(&self, body: &[u8]) {
        let Some(changes) = LedgerChanges::decode(body) else { return };
        self.calls.lock().commit(&changes.calls, false);
        self.remember_log_sessions(&changes);
        self.seats.add(changes.account, changes.seats);
    }

    /// Applies changes to the waiting calls. Returns the calls that found no room.
    fn apply_waits(
        &self,
        ended: Vec<(LedgerKey, String)>,
        started: Vec<(LedgerKey, WaitingCall)>,
        ancestors: impl IntoIterator<Item = SavedEntry<InheritedModel>>,
    ) -> Vec<WaitingCall> {
        let mut waiting = self.waiting_calls.lock();
        for (ancestor, call_key) in &ended {
            waiting.remove_call(ancestor, call_key);
        }
        let rejected = started.into_iter().filter_map(|(ancestor, call)| waiting.add_call(ancestor, call)).collect();
        let evicted = ancestors.into_iter().map(|ancestor| waiting.remember_ancestor(ancestor)).sum();
        self.evicted_ancestors.increment(evicted);
        rejected
    }

    /// Counts as unpriced the calls that waited too long or found no room to wait.
    fn count_waits_as_unpriced(&self, totals: &mut LedgerTotals, calls: Vec<WaitingCall>, now: u64) {
        for call in calls {
            let (provider, model) = (call.basis.provider.as_deref(), call.basis.models.first());
            let (provider, model) = (self.display.label(provider), self.display.label(model.map(String::as_str)));
            // Calls wait for no other reason: see `deferred_calls::is_only_model_missing`.
            let reason =
                if call.basis.models.is_empty() { UnpricedReason::NoModel } else { UnpricedReason::AmbiguousProvider };
            let tokens = super::total_tokens(&call.basis.units.buckets());
            self.meter.counter(&names::COST_CALLS, &[("status", BillingStatus::Unpriced.as_str())]).increment(1);
            self.count_unpriced(totals, &provider, &model, reason.as_str(), tokens, now);
        }
    }

    fn remember_log_sessions(&self, changes: &LedgerChanges) {
        changes.log_sessions.iter().for_each(|session| {
            self.remember_log_session(changes.account, *session, changes.arrived);
        });
    }

    fn remember_log_session(&self, account: AccountHash, session: LedgerKey, time: u64) {
        let mut log_sessions = self.log_sessions.lock();
        let newest = log_sessions.get(&session).map_or(time, |known| time.max(*known));
        log_sessions.insert_for(account, session, newest, 1);
    }

    /// When a session's client last sent a billing record, Unix ns.
    pub(super) fn last_log_time(&self, session: &LedgerKey) -> Option<u64> {
        self.log_sessions.lock().get(session).copied()
    }

    /// Counts a call without a price, and logs a warning once a day with the closest listed model id.
    fn count_unpriced(
        &self,
        totals: &mut LedgerTotals,
        provider: &str,
        model: &str,
        reason: &str,
        tokens: u64,
        now: u64,
    ) {
        let (provider, model) = (totals.providers.admit(provider), totals.unpriced_models.admit(model));
        let key = format!("{provider} {model} {reason}");
        let no_usage = reason == UnpricedReason::NoUsage.as_str();
        let nearest = self.nearest_model(totals, &key, [&provider, &model, reason]);
        let labels =
            [("provider", provider.as_str()), ("model", &model), ("reason", reason), ("nearest", nearest.as_str())];
        self.meter.counter(&names::COST_UNPRICED, &labels).increment(1);
        let labels = [("provider", provider.as_str()), ("model", model.as_str())];
        self.meter.counter(&names::COST_UNPRICED_TOKENS, &labels).increment(tokens);
        if is_warning_due(&mut totals.last_logged, key, now) {
            if no_usage {
                let hint = rates::NO_USAGE_HINT;
                tracing::warn!(
                    provider,
                    model,
                    reason,
                    hint,
                    "calls that report no tokens have no price; logged once a day"
                );
            } else {
                tracing::warn!(provider, model, reason, nearest, "calls without a price; logged once a day");
            }
        }
    }

    /// The closest listed model id; for an unknown provider, one that would give the call a price. Cached, because
    /// comparing with thousands of ids is slow.
    fn nearest_model(&self, totals: &mut LedgerTotals, key: &str, [provider, model, reason]: [&str; 3]) -> String {
        let is_unnamed = |label: &str| matches!(label, OTHER_LABEL | UNKNOWN_LABEL);
        if is_unnamed(model) || reason == UnpricedReason::NoUsage.as_str() {
            return String::new();
        }
        if let Some(known) = totals.nearest_models.get(key) {
            return known.clone();
        }
        let (rates, named) = (self.active_rates.rates(), Some(provider).filter(|provider| !is_unnamed(provider)));
        let nearest = match reason == UnpricedReason::UnknownProvider.as_str() {
            true => rates.common().find_seller(provider, model),
            false => rates.common().nearest_id(named, model),
        };
        let nearest = nearest.unwrap_or_default();
        totals.nearest_models.insert(key.to_owned(), nearest.clone());
        nearest
    }

    /// `amounts`: as [`USD_SUMS`] and [`OTHER_SUMS`].
    fn add_price(&self, totals: &mut LedgerTotals, names: [&str; 3], (label, amounts): (SumLabel, [[i128; 2]; 2])) {
        let [tenant, model, provider] = names;
        let labels = (totals.tenants.admit(tenant), totals.models.admit(model), totals.providers.admit(provider));
        let sums = totals.money.entry((labels.clone(), label.clone())).or_default();
        let (tenant, model, provider) = &labels;
        let metrics = if label.0 == "billing" { &USD_SUMS[..] } else { &OTHER_SUMS };
        let labels = [("tenant", tenant.as_str()), ("model", model), ("provider", provider), (label.0, &label.1)];
        for ((at, name), ((total, gauge), amount)) in
            metrics.iter().enumerate().zip(sums.iter_mut().zip(amounts.as_flattened()))
        {
            *total = total.saturating_add(*amount);
            if at == 0 || *total != 0 {
                gauge.get_or_insert_with(|| self.meter.gauge(name, &labels)).set(Usd(*total).to_f64());
            }
        }
    }

    /// Removes expired entries. Counts calls that waited too long as unpriced (for an ancestor) or unbilled (for their
    /// billing record).
    pub(super) fn tick(&self, now: UnixNanos) {
        self.calls.lock().expire(now.0);
        self.seats.expire(now.0);
        self.forgotten_claims.set(self.calls.lock().forgotten() as f64);
        let expired = self.waiting_calls.lock().expire(now.0);
        let mut totals = self.totals.lock();
        self.count_waits_as_unpriced(&mut totals, expired, now.0);
        let late: Vec<([u8; 16], String)> = totals
            .awaited_records
            .extract_if(|_, (_, until)| *until <= now.0)
            .map(|(record, (dialect, _))| (record, dialect))
            .collect();
        drop(totals);
        // without the totals' lock, for which commits wait
        let unbilled: Vec<String> = late
            .into_iter()
            .filter(|(record, _)| !self.calls.lock().is_counted(record))
            .map(|(_, dialect)| dialect)
            .collect();
        for dialect in unbilled {
            let labels = [("dialect", dialect.as_str()), ("reason", BILLED_SIGNAL_MISSING)];
            self.meter.counter(&names::COST_UNBILLED, &labels).increment(1);
            if is_warning_due(&mut self.totals.lock().last_logged, format!("unbilled {dialect}"), now.0) {
                tracing::warn!(dialect, "calls whose record on the billed signal never arrived; logged once a day");
            }
        }
    }

    /// Serialises the state: the length of all but the ledger of calls, then both.
    pub(super) fn save(&self, out: &mut Vec<u8>) {
        let (waiting_calls, ancestors) = self.waiting_calls.lock().entries();
        let log_sessions = entries(&self.log_sessions.lock());
        let totals = self.totals.lock();
        let (mut usd, mut bases, mut saved, mut amounts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for ((labels, (_, value)), sums) in &totals.money {
            let [charged, back, gain, loss] = sums.each_ref().map(|(sum, _)| *sum);
            if let Some(basis) = BillingBasis::parse(value) {
                usd.push((labels.clone(), [charged, back]));
                bases.push(basis);
                saved.push([gain, loss]);
            } else {
                amounts.push((labels.clone(), value.clone(), [charged, back]));
            }
        }
        let checkpoint = LedgerCheckpoint {
            usd,
            bases,
            saved,
            amounts,
            seats: self.seats.entries(),
            waiting_calls,
            ancestors,
            log_sessions,
            awaited_records: (totals.awaited_records.iter())
                .map(|(record, (dialect, until))| (*record, dialect.clone(), *until))
                .collect(),
        };
        drop(totals);
        let head = postcard::to_extend(&checkpoint, vec![VERSION]).unwrap_or_default();
        out.extend_from_slice(&u32::try_from(head.len()).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&head);
        self.calls.lock().save(out);
    }

    /// Restores the state that [`CostLedger::save`] appended. `false`: it can't be read, or its ledger of calls can't;
    /// of 0.1, which had none, the totals are restored.
    pub(super) fn restore(&self, saved: &[u8]) -> bool {
        let Some((length, rest)) = saved.split_first_chunk::<4>() else { return false };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let Some((head, calls)) = rest.split_at_checked(length) else { return false };
        let mut totals = self.totals.lock();
        let Some((&VERSION, head)) = head.split_first() else {
            let Ok(earlier) = serde_json::from_slice::<EarlierCheckpoint>(head) else { return false };
            for ((tenant, model, provider), atto) in &earlier.usd {
                let amounts = [[atto.parse().unwrap_or(0), 0], [0; 2]];
                self.add_price(&mut totals, [tenant, model, provider], (billed(BillingBasis::Api), amounts));
            }
            return true;
        };
        let Some(saved) = decode_extended::<LedgerCheckpoint>(head, 4) else { return false };
        for (at, ((tenant, model, provider), amounts)) in saved.usd.iter().enumerate() {
            let basis = saved.bases.get(at).copied().unwrap_or_default();
            let amounts = [*amounts, saved.saved.get(at).copied().unwrap_or_default()];
            self.add_price(&mut totals, [tenant, model, provider], (billed(basis), amounts));
        }
        for ((tenant, model, provider), currency, amounts) in saved.amounts {
            self.add_price(&mut totals, [&tenant, &model, &provider], (("currency", currency), [amounts, [0; 2]]));
        }
        saved.seats.into_iter().for_each(|(account, key, atto)| self.seats.add(account, [(key, atto)]));
        self.apply_waits(Vec::new(), saved.waiting_calls, saved.ancestors);
        for SavedEntry(session, time, account) in saved.log_sessions {
            self.remember_log_session(account, session, time);
        }
        let awaited_records = saved.awaited_records.into_iter().take(MAX_AWAITED_RECORDS);
        totals.awaited_records.extend(awaited_records.map(|(record, dialect, until)| (record, (dialect, until))));
        self.calls.lock().load(calls)
    }
}

/// Returns true if a warning is due to be logged, and records that it is.
fn is_warning_due(last_logged: &mut HashMap<String, u64>, key: String, now: u64) -> bool {
    if last_logged.len() >= MAX_LOGGED_WARNINGS && !last_logged.contains_key(&key) {
        return false;
    }
    let last_time = last_logged.entry(key).or_insert(0);
    let is_due = *last_time == 0 || now.saturating_sub(*last_time) >= WARNING_INTERVAL;
    if is_due {
        *last_time = now;
    }
    is_due
}
