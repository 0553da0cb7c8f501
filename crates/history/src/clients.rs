//! [`ClientTable`]: which clients have sent lately, when they sent each signal, and when their items last carried
//! content. `tollgate check --client` shows from it what a client has switched off. It holds no telemetry text: names
//! passed the id policy and are cut, versions have the shape of a version. At most [`MAX_CLIENTS`] clients are kept;
//! the account with most loses its least recently seen one. `client_recorder` observes batches; nothing is written to
//! disk, so the table begins empty at each start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde_json::{Value, json};

use genai::ContentPart;
use kernel::bounded_map::BoundedMap;
use otlp::Signal;

/// Maximum number of clients kept.
pub(super) const MAX_CLIENTS: usize = 256;
/// The parts of content that clients have switches for.
pub(super) const PARTS: [ContentPart; 4] =
    [ContentPart::Input, ContentPart::Output, ContentPart::ToolArgs, ContentPart::ToolResult];
const NS_PER_SECOND: f64 = 1e9;

/// One client in one batch. It has no `Debug`, like everything that is made from telemetry.
pub(super) struct ClientSighting {
    /// The service's name as it may be shown.
    pub(super) name: Box<str>,
    /// The dialect of its items, if one was recognised.
    pub(super) dialect: Option<&'static str>,
    /// `service.version`; "" if it is not known.
    pub(super) version: Box<str>,
    /// Language and version of its SDK; "" if they are not known.
    pub(super) sdk: Box<str>,
    /// The parts that items of these kinds carry unless they are switched off.
    pub(super) expected: BTreeSet<ContentPart>,
    pub(super) carried: BTreeSet<ContentPart>,
    /// What its agents' items name: user, tenant or feature.
    pub(super) named: BTreeSet<&'static str>,
}

pub(super) struct BatchSightings {
    pub(super) account: Arc<str>,
    pub(super) signal: Signal,
    /// Time of arrival, unix ns.
    pub(super) received: u64,
    pub(super) clients: Vec<ClientSighting>,
}

/// The state of one client. Times are unix ns.
#[derive(Default)]
struct ClientRecord {
    dialect: Option<&'static str>,
    version: Box<str>,
    sdk: Box<str>,
    /// By the signal's name.
    last_sent: BTreeMap<&'static str, u64>,
    last_expected: BTreeMap<ContentPart, u64>,
    last_carried: BTreeMap<ContentPart, u64>,
    named: BTreeSet<&'static str>,
}

impl ClientRecord {
    fn last_seen(&self) -> u64 {
        self.last_sent.values().copied().max().unwrap_or(0)
    }

    fn update(&mut self, sighting: &ClientSighting, signal: Signal, received: u64) {
        let set_later = |time: &mut u64| *time = received.max(*time);
        self.dialect = sighting.dialect.or(self.dialect);
        if !sighting.version.is_empty() {
            self.version = sighting.version.clone();
        }
        if !sighting.sdk.is_empty() {
            self.sdk = sighting.sdk.clone();
        }
        set_later(self.last_sent.entry(signal.as_str()).or_default());
        sighting.expected.iter().for_each(|part| set_later(self.last_expected.entry(*part).or_default()));
        sighting.carried.iter().for_each(|part| set_later(self.last_carried.entry(*part).or_default()));
        self.named.extend(&sighting.named);
    }

    /// `wanted`: what budgets need to be named.
    fn to_json(&self, account: &str, name: &str, wanted: &[&'static str], now: u64) -> Value {
        let ago = |time: Option<&u64>| time.map(|time| now.saturating_sub(*time) as f64 / NS_PER_SECOND);
        let names = Signal::ALL.iter().map(|signal| signal.as_str());
        let sent = names.map(|name| (name.to_owned(), json!(ago(self.last_sent.get(name)))));
        let content = PARTS.iter().map(|part| {
            let [expected, carried] = [&self.last_expected, &self.last_carried].map(|times| ago(times.get(part)));
            (part.as_str().to_owned(), json!({"expected": expected, "carried": carried}))
        });
        let is_unnamed = |scope: &&&str| self.dialect.is_some() && !self.named.contains(**scope);
        json!({
            "account": account,
            "name": name,
            "unnamed_for_budgets": wanted.iter().filter(is_unnamed).collect::<Vec<_>>(),
            "dialect": self.dialect,
            "version": Some(&*self.version).filter(|text| !text.is_empty()),
            "sdk": Some(&*self.sdk).filter(|text| !text.is_empty()),
            "seconds_ago": Value::Object(sent.collect()),
            "content_seconds_ago": Value::Object(content.collect()),
        })
    }
}

/// The clients by account and name.
type ClientRecords = BoundedMap<(Arc<str>, Box<str>), ClientRecord, MAX_CLIENTS>;

/// See the module.
#[derive(Default)]
pub struct ClientTable {
    clients: Mutex<ClientRecords>,
    /// The scopes of the budgets.
    wanted: OnceLock<Vec<&'static str>>,
}

impl ClientTable {
    /// Sets the scopes of the budgets (`user`, `tenant`, …). Only the first call counts.
    pub fn set_budget_scopes(&self, scopes: Vec<&'static str>) {
        self.wanted.get_or_init(|| scopes);
    }

    pub(super) fn add_batch(&self, batch: &BatchSightings) {
        let mut clients = self.clients.lock();
        for sighting in &batch.clients {
            let key = (Arc::clone(&batch.account), sighting.name.clone());
            clients.update(&*batch.account, key, |client| client.update(sighting, batch.signal, batch.received));
        }
    }

    /// The clients as JSON, the latest first. `now` is in unix ns; times are in seconds before it, `null` = never.
    pub fn to_json(&self, now: u64) -> Value {
        let clients = self.clients.lock();
        let mut latest: Vec<_> = clients.iter().collect();
        latest.sort_by_key(|(key, record)| (std::cmp::Reverse(record.last_seen()), *key));
        let wanted = self.wanted.get().map(Vec::as_slice).unwrap_or_default();
        let to_json = |((account, name), record): (&(Arc<str>, Box<str>), &ClientRecord)| {
            record.to_json(account, name, wanted, now)
        };
        let clients: Vec<Value> = latest.into_iter().map(to_json).collect();
        json!({ "clients": clients })
    }
}
