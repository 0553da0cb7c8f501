//! The processor's state: the calls that were counted, exact totals, and calls that wait for their other signal.
//!
//! Changed only by effects after a commit (claims are taken earlier, and released if there is no commit). Totals are
//! exact and survive a restart through checkpoint and effects. Label values are capped.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use genai::BillingStatus;
use genai::usage::TokenSplit;
use kernel::clock::UnixNanos;
use kernel::hex;
use kernel::pseudonym::IdPolicy;
use pipeline::{ClaimKey, Claims};
use rates::{ActiveRates, UnpricedReason, Usd};
use telemetry::{Counter, Gauge, Meter, names};

use super::billed_sums::BilledSum;
use super::bounded_map::BoundedMap;
use super::waiting_calls::{InheritedModel, UnitKey, WaitingCall, WaitingCalls};

/// Maximum number of values of one label; further values become [`OTHER`].
const MAX_LABEL_VALUES: usize = 200;
const OTHER: &str = "other";
const UNKNOWN: &str = "unknown";
/// Maximum number of distinct warnings that are logged, each at most once a day.
const MAX_LOGGED_WARNINGS: usize = 2_000;
const DAY: u64 = 86_400_000_000_000;
/// Maximum size of a label, bytes.
const LABEL_BYTES: usize = 64;
/// Reasons of an unbilled call, as metric labels: its record on the billed signal never arrived; it is sold by another
/// unit than tokens.
const BILLED_SIGNAL_MISSING: &str = "billed_signal_missing";
const NO_TOKENS: &str = "no_tokens";
/// How long a call waits for its other signal before it counts as unbilled, ns.
pub(super) const MAX_WAIT: u64 = 600_000_000_000;
/// Maximum number of waiting calls; further ones are not tracked.
const MAX_WAITING_CALLS: usize = 100_000;

/// How names of one account appear in metrics and logs.
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
        name.map_or(UNKNOWN.to_owned(), |name| to_label(&self.column_name(name)).to_owned())
    }

    fn column_name<'a>(&self, name: &'a str) -> Cow<'a, str> {
        self.ids.as_ref().map_or(Cow::Borrowed(name), |ids| ids.redact_column(&self.account, name))
    }
}

/// The changes made by one batch, stored with its commit.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct LedgerChanges {
    batch: String,
    at: u64,
    claims: Vec<String>,
    /// Tenant, model, provider, 1e-18 USD.
    priced: Vec<(String, String, String, String)>,
    /// Provider, model, reason, tokens.
    unpriced: Vec<(String, String, String, u64)>,
    /// Dialect, claim.
    deferred: Vec<(String, String)>,
    /// Calls that start waiting for a span.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    waits: Vec<(UnitKey, WaitingCall)>,
    /// Calls that stop waiting: the span they waited for, and their call key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    settled: Vec<(UnitKey, String)>,
    /// Spans that pass model and provider on to the spans below them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    above: Vec<(UnitKey, InheritedModel)>,
    /// Billed counts, by the span above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sums: Vec<(UnitKey, BilledSum)>,
    /// Sessions whose clients sent the record that bills a call arriving on two signals.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    heard: BTreeSet<UnitKey>,
    /// Spans that were counted without their log, with the tokens they were billed for. `None`: the span was unpriced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    billed_spans: Vec<(UnitKey, Option<TokenSplit>)>,
    statuses: BTreeMap<String, u64>,
    mismatches: u64,
    /// Calls without tokens that are sold by another unit, by dialect.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    unbilled: BTreeMap<String, u64>,
    /// Number of calls that found no room to wait.
    #[serde(default)]
    full: u64,
    #[serde(skip)]
    show: NameDisplay,
}

impl LedgerChanges {
    pub(super) fn new(batch: &[u8; 16], at: UnixNanos, show: NameDisplay) -> Self {
        Self { batch: hex::encode(batch), at: at.0, show, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.statuses.is_empty()
            && self.claims.is_empty()
            && self.waits.is_empty()
            && self.settled.is_empty()
            && self.above.is_empty()
            && self.heard.is_empty()
            && self.unbilled.is_empty()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn add_claim(&mut self, key: ClaimKey) {
        self.claims.push(hex::encode(&key.to_bytes()));
    }

    pub(super) fn count_status(&mut self, status: &str) {
        *self.statuses.entry(status.to_owned()).or_default() += 1;
    }

    pub(super) fn add_priced(&mut self, tenant: Option<&str>, model: &str, provider: &str, total: Usd) {
        let tenant = tenant.map(|tenant| self.show.tenant_name(tenant));
        let tenant = tenant.as_deref().map_or("unattributed", to_label).to_owned();
        let model = to_label(&self.show.column_name(model)).to_owned();
        self.priced.push((tenant, model, provider.to_owned(), total.0.to_string()));
    }

    pub(super) fn add_unpriced(&mut self, provider: Option<&str>, model: Option<&str>, reason: &str, tokens: u64) {
        let (provider, model) = (self.show.label(provider), self.show.label(model));
        self.unpriced.push((provider, model, reason.to_owned(), tokens));
    }

    pub(super) fn add_deferred(&mut self, dialect: &str, key: ClaimKey) {
        self.deferred.push((dialect.to_owned(), hex::encode(&key.to_bytes())));
    }

    pub(super) fn add_waiting_call(&mut self, place: UnitKey, late: WaitingCall) {
        self.waits.push((place, late));
    }

    pub(super) fn end_waiting(&mut self, place: UnitKey, call_key: &str) {
        self.settled.push((place, call_key.to_owned()));
    }

    pub(super) fn add_inherited(&mut self, place: UnitKey, above: InheritedModel) {
        self.above.push((place, above));
    }

    pub(super) fn add_sum(&mut self, place: UnitKey, sum: BilledSum) {
        self.sums.push((place, sum));
    }

    pub(super) fn add_log_session(&mut self, session: UnitKey) {
        self.heard.insert(session);
    }

    pub(super) fn add_billed_span(&mut self, place: UnitKey, units: Option<TokenSplit>) {
        self.billed_spans.push((place, units));
    }

    /// Number of calls that start waiting.
    pub(super) fn waiting_count(&self) -> usize {
        self.waits.len()
    }

    /// Counts a call that found no room to wait.
    pub(super) fn count_no_room(&mut self) {
        self.full += 1;
    }

    /// Counts a call without tokens that is sold by another unit.
    pub(super) fn count_unbilled(&mut self, dialect: &str) {
        *self.unbilled.entry(dialect.to_owned()).or_default() += 1;
    }

    pub(super) fn count_mismatch(&mut self) {
        self.mismatches += 1;
    }
}

/// Telemetry text as a label. Text that does not look like a name becomes [`OTHER`].
fn to_label(text: &str) -> &str {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte);
    if !text.is_empty() && text.len() <= LABEL_BYTES && text.bytes().all(plain) { text } else { OTHER }
}

/// A set of at most [`LABELS`] values.
#[derive(Default)]
struct CappedLabels(BTreeSet<String>);

impl CappedLabels {
    fn admit(&mut self, value: &str) -> String {
        if !self.0.contains(value) {
            if self.0.len() >= MAX_LABEL_VALUES {
                return OTHER.to_owned();
            }
            self.0.insert(value.to_owned());
        }
        value.to_owned()
    }
}

type PriceLabels = (String, String, String);

#[derive(Default)]
struct LedgerTotals {
    tenants: CappedLabels,
    models: CappedLabels,
    providers: CappedLabels,
    unpriced: CappedLabels,
    usd: BTreeMap<PriceLabels, (i128, Option<Gauge>)>,
    /// By claim: the dialect, and the end of the waiting time.
    waiting: HashMap<[u8; 16], (String, u64)>,
    /// When each warning was last logged, Unix ns.
    last_logged: HashMap<String, u64>,
    /// The closest listed model id for models without a price.
    nearest_models: HashMap<String, String>,
}

/// The processor's state.
pub(super) struct CostLedger {
    pub(super) claims: Claims,
    meter: Meter,
    totals: Mutex<LedgerTotals>,
    mismatches: Counter,
    forgotten_claims: Gauge,
    rejected_waits: Counter,
    evicted_ancestors: Counter,
    /// Calls that wait for a model or provider.
    waiting_calls: Mutex<WaitingCalls>,
    sums: Mutex<BoundedMap<BilledSum>>,
    /// When a session's client last sent a record that bills, Unix ns.
    log_sessions: Mutex<BoundedMap<u64>>,
    billed_spans: Mutex<BoundedMap<Option<TokenSplit>>>,
    /// Held while a span or log of a call arriving on two signals is claimed and recorded, because both are often
    /// processed at the same time.
    two_signal_lock: Mutex<()>,
    /// To look up the closest listed model id.
    shelf: Arc<ActiveRates>,
    /// For waiting calls, which may belong to any account.
    pub(super) display: NameDisplay,
}

/// The contents of a checkpoint other than the claims.
#[derive(Serialize, Deserialize)]
struct LedgerCheckpoint {
    usd: Vec<(PriceLabels, String)>,
    waiting: Vec<(String, String, u64)>,
    #[serde(default)]
    late: Vec<(UnitKey, WaitingCall)>,
    #[serde(default)]
    above: Vec<(UnitKey, InheritedModel)>,
    #[serde(default)]
    sums: Vec<(UnitKey, BilledSum)>,
    #[serde(default)]
    heard: Vec<(UnitKey, u64)>,
    #[serde(default)]
    billed_spans: Vec<(UnitKey, Option<TokenSplit>)>,
}

impl CostLedger {
    pub(super) fn new(meter: &Meter, shelf: Arc<ActiveRates>) -> Self {
        Self {
            claims: Claims::default(),
            meter: meter.clone(),
            totals: Mutex::new(LedgerTotals::default()),
            mismatches: meter.counter(&names::COST_MISMATCH, &[]),
            forgotten_claims: meter.gauge(&names::COST_FORGOTTEN, &[]),
            rejected_waits: meter.counter(&names::COST_WAITING_FULL, &[]),
            evicted_ancestors: meter.counter(&names::COST_PARENTS_FORGOTTEN, &[]),
            waiting_calls: Mutex::default(),
            sums: Mutex::default(),
            log_sessions: Mutex::default(),
            billed_spans: Mutex::default(),
            two_signal_lock: Mutex::default(),
            shelf,
            display: NameDisplay::default(),
        }
    }

    /// Applies the changes of a committed batch.
    pub(super) fn apply(&self, body: &[u8]) {
        let Ok(changes) = serde_json::from_slice::<LedgerChanges>(body) else { return };
        let claims: Vec<[u8; 16]> = changes.claims.iter().filter_map(|text| decode_claim(text)).collect();
        if let Some(batch) = decode_claim(&changes.batch) {
            self.claims.settle(&batch, UnixNanos(changes.at), claims.iter().copied().map(ClaimKey::from_bytes));
        }
        for (status, calls) in &changes.statuses {
            self.meter.counter(&names::COST_CALLS, &[("status", status)]).increment(*calls);
        }
        self.add_sums(&changes.sums);
        self.remember_log_sessions(changes.heard.iter().map(|session| (*session, changes.at)));
        changes.billed_spans.iter().for_each(|(place, units)| self.put_billed_span(*place, *units));
        self.mismatches.increment(changes.mismatches);
        self.rejected_waits.increment(changes.full);
        for (dialect, calls) in &changes.unbilled {
            let labels = [("dialect", dialect.as_str()), ("reason", NO_TOKENS)];
            self.meter.counter(&names::COST_UNBILLED, &labels).increment(*calls);
        }
        let mut totals = self.totals.lock();
        for (tenant, model, provider, atto) in &changes.priced {
            let labels = (totals.tenants.admit(tenant), totals.models.admit(model), totals.providers.admit(provider));
            self.add_price(&mut totals, labels, atto.parse().unwrap_or(0));
        }
        for (provider, model, reason, tokens) in &changes.unpriced {
            self.count_unpriced(&mut totals, provider, model, reason, *tokens, changes.at);
        }
        for claim in &claims {
            totals.waiting.remove(claim);
        }
        let until = changes.at.saturating_add(MAX_WAIT);
        let left = self.apply_late(changes.settled, changes.waits, changes.above);
        self.rejected_waits.increment(u64::try_from(left.len()).unwrap_or(u64::MAX));
        self.count_expired(&mut totals, left, changes.at);
        for (dialect, claim) in changes.deferred {
            let Some(claim) = decode_claim(&claim) else { continue };
            let counted = self.claims.holder(ClaimKey::from_bytes(claim)).is_some();
            if !counted && totals.waiting.len() < MAX_WAITING_CALLS {
                totals.waiting.insert(claim, (dialect, until));
            }
        }
    }

    /// Applies changes to the waiting calls. Returns the calls that found no room.
    fn apply_late(
        &self,
        settled: Vec<(UnitKey, String)>,
        waits: Vec<(UnitKey, WaitingCall)>,
        above: Vec<(UnitKey, InheritedModel)>,
    ) -> Vec<WaitingCall> {
        let mut late = self.waiting_calls.lock();
        for (place, call_key) in &settled {
            late.remove_call(place, call_key);
        }
        let left = waits.into_iter().filter_map(|(place, call)| late.add_call(place, call)).collect();
        let forgotten = above.into_iter().map(|(place, above)| late.remember_ancestor(place, above)).sum();
        self.evicted_ancestors.increment(forgotten);
        left
    }

    /// Counts calls as unpriced whose waiting time is over, or which found no room to wait.
    fn count_expired(&self, totals: &mut LedgerTotals, calls: Vec<WaitingCall>, at: u64) {
        for late in calls {
            let (provider, model) = (late.basis.provider.as_deref(), late.basis.models.first());
            let (provider, model) = (self.display.label(provider), self.display.label(model.map(String::as_str)));
            // Calls wait for no other reason: see `settle::is_want`.
            let reason =
                if late.basis.models.is_empty() { UnpricedReason::NoModel } else { UnpricedReason::AmbiguousProvider };
            let tokens = super::total_tokens(&late.basis.units.buckets());
            self.meter.counter(&names::COST_CALLS, &[("status", BillingStatus::Unpriced.as_str())]).increment(1);
            self.count_unpriced(totals, &provider, &model, reason.as_str(), tokens, at);
        }
    }

    fn add_sums(&self, more: &[(UnitKey, BilledSum)]) {
        let mut sums = self.sums.lock();
        more.iter().for_each(|(place, sum)| sums.update(*place, |all| all.add(sum)));
    }

    fn remember_log_sessions(&self, sessions: impl Iterator<Item = (UnitKey, u64)>) {
        let mut heard = self.log_sessions.lock();
        sessions.for_each(|(session, at)| heard.update(session, |last| *last = at.max(*last)));
    }

    /// When a session's client last sent a record that bills, Unix ns.
    pub(super) fn last_log_time(&self, session: &UnitKey) -> Option<u64> {
        self.log_sessions.lock().get(session)
    }

    pub(super) fn put_billed_span(&self, place: UnitKey, units: Option<TokenSplit>) {
        self.billed_spans.lock().update(place, |kept| *kept = units);
    }

    /// Locks out other decisions on calls that arrive as span and log, until the guard is dropped.
    pub(super) fn lock_two_signal_decisions(&self) -> MutexGuard<'_, ()> {
        self.two_signal_lock.lock()
    }

    /// The tokens that a call's span was billed for. `Some(None)`: the span was unpriced.
    pub(super) fn billed_span(&self, place: &UnitKey) -> Option<Option<TokenSplit>> {
        self.billed_spans.lock().get(place)
    }

    /// The counts billed below a span.
    pub(super) fn billed_below(&self, place: &UnitKey) -> Option<BilledSum> {
        self.sums.lock().get(place)
    }

    /// Read access to the waiting calls and remembered ancestors.
    pub(super) fn lock_waiting_calls(&self) -> MutexGuard<'_, WaitingCalls> {
        self.waiting_calls.lock()
    }

    /// Counts a call without a price, and logs a warning once a day with the closest listed model id.
    fn count_unpriced(
        &self,
        totals: &mut LedgerTotals,
        provider: &str,
        model: &str,
        reason: &str,
        tokens: u64,
        at: u64,
    ) {
        let (provider, model) = (totals.providers.admit(provider), totals.unpriced.admit(model));
        let key = format!("{provider} {model} {reason}");
        let no_usage = reason == rates::UnpricedReason::NoUsage.as_str();
        let nearest = if no_usage { String::new() } else { self.nearest_model(totals, &key, &provider, &model) };
        let labels =
            [("provider", provider.as_str()), ("model", &model), ("reason", reason), ("nearest", nearest.as_str())];
        self.meter.counter(&names::COST_UNPRICED, &labels).increment(1);
        let labels = [("provider", provider.as_str()), ("model", model.as_str())];
        self.meter.counter(&names::COST_UNPRICED_TOKENS, &labels).increment(tokens);
        if is_warning_due(&mut totals.last_logged, key, at) {
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

    /// The closest listed model id. Cached, because comparing with thousands of ids is slow.
    fn nearest_model(&self, totals: &mut LedgerTotals, key: &str, provider: &str, model: &str) -> String {
        let none = |word: &str| matches!(word, OTHER | UNKNOWN);
        if none(model) {
            return String::new();
        }
        if let Some(known) = totals.nearest_models.get(key) {
            return known.clone();
        }
        let told = Some(provider).filter(|provider| !none(provider));
        let nearest = self.shelf.rates().common().nearest_id(told, model).unwrap_or_default();
        if totals.nearest_models.len() < MAX_LOGGED_WARNINGS {
            totals.nearest_models.insert(key.to_owned(), nearest.clone());
        }
        nearest
    }

    fn add_price(&self, totals: &mut LedgerTotals, labels: PriceLabels, atto: i128) {
        let entry = totals.usd.entry(labels.clone()).or_default();
        entry.0 = entry.0.saturating_add(atto);
        let gauge = entry.1.get_or_insert_with(|| {
            let (tenant, model, provider) = &labels;
            self.meter.gauge(&names::COST_USD, &[("tenant", tenant), ("model", model), ("provider", provider)])
        });
        gauge.set(Usd(entry.0).to_f64());
    }

    /// Removes expired entries and counts calls whose other signal never arrived.
    pub(super) fn tick(&self, now: UnixNanos) {
        self.claims.expire(now);
        self.forgotten_claims.set(self.claims.forgotten() as f64);
        let over = self.waiting_calls.lock().expire(now.0);
        let mut totals = self.totals.lock();
        self.count_expired(&mut totals, over, now.0);
        let (meter, LedgerTotals { waiting, last_logged: logged, .. }) = (&self.meter, &mut *totals);
        waiting.retain(|_, (dialect, until)| {
            let waits = *until > now.0;
            if !waits {
                let labels = [("dialect", dialect.as_str()), ("reason", BILLED_SIGNAL_MISSING)];
                meter.counter(&names::COST_UNBILLED, &labels).increment(1);
                if is_warning_due(logged, format!("unbilled {dialect}"), now.0) {
                    tracing::warn!(dialect, "calls whose record on the billed signal never arrived; logged once a day");
                }
            }
            waits
        });
    }

    /// Serialises the state: length-prefixed JSON with the totals, then the claims.
    pub(super) fn save(&self) -> Vec<u8> {
        let (late, above) = self.waiting_calls.lock().entries();
        let (sums, heard) = (self.sums.lock().entries(), self.log_sessions.lock().entries());
        let billed_spans = self.billed_spans.lock().entries();
        let totals = self.totals.lock();
        let saved = LedgerCheckpoint {
            late,
            above,
            sums,
            heard,
            billed_spans,
            usd: totals.usd.iter().map(|(labels, (atto, _))| (labels.clone(), atto.to_string())).collect(),
            waiting: (totals.waiting.iter())
                .map(|(claim, (dialect, until))| (hex::encode(claim), dialect.clone(), *until))
                .collect(),
        };
        drop(totals);
        let head = serde_json::to_vec(&saved).unwrap_or_default();
        let mut out = u32::try_from(head.len()).unwrap_or(0).to_le_bytes().to_vec();
        out.extend_from_slice(&head);
        out.extend_from_slice(&self.claims.save());
        out
    }

    /// Restores what [`Ledger::save`] returned. Unreadable parts are skipped.
    pub(super) fn restore(&self, saved: &[u8]) {
        let Some((length, rest)) = saved.split_first_chunk::<4>() else { return };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let Some((head, claims)) = rest.split_at_checked(length) else { return };
        let Ok(saved) = serde_json::from_slice::<LedgerCheckpoint>(head) else { return };
        self.claims.load(claims);
        let mut totals = self.totals.lock();
        for ((tenant, model, provider), atto) in saved.usd {
            let labels =
                (totals.tenants.admit(&tenant), totals.models.admit(&model), totals.providers.admit(&provider));
            self.add_price(&mut totals, labels, atto.parse().unwrap_or(0));
        }
        self.apply_late(Vec::new(), saved.late, saved.above);
        self.add_sums(&saved.sums);
        self.remember_log_sessions(saved.heard.into_iter());
        saved.billed_spans.iter().for_each(|(place, units)| self.put_billed_span(*place, *units));
        let waiting = saved.waiting.into_iter().take(MAX_WAITING_CALLS);
        totals
            .waiting
            .extend(waiting.filter_map(|(claim, dialect, until)| Some((decode_claim(&claim)?, (dialect, until)))));
    }
}

/// Returns true if a warning is due to be logged again.
fn is_warning_due(logged: &mut HashMap<String, u64>, key: String, now: u64) -> bool {
    if logged.len() >= MAX_LOGGED_WARNINGS && !logged.contains_key(&key) {
        return false;
    }
    let last = logged.entry(key).or_insert(0);
    let due = *last == 0 || now.saturating_sub(*last) >= DAY;
    if due {
        *last = now;
    }
    due
}

fn decode_claim(text: &str) -> Option<[u8; 16]> {
    let mut out = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(out)
}
