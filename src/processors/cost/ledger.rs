//! **What**: what the processor remembers: which calls were counted, exact totals, calls that wait for their other signal.
//! **Invariants**: changed by effects only, after the commit (claims are taken before and released if there is none);
//! totals are exact and survive a restart by checkpoint and effects; labels are capped.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::clock::UnixNanos;
use crate::hex;
use crate::pipeline::{ClaimKey, Claims};
use crate::rates::Usd;
use crate::telemetry::{Counter, Gauge, Meter, names};

/// Values that one label may have; the rest is [`OTHER`].
const LABELS: usize = 200;
const OTHER: &str = "other";
/// Longest label, bytes.
const LABEL_BYTES: usize = 64;
/// How long a call waits for its other signal before it counts as unbilled.
const WAIT: u64 = 600_000_000_000;
/// Calls that may wait; beyond that none is watched.
const WAITING: usize = 100_000;

/// Changes by one batch, stored with its commit.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Changes {
    batch: String,
    at: u64,
    claims: Vec<String>,
    /// Tenant, model, provider, 1e-18 USD.
    priced: Vec<(String, String, String, String)>,
    /// Provider, model, reason, tokens.
    unpriced: Vec<(String, String, String, u64)>,
    /// Dialect, claim.
    deferred: Vec<(String, String)>,
    statuses: BTreeMap<String, u64>,
    mismatches: u64,
}

impl Changes {
    pub(super) fn new(batch: &[u8; 16], at: UnixNanos) -> Self {
        Self { batch: hex::encode(batch), at: at.0, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.statuses.is_empty()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn claim(&mut self, key: ClaimKey) {
        self.claims.push(hex::encode(&key.to_bytes()));
    }

    pub(super) fn status(&mut self, status: &str) {
        *self.statuses.entry(status.to_owned()).or_default() += 1;
    }

    pub(super) fn priced(&mut self, tenant: Option<&str>, model: &str, provider: &str, total: Usd) {
        let tenant = tenant.map_or("unattributed", label);
        self.priced.push((tenant.to_owned(), label(model).to_owned(), provider.to_owned(), total.0.to_string()));
    }

    pub(super) fn unpriced(&mut self, provider: Option<&str>, model: Option<&str>, reason: &str, tokens: u64) {
        let (provider, model) = (provider.map_or("unknown", label), model.map_or("unknown", label));
        self.unpriced.push((provider.to_owned(), model.to_owned(), reason.to_owned(), tokens));
    }

    pub(super) fn deferred(&mut self, dialect: &str, key: ClaimKey) {
        self.deferred.push((dialect.to_owned(), hex::encode(&key.to_bytes())));
    }

    pub(super) fn mismatch(&mut self) {
        self.mismatches += 1;
    }
}

/// Text of telemetry as a label: only what looks like a name.
fn label(text: &str) -> &str {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte);
    if !text.is_empty() && text.len() <= LABEL_BYTES && text.bytes().all(plain) { text } else { OTHER }
}

/// At most [`LABELS`] values.
#[derive(Default)]
struct Cap(BTreeSet<String>);

impl Cap {
    fn admit(&mut self, value: &str) -> String {
        if !self.0.contains(value) {
            if self.0.len() >= LABELS {
                return OTHER.to_owned();
            }
            self.0.insert(value.to_owned());
        }
        value.to_owned()
    }
}

type Labels = (String, String, String);

#[derive(Default)]
struct Totals {
    tenants: Cap,
    models: Cap,
    providers: Cap,
    unpriced: Cap,
    usd: BTreeMap<Labels, (i128, Option<Gauge>)>,
    /// Claim → dialect and when it stops waiting.
    waiting: HashMap<[u8; 16], (String, u64)>,
}

/// The memory.
pub(super) struct Ledger {
    pub(super) claims: Claims,
    meter: Meter,
    totals: Mutex<Totals>,
    mismatches: Counter,
    forgotten: Gauge,
}

/// What a checkpoint holds besides the claims.
#[derive(Serialize, Deserialize)]
struct Saved {
    usd: Vec<(Labels, String)>,
    waiting: Vec<(String, String, u64)>,
}

impl Ledger {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            claims: Claims::default(),
            meter: meter.clone(),
            totals: Mutex::new(Totals::default()),
            mismatches: meter.counter(&names::COST_MISMATCH, &[]),
            forgotten: meter.gauge(&names::COST_FORGOTTEN, &[]),
        }
    }

    /// Applies what a committed batch changed.
    pub(super) fn apply(&self, body: &[u8]) {
        let Ok(changes) = serde_json::from_slice::<Changes>(body) else { return };
        let claims: Vec<[u8; 16]> = changes.claims.iter().filter_map(|text| bytes(text)).collect();
        if let Some(batch) = bytes(&changes.batch) {
            self.claims.settle(&batch, UnixNanos(changes.at), claims.iter().copied().map(ClaimKey::from_bytes));
        }
        for (status, calls) in &changes.statuses {
            self.meter.counter(&names::COST_CALLS, &[("status", status)]).increment(*calls);
        }
        self.mismatches.increment(changes.mismatches);
        let mut totals = self.totals.lock();
        for (tenant, model, provider, atto) in &changes.priced {
            let labels = (totals.tenants.admit(tenant), totals.models.admit(model), totals.providers.admit(provider));
            self.add(&mut totals, labels, atto.parse().unwrap_or(0));
        }
        for (provider, model, reason, tokens) in &changes.unpriced {
            let (provider, model) = (totals.providers.admit(provider), totals.unpriced.admit(model));
            let labels = [("provider", provider.as_str()), ("model", model.as_str()), ("reason", reason.as_str())];
            self.meter.counter(&names::COST_UNPRICED, &labels).increment(1);
            let labels = [("provider", provider.as_str()), ("model", model.as_str())];
            self.meter.counter(&names::COST_UNPRICED_TOKENS, &labels).increment(*tokens);
        }
        for claim in &claims {
            totals.waiting.remove(claim);
        }
        let until = changes.at.saturating_add(WAIT);
        for (dialect, claim) in changes.deferred {
            let Some(claim) = bytes(&claim) else { continue };
            let counted = self.claims.holder(ClaimKey::from_bytes(claim)).is_some();
            if !counted && totals.waiting.len() < WAITING {
                totals.waiting.insert(claim, (dialect, until));
            }
        }
    }

    fn add(&self, totals: &mut Totals, labels: Labels, atto: i128) {
        let entry = totals.usd.entry(labels.clone()).or_default();
        entry.0 = entry.0.saturating_add(atto);
        let gauge = entry.1.get_or_insert_with(|| {
            let (tenant, model, provider) = &labels;
            self.meter.gauge(&names::COST_USD, &[("tenant", tenant), ("model", model), ("provider", provider)])
        });
        gauge.set(Usd(entry.0).to_f64());
    }

    /// Forgets what is old, counts calls whose other signal never came.
    pub(super) fn tick(&self, now: UnixNanos) {
        self.claims.expire(now);
        self.forgotten.set(self.claims.forgotten() as f64);
        let mut totals = self.totals.lock();
        let meter = &self.meter;
        totals.waiting.retain(|_, (dialect, until)| {
            let waits = *until > now.0;
            if !waits {
                meter.counter(&names::COST_UNBILLED, &[("dialect", dialect)]).increment(1);
            }
            waits
        });
    }

    /// Totals, then claims: JSON with its length in front.
    pub(super) fn save(&self) -> Vec<u8> {
        let totals = self.totals.lock();
        let saved = Saved {
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

    /// What [`Ledger::save`] gave; anything unreadable is left out.
    pub(super) fn restore(&self, saved: &[u8]) {
        let Some((length, rest)) = saved.split_first_chunk::<4>() else { return };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let Some((head, claims)) = rest.split_at_checked(length) else { return };
        let Ok(saved) = serde_json::from_slice::<Saved>(head) else { return };
        self.claims.load(claims);
        let mut totals = self.totals.lock();
        for ((tenant, model, provider), atto) in saved.usd {
            let labels =
                (totals.tenants.admit(&tenant), totals.models.admit(&model), totals.providers.admit(&provider));
            self.add(&mut totals, labels, atto.parse().unwrap_or(0));
        }
        let waiting = saved.waiting.into_iter().take(WAITING);
        totals.waiting.extend(waiting.filter_map(|(claim, dialect, until)| Some((bytes(&claim)?, (dialect, until)))));
    }
}

fn bytes(text: &str) -> Option<[u8; 16]> {
    let mut out = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(out)
}
